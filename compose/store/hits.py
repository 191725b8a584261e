"""The hits of a search: read in their order, as Elasticsearch shows them."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from compose.store.catalogue import Index
from compose.store.conditions import TRUE, Condition, all_of
from compose.store.dates import format_date
from compose.store.errors import StoreError
from compose.store.order import Sort, missing_value
from compose.store.retrieval import values_of
from compose.store.source_filter import filtered

_PIECE = 1000  # rows that are fetched at a time
# Of up to 50 rows DuckDB finds the numbers first and then scans for them again (late_materialization_max_rows); where
# few documents are looked through, all at once takes half the time.
_AT_ONCE = 51


class Bounds(msgspec.Struct, frozen=True):
    """What is known of a page of hits before it is read.

    Attributes:
        certain: a condition of all documents of the page and few others, which are then sorted here; the order must be
            by arrival, or by one date that all of them have.
        likely: a condition that takes the first documents of the order; it is seen whether they are enough.
    """

    certain: Condition | None = None
    likely: Condition | None = None


def read_hits(
    cursor: Any,
    condition: Condition,
    order: list[Sort],
    start: int,
    size: int,
    indices: dict[int, Index],
    body: dict[str, Any],
    most: int,
    bounds: Bounds = Bounds(),  # noqa: B008 - it cannot be changed
) -> list[dict[str, Any]]:
    """Return a page of the documents that a condition selects.

    Args:
        cursor: of the database.
        condition: of the documents.
        order: their order; by arrival where it is empty.
        start: how many to leave out.
        size: how many to return.
        indices: by number.
        body: with `_source`, `fields`, `version` and the like.
        most: bytes that the sources of the page may have.
        bounds: what is known of the page.

    Raises:
        StoreError: they have more.
    """
    if size == 0 or not indices:
        return []
    keys = [str(key.expression) for key in order]
    directions = [
        f"{key.expression} {'DESC' if key.descending else 'ASC'} NULLS {'FIRST' if key.missing_first else 'LAST'}"
        for key in order
    ]
    columns = ", ".join(["number", "id", "version", "sequence", "ignored", "source", *keys])

    def select(limits: Condition, rest: str) -> None:
        text, values = all_of([condition, limits])
        cursor.execute(f"SELECT {columns} FROM documents WHERE {text}{rest}", values)  # noqa: S608 - see sql

    sorting, offset = f" ORDER BY {', '.join([*directions, 'sequence'])}", f" OFFSET {start}"
    rows, length = list[Any](), 0
    if bounds.certain is not None:
        select(bounds.certain, "")
        rows = _sorted(cursor.fetchall(), order)[start : start + size]
    elif bounds.likely is not None:
        select(bounds.likely, f"{sorting} LIMIT {max(size, _AT_ONCE)}{offset}")
        rows = cursor.fetchmany(size)
    length = sum([len(row[5]) for row in rows])
    if bounds.certain is None and len(rows) < size:
        rows, length = [], 0
        select(TRUE, f"{sorting} LIMIT {size}{offset}")
        while length <= most and (found := cursor.fetchmany(_PIECE)):
            rows += found
            length += sum([len(row[5]) for row in found])
    if length > most:
        raise StoreError(
            429, "circuit_breaking_exception",
            f"[request] Data too large: the sources of the hits have more than {most} bytes (STORE_MAX_BODY); "
            "ask for fewer at a time",
        )  # fmt: skip
    return _shaped(rows, order, indices, body)


def _sorted(rows: list[Any], order: list[Sort]) -> list[Any]:
    if not order:
        return sorted(rows, key=itemgetter(3))
    sign = -1 if order[0].descending else 1
    return sorted(rows, key=lambda row: (sign * row[6], row[3]))


def _shaped(
    rows: list[Any], order: list[Sort], indices: dict[int, Index], body: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return rows as hits."""
    chosen = body.get("_source", True)
    hits = []
    for row in rows:
        hit: dict[str, Any] = {"_index": indices[row[0]].name, "_id": row[1]}
        if body.get("version"):
            hit["_version"] = row[2]
        if body.get("seq_no_primary_term"):
            hit |= {"_seq_no": row[3], "_primary_term": 1}
        hit["_score"] = None if order else 1.0
        if row[4]:
            hit["_ignored"] = sorted(set(msgspec.json.decode(row[4])))
        source = filtered(row[5].encode(), chosen)
        if source is not None:
            hit["_source"] = source
        if body.get("fields") or body.get("docvalue_fields"):
            found, ignored = values_of(row[5].encode(), indices[row[0]].mapping, body)
            if found:
                hit["fields"] = found
            if ignored:
                hit["ignored_field_values"] = ignored
        if order:
            hit["sort"] = [_shown(key, value) for key, value in zip(order, row[6:], strict=True)]
        hits.append(hit)
    return hits


def _shown(key: Sort, value: Any) -> Any:
    if value is None:
        found = missing_value(key)
        return ("Infinity" if found > 0 else "-Infinity") if isinstance(found, float) else found
    if key.format:
        return format_date(value, key.format)
    if key.kind == "float":
        return float(str(np.float32(value)))
    return int(value) if key.kind == "boolean" else value
