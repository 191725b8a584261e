"""Aggregations: read from a request, computed by one statement for each, shaped as Elasticsearch's replies.

Supported: the buckets of `buckets.py`, top_hits, and the metrics avg, min, max, sum, stats, value_count, cardinality,
percentiles; nested in each other. Exact, not sketched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compose.store.buckets import KINDS, Buckets
from compose.store.conditions import Condition, Fields
from compose.store.dates import format_date
from compose.store.errors import UnsupportedError, illegal_argument, parsing
from compose.store.grouped import FUNCTIONS, NEEDED, Grouped, shown
from compose.store.intervals import MAX_BUCKETS, too_many
from compose.store.postings import View
from compose.store.values import filler, known, rows_of, value_of

_METRICS = {"avg", "min", "max", "sum", "stats", "value_count", "cardinality", "percentiles"}
_ELASTIC = {"date_range", "composite", "significant_terms", "nested",
    "global", "sampler",
            "extended_stats", "percentile_ranks", "top_metrics", "weighted_avg", "multi_terms", "rare_terms",
            "adjacency_matrix",
            "auto_date_histogram", "scripted_metric", "string_stats", "bucket_script", "bucket_sort", "cumulative_sum",
            "derivative", "moving_fn", "avg_bucket", "max_bucket", "min_bucket", "sum_bucket", "stats_bucket",
            "ip_range",
            "median_absolute_deviation", "boxplot", "matrix_stats", "geo_bounds", "geo_centroid"}  # fmt: skip
_PERCENTS = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)


Top = Callable[[Condition, dict[str, Any]], dict[str, Any]]


class Aggregator:
    """Computes the aggregations of one request.

    Args:
        fields: of the request's indices.
        cursor: of the database.
        top: hits of a condition, as top_hits shows them.
        typed: whether names carry the kind, as `?typed_keys` asks for.
        view: of the index in memory, if that may be used.
    """

    def __init__(self, fields: Fields, cursor: Any, top: Top, *, typed: bool = False, view: View | None = None) -> None:
        self.fields = fields
        self.cursor = cursor
        self.top = top
        self.typed = typed
        self.view = view
        self._buckets = 0  # so far

    def aggregate(self, body: dict[str, Any], condition: Condition) -> dict[str, Any]:
        """Compute aggregations over the documents that a condition selects.

        Args:
            body: name → aggregation.
            condition: of the documents.

        Returns:
            Name → result.

        Raises:
            StoreError: an aggregation is not valid or not supported.
        """
        results = {}
        for name, definition in body.items():
            kind, result = self._one(name, definition, condition)
            self._buckets += len(result.get("buckets", ()))
            if self._buckets > MAX_BUCKETS:
                raise too_many()
            results[self._label(name, kind, definition)] = result
        return results

    def all(self, body: dict[str, Any], condition: Condition) -> dict[str, Any]:
        """Compute the aggregations of a request.

        Raises:
            StoreError: as `aggregate`, or there are more buckets in all than Elasticsearch makes.
        """
        results = self.aggregate(body, condition)
        if _buckets_in(results) > MAX_BUCKETS:
            raise too_many()
        return results

    def _label(self, name: str, kind: str, definition: dict[str, Any]) -> str:
        return f"{self._type(kind, definition)}#{name}" if self.typed else name

    def _type(self, kind: str, definition: dict[str, Any]) -> str:
        if kind == "percentiles":
            return "tdigest_percentiles"
        if kind != "terms":
            return kind
        found = self.fields.named(definition[kind]["field"])
        if not found:
            return "umterms"
        return {"keyword": "sterms", "float": "dterms", "double": "dterms"}.get(found[0].kind, "lterms")

    def _one(self, name: str, definition: Any, condition: Condition) -> tuple[str, dict[str, Any]]:
        kinds = [key for key in definition if key not in ("aggs", "aggregations", "meta")]
        if len(kinds) != 1:
            raise parsing(f"Missing definition for aggregation [{name}]" if not kinds else
                          f"Found two aggregation type definitions in [{name}]: [{kinds[0]}] and "
                          f"[{kinds[1]}]", line=1, col=1)  # fmt: skip
        kind, options = kinds[0], definition[kinds[0]]
        below: dict[str, Any] = definition.get("aggs") or definition.get("aggregations") or {}
        grouped = Grouped(self.fields, self.cursor, self._label)
        buckets = Buckets(self.fields, self.cursor, below, self.aggregate, grouped, self.view)
        if kind in _METRICS:
            result = metric(kind, options, condition, self.fields, self.cursor)
        elif kind == "top_hits":
            result = {"hits": self.top(condition, options)}
        elif kind in KINDS:
            result = getattr(buckets, kind)(options, condition)
        elif kind in _ELASTIC:
            raise UnsupportedError(f"the aggregation [{kind}]")
        else:
            raise parsing(f"Unknown aggregation type [{kind}]", line=1, col=1)
        if "meta" in definition:
            result["meta"] = definition["meta"]
        return kind, result


def _buckets_in(results: dict[str, Any]) -> int:
    """Return how many buckets there are, those within others included."""
    count = 0
    for result in results.values():
        if result.__class__ is not dict:
            continue
        buckets = result.get("buckets")
        if buckets is not None:
            count += len(buckets)
            for bucket in buckets.values() if buckets.__class__ is dict else buckets:
                if len(bucket) > 2 or "key" not in bucket:  # a key and a count alone have nothing below them
                    count += _buckets_in(bucket)
        elif "doc_count" in result:
            count += _buckets_in(result)
    return count


def metric(kind: str, options: dict[str, Any], condition: Condition, fields: Fields, cursor: Any) -> dict[str, Any]:
    """Compute one metric over the documents that a condition selects."""
    known(kind, options, {"field", "missing"} | ({"percents", "keyed"} if kind == "percentiles" else set())
           | ({"precision_threshold"} if kind == "cardinality" else set()))  # fmt: skip
    found = value_of(kind, options, fields)
    if found is not None and found[0].kind == "keyword" and kind not in ("value_count", "cardinality"):
        raise illegal_argument(
            f"Field [{found[0].path}] of type [{found[0].type}] is not supported for aggregation [{kind}]"
        )
    rows, column = f"documents WHERE {condition[0]}", "NULL::DOUBLE"
    if found is not None:
        keep = options.get("missing") is not None
        rows, column = rows_of(found, fields, condition, distinct=found[0].kind == "keyword", keep_empty=keep)
    missing: list[Any] = []
    if options.get("missing") is not None and (found is None or found[0].kind != "keyword"):
        number = kind not in ("value_count", "cardinality")
        missing = [filler(found[0] if found else None, options["missing"], number=number)]
        if found is None and not number:  # of whatever type, it is one value
            column, missing = "NULL::VARCHAR", [str(missing[0])]
        column = f"coalesce({column}, ?)"
    date = found is not None and found[0].kind == "date"

    def ask(expressions: str) -> Any:
        given = missing * expressions.count("?")
        return cursor.execute(f"SELECT {expressions} FROM {rows}", [*given, *condition[1]]).fetchone()  # noqa: S608 - see sql

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
    # A date is shown as text, unless there is none: of a sum that is known by the count.
    needed = dict.fromkeys(("count", *NEEDED[kind]) if date else NEEDED[kind])
    answers = ask(", ".join(FUNCTIONS[name].format(column) for name in needed))
    measured = dict(zip(needed, answers, strict=True))
    result = shown(kind, measured)
    if date and measured["count"]:
        for name in ("min", "max", "avg", "sum") if kind == "stats" else ("value",):
            result["value_as_string" if name == "value" else f"{name}_as_string"] = format_date(int(result[name]))
    return result
