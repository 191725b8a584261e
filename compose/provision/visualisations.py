"""Kibana's part as plain data: data view, four visualisations, saved search, dashboard and alert of the guide."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

INDEX_PATTERN = "ml-pipeline-*"
TIME_FIELD = "@timestamp"


class DataView(msgspec.Struct, frozen=True, kw_only=True):
    """Which indices, under which name, with which time field."""

    id: str
    name: str
    title: str
    time_field: str


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a visualisation.

    Attributes:
        key: unique within the visualisation.
        label: as shown.
        operation: Lens's operation type.
        field: what it works on; None for a count of documents.
        size: how many terms.
        order_by: key of the column that orders the terms, newest or largest first.
    """

    key: str
    label: str
    operation: Literal["date_histogram", "terms", "count", "average", "last_value", "max"]
    field: str | None = None
    size: int = 5
    order_by: str | None = None


class Visualisation(msgspec.Struct, frozen=True, kw_only=True):
    """One visualisation.

    Attributes:
        kind: stacked bars, line, table or metric.
        kql: filter in Kibana's query language; empty for all lines.
        query: the same filter as an Elasticsearch query: what the console sends and the tests compare.
        columns: bucketed ones first.
        x, y, width, height: place on Kibana's grid, 48 wide.
    """

    id: str
    title: str
    description: str
    kind: Literal["bar_stacked", "line", "table", "metric"]
    kql: str
    query: dict[str, Any]
    columns: tuple[Column, ...]
    x: int
    y: int
    width: int
    height: int


class SavedSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Documents as a list: columns and order."""

    id: str
    title: str
    description: str
    kql: str
    query: dict[str, Any]
    columns: tuple[str, ...]
    x: int
    y: int
    width: int
    height: int


class LogAlert(msgspec.Struct, frozen=True, kw_only=True):
    """More than `threshold` documents of `query` in `window_minutes`, looked at every `interval`."""

    id: str
    name: str
    query: dict[str, Any]
    threshold: int
    window_minutes: int
    interval: str


DATA_VIEW = DataView(id="ml-pipeline-logs", name="ML Pipeline Logs", title=INDEX_PATTERN, time_field=TIME_FIELD)

LOG_LEVELS = Visualisation(
    id="ml-pipeline-log-levels",
    title="Log Levels Over Time",
    description="Log lines over time, split by level.",
    kind="bar_stacked",
    kql="",
    query={"match_all": {}},
    columns=(
        Column(key="time", label="@timestamp", operation="date_histogram", field=TIME_FIELD),
        Column(key="level", label="Level", operation="terms", field="level", order_by="count"),
        Column(key="count", label="Lines", operation="count"),
    ),
    x=0,
    y=0,
    width=24,
    height=15,
)

# A Lens table aggregates and cannot list documents: one row for each request, newest first, with its last values.
ERROR_ANALYSIS = Visualisation(
    id="ml-pipeline-error-analysis",
    title="Error Analysis",
    description="Failed requests, newest first.",
    kind="table",
    kql="level: ERROR",
    query={"term": {"level": "ERROR"}},
    columns=(
        Column(key="request", label="request_id", operation="terms", field="request_id", size=50, order_by="time"),
        Column(key="time", label="@timestamp", operation="max", field=TIME_FIELD),
        Column(key="level", label="level", operation="last_value", field="level"),
        Column(key="message", label="message", operation="last_value", field="message.keyword"),
        Column(key="error", label="error", operation="last_value", field="error"),
    ),
    x=0,
    y=15,
    width=48,
    height=15,
)

REQUEST_DURATION = Visualisation(
    id="ml-pipeline-request-duration",
    title="Request Duration Trends",
    description="Mean duration of requests over time, in seconds.",
    kind="line",
    kql="",
    query={"match_all": {}},
    columns=(
        Column(key="time", label="@timestamp", operation="date_histogram", field=TIME_FIELD),
        Column(key="mean", label="Average duration", operation="average", field="duration"),
    ),
    x=24,
    y=0,
    width=16,
    height=15,
)

SUCCESS_RATE = Visualisation(
    id="ml-pipeline-success-rate",
    title="Prediction Success Rate",
    description="Log lines without an error.",
    kind="metric",
    kql="NOT error: *",
    query={"bool": {"must_not": [{"exists": {"field": "error"}}]}},
    columns=(Column(key="count", label="Without error", operation="count"),),
    x=40,
    y=0,
    width=8,
    height=15,
)

VISUALISATIONS = (LOG_LEVELS, ERROR_ANALYSIS, REQUEST_DURATION, SUCCESS_RATE)

ERROR_SEARCH = SavedSearch(
    id="ml-pipeline-errors",
    title="ML Pipeline: errors",
    description="Every ERROR line, newest first.",
    kql="level: ERROR",
    query={"term": {"level": "ERROR"}},
    columns=("level", "message", "error", "request_id"),
    x=0,
    y=30,
    width=48,
    height=18,
)

DASHBOARD_ID = "ml-pipeline-logs-dashboard"
DASHBOARD_TITLE = "ML Pipeline Logs Dashboard"

ERROR_BURST = LogAlert(
    id="6f1c7c1e-6a5b-4e57-9d0f-2b6f6f0e8a11",  # Kibana takes only a UUID
    name="ML pipeline: error burst",
    query={"term": {"level": "ERROR"}},
    threshold=5,
    window_minutes=5,
    interval="1m",
)


def search_body(visualisation: Visualisation, *, gte: str, lte: str, interval: str = "1m") -> dict[str, Any]:
    """Return the `_search` body whose aggregations give what the visualisation shows.

    Args:
        gte, lte: ends of the time range as Elasticsearch writes them (`now-1h`, RFC 3339).
        interval: width of a bar or a point, a fixed interval.
    """
    metrics: dict[str, Any] = {}
    for column in visualisation.columns:
        if column.operation in ("average", "max"):
            metrics[column.key] = {{"average": "avg", "max": "max"}[column.operation]: {"field": column.field}}
        elif column.operation == "last_value":
            hits = {"size": 1, "sort": [{TIME_FIELD: "desc"}], "_source": [str(column.field).removesuffix(".keyword")]}
            metrics[column.key] = {"top_hits": hits}
    body = metrics
    for column in reversed(visualisation.columns):
        if column.operation == "terms":
            by = next((other for other in visualisation.columns if other.key == column.order_by), None)
            order = "_count" if by is None or by.operation == "count" else by.key
            level: dict[str, Any] = {"terms": {"field": column.field, "size": column.size, "order": {order: "desc"}}}
        elif column.operation == "date_histogram":
            level = {"date_histogram": {"field": column.field, "fixed_interval": interval}}
        else:
            continue
        body = {column.key: level | ({"aggs": body} if body else {})}
    filters = [visualisation.query, {"range": {TIME_FIELD: {"gte": gte, "lte": lte}}}]
    whole = {"size": 0, "track_total_hits": True, "query": {"bool": {"filter": filters}}}
    return whole | ({"aggs": body} if body else {})
