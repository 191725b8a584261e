"""Aggregations: read from a request, computed by one statement for each, shaped as Elasticsearch's replies.

Supported: terms, date_histogram (fixed and calendar intervals, UTC or a time zone), filter, filters, missing, and the
metrics avg, min, max, sum, stats, value_count, cardinality, percentiles; nested in each other. Exact, not sketched.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from compose.store.dates import add, duration, floor, format_date, milliseconds, moment_of, zone_of
from compose.store.errors import StoreError, UnsupportedError, illegal_argument, parsing
from compose.store.mapping import Field
from compose.store.query import parse
from compose.store.sql import Condition, Fields, all_of, compile_query, each
from compose.store.table import TYPES

MAX_BUCKETS = 65_536  # search.max_buckets
_METRICS = {"avg", "min", "max", "sum", "stats", "value_count", "cardinality", "percentiles"}
_ELASTIC = {"histogram", "range", "date_range", "top_hits", "composite", "significant_terms", "nested",
    "global", "sampler",
            "extended_stats", "percentile_ranks", "top_metrics", "weighted_avg", "multi_terms", "rare_terms",
            "adjacency_matrix",
            "auto_date_histogram", "scripted_metric", "string_stats", "bucket_script", "bucket_sort", "cumulative_sum",
            "derivative", "moving_fn", "avg_bucket", "max_bucket", "min_bucket", "sum_bucket", "stats_bucket",
            "ip_range",
            "median_absolute_deviation", "boxplot", "matrix_stats", "geo_bounds", "geo_centroid"}  # fmt: skip
_PERCENTS = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
_CALENDAR = {
    "1s": "s", "second": "s", "1m": "m", "minute": "m", "1h": "h", "hour": "h", "1d": "d", "day": "d", "1w": "w",
    "week": "w", "1M": "M", "month": "M", "1q": "q", "quarter": "q", "1y": "y", "year": "y",
}  # fmt: skip


def aggregate(body: dict[str, Any], condition: Condition, fields: Fields, cursor: Any) -> dict[str, Any]:
    """Compute aggregations over the documents that a condition selects.

    Arguments:
        body: name → aggregation.
        condition: of the documents.
        fields: of the request's indices.
        cursor: of the database.

    Returns:
        Name → result.

    Raises:
        StoreError: an aggregation is not valid or not supported.
    """
    return {name: _one(name, definition, condition, fields, cursor) for name, definition in body.items()}


def _one(name: str, definition: Any, condition: Condition, fields: Fields, cursor: Any) -> dict[str, Any]:
    if not isinstance(definition, dict):
        raise parsing(f"Expected [START_OBJECT] under [{name}]", line=1, col=1)
    kinds = [key for key in definition if key not in ("aggs", "aggregations", "meta")]
    if len(kinds) != 1:
        raise parsing(f"Missing definition for aggregation [{name}]" if not kinds else
                      f"Found two aggregation type definitions in [{name}]: [{kinds[0]}] and "
                      f"[{kinds[1]}]", line=1, col=1)  # fmt: skip
    kind, options = kinds[0], definition[kinds[0]]
    below: dict[str, Any] = definition.get("aggs") or definition.get("aggregations") or {}
    if kind in _METRICS:
        result = _metric(kind, options, condition, fields, cursor)
    elif kind in ("filter", "missing"):
        part = _filter(options, fields) if kind == "filter" else _missing(options, fields)
        result = _bucket(all_of([condition, part]), below, fields, cursor)
    elif kind == "filters":
        _known("filters", options, {"filters"})
        if not isinstance(options.get("filters"), dict):
            raise UnsupportedError("a list of [filters] of the aggregation [filters]")
        result = {"buckets": {key: _bucket(all_of([condition, _filter(value, fields)]), below, fields, cursor)
                              for key, value in options["filters"].items()}}  # fmt: skip
    elif kind == "terms":
        result = _terms(options, below, condition, fields, cursor)
    elif kind == "date_histogram":
        result = _date_histogram(options, below, condition, fields, cursor)
    else:
        if kind in _ELASTIC:
            raise UnsupportedError(f"the aggregation [{kind}]")
        raise parsing(f"Unknown aggregation type [{kind}]", line=1, col=1)
    if "meta" in definition:
        result["meta"] = definition["meta"]
    return result


def _known(kind: str, options: dict[str, Any], allowed: set[str]) -> None:
    for key in options:
        if key not in allowed:
            raise UnsupportedError(f"[{key}] of the aggregation [{kind}]")


def _filter(body: Any, fields: Fields) -> Condition:
    return compile_query(parse(body), fields)


def _missing(options: dict[str, Any], fields: Fields) -> Condition:
    return compile_query(parse({"bool": {"must_not": {"exists": {"field": options["field"]}}}}), fields)


def _bucket(condition: Condition, below: dict[str, Any], fields: Fields, cursor: Any) -> dict[str, Any]:
    count = cursor.execute(f"SELECT count(*) FROM documents WHERE {condition[0]}", condition[1]).fetchone()[0]  # noqa: S608 - see sql
    return {"doc_count": count, **aggregate(below, condition, fields, cursor)}


def _field(kind: str, options: dict[str, Any], fields: Fields) -> tuple[Field, str] | None:
    """Return the field and the expression of its value; None where no document has one."""
    path = options.get("field")
    if not path:
        if "script" in options:
            raise UnsupportedError(f"[script] of the aggregation [{kind}]")
        raise illegal_argument(f"Required one of fields [field, script], but none were specified. in [{kind}]")
    found = fields.named(path)
    if not found:
        return None
    if len(found) > 1:
        raise UnsupportedError(f"an aggregation on [{path}], which has several types in these indices,")
    field = found[0]
    if field.kind == "text":
        raise illegal_argument(
            f"Fielddata is disabled on [{path}] in [{fields.indices[0].name}]. Text fields are not "
            f"optimised for operations "
            "that require per-document field data like aggregations and sorting, so these operations are disabled by "
            "default. Please use a keyword field instead."
        )
    column = fields.columns.single.get(field.key)
    return (field, column or "NULL") if column or field.key in fields.columns.many else None


def _rows(found: tuple[Field, str], fields: Fields, condition: Condition, *, distinct: bool) -> tuple[str, str]:
    """Return what to select from, with its condition in it, and the expression of one value.

    Where documents have arrays there is a row for each value; `distinct` takes equal values of one document once.
    """
    field, column = found
    many = fields.columns.many.get(field.key)
    if many is None:
        return f"documents WHERE {condition[0]}", column
    values = f"list_concat([{column}]::{TYPES[field.kind]}[], coalesce({many}, []))"
    values = f"list_distinct({values})" if distinct else values
    inner = f"SELECT unnest({values}) AS item FROM documents WHERE {condition[0]}"  # noqa: S608 - see sql
    return f"({inner}) WHERE item IS NOT NULL", "item"


def _metric(kind: str, options: dict[str, Any], condition: Condition, fields: Fields, cursor: Any) -> dict[str, Any]:
    _known(kind, options, {"field"} | ({"percents", "keyed"} if kind == "percentiles" else set())
           | ({"precision_threshold"} if kind == "cardinality" else set()))  # fmt: skip
    found = _field(kind, options, fields)
    if found is not None and found[0].kind == "keyword" and kind not in ("value_count", "cardinality"):
        raise illegal_argument(
            f"Field [{found[0].path}] of type [{found[0].type}] is not supported for aggregation [{kind}]"
        )
    rows, column = f"documents WHERE {condition[0]}", "NULL::DOUBLE"
    if found is not None:
        rows, column = _rows(found, fields, condition, distinct=found[0].kind == "keyword")
    date = found is not None and found[0].kind == "date"

    def ask(expressions: str) -> Any:
        return cursor.execute(f"SELECT {expressions} FROM {rows}", condition[1]).fetchone()  # noqa: S608 - see sql

    value = column if kind in ("value_count", "cardinality") else f"({column})::DOUBLE"
    if kind in ("value_count", "cardinality"):
        return {"value": ask(f"count({'DISTINCT ' if kind == 'cardinality' else ''}{value})")[0]}
    if kind == "percentiles":
        percents = [float(percent) for percent in options.get("percents", _PERCENTS)]
        if any(not 0 <= percent <= 100 for percent in percents):
            raise illegal_argument("percent must be in [0,100]")
        answers = (
            ask(", ".join(f"quantile_cont({value}, {percent / 100!r})" for percent in percents)) if percents else ()
        )
        if options.get("keyed", True):
            return {"values": {str(percent): answer for percent, answer in zip(percents, answers, strict=True)}}
        return {
            "values": [{"key": percent, "value": answer} for percent, answer in zip(percents, answers, strict=True)]
        }
    count, low, high, mean, total = ask(f"count({value}), min({value}), max({value}), avg({value}), sum({value})")
    total = total or 0.0
    if kind == "stats":
        result = {"count": count, "min": low, "max": high, "avg": mean, "sum": total}
        if date and count:
            result |= {f"{key}_as_string": format_date(int(result[key])) for key in ("min", "max", "avg")}
        return result
    result = {"value": {"avg": mean, "min": low, "max": high, "sum": total}[kind]}
    if date and count and kind != "sum":
        result["value_as_string"] = format_date(int(result["value"]))
    return result


def _equals(field: Field, value: Any, fields: Fields) -> Condition:
    return each(field, fields, f"{{}} = {'CAST(? AS FLOAT)' if field.kind == 'float' else '?'}", [value])


def _terms(
    options: dict[str, Any], below: dict[str, Any], condition: Condition, fields: Fields, cursor: Any
) -> dict[str, Any]:
    _known("terms", options, {"field", "size", "shard_size", "order", "min_doc_count"})
    size = options.get("size", 10)
    if not isinstance(size, int) or size <= 0:
        raise illegal_argument(f"[size] must be greater than 0. Found [{size}] in [terms]")
    found = _field("terms", options, fields)
    if found is None:
        return {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}
    field = found[0]
    source, value = _rows(found, fields, condition, distinct=True)
    order = options.get("order", {"_count": "desc"})
    parts = []
    for entry in order if isinstance(order, list) else [order]:
        ((by, direction),) = entry.items()
        if by not in ("_count", "_key") or direction not in ("asc", "desc"):
            raise UnsupportedError(f"the order [{by}] of the aggregation [terms]")
        parts.append(f"{'amount' if by == '_count' else 'term'} {direction.upper()}")
    least = max(1, int(options.get("min_doc_count", 1)))
    if options.get("min_doc_count", 1) == 0:
        raise UnsupportedError("[min_doc_count] 0 of the aggregation [terms]")
    rows = cursor.execute(
        f"SELECT term, amount, (sum(amount) OVER ())::BIGINT FROM (SELECT {value} AS term, count(*) AS amount "  # noqa: S608 - see sql
        f"FROM {source} AND {value} IS NOT NULL GROUP BY 1) WHERE amount >= {least} "
        f"ORDER BY {', '.join([*parts, 'term ASC'])} LIMIT {min(size, MAX_BUCKETS)}",
        condition[1],
    ).fetchall()
    buckets = []
    for term, amount, _ in rows:
        bucket: dict[str, Any] = {"key": term}
        if field.kind == "boolean":
            bucket = {"key": int(term), "key_as_string": "true" if term else "false"}
        elif field.kind == "date":
            bucket["key_as_string"] = format_date(term, field.format)
        bucket["doc_count"] = amount
        if below:
            bucket |= aggregate(below, all_of([condition, _equals(field, term, fields)]), fields, cursor)
        buckets.append(bucket)
    others = rows[0][2] - sum(row[1] for row in rows) if rows else 0
    return {"doc_count_error_upper_bound": 0, "sum_other_doc_count": others, "buckets": buckets}


def _date_histogram(
    options: dict[str, Any], below: dict[str, Any], condition: Condition, fields: Fields, cursor: Any
) -> dict[str, Any]:
    _known(
        "date_histogram",
        options,
        {"field", "fixed_interval", "calendar_interval", "time_zone", "min_doc_count", "format", "keyed", "order"},
    )
    if options.get("keyed") or options.get("order", {"_key": "asc"}) != {"_key": "asc"}:
        raise UnsupportedError("[keyed] and [order] of the aggregation [date_histogram]")
    zone = zone_of(options.get("time_zone", "UTC"))
    fixed, calendar = options.get("fixed_interval"), options.get("calendar_interval")
    if (fixed is None) == (calendar is None):
        raise illegal_argument(
            "Invalid interval specified, must be non-null and exactly one of fixed_interval and calendar_interval"
        )
    if calendar is not None and calendar not in _CALENDAR:
        raise illegal_argument(f"The supplied interval [{calendar}] could not be parsed as a calendar interval.")
    if fixed is not None and (not re.fullmatch(r"[1-9]\d*(ms|s|m|h|d)", fixed)):
        raise illegal_argument(f"failed to parse setting [date_histogram.fixedInterval] with value [{fixed}]")
    found = _field("date_histogram", options, fields)
    if found is None:
        return {"buckets": []}
    field, column = found
    if field.kind != "date":
        raise illegal_argument(
            f"Field [{field.path}] of type [{field.type}] is not supported for aggregation [date_histogram]"
        )
    if field.key in fields.columns.many:
        raise UnsupportedError(f"date_histogram on [{field.path}], which has arrays in some documents,")
    low, high = cursor.execute(
        f"SELECT min({column}), max({column}) FROM documents WHERE {condition[0]}",  # noqa: S608 - see sql
        condition[1],
    ).fetchone()
    if low is None:
        return {"buckets": []}
    edges = _edges(low, high, fixed, calendar, zone)
    counted = dict(
        cursor.execute(
            "SELECT edge, count(*) FROM "  # noqa: S608 - see sql
            f"(SELECT {column} AS moment FROM documents WHERE {condition[0]} AND {column} IS NOT NULL) AS found "
            "ASOF JOIN (SELECT unnest(?::BIGINT[]) AS edge) AS edges ON found.moment >= edges.edge GROUP BY edge",
            [*condition[1], edges],
        ).fetchall()
    )
    least = int(options.get("min_doc_count", 0))
    buckets = []
    for position, edge in enumerate(edges):
        count = counted.get(edge, 0)
        if count < least:
            continue
        bucket = {
            "key_as_string": format_date(edge, options.get("format") or field.format, zone),
            "key": edge,
            "doc_count": count,
        }
        if below:
            end = edges[position + 1] if position + 1 < len(edges) else high + 1
            within: Condition = (f"({column} IS NOT NULL AND {column} >= ? AND {column} < ?)", [edge, end])
            bucket |= aggregate(below, all_of([condition, within]), fields, cursor)
        buckets.append(bucket)
    return {"buckets": buckets}


def _edges(low: int, high: int, fixed: str | None, calendar: str | None, zone: dt.tzinfo) -> list[int]:
    edges: list[int] = []
    if fixed is not None:
        width = duration(fixed, "fixed_interval")
        offset = moment_of(low).astimezone(zone).utcoffset() or dt.timedelta()
        shift = int(offset.total_seconds() * 1000)
        start = (low + shift) // width * width - shift
        if (high - start) // width >= MAX_BUCKETS:
            raise _too_many()
        return list(range(start, high + 1, width))
    unit = _CALENDAR[str(calendar)]
    moment = floor(moment_of(low).astimezone(zone), unit)
    while milliseconds(moment) <= high:
        edges.append(milliseconds(moment))
        if len(edges) > MAX_BUCKETS:
            raise _too_many()
        moment = add(moment, 1, unit)
    return edges


def _too_many() -> StoreError:
    return StoreError(
        400, "too_many_buckets_exception",
        f"Trying to create too many buckets. Must be less than or equal to: [{MAX_BUCKETS}].", max_buckets=MAX_BUCKETS,
    )  # fmt: skip
