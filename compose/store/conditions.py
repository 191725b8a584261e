"""Conditions of SQL and how they are joined; the fields that they are about.

A condition is never NULL, so that it can be negated. A field that has different types in different indices has a column
for each; the column is empty in the other indices, so the conditions are joined by OR. Columns are our own numbers,
every value is a parameter.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from compose.store.catalogue import Index
from compose.store.mapping import Field
from compose.store.rows import Columns

Condition = tuple[str, list[Any]]
FALSE: Condition = ("false", [])
TRUE: Condition = ("true", [])


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


def exists(field: Field, fields: Fields) -> Condition:
    """Return the condition that a document has a value of a field."""
    columns = (fields.columns.single.get(field.key), fields.columns.many.get(field.key))
    return any_of((f"({column} IS NOT NULL)", []) for column in columns if column)
