"""Lucene's query syntax, as in `level:ERROR AND NOT error:*`, read by luqum into our own tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from luqum import tree as lucene
from luqum.exceptions import ParseError
from luqum.thread import parse as parse_lucene

from compose.store.errors import StoreError, UnsupportedError
from compose.store.tree import All, AnyField, Bool, Exists, Match, Node, Nothing, Pattern, Phrase, QueryString, Range

_WILD = re.compile(r"(?<!\\)[*?]")
_ESCAPED = re.compile(r"\\(.)")
# Read otherwise by simple_query_string than by query_string, whose parser reads both here.
_NOT_SIMPLE = re.compile(r"[:\[\]{}^/!?~&\\<>=]|\*(?=\w)|(?<!\w)\*|\b(?:AND|OR|NOT|TO)\b")


def tree(query: QueryString) -> Node:
    """Return the tree that a text in Lucene's syntax means.

    Raises:
        StoreError: the text cannot be read, or uses what is not supported.
    """
    text = query.text.strip()
    if not text:
        return Nothing()
    if query.simple:
        if strange := _NOT_SIMPLE.search(text):
            raise UnsupportedError(f"[{strange[0]}] in the text of a simple_query_string")
        text = text.replace("|", " OR ").replace(" + ", " AND ")
    try:
        parsed = parse_lucene(_spelt_out(text))
    except (ParseError, ValueError) as error:
        if query.simple:
            return AnyField(query.fields, query.text, "best_fields", query.every, None, lenient=True)
        raise StoreError(
            400,
            "query_shard_exception",
            f"Failed to parse query [{query.text}]",
            cause={"type": "parse_exception", "reason": str(error)},
        ) from None
    return _node(parsed, query, query.fields)


def _node(item: Any, query: QueryString, fields: tuple[str, ...]) -> Node:
    match item:
        case lucene.SearchField():
            return _node(item.expr, query, (_ESCAPED.sub(r"\1", item.name),))
        case lucene.Group() | lucene.FieldGroup():
            return _node(item.expr, query, fields)
        case lucene.Boost():
            return _node(item.expr, query, fields)
        case lucene.AndOperation() | lucene.OrOperation() | lucene.UnknownOperation():
            return _clauses(list(_flat(item, query.every)), query, fields)
        case lucene.Not() | lucene.Prohibit():
            return Bool(never=(_node(item.a, query, fields),))
        case lucene.Plus():
            return _node(item.a, query, fields)
        case lucene.Range() | lucene.From() | lucene.To():
            return _range(item, query, fields)
        case lucene.Phrase():
            return _leaf(item.value[1:-1], query, fields, quoted=True)
        case lucene.Proximity() if fields and isinstance(item.term, lucene.Phrase):
            text, slop = item.term.value[1:-1], int(item.degree)
            parts = tuple(Phrase(field, _ESCAPED.sub(r"\1", text), slop=slop) for field in fields)
            return Bool(should=parts) if len(parts) > 1 else parts[0]
        case lucene.Word():
            return _leaf(item.value, query, fields, quoted=False)
    raise UnsupportedError(f"[{item}] in a query string ({type(item).__name__.lower()})")


def _flat(item: Any, every: bool) -> Iterator[tuple[Any, bool]]:
    """Return the clauses of operations without brackets, each with whether it must match.

    Lucene's classic syntax has no precedence: AND makes both of its neighbours necessary.
    """
    joined = isinstance(item, lucene.AndOperation) or (isinstance(item, lucene.UnknownOperation) and every)
    for child in item.children:
        if isinstance(child, lucene.AndOperation | lucene.OrOperation | lucene.UnknownOperation):
            yield from _flat(child, every)  # an OR makes the clause before it optional, even where AND is the default
        else:
            yield child, joined


def _clauses(children: list[tuple[Any, bool]], query: QueryString, fields: tuple[str, ...]) -> Node:
    must, should, never = [], [], []
    for child, necessary in children:
        if isinstance(child, lucene.Not | lucene.Prohibit):
            never.append(_node(child.a, query, fields))
        elif necessary or isinstance(child, lucene.Plus):
            must.append(_node(child, query, fields))
        else:
            should.append(_node(child, query, fields))
    return Bool(tuple(must), tuple(should), tuple(never))


def _spelt_out(text: str) -> str:
    """Return the text with `&&`, `||` and `!` outside quotation marks as words, which luqum reads."""
    parts = re.split(r'("(?:\\.|[^"\\])*")', text)
    for place in range(0, len(parts), 2):
        part = parts[place].replace("&&", " AND ").replace("||", " OR ")
        parts[place] = re.sub(r"(^|[\s(])!(?=\S)", r"\1NOT ", part)
    return "".join(parts)


def _leaf(text: str, query: QueryString, fields: tuple[str, ...], *, quoted: bool) -> Node:
    if not quoted and text == "*" and not fields:
        return All()
    if fields == ("_exists_",):
        return Exists(text)
    if not quoted and text == "*" and len(fields) == 1:
        return All() if fields[0] == "*" else Exists(fields[0])
    if not quoted and _WILD.search(text):
        if not fields:
            raise UnsupportedError("a wildcard without a field in a query string")
        return Bool(should=tuple(Pattern(field, text) for field in fields))
    plain = _ESCAPED.sub(r"\1", text)
    lenient = query.lenient if query.lenient is not None else not fields
    if fields and not any("*" in field for field in fields):
        parts = [
            Phrase(field, plain, lenient=lenient) if quoted else Match(field, plain, query.every, None, lenient)
            for field in fields
        ]
        return Bool(should=tuple(parts)) if len(parts) > 1 else parts[0]
    return AnyField(fields, plain, "phrase" if quoted else "best_fields", query.every, None, lenient)


def _range(item: Any, query: QueryString, fields: tuple[str, ...]) -> Node:
    if not fields:
        raise UnsupportedError("a range without a field in a query string")
    bounds: dict[str, str] = {}
    if isinstance(item, lucene.Range):
        low, high = str(item.low).strip(), str(item.high).strip()
        bounds["gte" if item.include_low else "gt"] = low
        bounds["lte" if item.include_high else "lt"] = high
    else:
        name = ("gt" if isinstance(item, lucene.From) else "lt") + ("e" if item.include else "")
        bounds[name] = str(item.a).strip()
    kept = {name: _ESCAPED.sub(r"\1", value).strip('"') for name, value in bounds.items() if value != "*"}
    return Bool(
        should=tuple(
            Range(field, kept.get("gte"), kept.get("gt"), kept.get("lte"), kept.get("lt"), zone=query.zone)
            for field in fields
        )
    )
