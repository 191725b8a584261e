"""The query tree as a condition of SQL: columns are our own numbers, every value is a parameter.

A condition is never NULL, so that it can be negated. A field that has different types in different indices has a column
for each; the column is empty in the other indices, so the conditions are joined by OR.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from compose.store.catalogue import Index
from compose.store.dates import date_math, zone_of
from compose.store.errors import StoreError, UnsupportedError
from compose.store.mapping import RANGES, Field
from compose.store.query import at_least
from compose.store.table import Columns
from compose.store.tree import (
    All,
    AnyField,
    Bool,
    Exists,
    Ids,
    Match,
    Node,
    Nothing,
    Pattern,
    Phrase,
    QueryString,
    Range,
    Term,
    Terms,
)
from compose.store.words import as_regular_expression, cut, sloppy

Condition = tuple[str, list[Any]]
FALSE: Condition = ("false", [])
TRUE: Condition = ("true", [])


class Fields:
    """The fields of the indices that a request is about, and their columns.

    Arguments:
        indices: what the request is about.
        columns: which columns exist.
        now: milliseconds since 1970, for date maths.
    """

    def __init__(self, indices: list[Index], columns: Columns, now: int) -> None:
        self.indices = indices
        self.columns = columns
        self.now = now
        self._found: dict[str, list[Field]] = {}

    def named(self, path: str) -> list[Field]:
        """Return the field of this name, once for each kind that it has."""
        if path not in self._found:
            kinds: dict[str, Field] = {}
            for index in self.indices:
                field = index.mapping.fields.get(path)
                if field is not None:
                    kinds.setdefault(field.kind, field)
            self._found[path] = list(kinds.values())
        return self._found[path]

    def under(self, path: str) -> list[str]:
        """Return the names of fields below an object."""
        start = path + "."
        names = {name for index in self.indices for name, field in index.mapping.fields.items()
                 if name.startswith(start) and (field.parent == name or field.parent.startswith(start))}  # fmt: skip
        return sorted(names)

    def like(self, pattern: str) -> list[str]:
        """Return the names of fields that a pattern with `*` fits."""
        names = {name for index in self.indices for name in index.mapping.fields if fnmatch.fnmatchcase(name, pattern)}
        return sorted(names)


def any_of(conditions: Iterable[Condition]) -> Condition:
    """Join conditions by OR."""
    listed = [condition for condition in conditions if condition != FALSE]
    if not listed:
        return FALSE
    if TRUE in listed:
        return TRUE
    if len(listed) == 1:
        return listed[0]
    return "(" + " OR ".join(text for text, _ in listed) + ")", [value for _, values in listed for value in values]


def all_of(conditions: Iterable[Condition]) -> Condition:
    """Join conditions by AND."""
    listed = [condition for condition in conditions if condition != TRUE]
    if not listed:
        return TRUE
    if FALSE in listed:
        return FALSE
    if len(listed) == 1:
        return listed[0]
    return "(" + " AND ".join(text for text, _ in listed) + ")", [value for _, values in listed for value in values]


def negated(condition: Condition) -> Condition:
    """Turn a condition round."""
    if condition == TRUE:
        return FALSE
    if condition == FALSE:
        return TRUE
    return f"(({condition[0]}) IS NOT TRUE)", condition[1]


def compile_query(node: Node, fields: Fields) -> Condition:
    """Return the condition that a query means.

    Raises:
        StoreError: a value does not fit its field.
    """
    match node:
        case All():
            return TRUE
        case Nothing():
            return FALSE
        case Bool():
            parts = [compile_query(part, fields) for part in node.must]
            parts += [negated(compile_query(part, fields)) for part in node.never]
            if node.should:
                least = 0 if node.must else 1
                needed = max(least, at_least(node.least, len(node.should), least))
                parts.append(_some([compile_query(part, fields) for part in node.should], needed))
            elif at_least(node.least, 0, 0) > 0:
                return FALSE
            return all_of(parts)
        case Ids():
            return ("list_contains(?::VARCHAR[], id)", [list(node.values)]) if node.values else FALSE
        case Exists():
            if node.field == "_ignored":
                return "(ignored IS NOT NULL)", []
            names = [node.field] if "*" not in node.field else fields.like(node.field)
            names += [below for name in list(names) for below in fields.under(name)]
            return any_of(_exists(field, fields) for name in names for field in fields.named(name))
        case Term() | Terms() | Range() | Match() | Phrase() | Pattern():
            return _of_field(node, fields)
        case AnyField():
            return _any_field(node, fields)
        case QueryString():
            from compose.store.query_string import tree

            return compile_query(tree(node), fields)
    raise UnsupportedError(f"the query [{type(node).__name__}]")


def _some(conditions: list[Condition], needed: int) -> Condition:
    if needed <= 0:
        return TRUE
    if needed == 1:
        return any_of(conditions)
    if needed > len(conditions):
        return FALSE
    if needed == len(conditions):
        return all_of(conditions)
    text = " + ".join(f"(({condition[0]}) IS TRUE)::INTEGER" for condition in conditions)
    return f"(({text}) >= {needed})", [value for _, values in conditions for value in values]


def _any_field(node: AnyField, fields: Fields) -> Condition:
    names = [name for given in node.fields or ("*",) for name in (fields.like(given) if "*" in given else [given])]
    conditions = []
    for name in names:
        part: Node = Match(name, node.text, node.every, node.least, node.lenient)
        if node.kind in ("phrase", "phrase_prefix"):
            part = Phrase(name, node.text, node.kind == "phrase_prefix", node.lenient)
        conditions.append(compile_query(part, fields))
    return any_of(conditions)


def _of_field(node: Term | Terms | Range | Match | Phrase | Pattern, fields: Fields) -> Condition:
    if node.field == "_id":
        return _of_id(node)
    if node.field == "_index":
        return _of_index(node, fields)
    if node.field.startswith("_") and node.field in ("_source", "_seq_no", "_version", "_routing", "_ignored", "_tier"):
        if node.field == "_ignored" and isinstance(node, Term):
            return "(ignored IS NOT NULL AND list_contains(from_json(ignored, '[\"VARCHAR\"]'), ?))", [str(node.value)]
        raise UnsupportedError(f"a query on [{node.field}]")
    conditions = []
    for field in fields.named(node.field):
        try:
            conditions.append(_on(field, node, fields))
        except (ValueError, TypeError, OverflowError) as error:
            if getattr(node, "lenient", False):
                continue
            kind = (
                "number_format_exception" if field.kind in ("long", "float", "double") else "illegal_argument_exception"
            )
            raise StoreError(
                400,
                "query_shard_exception",
                f"failed to create query: {error}",
                cause={"type": kind, "reason": str(error)},
                index=fields.indices[0].name,
                index_uuid=fields.indices[0].uuid,
            ) from None
        except StoreError:
            if getattr(node, "lenient", False):
                continue
            raise
    return any_of(conditions)


def _of_id(node: Node) -> Condition:
    match node:
        case Term(value=value):
            return "(id = ?)", [str(value)]
        case Match(text=text) | Phrase(text=text):
            return "(id = ?)", [str(text)]
        case Terms(values=values):
            return "list_contains(?::VARCHAR[], id)", [[str(value) for value in values]]
    raise UnsupportedError("this query on [_id]")


def _of_index(node: Node, fields: Fields) -> Condition:
    def numbers(accept: Any) -> Condition:
        found = [index.number for index in fields.indices if accept(index.name)]
        return ("list_contains(?::INTEGER[], number)", [found]) if found else FALSE

    match node:
        case Term(value=value) | Match(text=value) | Phrase(text=value):
            return numbers(lambda name: fnmatch.fnmatchcase(name, str(value)))
        case Terms(values=values):
            return numbers(lambda name: name in values)
        case Pattern(pattern=pattern, prefix=prefix):
            return numbers(lambda name: fnmatch.fnmatchcase(name, pattern + ("*" if prefix else "")))
    raise UnsupportedError("this query on [_index]")


def each(field: Field, fields: Fields, text: str, values: list[Any]) -> Condition:
    """Return a condition on a field's one value or on any of its many; `text` has `{}` for the value."""
    conditions = list[Condition]()
    single = fields.columns.single.get(field.key)
    if single:
        conditions.append((f"({single} IS NOT NULL AND {text.replace('{}', single)})", values))
    many = fields.columns.many.get(field.key)
    if many:
        inner = text.replace("{}", "item")
        conditions.append(
            (f"({many} IS NOT NULL AND list_bool_or(list_transform({many}, lambda item: {inner})))", values)
        )
    return any_of(conditions)


