"""Changes of documents as rows: what one is, and the arrays and expressions by which many are inserted at once."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from compose.store.layout import Layout
from compose.store.words import joined

# Kind of a field → type of its column; dates are milliseconds since 1970, texts are ` word word `.
TYPES = {
    "keyword": "VARCHAR", "text": "VARCHAR", "long": "BIGINT", "float": "FLOAT", "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "BIGINT",
}  # fmt: skip
_NUMPY = {"long": np.int64, "date": np.int64, "float": np.float64, "double": np.float64, "boolean": np.bool_}


class Operation(msgspec.Struct, gc=False):
    """A change of one document on its way into the table; `source` is None where it deletes.

    Its values are in `record`, if the document was read by a layout, else in `values` and `lists`, by column.
    """

    sequence: int
    number: int
    id: str
    version: int
    replaces: bool
    source: bytes | None
    values: dict[str, Any]
    lists: dict[str, list[Any]]
    ignored: list[str]
    layout: Layout | None = None
    record: Any = None


class Columns(msgspec.Struct, frozen=True):
    """Which columns exist: key of a field → column of single values, and of arrays."""

    single: dict[str, str]
    many: dict[str, str]


def add_values(rows: list[Operation], columns: Columns, data: dict[str, Any], expressions: dict[str, str]) -> None:
    """Add the columns of documents that were read one by one: arrays of them, and how each is selected."""
    if any(row.ignored for row in rows):
        data["ignored"] = objects([msgspec.json.encode(row.ignored).decode() if row.ignored else None for row in rows])
        expressions["ignored"] = "ignored"
    used: set[str] = set()
    used_many: set[str] = set()
    for row in rows:
        used.update(row.values)
        if row.lists:
            used_many.update(row.lists)
    for key in used:
        name, kind = columns.single[key], key.partition(":")[0]
        values = [row.values.get(key) for row in rows]
        data[name] = _array(values, kind)
        expressions[name] = name
    for key in used_many:
        name, kind = columns.many[key], key.partition(":")[0]
        data[name] = objects(
            [msgspec.json.encode(row.lists[key]).decode() if key in row.lists else None for row in rows]
        )
        expressions[name] = f"from_json({name}, '[\"{TYPES[kind]}\"]')"


def add_records(
    rows: list[Operation], layout: Layout, columns: Columns, data: dict[str, Any], expressions: dict[str, str]
) -> None:
    """Add the columns of documents that a layout read; the database takes most of them from the source itself."""
    places = {path: number for number, path in enumerate(layout.types, 1)}
    for column in layout.columns:
        name = columns.single[column.key]
        if column.place is None:
            expressions[name] = f"struct_extract_at(members, {places[column.path]})"
            continue
        values = list(map(itemgetter(column.place), [row.record for row in rows]))
        if column.kind == "text":
            values = [None if value is None else joined(value) for value in values]
        if values.count(None) < len(values):
            data[name] = _array(values, column.kind)
            expressions[name] = name


def _array(values: list[Any], kind: str) -> Any:
    return objects(values) if kind not in _NUMPY else _masked(values, _NUMPY[kind])


def objects(values: list[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _masked(values: list[Any], kind: Any) -> Any:
    if None not in values:
        return np.array(values, dtype=kind)
    missing = np.array([value is None for value in values])
    return np.ma.masked_array(np.array([0 if value is None else value for value in values], dtype=kind), mask=missing)
