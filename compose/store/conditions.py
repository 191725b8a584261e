"""Conditions of SQL and how they are joined; the fields that they are about.

A condition is never NULL, so that it can be negated. A field that has different types in different indices has a column
for each; the column is empty in the other indices, so the conditions are joined by OR. Columns are our own numbers,
every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from compose.store.catalogue import Index
from compose.store.errors import UnsupportedError
from compose.store.mapping import Field
from compose.store.patterns import fits
from compose.store.rows import Columns

Condition = tuple[str, list[Any]]
FALSE: Condition = ("false", [])
TRUE: Condition = ("true", [])
MAX_RUNS = 4  # of numbers, that are told from each other by ranges
EQUAL = "{} = ?"  # what `each` is given for a term …
# … and for words. The first search only makes the second one rare: one for a space stops at every word of every text.
CONTAINS = "(contains({}, ?) AND contains({}, ?))"


class Term(NamedTuple):
    """The one term or word of one column that a condition asks for; `kind` is terms or words."""

    kind: str
    column: str
    value: Any


class Fields:
    """The fields of the indices that a request is about, and their columns.

    Args:
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
        names = {name for index in self.indices for name in index.mapping.fields if fits(pattern, name)}
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


def some_of(conditions: list[Condition], needed: int) -> Condition:
    """Return the condition that at least so many of some hold."""
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


def at_least(wanted: str | int | None, count: int, default: int) -> int:
    """Return how many of `count` optional clauses must match, by `minimum_should_match`.

    Raises:
        StoreError: it cannot be read.
    """
    if wanted is None:
        return default
    text = str(wanted).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1])
            value = int(count * share / 100) if share >= 0 else count - int(count * -share / 100)
        else:
            value = int(text)
            if value < 0:
                value = count + value
    except ValueError:
        raise UnsupportedError(f"minimum_should_match [{text}]") from None
    return max(0, value)


def each(field: Field, fields: Fields, text: str, values: list[Any]) -> Condition:
    """Return a condition on a field's one value or on any of its many; `text` has `{}` for the value."""
    conditions = list[Condition]()
    single = fields.columns.single.get(field.key)
    if single:
        conditions.append((_of_column(single, text), values))
    many = fields.columns.many.get(field.key)
    if many:
        inner = text.replace("{}", "item")
        conditions.append(
            (f"({many} IS NOT NULL AND list_bool_or(list_transform({many}, lambda item: {inner})))", values)
        )
    return any_of(conditions)


def _of_column(column: str, text: str) -> str:
    return f"({column} IS NOT NULL AND {text.replace('{}', column)})"


def term_of(condition: Condition) -> Term | None:
    """Return the term that a condition of `each` asks for; None where it is another."""
    text, values = condition
    column = text[1:].partition(" ")[0]
    if text == _of_column(column, EQUAL):
        return Term("terms", column, values[0])
    if text == _of_column(column, CONTAINS):
        words = values[1].split(" ")
        return Term("words", column, words[1]) if len(words) == 3 else None
    return None


def exists(field: Field, fields: Fields) -> Condition:
    """Return the condition that a document has a value of a field."""
    columns = (fields.columns.single.get(field.key), fields.columns.many.get(field.key))
    return any_of((f"({column} IS NOT NULL)", []) for column in columns if column)


def in_indices(indices: list[Index]) -> Condition:
    """Return the condition that a document is in one of the indices."""
    if not indices:
        return FALSE
    numbers = sorted(index.number for index in indices)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    if len(runs) <= MAX_RUNS:  # daily indices are made one after another; a range is told from a column's bounds
        return "(" + " OR ".join(f"number BETWEEN {low} AND {high}" for low, high in runs) + ")", []
    return f"(number IN ({', '.join(map(str, numbers))}))", []
