"""What a query means for one field of one kind, as a condition of SQL."""

from __future__ import annotations

import math
import re
from typing import Any

from compose.store.conditions import (
    CONTAINS,
    EQUAL,
    FALSE,
    TRUE,
    Condition,
    Fields,
    any_of,
    at_least,
    each,
    exists,
    some_of,
)
from compose.store.dates import date_math, zone_of
from compose.store.document import read_number, single
from compose.store.errors import StoreError, UnsupportedError
from compose.store.mapping import Field
from compose.store.mapping_checks import RANGES
from compose.store.tree import Match, Node, Pattern, Phrase, Range, Term, Terms
from compose.store.words import as_regular_expression, cut, sloppy

_COMMON = " etaoinsrhdlu0123456789cmfpgwybvkxjqz"  # from the most common on


def on_field(field: Field, node: Node, fields: Fields) -> Condition:
    """Return the condition that a query of one field means for it.

    Raises:
        ValueError, TypeError, OverflowError: a value does not fit the field.
        StoreError: the query cannot be asked of such a field.
    """
    if not field.searchable:
        raise StoreError(
            400,
            "query_shard_exception",
            f"failed to create query: Cannot search on [{field.path}] since it is neither indexed nor has doc values.",
            index=fields.indices[0].name,
            index_uuid=fields.indices[0].uuid,
        )
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
            return some_of([_word(field, word, fields) for word in words], needed) if words else none
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
                each(field, fields, "contains({}, ?)", [f" {' '.join(words)}"])
                if node.prefix
                else _words(field, f" {' '.join(words)} ", fields)
            )
        case Pattern(pattern=pattern, prefix=prefix, fold=fold):
            return _pattern(field, pattern, fields, prefix=prefix, fold=fold)
    raise UnsupportedError(f"the query [{type(node).__name__}]")


def _word(field: Field, word: str, fields: Fields) -> Condition:
    return _words(field, f" {word} ", fields)


def _words(field: Field, text: str, fields: Fields) -> Condition:
    return each(field, fields, CONTAINS, [rare_tail(text), text])


def rare_tail(text: str) -> str:
    """Return the end of a text that begins with its rarest letter, and is three characters long at least."""
    places = range(max(1, len(text) - 2))
    return text[max(places, key=lambda place: _COMMON.find(text[place])) :]


def _term(field: Field, value: Any, fields: Fields, *, fold: bool = False) -> Condition:
    if field.kind == "keyword":
        if fold:
            return each(field, fields, "lower({}) = lower(?)", [_as_text(value)])
        return each(field, fields, EQUAL, [_as_text(value)])
    if field.kind == "text":
        word = _as_text(value)
        word = word.lower() if fold else word
        return FALSE if not word or " " in word else _word(field, word, fields)
    if field.kind == "date":
        return _range(field, Range(field.path, gte=value, lte=value), fields)
    converted = exact(field, value)
    if converted is None:
        return FALSE
    return each(field, fields, "{} = CAST(? AS FLOAT)" if field.kind == "float" else EQUAL, [converted])


def _terms(field: Field, values: tuple[Any, ...], fields: Fields) -> Condition:
    if not values:
        return FALSE
    if field.kind in ("text", "date"):
        return any_of(_term(field, value, fields) for value in values)
    found = [_as_text(value) if field.kind == "keyword" else exact(field, value) for value in values]
    if field.kind == "float" and None in found:  # refused as Elasticsearch does, unlike one term
        raise ValueError(f"[{field.type}] supports only finite values, but got [Infinity]")
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
    number = _number(field, value)
    if field.kind == "float":
        return None if math.isinf(single(number)) else float(number)
    if field.kind == "double":
        return float(number)
    if (isinstance(number, float) and not number.is_integer()) or not -(1 << RANGES[field.type]) <= int(
        number
    ) < 1 << RANGES[field.type]:
        return None
    return int(number)


def _number(field: Field, value: Any) -> int | float:
    if isinstance(value, bool):
        raise ValueError(f'For input string: "{str(value).lower()}"')  # noqa: TRY004 - as for any other misfit
    if isinstance(value, int | float):
        return value
    return read_number(str(value), whole=field.kind == "long")


def _range(field: Field, node: Range, fields: Fields) -> Condition:
    bounds = [(sign, value) for sign, value in
              ((">=", node.gte), (">", node.gt), ("<=", node.lte), ("<", node.lt)) if value is not None]  # fmt: skip
    if not bounds:
        return exists(field, fields)
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
            converted = _number(field, value)
        elif field.kind == "float":
            converted = single(_number(field, value))
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
