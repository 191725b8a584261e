"""Searches: a request's body read, run as SQL in one transaction, shaped as Elasticsearch's reply."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import duckdb
import msgspec

from compose.store import aggregation_checks
from compose.store.aggregations import Aggregator
from compose.store.catalogue import Index
from compose.store.conditions import FALSE, TRUE, Condition, Fields, all_of, in_indices
from compose.store.engine import Engine
from compose.store.errors import StoreError, UnsupportedError, illegal_argument, parsing
from compose.store.hits import Bounds, read_hits
from compose.store.order import Sort, after, read_sort
from compose.store.postings import View
from compose.store.query import parse
from compose.store.retrieval import check_wanted
from compose.store.sql import compile_query
from compose.store.table import Table
from compose.store.totals import Total, total
from compose.store.tree import All
from compose.store.values import known

MAX_WINDOW = 10_000  # index.max_result_window
MAX_GUESSED = 100  # hits that are looked for among the newest first
_NO_BOUNDS = Bounds()
_BODY = {"query", "sort", "size", "from", "_source", "aggs", "aggregations", "track_total_hits", "search_after",
         "timeout", "track_scores", "version", "seq_no_primary_term", "explain", "min_score", "profile", "post_filter",
         "typed_keys", "fields", "docvalue_fields"}  # fmt: skip

_FLAGS = {"version", "seq_no_primary_term", "explain", "profile", "track_scores", "typed_keys"}
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


class _Asked(msgspec.Struct):
    """A search, read from its body.

    Attributes:
        query: what the query means, without the indices; None where more than that chooses the documents.
        condition: of the documents that are aggregated.
        shown: of those that are counted; fewer by post_filter.
        wanted: of those that can be hits; fewer by search_after.
    """

    body: dict[str, Any]
    indices: list[Index]
    fields: Fields
    size: int
    start: int
    order: list[Sort]
    query: Condition | None
    condition: Condition
    shown: Condition
    wanted: Condition

    @property
    def aggregations(self) -> Any:
        """The aggregations as sent; None or empty where there are none."""
        return self.body.get("aggs", self.body.get("aggregations"))

    @property
    def tracked(self) -> Any:
        """Up to how many documents are counted; True for all, False for none."""
        return self.body.get("track_total_hits", MAX_WINDOW)


class _Found(NamedTuple):
    hits: list[dict[str, Any]]
    aggregations: dict[str, Any] | None
    total: Total


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
    asked = _read(engine, indices, body, before)
    found = _find(engine, asked)
    shown: dict[str, Any] = {
        "max_score": None if asked.order or not asked.size else 1.0 if found.hits else 0.0,
        "hits": found.hits,
    }
    if found.total is not None:
        shown = {"total": found.total, **shown}
    shards = len(indices)
    result: dict[str, Any] = {
        "took": int((time.monotonic() - started) * 1000),
        "timed_out": False,
        "_shards": {"total": shards, "successful": shards, "skipped": 0, "failed": 0},
        "hits": shown,
    }
    if found.aggregations is not None:
        result["aggregations"] = found.aggregations
    return result


def _check(body: dict[str, Any]) -> None:
    """Refuse what is not known or not supported, by its name."""
    for key, value in body.items():
        if key not in _BODY:
            if key in _ELASTIC:
                raise UnsupportedError(f"[{key}] in a search")
            raise parsing(f"Unknown key for a {_token(value)} in [{key}].", line=1, col=1)
    for key, value in body.items():
        if key in _FLAGS and not isinstance(value, bool):
            raise illegal_argument(f"Failed to parse value [{str(value)[:100]}] of [{key}]: true or false is wanted")
        if key in ("explain", "profile", "min_score") and value:
            raise UnsupportedError(f"[{key}] in a search")


def _read(engine: Engine, indices: list[Index], body: dict[str, Any], before: Condition | None) -> _Asked:
    """Read a search; its arguments and errors are those of `search`."""
    _check(body)
    size, start = _whole(body, "size", 10), _whole(body, "from", 0)
    if start + size > MAX_WINDOW:
        raise illegal_argument(
            f"Result window is too large, from + size must be less than or equal to: [{MAX_WINDOW}] but was "
            f"[{start + size}]. See the scroll api for a more efficient way to request large data sets. "
            f"This limit can be "
            "set by changing the [index.max_result_window] index level setting."
        )
    tracked = body.get("track_total_hits", True)
    if not isinstance(tracked, int) or not -1 <= tracked < 2**31:
        raise parsing("[track_total_hits] must be true, false or a whole number", line=1, col=1)
    fields = Fields(indices, engine.table.columns, engine.clock())
    query: Condition | None = compile_query(parse(body["query"]) if body.get("query") is not None else All(), fields)
    condition = all_of([in_indices(indices), query or TRUE])
    if before is not None:
        query, condition = None, all_of([condition, before])
    order = read_sort(body.get("sort"), fields) if indices else []
    check_wanted(body, fields)
    for name in ("aggs", "aggregations"):
        if name in body:
            aggregation_checks.check(body[name])
    if body.get("search_after") is not None and start > 0:
        raise StoreError(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: `from` parameter must be set to 0 when `search_after` is used;",
        )
    shown = condition
    if body.get("post_filter") is not None:
        query, shown = None, all_of([condition, compile_query(parse(body["post_filter"]), fields)])
    wanted = shown
    if body.get("search_after") is not None:
        wanted = all_of([shown, after(body["search_after"], order)])
    return _Asked(body, indices, fields, size, start, order, query, condition, shown, wanted)


def _find(engine: Engine, asked: _Asked) -> _Found:
    """Find hits, aggregations and total, all of one moment.

    First with the index in memory and the total counted beside, which holds if no load was committed meanwhile; else in
    one transaction.
    """
    table, seconds = engine.table, engine.settings.request_seconds
    view = engine.postings.view(table, asked.indices)
    known, rest = view.total(asked.query) if asked.query else (0, asked.indices)
    uncounted = asked.shown if len(rest) == len(asked.indices) else all_of([in_indices(rest), asked.query or TRUE])
    counting = None
    if asked.size or asked.aggregations or uncounted == FALSE:  # else there is nothing beside which to count
        counting = engine.totals.begin(table, uncounted, asked.tracked, seconds, known)
    several = bool(asked.aggregations)
    if counting:
        with _reading(engine, table, several=several) as cursor:
            hits = _hits(engine, asked, cursor, _bounds(asked, view, known, rest))
            aggregations = _aggregated(engine, asked, cursor, view)
            holds, counted = counting()
            if holds and view.holds():
                return _Found(hits, aggregations, counted)
            if several and not view.used:
                return _Found(hits, aggregations, total(cursor, asked.shown, asked.tracked))
    with _reading(engine, table, several=True) as cursor:
        hits = _hits(engine, asked, cursor)
        aggregations = _aggregated(engine, asked, cursor, None)
        return _Found(hits, aggregations, total(cursor, asked.shown, asked.tracked))


def _hits(engine: Engine, asked: _Asked, cursor: Any, bounds: Bounds = _NO_BOUNDS) -> list[dict[str, Any]]:
    numbered = {index.number: index for index in asked.indices}
    most = engine.settings.max_body
    return read_hits(cursor, asked.wanted, asked.order, asked.start, asked.size, numbered, asked.body, most, bounds)


def _bounds(asked: _Asked, view: View, known: int, rest: list[Index]) -> Bounds:
    """Return what is known of the hits before they are looked for; `known` and `rest` are the view's total."""
    most = asked.start + asked.size
    alone = asked.query is not None and asked.wanted == asked.condition  # no other condition chooses the hits
    if not asked.size:
        return _NO_BOUNDS
    if not asked.order:
        return Bounds(certain=view.earliest(asked.query, most) if alone and asked.query else None)
    key = asked.order[0]
    if key.kind != "date" or key.missing_first or key.expression not in asked.fields.columns.single.values():
        return _NO_BOUNDS
    date = str(key.expression)
    if alone and asked.query and len(asked.order) == 1:
        certain = view.outermost(asked.query, date, most, newest=key.descending)
        if certain is not None:
            return Bounds(certain=certain)
    if most > MAX_GUESSED or asked.body.get("search_after") is not None:
        return _NO_BOUNDS
    share = 0.25
    if alone and asked.query and not rest:
        share = 0.0 if known < most else known / max(view.documents(date), known)
    return Bounds(likely=view.near(date, most, share, newest=key.descending))


