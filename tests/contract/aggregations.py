"""The catalogue of aggregations with their edge cases; percentiles are named pct… so that the comparison knows them."""

# ruff: noqa: E501 - a catalogue reads best with one request a line

from __future__ import annotations

from typing import Any

from tests.contract.server import Request


def _aggs(name: str, aggs: dict[str, Any], **more: Any) -> Request:
    return Request(name, {"size": 0, "track_total_hits": True, "aggs": aggs, **more})


def _one(name: str, kind: str, inner: dict[str, Any] | None = None, **options: Any) -> Request:
    body: dict[str, Any] = {kind: options}
    if inner:
        body["aggs"] = inner
    return _aggs(name, {("pct" if kind == "percentiles" else "a"): body})


_AVG = {"m": {"avg": {"field": "confidence"}}}
_HOURS: dict[str, Any] = {"field": "@timestamp", "fixed_interval": "6h"}
_RANGES = [{"to": 300}, {"from": 300, "to": 500}, {"key": "bad", "from": 500}]

AGGREGATIONS = [
    _aggs("guide", {"prediction_distribution": {"terms": {"field": "prediction"}}, "avg_confidence": {"avg": {"field": "confidence"}}}),
    _one("terms", "terms", field="level"),
    _one("terms cut", "terms", field="error", size=3),
    _one("terms numeric", "terms", field="status"),
    _one("terms float", "terms", field="ratio"),
    _one("terms bool", "terms", field="flag"),
    _one("terms date", "terms", field="@timestamp", size=2, order={"_key": "asc"}),
    _one("terms array", "terms", field="tags"),
    _one("terms by key", "terms", field="level", order={"_key": "desc"}),
    _one("terms by count", "terms", field="level", order={"_count": "asc"}),
    _one("terms by metric", "terms", _AVG, field="status", order={"m": "desc"}),
    _one("terms by stats", "terms", {"s": {"stats": {"field": "duration"}}}, field="host", order={"s.max": "asc"}),
    _one("terms by two", "terms", field="host", order=[{"_count": "desc"}, {"_key": "desc"}]),
    _one("terms missing", "terms", field="host", missing="none"),
    _one("terms missing number", "terms", field="status", missing=-1),
    _one("terms include", "terms", field="host", include="node-.*"),
    _one("terms include list", "terms", field="host", include=["node-1"], exclude=["node-2"]),
    _one("terms min_doc_count", "terms", field="error", min_doc_count=3),
    _one("terms zero counts", "terms", field="level", min_doc_count=0),
    _one("terms unmapped", "terms", field="nowhere"),
    _one("terms sub-field", "terms", field="message.keyword", size=3, shard_size=1000),
    *(_one(f"{kind} {field}", kind, field=field) for kind in ("avg", "min", "max", "sum", "stats", "value_count", "cardinality")
      for field in ("confidence", "duration", "status", "prediction", "big", "@timestamp", "nowhere")),
    _one("value_count keyword", "value_count", field="tags"),
    _one("cardinality keyword", "cardinality", field="host"),
    _one("cardinality many", "cardinality", field="request_id"),
    _one("avg missing", "avg", field="confidence", missing=0.5),
    _one("sum missing", "sum", field="nowhere", missing=2),
    _one("min missing", "min", field="status", missing=-7),
    _one("avg bool", "avg", field="flag"),
    _one("percentiles", "percentiles", field="confidence"),
    _one("percentiles some", "percentiles", field="duration", percents=[5, 50, 95.5]),
    _one("percentiles list", "percentiles", field="duration", percents=[50, 95], keyed=False),
    _one("percentiles of nothing", "percentiles", field="nowhere"),
    _one("date_histogram fixed", "date_histogram", **_HOURS),
    _one("date_histogram nested", "date_histogram", {"l": {"terms": {"field": "level"}}, **_AVG}, **_HOURS),
    _one("date_histogram day", "date_histogram", field="@timestamp", calendar_interval="day"),
    _one("date_histogram day zone", "date_histogram", field="@timestamp", calendar_interval="1d", time_zone="America/New_York"),
    _one("date_histogram week", "date_histogram", field="@timestamp", calendar_interval="week"),
    _one("date_histogram month", "date_histogram", field="@timestamp", calendar_interval="month", format="yyyy-MM"),
    _one("date_histogram quarter zone", "date_histogram", field="@timestamp", calendar_interval="1q", time_zone="+09:00"),
    _one("date_histogram hour zone", "date_histogram", field="@timestamp", calendar_interval="1h", time_zone="Asia/Kolkata", min_doc_count=1),
    _one("date_histogram fixed zone", "date_histogram", field="@timestamp", fixed_interval="12h", time_zone="Asia/Kolkata"),
    _one("date_histogram offset", "date_histogram", field="@timestamp", fixed_interval="1d", offset="+6h"),
    _one("date_histogram keyed", "date_histogram", field="@timestamp", calendar_interval="day", keyed=True, format="yyyy-MM-dd"),
    _one("date_histogram bounds", "date_histogram", field="@timestamp", calendar_interval="day", extended_bounds={"min": "2026-11-15", "max": "2026-11-25"}),
    _one("date_histogram hard bounds", "date_histogram", field="@timestamp", calendar_interval="day", hard_bounds={"min": "2026-11-19", "max": "2026-11-20"}),
    _one("date_histogram desc", "date_histogram", field="@timestamp", calendar_interval="day", order={"_key": "desc"}),
    _one("date_histogram by count", "date_histogram", field="@timestamp", calendar_interval="day", order={"_count": "desc"}),
    _one("date_histogram gap", "date_histogram", field="@timestamp", fixed_interval="1m", min_doc_count=1),
    _one("date_histogram unmapped", "date_histogram", field="nowhere", calendar_interval="day"),
    _one("histogram", "histogram", field="status", interval=100),
    _one("histogram fraction", "histogram", field="confidence", interval=0.25),
    _one("histogram offset", "histogram", field="status", interval=100, offset=50, min_doc_count=1),
    _one("histogram negative", "histogram", field="ratio", interval=1),
    _one("histogram bounds", "histogram", field="prediction", interval=1, extended_bounds={"min": -1, "max": 3}),
    _one("histogram keyed", "histogram", field="prediction", interval=1, keyed=True),
    _one("range", "range", field="status", ranges=_RANGES),
    _one("range keyed", "range", field="status", ranges=_RANGES, keyed=True),
    _one("range nested", "range", _AVG, field="status", ranges=_RANGES),
    _one("range float", "range", field="confidence", ranges=[{"to": 0.5}, {"from": 0.5, "to": 0.9}, {"from": 0.9}]),
    _one("range overlap", "range", field="status", ranges=[{"from": 100}, {"from": 200}]),
    _aggs("filter", {"a": {"filter": {"term": {"level": "ERROR"}}, "aggs": _AVG}}),
    _aggs("filters", {"a": {"filters": {"filters": {"bad": {"term": {"level": "ERROR"}}, "good": {"term": {"level": "INFO"}}}}}}),
    _aggs("filters other", {"a": {"filters": {"other_bucket_key": "rest", "filters": {"bad": {"term": {"level": "ERROR"}}}}}}),
    _aggs("filters list", {"a": {"filters": {"filters": [{"term": {"level": "ERROR"}}, {"exists": {"field": "host"}}]}}}),
    _one("missing", "missing", field="error"),
    _one("missing nested", "missing", {"l": {"terms": {"field": "level"}}}, field="error"),
    _one("missing unmapped", "missing", field="nowhere"),
    _one("top_hits", "top_hits", size=2, sort=[{"@timestamp": "desc"}, "request_id"], _source=["level"]),
    _aggs("top_hits in terms", {"a": {"terms": {"field": "level"}, "aggs": {"t": {"top_hits": {"size": 1, "sort": [{"@timestamp": "asc"}], "_source": False}}}}}),
    _aggs("three deep", {"a": {"terms": {"field": "level"}, "aggs": {"b": {"date_histogram": {**_HOURS, "min_doc_count": 1}, "aggs": {"c": {"terms": {"field": "status"}, "aggs": {"pct": {"percentiles": {"field": "duration", "percents": [0, 100]}}}}}}}}}),
    _aggs("with a query", {"a": {"terms": {"field": "host"}}}, query={"range": {"@timestamp": {"gte": "2026-11-19"}}}),
    _aggs("nested over no hits", {"d": {"date_histogram": _HOURS, "aggs": {"m": {"avg": {"field": "duration"}}, "l": {"terms": {"field": "level"}}}}}, query={"match_none": {}}),
    _aggs("over no hits", {"a": {"terms": {"field": "host"}}, "m": {"avg": {"field": "duration"}}, "d": {"date_histogram": _HOURS}, "s": {"stats": {"field": "duration"}}}, query={"match_none": {}}),
    _aggs("meta", {"a": {"terms": {"field": "level"}, "meta": {"why": "panel"}}}),
    Request("spelt out", {"size": 0, "aggregations": {"a": {"max": {"field": "status"}}}}),
    Request("over an empty index", {"size": 0, "aggs": {"a": {"terms": {"field": "level"}}, "m": {"max": {"field": "status"}}}}, path="/contract-empty/_search"),
    Request("over nothing", {"size": 0, "aggs": {"a": {"terms": {"field": "level"}}}}, path="/no-such-*/_search"),
    Request("with hits", {"size": 2, "sort": [{"@timestamp": "asc"}], "aggs": {"a": {"max": {"field": "@timestamp"}}}}),
    Request("typed_keys", {"size": 0, "aggs": {"a": {"terms": {"field": "level"}}, "n": {"terms": {"field": "status"}}}}, path="/contract-*/_search?typed_keys=true"),
    Request("post_filter", {"size": 3, "sort": [{"@timestamp": "asc"}], "aggs": {"a": {"terms": {"field": "level"}}}, "post_filter": {"term": {"level": "ERROR"}}}),
]  # fmt: skip
