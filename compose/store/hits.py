"""The order of a search, and its hits as Elasticsearch shows them."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from compose.store.catalogue import Index
from compose.store.conditions import TRUE, Condition, Fields, all_of
from compose.store.dates import format_date, parse_date
from compose.store.errors import StoreError, UnsupportedError, illegal_argument
from compose.store.retrieval import filtered, values_of

_ABSENT = ("9223372036854775807", "-9223372036854775808", "Infinity", "-Infinity")
_PIECE = 1000  # rows that are fetched at a time
# Of up to 50 rows DuckDB finds the numbers first and then scans for them again (late_materialization_max_rows); where
# few documents are looked through, all at once takes half the time.
_AT_ONCE = 51


class Sort(msgspec.Struct, frozen=True):
    """One key of an order.

    Attributes:
        expression: of SQL.
        descending: its direction.
        missing_first: where documents without a value go.
        kind: of the column.
        format: of dates, as they are shown.
        narrow: whether the field has 32 bits at most.
    """

    expression: str | None
    descending: bool
    missing_first: bool
    kind: str
    format: str | None = None
    narrow: bool = False


class Bounds(msgspec.Struct, frozen=True):
    """What is known of a page of hits before it is read.

    Attributes:
        certain: a condition of all documents of the page and few others, which are then sorted here; the order must be
            by arrival, or by one date that all of them have.
        likely: a condition that takes the first documents of the order; it is seen whether they are enough.
    """

    certain: Condition | None = None
    likely: Condition | None = None


def read_sort(body: Any, fields: Fields) -> list[Sort]:
    """Read an order; empty where it is by score alone.

    Raises:
        StoreError: a field has no order, or is not there.
    """
    found = []
    for entry in body if isinstance(body, list) else [body] if body is not None else []:
        name, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
        options = {"order": options} if isinstance(options, str) else options
        for key in options:
            if key not in ("order", "missing", "unmapped_type", "format", "mode"):
                raise UnsupportedError(f"[{key}] in a sort")
        if str(options.get("order", "asc")).lower() not in ("asc", "desc"):
            raise illegal_argument(
                f"No enum constant org.elasticsearch.search.sort.SortOrder.{options['order'].upper()}"
            )
        descending = str(options.get("order", "desc" if name == "_score" else "asc")).lower() == "desc"
        if name == "_score":
            continue
        if name in ("_doc", "_shard_doc"):
            found.append(Sort("sequence", descending, False, "long"))
            continue
        fitting = fields.named(name)
        if not fitting:
            if "unmapped_type" in options:
                found.append(Sort("NULL::BIGINT", descending, options.get("missing") == "_first", "long"))
                continue
            raise StoreError(
                400, "query_shard_exception", f"No mapping found for [{name}] in order to sort on",
                index=fields.indices[0].name, index_uuid=fields.indices[0].uuid,
            )  # fmt: skip
        if fitting[0].kind == "text":
            raise illegal_argument(
                f"Fielddata is disabled on [{name}] in [{fields.indices[0].name}]. Text fields are not optimised for "
                "operations that require per-document field data like aggregations and sorting, so these "
                "operations are "
                "disabled by default. Please use a keyword field instead."
            )
        if len(fitting) > 1:
            raise UnsupportedError(f"sorting by [{name}], which has several types in these indices,")
        field = fitting[0]
        expression = fields.columns.single.get(field.key)
        many = fields.columns.many.get(field.key)
        if many:
            modes = {"min": "list_min", "max": "list_max"}
            mode = options.get("mode", "max" if descending else "min")
            if mode not in modes:
                raise UnsupportedError(f"the mode [{mode}] in a sort")
            expression = f"coalesce({expression or 'NULL'}, {modes[mode]}({many}))"
        missing = options.get("missing", "_last")
        if missing not in ("_last", "_first"):
            expression = f"coalesce({expression or 'NULL'}, {_literal(missing, field.kind)})"
        shown = options.get("format") if field.kind == "date" else None
        found.append(
            Sort(
                expression or "NULL::BIGINT",
                descending,
                missing == "_first",
                field.kind,
                shown,
                field.type in ("integer", "short", "byte"),
            )
        )
    return found


def _literal(value: Any, kind: str) -> str:
    """Return a value that stands in for a missing one, as SQL; it is made of a number or quoted here."""
    if kind in ("long", "float", "double", "date", "boolean"):
        try:
            return repr(float(value)) if kind in ("float", "double") else str(int(value))
        except (TypeError, ValueError):
            raise illegal_argument(f"[missing] of a sort cannot be [{value}]") from None
    return "'" + str(value).replace("'", "''") + "'"


def after(values: Any, order: list[Sort]) -> Condition:
    """Return the condition that a document comes behind the values of `search_after`.

    Raises:
        StoreError: they do not fit the order.
    """
    if not isinstance(values, list) or len(values) != len(order) or not order:
        raise illegal_argument(
            f"search_after has {len(values) if isinstance(values, list) else 0} value(s) but sort has {len(order)}."
        )
    branches: list[str] = []
    parameters: list[Any] = []
    same, same_values = "", list[Any]()
    for key, value in zip(order, values, strict=True):
        text = key.expression
        absent = value is None or str(value) in _ABSENT or (key.narrow and value in (2**31 - 1, -(2**31)))
        if absent:
            beyond, beyond_values = (f"{text} IS NOT NULL" if key.missing_first else "false"), []
            equal, equal_values = f"{text} IS NULL", []
        else:
            sign = "<" if key.descending else ">"
            cast = "CAST(? AS FLOAT)" if key.kind == "float" else "?"
            if key.kind == "date" and isinstance(value, str):
                value = parse_date(value)  # noqa: PLW2901 - the same value as the column has it
            beyond, beyond_values = (
                f"({text} {sign} {cast}{'' if key.missing_first else f' OR {text} IS NULL'})",
                [value],
            )
            equal, equal_values = f"{text} = {cast}", [value]
        branches.append(f"({same}{beyond})")
        parameters += [*same_values, *beyond_values]
        same, same_values = f"{same}{equal} AND ", [*same_values, *equal_values]
    return "(" + " OR ".join(branches) + ")", parameters


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
            found = values_of(row[5].encode(), indices[row[0]].mapping, body)
            if found:
                hit["fields"] = found
        if order:
            hit["sort"] = [_shown(key, value) for key, value in zip(order, row[6:], strict=True)]
        hits.append(hit)
    return hits


def _shown(key: Sort, value: Any) -> Any:
    if value is None:
        high = key.descending == key.missing_first
        if key.narrow:
            return 2**31 - 1 if high else -(2**31)
        if key.kind in ("long", "date", "boolean"):
            return 2**63 - 1 if high else -(2**63)
        if key.kind in ("float", "double"):
            return "Infinity" if high else "-Infinity"
        return None
    if key.format:
        return format_date(value, key.format)
    if key.kind == "float":
        return float(str(np.float32(value)))
    return int(value) if key.kind == "boolean" else value