def _aggregated(engine: Engine, asked: _Asked, cursor: Any, view: View | None) -> dict[str, Any] | None:
    if not asked.aggregations or not asked.indices:
        return None
    numbered = {index.number: index for index in asked.indices}
    most = engine.settings.max_body

    def top(within: Condition, options: dict[str, Any]) -> dict[str, Any]:
        known("top_hits", options, {"size", "from", "sort", "_source", "version", "seq_no_primary_term"})
        by = read_sort(options.get("sort"), asked.fields)
        check_wanted({"_source": options.get("_source", True)}, asked.fields)
        first, number = options.get("from", 0), options.get("size", 3)
        found = read_hits(cursor, within, by, first, number, numbered, options, most)
        best = 1.0 if found and not by else None
        return {"total": total(cursor, within, True), "max_score": best, "hits": found}

    typed = bool(asked.body.get("typed_keys"))
    aggregator = Aggregator(asked.fields, cursor, top, typed=typed, view=view)
    return aggregator.all(asked.aggregations, asked.condition)


def count(engine: Engine, indices: list[Index], query: Any) -> int:
    """Return how many documents a query finds."""
    fields = Fields(indices, engine.table.columns, engine.clock())
    asked = compile_query(parse(query) if query is not None else All(), fields)
    view = engine.postings.view(engine.table, indices)
    known, rest = view.total(asked)
    if not rest and view.holds():
        return known
    condition = all_of([in_indices(indices), asked])
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


def _whole(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise illegal_argument(f"[{name}] parameter cannot be negative, found [{value}]")
    return value