def _exists(field: Field, fields: Fields) -> Condition:
    columns = (fields.columns.single.get(field.key), fields.columns.many.get(field.key))
    return any_of((f"({column} IS NOT NULL)", []) for column in columns if column)


def _on(field: Field, node: Node, fields: Fields) -> Condition:
    match node:
        case Term(value=value, fold=fold):
            return _term(field, value, fields, fold=fold)
        case Terms(values=values):
            return _terms(field, values, fields)
        case Range():
            return _range(field, node, fields)
        case Match():
            if field.kind != "text":
                return _term(field, node.text, fields)
            words = cut(str(node.text) if not isinstance(node.text, bool) else str(node.text).lower())
            needed = len(words) if node.every else at_least(node.least, len(words), 1)
            none = TRUE if node.wordless else FALSE
            return _some([_word(field, word, fields) for word in words], needed) if words else none
        case Phrase():
            if field.kind != "text":
                if node.prefix:
                    return _pattern(field, str(node.text), fields, prefix=True)
                return _term(field, node.text, fields)
            words = cut(str(node.text))
            if not words:
                return TRUE if node.wordless else FALSE
            if node.slop:
                return each(field, fields, "regexp_matches({}, ?)", [sloppy(words, node.slop)])
            return (
                each(field, fields, "contains({}, ?)", [f" {' '.join(words)}{'' if node.prefix else ' '}"])
                if words
                else FALSE
            )
        case Pattern(pattern=pattern, prefix=prefix, fold=fold):
            return _pattern(field, pattern, fields, prefix=prefix, fold=fold)
    raise UnsupportedError(f"the query [{type(node).__name__}]")


