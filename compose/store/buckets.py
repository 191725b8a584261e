"""Aggregations that make buckets: terms, histograms, ranges, filters; each bucket computes what is nested in it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import duckdb

from compose.store.conditions import FALSE, Condition, Fields, all_of, any_of, each, in_indices, negated
from compose.store.dates import format_date
from compose.store.errors import StoreError, UnsupportedError, illegal_argument
from compose.store.grouped import Group, Grouped, Key, TooManyGroupsError
from compose.store.intervals import MAX_BUCKETS, Steps, too_many
from compose.store.mapping import Field
from compose.store.postings import View
from compose.store.query import parse
from compose.store.sql import compile_query
from compose.store.values import array_of, chosen, filler, known, rows_of, value_of

MAX_ORDERED = 10_000  # terms that are ordered by a metric: each is computed
KINDS = {"filter", "filters", "missing", "terms", "date_histogram", "histogram", "range"}
Below = Callable[[dict[str, Any], Condition], dict[str, Any]]


class Buckets:
    """One aggregation that makes buckets; each method is a kind of them.

    Args:
        fields: of the request's indices.
        cursor: of the database.
        below: what is nested in each bucket.
        aggregate: computes that, for one bucket.
        grouped: computes it for all, where it can.
        view: of the index in memory, if that may be used.
    """

    def __init__(
        self, fields: Fields, cursor: Any, below: dict[str, Any], aggregate: Below, grouped: Grouped,
        view: View | None = None,
    ) -> None:  # fmt: skip
        self._fields = fields
        self._cursor = cursor
        self._below = below
        self._aggregate = aggregate
        self._grouped = grouped
        self._view = view

    def _nested(self, condition: Condition) -> dict[str, Any]:
        return self._aggregate(self._below, condition) if self._below else {}

    def _bucket(self, condition: Condition) -> dict[str, Any]:
        text = f"SELECT count(*) FROM documents WHERE {condition[0]}"  # noqa: S608 - see sql
        return {"doc_count": self._cursor.execute(text, condition[1]).fetchone()[0], **self._nested(condition)}

    def _query(self, body: Any) -> Condition:
        return compile_query(parse(body), self._fields)

    def filter(self, options: Any, condition: Condition) -> dict[str, Any]:
        """One bucket: what a query finds."""
        return self._bucket(all_of([condition, self._query(options)]))

    def missing(self, options: dict[str, Any], condition: Condition) -> dict[str, Any]:
        """One bucket: documents without a field."""
        known("missing", options, {"field"})
        value_of("missing", options, self._fields)
        body = {"bool": {"must_not": {"exists": {"field": options["field"]}}}}
        return self._bucket(all_of([condition, self._query(body)]))

    def filters(self, options: dict[str, Any], condition: Condition) -> dict[str, Any]:
        """A bucket for each query, and one for the rest where it is asked for."""
        known("filters", options, {"filters", "other_bucket", "other_bucket_key"})
        given = options.get("filters", {})
        named = given if isinstance(given, dict) else dict(enumerate(given))
        conditions = {key: self._query(value) for key, value in named.items()}
        found: dict[Any, Any] = {key: self._bucket(all_of([condition, part])) for key, part in conditions.items()}
        if options.get("other_bucket") or "other_bucket_key" in options:
            rest = negated(any_of(conditions.values()))
            found[options.get("other_bucket_key", "_other_")] = self._bucket(all_of([condition, rest]))
        return {"buckets": found if isinstance(given, dict) else list(found.values())}

    def range(self, options: dict[str, Any], condition: Condition) -> dict[str, Any]:
        """A bucket for each range of a number, its end not included."""
        known("range", options, {"field", "ranges", "keyed"})
        value_of("range", options, self._fields)
        if not options.get("ranges"):
            raise illegal_argument("No [ranges] specified for the aggregation [range]")
        buckets = []
        for entry in options["ranges"]:
            known("range", entry, {"from", "to", "key"})
            low, high = entry.get("from"), entry.get("to")
            ends = {name: float(end) for name, end in (("from", low), ("to", high)) if end is not None}
            bounds = {name: end for name, end in (("gte", low), ("lt", high)) if end is not None}
            body = {"range": {options["field"]: bounds}} if bounds else {"exists": {"field": options["field"]}}
            key = entry.get("key") or f"{ends.get('from', '*')}-{ends.get('to', '*')}"
            bucket = {"key": key, **ends, **self._bucket(all_of([condition, self._query(body)]))}
            buckets.append(((ends.get("from", -math.inf), ends.get("to", math.inf)), bucket))
        ordered = [bucket for _, bucket in sorted(buckets, key=lambda pair: pair[0])]
        if options.get("keyed"):
            return {"buckets": {bucket.pop("key"): bucket for bucket in ordered}}
        return {"buckets": ordered}

    # -- terms

    def terms(self, options: dict[str, Any], condition: Condition) -> dict[str, Any]:
        """A bucket for each value of a field."""
        known("terms", options, {"field", "size", "shard_size", "order", "min_doc_count", "missing", "include",
                                 "exclude"})  # fmt: skip
        size = options.get("size", 10)
        if not isinstance(size, int) or size <= 0:
            raise StoreError(
                400, "x_content_parse_exception", f"[size] must be greater than 0. Found [{size}] in [terms]"
            )
        order = options.get("order", {"_count": "desc"})
        parts = [next(iter(entry.items())) for entry in (order if isinstance(order, list) else [order])]
        for by, direction in parts:
            if direction not in ("asc", "desc"):
                raise illegal_argument(f"Unknown terms order direction [{direction}]")
            if by not in ("_count", "_key") and re.split(r"[.>]", by, maxsplit=1)[0] not in self._below:
                raise StoreError(
                    400, "invalid_path", f"Invalid aggregation order path [{by}]. The path does not name an aggregation"
                )
        found = value_of("terms", options, self._fields)
        if found is None and options.get("missing") is None:
            return {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}
        least = int(options.get("min_doc_count", 1))
        plain = all(by in ("_count", "_key") for by, _ in parts)
        sql = [
            f"{'amount' if by == '_count' else 'term'} {way.upper()}" for by, way in parts if by in ("_count", "_key")
        ]
        limit = min(size, MAX_BUCKETS) if plain else MAX_ORDERED + 1
        rows = self._known(options, found, condition, parts)
        if rows is None:
            rows = self._counted(options, found, condition, least, [*sql, "term ASC"], limit)
        rows = rows[:limit]
        if len(rows) > MAX_ORDERED and not plain:
            raise UnsupportedError(f"the order by a metric of more than {MAX_ORDERED} terms")
        groups = self._groups_of_terms(options, found, condition, [row[0] for row in rows])
        if groups is None:
            buckets = [self._term(options, found, condition, row) for row in rows]
        else:
            here = found[0] if found else None
            buckets = [{**_named_term(here, term), "doc_count": amount, **groups[(term,)].results}
                       for term, amount, _ in rows]  # fmt: skip
        for by, way in reversed(parts if not plain else []):
            buckets.sort(key=lambda bucket, by=by: _order_value(bucket, by), reverse=way == "desc")  # type: ignore[misc]
        buckets = buckets[:size]
        others = rows[0][2] - sum(bucket["doc_count"] for bucket in buckets) if rows else 0
        return {"doc_count_error_upper_bound": 0, "sum_other_doc_count": others, "buckets": buckets}

    def _known(
        self, options: dict[str, Any], found: tuple[Field, str] | None, condition: Condition, parts: list[Any]
    ) -> list[Any] | None:
        """Return the same as `_counted`, from the index in memory; None where that does not know."""
        column = self._grouped.column(found[0]) if found else None
        if not column or not self._view or options.keys() & {"missing", "include", "exclude", "min_doc_count"}:
            return None
        if condition != in_indices(self._fields.indices):
            return None
        counts, rest = self._view.counted(column)
        if rest:
            return None
        listed = sorted([pair for pair in counts.items() if pair[0] is not None], key=itemgetter(0))
        for by, way in reversed(parts):
            if by in ("_count", "_key"):
                listed.sort(key=itemgetter(1 if by == "_count" else 0), reverse=way == "desc")
        total = sum([amount for _, amount in listed])
        return [(term, amount, total) for term, amount in listed]

    def _counted(
        self, options: dict[str, Any], found: tuple[Field, str] | None, condition: Condition, least: int,
        order: list[str], limit: int,
    ) -> list[Any]:  # fmt: skip
        """Return value, count and the count of all, for each term."""
        missing = options.get("missing")
        if missing is not None:
            missing = filler(found[0] if found else None, missing)
        given: list[Any] = []
        if found is None:
            source, value = f"documents WHERE {condition[0]}", "?"
            given = [missing]
        else:
            source, value = rows_of(found, self._fields, condition, distinct=True)
            if missing is not None:
                source, value = rows_of(found, self._fields, condition, distinct=True, keep_empty=True)
                value, given = f"coalesce({value}, ?)", [missing]
        wanted, parameters = chosen(options, found[0] if found else None)
        inner = f"SELECT {value} AS term, 1 AS one FROM {source}"  # noqa: S608 - see sql
        values = [*given, *condition[1]]
        if least == 0 and found is not None:
            every = ", ".join(str(int(index.number)) for index in self._fields.indices) or "-1"
            everything: Condition = (f"(number IN ({every}))", [])
            rows, plain = rows_of(found, self._fields, everything, distinct=True)
            inner += f" UNION ALL SELECT {plain}, 0 FROM {rows}"  # noqa: S608 - see sql
        text = (
            "SELECT term, amount, (sum(amount) OVER ())::BIGINT FROM (SELECT term, sum(one)::BIGINT AS amount "  # noqa: S608 - see sql
            f"FROM ({inner}) WHERE term IS NOT NULL{wanted} GROUP BY 1) WHERE amount >= {least} "
            f"ORDER BY {', '.join(order)} LIMIT {limit}"
        )
        try:
            rows_found: list[Any] = self._cursor.execute(text, [*values, *parameters]).fetchall()
        except duckdb.InvalidInputException as error:
            raise illegal_argument(f"[include] or [exclude] of the aggregation [terms]: {error}") from None
        return rows_found

    def _term(
        self, options: dict[str, Any], found: tuple[Field, str] | None, condition: Condition, row: Any
    ) -> dict[str, Any]:
        term, amount, _ = row
        field = found[0] if found else None
        bucket = {**_named_term(field, term), "doc_count": amount}
        if self._below:
            same = FALSE
            if field is not None:
                cast = "CAST(? AS FLOAT)" if field.kind == "float" else "?"
                same = each(field, self._fields, f"{{}} = {cast}", [term])
            if options.get("missing") == term:
                same = any_of([same, self._query({"bool": {"must_not": {"exists": {"field": options["field"]}}}})])
            bucket |= self._nested(all_of([condition, same]))
        return bucket

    def _groups_of_terms(
        self, options: dict[str, Any], found: tuple[Field, str] | None, condition: Condition, terms: list[Any]
    ) -> dict[Key, Group] | None:
        """Return what is nested in each term, by one statement; None where that cannot be."""
        column = self._grouped.column(found[0]) if found else None
        if not self._below or not column or "missing" in options or not options.get("min_doc_count", 1):
            return None
        if not self._grouped.can(self._below):
            return None
        rows = f"documents WHERE {condition[0]} AND list_contains(?, {column})"
        try:
            return self._grouped.compute(self._below, rows, [*condition[1], terms], [column])
        except TooManyGroupsError:
            return None

    # -- histograms

    def histogram(self, options: dict[str, Any], condition: Condition) -> dict[str, Any]:
        """A bucket for each interval of a number."""
        known(
            "histogram", options, {"field", "interval", "offset", "min_doc_count", "extended_bounds", "keyed", "order"}
        )
        interval, offset = options.get("interval"), float(options.get("offset", 0))
        if not isinstance(interval, (int, float)) or interval <= 0:
            raise StoreError(400, "x_content_parse_exception", "[interval] must be >0 for histogram aggregation")
        found = value_of("histogram", options, self._fields)
        if found is None:
            return {"buckets": {} if options.get("keyed") else []}
        number = "floor((({})::DOUBLE - ?) / ?)"
        places_of = number.replace("{}", found[1])
        if found[0].key in self._fields.columns.many:  # a document counts once in each bucket
            inner = number.replace("{}", "item")
            places_of = f"unnest(list_distinct(list_transform({array_of(found, self._fields)}, lambda item: {inner})))"
        text = (
            f"SELECT place, count(*) FROM (SELECT {places_of} AS place FROM documents WHERE {condition[0]}) "  # noqa: S608 - see sql
            "WHERE place IS NOT NULL GROUP BY 1"
        )
        given = [offset, float(interval)]
        counted = {
            int(place): amount for place, amount in self._cursor.execute(text, [*given, *condition[1]]).fetchall()
        }
        least = int(options.get("min_doc_count", 0))
        places = sorted(counted)
        if least == 0:
            bounds = (options.get("extended_bounds") or {}).values()
            ends = [*places, *(math.floor((float(end) - offset) / interval) for end in bounds)]
            if ends and max(ends) - min(ends) >= MAX_BUCKETS:
                raise too_many()
            places = list(range(min(ends), max(ends) + 1)) if ends else []
        buckets = []
        for place in places:
            amount = counted.get(place, 0)
            if amount < least:
                continue
            within = each(found[0], self._fields, f"{number} = ?", [*given, place])
            key = place * float(interval) + offset
            buckets.append({"key": key, "doc_count": amount, **self._nested(all_of([condition, within]))})
        return _listed(options, buckets, lambda bucket: str(bucket["key"]))

    def date_histogram(self, options: dict[str, Any], condition: Condition) -> dict[str, Any]:
        """A bucket for each interval of time."""
        known("date_histogram", options, {"field", "fixed_interval", "calendar_interval", "time_zone", "min_doc_count",
              "format", "keyed", "order", "offset", "extended_bounds", "hard_bounds"})  # fmt: skip
        steps = Steps(options)
        found = value_of("date_histogram", options, self._fields)
        if found is None:
            return {"buckets": {} if options.get("keyed") else []}
        field, column = found
        if field.kind != "date":
            raise illegal_argument(
                f"Field [{field.path}] of type [{field.type}] is not supported for aggregation [date_histogram]"
            )
        if field.key in self._fields.columns.many:
            raise UnsupportedError(f"date_histogram on [{field.path}], which has arrays in some documents,")
        groups = self._groups_of_time(steps, column, condition)
        if groups is not None:
            low, high = min(groups, default=None), max(groups, default=None)
        else:
            text = f"SELECT min({column}), max({column}) FROM documents WHERE {condition[0]}"  # noqa: S608 - see sql
            low, high = self._cursor.execute(text, condition[1]).fetchone()
        least = int(options.get("min_doc_count", 0))
        extended = steps.bounds("extended_bounds", field) if least == 0 else []
        ends = [end for end in (low, high, *extended) if end is not None]
        if not ends:
            return {"buckets": {} if options.get("keyed") else []}
        edges = steps.edges(min(ends), max(ends))
        counted = self._at_edges(column, condition, edges) if groups is None else {}
        hard = steps.bounds("hard_bounds", field)
        buckets = []
        for position, edge in enumerate(edges):
            group = groups.get(edge) if groups is not None else None
            count = group.count if group else counted.get(edge, 0)
            if count < least or (hard and not hard[0] <= edge < hard[1]):
                continue
            name = format_date(edge, options.get("format") or field.format, steps.zone)
            bucket = {"key_as_string": name, "key": edge, "doc_count": count}
            if groups is not None:
                bucket |= group.results if group else self._grouped.empty(self._below)
            elif self._below:
                end = edges[position + 1] if position + 1 < len(edges) else max(ends) + 1
                within: Condition = (f"({column} IS NOT NULL AND {column} >= ? AND {column} < ?)", [edge, end])
                bucket |= self._nested(all_of([condition, within]))
            buckets.append(bucket)
        return _listed(options, buckets, lambda bucket: str(bucket["key_as_string"]))

    def _at_edges(self, column: str, condition: Condition, edges: list[int]) -> dict[int, int]:
        """Return how many documents there are from each edge to the next."""
        text = (
            "SELECT edge, count(*) FROM "  # noqa: S608 - see sql
            f"(SELECT {column} AS moment FROM documents WHERE {condition[0]} AND {column} IS NOT NULL) AS found "
            "ASOF JOIN (SELECT unnest(?::BIGINT[]) AS edge) AS edges ON found.moment >= edges.edge GROUP BY edge"
        )
        return dict(self._cursor.execute(text, [*condition[1], edges]).fetchall())

    def _groups_of_time(self, steps: Steps, column: str, condition: Condition) -> dict[int, Group] | None:
        """Return count and results of each interval that has documents, by its begin; None where that cannot be."""
        interval = steps.regular()
        if interval is None or not self._grouped.can(self._below):
            return None
        width, shift = interval
        # A whole division rounds towards zero, so it is done above zero; one takes half the time of two remainders.
        before = 2**61 // width
        key = f"(({column} + {shift + before * width}) // {width})"
        known = dict[Key, int]()
        terms = self._grouped.lone_terms(self._below)
        if terms and self._view and condition == in_indices(self._fields.indices):
            counted, rest = self._view.intervals(terms, column, width, shift)
            known = {(place + before, term): amount for (place, term), amount in counted.items()}
            condition = in_indices(rest)
        rows = f"documents WHERE {condition[0]} AND {column} IS NOT NULL" if condition != FALSE else ""
        try:
            found = self._grouped.compute(self._below, rows, condition[1], [key], known)
        except (TooManyGroupsError, duckdb.OutOfRangeException):
            return None
        return {(place - before) * width - shift: group for (place,), group in found.items()}


def _named_term(field: Field | None, term: Any) -> dict[str, Any]:
    """Return how a term is shown."""
    if field is not None and field.kind == "boolean":
        return {"key": int(term), "key_as_string": "true" if term else "false"}
    if field is not None and field.kind == "date":
        return {"key": term, "key_as_string": format_date(term, field.format)}
    return {"key": term}


def _order_value(bucket: dict[str, Any], by: str) -> float:
    if by == "_count":
        return float(bucket["doc_count"])
    if by == "_key":
        raise UnsupportedError("an order of terms by a metric and by key together")
    value: Any = bucket
    for part in re.split(r"[.>]", by):
        value = value[part]
    if isinstance(value, dict):
        value = value["value"]
    return math.inf if value is None else float(value)  # as NaN, the largest of all


def _listed(
    options: dict[str, Any], buckets: list[dict[str, Any]], name: Callable[[dict[str, Any]], str]
) -> dict[str, Any]:
    order = options.get("order", {"_key": "asc"})
    for entry in reversed(order if isinstance(order, list) else [order]):
        ((by, way),) = entry.items()
        if by not in ("_key", "_count"):
            raise UnsupportedError(f"the order [{by}] of a histogram")
        buckets.sort(key=lambda bucket, by=by: bucket["key" if by == "_key" else "doc_count"], reverse=way == "desc")  # type: ignore[misc]
    if options.get("keyed"):
        return {"buckets": {name(bucket): bucket for bucket in buckets}}
    return {"buckets": buckets}
