"""Searches: a request's body read, run as SQL in one transaction, shaped as Elasticsearch's reply."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import msgspec
import numpy as np

from compose.store.aggregations import Aggregator
from compose.store.catalogue import Index
from compose.store.conditions import FALSE, Condition, Fields, all_of
from compose.store.dates import format_date, parse_date
from compose.store.engine import Engine
from compose.store.errors import StoreError, UnsupportedError, illegal_argument, parsing
from compose.store.query import parse
from compose.store.retrieval import filtered, values_of
from compose.store.sql import compile_query
from compose.store.tree import All
from compose.store.values import known

_ABSENT = ("9223372036854775807", "-9223372036854775808", "Infinity", "-Infinity")
MAX_RUNS = 4
_PIECE = 1000  # rows that are fetched at a time
MAX_WINDOW = 10_000  # index.max_result_window
_BODY = {"query", "sort", "size", "from", "_source", "aggs", "aggregations", "track_total_hits", "search_after",
         "timeout", "track_scores", "version", "seq_no_primary_term", "explain", "min_score", "profile", "post_filter",
         "typed_keys", "fields", "docvalue_fields"}  # fmt: skip

_ELASTIC = {"stored_fields", "script_fields", "highlight", "collapse", "rescore",
    "suggest",
            "knn", "indices_boost", "runtime_mappings", "pit", "slice", "stats", "ext", "rank",
            "terminate_after", "retriever"}  # fmt: skip


def _token(value: Any) -> str:
    if isinstance(value, dict):
        return "START_OBJECT"
    if isinstance(value, list):
        return "START_ARRAY"
    return "VALUE_STRING" if isinstance(value, str) else "VALUE_NUMBER"


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


def search(
    engine: Engine, indices: list[Index], body: dict[str, Any], before: Condition | None = None
) -> dict[str, Any]:
    """Answer a search.

    Arguments:
        engine: the store.
        indices: what to search.
        body: as sent.
        before: a further condition.

    Raises:
        StoreError: the request is not valid, not supported, or took too long.
    """
    started = time.monotonic()
    for key, value in body.items():
        if key not in _BODY:
            if key in _ELASTIC:
                raise UnsupportedError(f"[{key}] in a search")
            raise parsing(f"Unknown key for a {_token(value)} in [{key}].", line=1, col=1)
    for key, value in body.items():
        if key in ("explain", "profile", "min_score") and value:
            raise UnsupportedError(f"[{key}] in a search")
    size, start = _whole(body, "size", 10), _whole(body, "from", 0)
    if start + size > MAX_WINDOW:
        raise illegal_argument(
            f"Result window is too large, from + size must be less than or equal to: [{MAX_WINDOW}] but was "
            f"[{start + size}]. See the scroll api for a more efficient way to request large data sets. "
            f"This limit can be "
            "set by changing the [index.max_result_window] index level setting."
        )
    fields = Fields(indices, engine.table.columns, engine.clock())
    condition = all_of(
        [in_indices(indices), compile_query(parse(body["query"]) if body.get("query") is not None else All(), fields)]
    )
    if before is not None:
        condition = all_of([condition, before])
    order = read_sort(body.get("sort"), fields) if indices else []
    if body.get("search_after") is not None and start > 0:
        raise StoreError(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: `from` parameter must be set to 0 when `search_after` is used;",
        )
    numbered = {index.number: index for index in indices}
    shown_condition = condition
    if body.get("post_filter") is not None:
        shown_condition = all_of([condition, compile_query(parse(body["post_filter"]), fields)])
    after = _after(body["search_after"], order) if body.get("search_after") is not None else None
    wanted = all_of([shown_condition, after]) if after else shown_condition
    aggregations = body.get("aggs", body.get("aggregations"))
    most = engine.settings.max_body
    with _transaction(engine) as cursor:
        total = _total(cursor, shown_condition, body.get("track_total_hits", MAX_WINDOW))
        hits = _hits(cursor, wanted, order, start, size, numbered, body, most)

        def top(within: Condition, options: dict[str, Any]) -> dict[str, Any]:
            known("top_hits", options, {"size", "from", "sort", "_source", "version", "seq_no_primary_term"})
            by = read_sort(options.get("sort"), fields)
            found = _hits(cursor, within, by, options.get("from", 0), options.get("size", 3), numbered, options, most)
            best = 1.0 if found and not by else None
            return {"total": _total(cursor, within, True), "max_score": best, "hits": found}

        aggregator = Aggregator(fields, cursor, top, typed=bool(body.get("typed_keys")))
        computed = aggregator.all(aggregations, condition) if aggregations and indices else None
    shards = len(indices)
    shown: dict[str, Any] = {
        "max_score": None if order or not size else 1.0 if hits else 0.0,
        "hits": hits,
    }
    if total is not None:
        shown = {"total": total, **shown}
    result: dict[str, Any] = {
        "took": int((time.monotonic() - started) * 1000),
        "timed_out": False,
        "_shards": {"total": shards, "successful": shards, "skipped": 0, "failed": 0},
        "hits": shown,
    }
    if computed is not None:
        result["aggregations"] = computed
    return result


def count(engine: Engine, indices: list[Index], query: Any) -> int:
    """Return how many documents a query finds."""
    fields = Fields(indices, engine.table.columns, engine.clock())
    condition = all_of([in_indices(indices), compile_query(parse(query) if query else All(), fields)])
    with _transaction(engine) as cursor:
        row = cursor.execute(f"SELECT count(*) FROM documents WHERE {condition[0]}", condition[1]).fetchone()  # noqa: S608 - see sql
    return int(row[0]) if row else 0


@contextmanager
def _transaction(engine: Engine) -> Iterator[duckdb.DuckDBPyConnection]:
    """Read in one transaction, no longer than a search may take.

    Raises:
        StoreError: it took longer.
    """
    cursor, seconds = engine.table.cursor(), engine.settings.request_seconds
    try:
        with engine.deadlines.within(cursor, seconds):
            cursor.execute("BEGIN")
            yield cursor
    except duckdb.InterruptException:
        text = f"the search took longer than {seconds} s (STORE_REQUEST_SECONDS)"
        raise StoreError(503, "search_timeout_exception", text) from None
    finally:
        with suppress(duckdb.Error):  # there is none any more, or none yet
            cursor.execute("ROLLBACK")


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


def _whole(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise illegal_argument(f"[{name}] parameter cannot be negative, found [{value}]")
    return value


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


def _after(values: Any, order: list[Sort]) -> Condition:
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


def _total(cursor: Any, condition: Condition, tracked: Any) -> dict[str, Any] | None:
    if tracked is False:
        return None
    text, values = condition
    if tracked is True:
        value = cursor.execute(f"SELECT count(*) FROM documents WHERE {text}", values).fetchone()[0]  # noqa: S608 - see sql
        return {"value": value, "relation": "eq"}
    limit = int(tracked)
    value = cursor.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM documents WHERE {text} LIMIT {limit + 1})",  # noqa: S608 - see sql
        values,
    ).fetchone()[0]
    return {"value": min(value, limit), "relation": "gte" if value > limit else "eq"}


def _hits(
    cursor: Any,
    condition: Condition,
    order: list[Sort],
    start: int,
    size: int,
    indices: dict[int, Index],
    body: dict[str, Any],
    most: int,
) -> list[dict[str, Any]]:
    if size == 0 or not indices:
        return []
    keys = [str(key.expression) for key in order]
    directions = [
        f"{key.expression} {'DESC' if key.descending else 'ASC'} NULLS {'FIRST' if key.missing_first else 'LAST'}"
        for key in order
    ]
    cursor.execute(
        f"SELECT {', '.join(['number', 'id', 'version', 'sequence', 'ignored', 'source', *keys])} FROM documents "  # noqa: S608 - see sql
        f"WHERE {condition[0]} ORDER BY {', '.join([*directions, 'sequence'])} LIMIT {size} OFFSET {start}",
        condition[1],
    )
    rows, length = list[Any](), 0
    while found := cursor.fetchmany(_PIECE):
        rows += found
        length += sum([len(row[5]) for row in found])
        if length > most:
            raise StoreError(
                429, "circuit_breaking_exception",
                f"[request] Data too large: the sources of the hits have more than {most} bytes (STORE_MAX_BODY); "
                "ask for fewer at a time",
            )  # fmt: skip
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