def _word(field: Field, word: str, fields: Fields) -> Condition:
    return each(field, fields, "contains({}, ?)", [f" {word} "])


def _term(field: Field, value: Any, fields: Fields, *, fold: bool = False) -> Condition:
    if field.kind == "keyword":
        if fold:
            return each(field, fields, "lower({}) = lower(?)", [_as_text(value)])
        return each(field, fields, "{} = ?", [_as_text(value)])
    if field.kind == "text":
        word = _as_text(value)
        word = word.lower() if fold else word
        return FALSE if not word or " " in word else _word(field, word, fields)
    if field.kind == "date":
        return _range(field, Range(field.path, gte=value, lte=value), fields)
    converted = exact(field, value)
    if converted is None:
        return FALSE
    return each(field, fields, "{} = CAST(? AS FLOAT)" if field.kind == "float" else "{} = ?", [converted])


def _terms(field: Field, values: tuple[Any, ...], fields: Fields) -> Condition:
    if not values:
        return FALSE
    if field.kind in ("text", "date"):
        return any_of(_term(field, value, fields) for value in values)
    found = [_as_text(value) if field.kind == "keyword" else exact(field, value) for value in values]
    present = [value for value in found if value is not None]
    kind = {"keyword": "VARCHAR", "long": "BIGINT", "float": "FLOAT", "double": "DOUBLE", "boolean": "BOOLEAN"}[
        field.kind
    ]
    return each(field, fields, f"list_contains(?::{kind}[], {{}})", [present]) if present else FALSE


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def exact(field: Field, value: Any) -> Any:
    """Return a value as its field's column would have it, or None where no document can have it.

    Raises:
        ValueError: it cannot be read.
    """
    if field.kind == "boolean":
        if value in (True, "true"):
            return True
        if value in (False, "false", ""):
            return False
        raise ValueError(f"Can't parse boolean value [{value}], expected [true] or [false]")
    number = _number(value)
    if field.kind != "long":
        return float(number)
    if (isinstance(number, float) and not number.is_integer()) or not -(1 << RANGES[field.type]) <= int(
        number
    ) < 1 << RANGES[field.type]:
        return None
    return int(number)


def _number(value: Any) -> int | float:
    if isinstance(value, bool):
        raise ValueError(f'For input string: "{str(value).lower()}"')  # noqa: TRY004 - as for any other misfit
    if isinstance(value, int | float):
        return value
    try:
        return int(value)
    except (ValueError, TypeError):
        pass
    try:
        return float(value)
    except (ValueError, TypeError):
        raise ValueError(f'For input string: "{value}"') from None


def _range(field: Field, node: Range, fields: Fields) -> Condition:
    bounds = [(sign, value) for sign, value in
              ((">=", node.gte), (">", node.gt), ("<=", node.lte), ("<", node.lt)) if value is not None]  # fmt: skip
    if not bounds:
        return _exists(field, fields)
    texts, values = [], []
    for sign, value in bounds:
        if field.kind == "date":
            zone = zone_of(node.zone) if node.zone else zone_of("UTC")
            converted: Any = date_math(
                str(value), fields.now, node.format or field.format, zone, round_up=sign in ("<=", ">")
            )
        elif field.kind == "keyword":
            converted = _as_text(value)
        elif field.kind in ("long", "double"):
            converted = _number(value)
        elif field.kind == "float":
            converted = float(np.float32(_number(value)))
        elif field.kind == "boolean":
            converted = exact(field, value)
        else:
            raise UnsupportedError(f"a range on the text field [{field.path}]")
        texts.append(f"{{}} {sign} ?")
        values.append(converted)
    return each(field, fields, "(" + " AND ".join(texts) + ")", values)


def _pattern(field: Field, pattern: str, fields: Fields, *, prefix: bool, fold: bool = False) -> Condition:
    if field.kind not in ("keyword", "text"):
        name = "prefix" if prefix else "wildcard"
        raise StoreError(
            400,
            "query_shard_exception",
            f"Can only use {name} queries on keyword, text and wildcard fields - not on [{field.path}] which is of "
            f"type [{field.type}]",
            index=fields.indices[0].name,
            index_uuid=fields.indices[0].uuid,
        )
    if prefix and not fold:
        if field.kind == "keyword":
            return each(field, fields, "starts_with({}, ?)", [pattern])
        return each(field, fields, "contains({}, ?)", [" " + pattern]) if " " not in pattern else FALSE
    words = field.kind == "text"
    expression = re.escape(pattern) if prefix else as_regular_expression(pattern, within_word=words)
    if prefix:
        expression += "[^ ]*" if words else ".*"
    flags = "is" if fold else "s"
    if words:
        return each(field, fields, f"regexp_matches({{}}, ?, '{flags}')", [f" {expression} "])
    return each(field, fields, f"regexp_full_match({{}}, ?, '{flags}')", [expression])
