"""The nodes of a query: what `query.py` reads, and what `sql.py` compiles."""

from __future__ import annotations

from typing import Any

import msgspec


class Node(msgspec.Struct, frozen=True):
    """A query."""


class All(Node, frozen=True):
    """Every document."""


class Nothing(Node, frozen=True):
    """No document."""


class Term(Node, frozen=True):
    """The field has this value."""

    field: str
    value: Any
    fold: bool = False
    lenient: bool = False


class Terms(Node, frozen=True):
    """The field has one of these values."""

    field: str
    values: tuple[Any, ...]


class Match(Node, frozen=True):
    """The text has words of this one."""

    field: str
    text: Any
    every: bool = False
    least: str | int | None = None
    lenient: bool = False
    wordless: bool = False


class Phrase(Node, frozen=True):
    """The text has these words in this order; with `prefix` the last one may be the beginning of a word.

    `slop` is how far the words may be moved, over all; `wordless` says whether a text without words finds everything.
    """

    field: str
    text: Any
    prefix: bool = False
    lenient: bool = False
    slop: int = 0
    wordless: bool = False


class Range(Node, frozen=True):
    """The field has a value between bounds."""

    field: str
    gte: Any = None
    gt: Any = None
    lte: Any = None
    lt: Any = None
    format: str | None = None
    zone: str | None = None
    lenient: bool = False


class Exists(Node, frozen=True):
    """The field has a value."""

    field: str


class Ids(Node, frozen=True):
    """The document has one of these ids."""

    values: tuple[str, ...]


class Pattern(Node, frozen=True):
    """The field has a value, or the text a word, that fits a pattern with `*` and `?`; or begins so (`prefix`)."""

    field: str
    pattern: str
    prefix: bool = False
    fold: bool = False


class Bool(Node, frozen=True):
    """All of `must`, none of `never`, at least `least` of `should`."""

    must: tuple[Node, ...] = ()
    should: tuple[Node, ...] = ()
    never: tuple[Node, ...] = ()
    least: str | int | None = None


class QueryString(Node, frozen=True):
    """Lucene's syntax; `simple` for simple_query_string."""

    text: str
    fields: tuple[str, ...] = ()
    every: bool = False
    simple: bool = False
    lenient: bool | None = None
    zone: str | None = None


class AnyField(Node, frozen=True):
    """A text in any of several fields (wildcards allowed); `kind` is the multi_match type."""

    fields: tuple[str, ...]
    text: Any
    kind: str = "best_fields"
    every: bool = False
    least: str | int | None = None
    lenient: bool = False
