"""Searches: a request's body read, run as SQL in one transaction, shaped as Elasticsearch's reply."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb

from compose.store.aggregations import Aggregator
from compose.store.catalogue import Index
from compose.store.conditions import FALSE, Condition, Fields, all_of
from compose.store.engine import Engine
from compose.store.errors import StoreError, UnsupportedError, illegal_argument, parsing
from compose.store.hits import after, read_hits, read_sort
from compose.store.query import parse
from compose.store.sql import compile_query
from compose.store.table import Table
from compose.store.totals import total
from compose.store.tree import All
from compose.store.values import known

MAX_RUNS = 4
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


def search(
    engine: Engine, indices: list[Index], body: dict[str, Any], before: Condition | None = None
) -> dict[str, Any]:
    """Answer a search.

    Args:
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
    wanted = shown_condition
    if body.get("search_after") is not None:
        wanted = all_of([shown_condition, after(body["search_after"], order)])
    aggregations = body.get("aggs", body.get("aggregations"))
    most = engine.settings.max_body
    table, tracked = engine.table, body.get("track_total_hits", MAX_WINDOW)
    beside = (size or aggregations) and indices  # else there is nothing beside which to count
    seconds = engine.settings.request_seconds
    counting = engine.totals.begin(table, shown_condition, tracked, seconds) if beside else None

    def read(*, several: bool) -> Any:
        """Return hits, aggregations and total; None where they are of two moments, as only single statements can be."""
        with _reading(engine, table, several=several) as cursor:
            hits = read_hits(cursor, wanted, order, start, size, numbered, body, most)

            def top(within: Condition, options: dict[str, Any]) -> dict[str, Any]:
                known("top_hits", options, {"size", "from", "sort", "_source", "version", "seq_no_primary_term"})
                by = read_sort(options.get("sort"), fields)
                first, number = options.get("from", 0), options.get("size", 3)
                found = read_hits(cursor, within, by, first, number, numbered, options, most)
                best = 1.0 if found and not by else None
                return {"total": total(cursor, within, True), "max_score": best, "hits": found}

            aggregator = Aggregator(fields, cursor, top, typed=bool(body.get("typed_keys")))
            computed = aggregator.all(aggregations, condition) if aggregations and indices else None
            holds, counted = counting() if counting else (False, None)
            if not holds and not several:
                return None
            return hits, computed, counted if holds else total(cursor, shown_condition, tracked)

    hits, computed, counted = (None if aggregations or not counting else read(several=False)) or read(several=True)
    shards = len(indices)
    shown: dict[str, Any] = {
        "max_score": None if order or not size else 1.0 if hits else 0.0,
        "hits": hits,
    }
    if counted is not None:
        shown = {"total": counted, **shown}
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
    with _reading(engine, engine.table, several=False) as cursor:
        row = cursor.execute(f"SELECT count(*) FROM documents WHERE {condition[0]}", condition[1]).fetchone()  # noqa: S608 - see sql
    return int(row[0]) if row else 0


@contextmanager
def _reading(engine: Engine, table: Table, *, several: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """Read no longer than a search may take; several statements in one transaction, so that they see one moment.

    Raises:
        StoreError: it took longer.
    """
    cursor, seconds = table.cursor(), engine.settings.request_seconds
    try:
        with engine.deadlines.within(cursor, seconds):
            if several:
                cursor.execute("BEGIN")
            yield cursor
    except duckdb.InterruptException:
        text = f"the search took longer than {seconds} s (STORE_REQUEST_SECONDS)"
        raise StoreError(503, "search_timeout_exception", text) from None
    finally:
        if several:
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
