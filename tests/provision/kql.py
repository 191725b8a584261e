"""The part of Kibana's query language that we use: parsed, its fields checked, and turned into Elasticsearch's queries.

    query  = both ("or" both)*          both = not ("and" not)*
    not    = "not" not | "(" query ")" | clause
    clause = field ":" value | field ("<" | "<=" | ">" | ">=") value

A value is `*`, a "quoted" text or a bare word; keywords may be written in any case, as in Kibana
(elastic.co/docs/explore-analyze/query-filter/languages/kql).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Query = dict[str, Any]
_TOKEN = re.compile(r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<sign><=|>=|[:<>()])|(?P<word>[^\s"():<>]+))')
_COMPARISONS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_RANGED = frozenset({"byte", "short", "integer", "long", "float", "double", "half_float", "scaled_float", "date"})


class KqlError(ValueError):
    """A query cannot be used; the message says where and why."""


def to_dsl(text: str, fields: Mapping[str, str]) -> Query:
    """Return the Elasticsearch query of a KQL text.

    Args:
        text: the query; empty for all documents.
        fields: type by field of the index template.

    Raises:
        KqlError: it is not of the part above, or a field is not in the template or cannot be compared.
    """
    reader = _Reader(text, fields)
    if not reader.tokens:
        return {"match_all": {}}
    query = reader.either()
    if reader.left():
        raise KqlError(f"KQL {text!r}: {reader.peek()!r} is not understood here")
    return query


class _Reader:
    """Recursive descent over the tokens."""

    def __init__(self, text: str, fields: Mapping[str, str]) -> None:
        self.text, self.fields = text, fields
        self.tokens: list[str] = []
        self.place = end = 0
        while text[end:].strip():
            match = _TOKEN.match(text, end)
            if match is None:
                raise KqlError(f"KQL {text!r}: {text[end:].strip()!r} is not understood")
            self.tokens.append(match[0].strip())
            end = match.end()

    def left(self) -> bool:
        """Whether tokens are left."""
        return self.place < len(self.tokens)

    def peek(self) -> str:
        """Return the next token; empty at the end."""
        return self.tokens[self.place] if self.left() else ""

    def take(self) -> str:
        """Return the next token and go on.

        Raises:
            KqlError: there is none.
        """
        if not self.left():
            raise KqlError(f"KQL {self.text!r} ends too early")
        self.place += 1
        return self.tokens[self.place - 1]

    def either(self) -> Query:
        """Read parts joined by `or`."""
        parts = [self.both()]
        while self.peek().lower() == "or":
            self.take()
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else {"bool": {"should": parts, "minimum_should_match": 1}}

    def both(self) -> Query:
        """Read parts joined by `and`."""
        parts = [self.negated()]
        while self.peek().lower() == "and":
            self.take()
            parts.append(self.negated())
        return parts[0] if len(parts) == 1 else {"bool": {"filter": parts}}

    def negated(self) -> Query:
        """Read a clause, or one with `not`, or a query in brackets."""
        if self.peek().lower() == "not":
            self.take()
            return {"bool": {"must_not": [self.negated()]}}
        if self.peek() == "(":
            self.take()
            inner = self.either()
            if self.take() != ")":
                raise KqlError(f"KQL {self.text!r}: a bracket is not closed")
            return inner
        return self.clause()

    def clause(self) -> Query:
        """Read field, sign and value."""
        field, sign, value = self.take(), self.take(), self.take()
        if sign not in (":", *_COMPARISONS):
            raise KqlError(
                f"KQL {self.text!r}: after {field!r} comes : or a comparison, not {sign!r}; it is not understood"
            )
        if field not in self.fields:
            raise KqlError(f"KQL field {field} is not in the index template")
        if value == "*" and sign == ":":
            return {"exists": {"field": field}}
        plain = value[1:-1].replace('\\"', '"') if value.startswith('"') else value
        if sign in _COMPARISONS:
            if self.fields[field] not in _RANGED:
                raise KqlError(f"KQL field {field} is a {self.fields[field]} and cannot be compared")
            return {"range": {field: {_COMPARISONS[sign]: plain}}}
        if "*" in plain:
            raise KqlError(f"KQL {self.text!r}: wildcards inside a value are not understood here")
        kind = "match" if self.fields[field] == "text" else "term"
        return {kind: {field: plain}}
