"""The query tree as a condition of SQL."""

from __future__ import annotations

import fnmatch
from typing import Any

from compose.store.conditions import (
    FALSE,
    TRUE,
    Condition,
    Fields,
    all_of,
    any_of,
    at_least,
    exists,
    negated,
    some_of,
)
from compose.store.errors import StoreError, UnsupportedError
from compose.store.field_conditions import on_field
from compose.store.patterns import fits
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
                parts.append(some_of([compile_query(part, fields) for part in node.should], needed))
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
            return any_of(exists(field, fields) for name in names for field in fields.named(name))
        case Term() | Terms() | Range() | Match() | Phrase() | Pattern():
            return _of_field(node, fields)
        case AnyField():
            return _any_field(node, fields)
        case QueryString():
            from compose.store.query_string import tree

            return compile_query(tree(node), fields)
    raise UnsupportedError(f"the query [{type(node).__name__}]")


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
            conditions.append(on_field(field, node, fields))
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
            return numbers(lambda name: fits(str(value), name))
        case Terms(values=values):
            return numbers(lambda name: name in values)
        case Pattern(pattern=pattern, prefix=prefix):
            text = pattern.replace("[", "[[]") + ("*" if prefix else "")  # which reads `?` as well
            return numbers(lambda name: fnmatch.fnmatchcase(name, text))
    raise UnsupportedError("this query on [_index]")
