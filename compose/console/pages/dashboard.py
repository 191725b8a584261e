"""Dashboard: the guide's four Kibana visualisations and the error list, from the definitions that Kibana gets."""

from __future__ import annotations

import time
from typing import Any

from dash import Input, Output, html

from compose.console import failed_requests, figures, parts, units
from compose.console.address import parameters
from compose.console.first import FirstContent
from compose.console.log_search import bar_width
from compose.console.overview_data import Parts
from compose.console.pages.logs import line
from compose.console.parts import Component
from compose.console.shell import viewer_zone
from compose.console.store import AwayError
from compose.console.timerange import RangeError, TimeRange, Zone, parse_moment, parse_range, rfc3339
from compose.provision.visualisations import (
    DASHBOARD_TITLE,
    ERROR_ANALYSIS,
    ERROR_SEARCH,
    INDEX_PATTERN,
    LOG_LEVELS,
    REQUEST_DURATION,
    SUCCESS_RATE,
    TIME_FIELD,
    Visualisation,
    search_body,
)

ERRORS_SHOWN = 20
NOTHING = "No log lines in this time range."


def layout() -> Component:
    """Return the page's frame."""
    return html.Div(
        [
            html.H1(DASHBOARD_TITLE, className="page-title"),
            html.Div(
                [
                    _card(LOG_LEVELS, parts.chart(LOG_LEVELS.id, LOG_LEVELS.description, height=230)),
                    _card(REQUEST_DURATION, parts.chart(REQUEST_DURATION.id, REQUEST_DURATION.description, height=230)),
                    _card(SUCCESS_RATE, html.Div("", id="dashboard-success")),
                ],
                className="grid dashboard",
            ),
            _card(ERROR_ANALYSIS, html.Div(parts.notice("Loading …"), id="dashboard-errors")),
            parts.card(
                ERROR_SEARCH.title,
                html.P(ERROR_SEARCH.description, className="hint"),
                html.Ol([], id="dashboard-list", className="log-lines"),
                html.Div("", id="dashboard-list-notice"),
            ),
        ],
        className="dashboard-page",
    )


def _card(visualisation: Visualisation, *children: Component) -> Component:
    notice = html.P("", id=f"{visualisation.id}-notice", className="notice quiet", role="status")
    note = html.P(visualisation.description, className="hint")
    return parts.card(visualisation.title, note, notice, *children)


def levels_figure(answer: dict[str, Any], spread: TimeRange, zone: Zone, width: int) -> dict[str, Any]:
    """Return the stacked bars of lines over time by level."""
    found: dict[str, tuple[list[float], list[float | None]]] = {}
    for bucket in answer["aggregations"]["time"]["buckets"]:
        for level in bucket["level"]["buckets"]:
            times, counts = found.setdefault(str(level["key"]), ([], []))
            times.append(bucket["key"] / 1000)
            counts.append(level["doc_count"])
    series = [
        figures.Line(name=name, times=times, values=counts, colour=figures.LEVEL_COLOURS.get(name, "#7d8590"))
        for name, (times, counts) in sorted(found.items(), key=lambda each: list(figures.LEVEL_COLOURS).index(each[0])
                                            if each[0] in figures.LEVEL_COLOURS else 9)
    ]  # fmt: skip
    return figures.bars(series, spread, zone, width, height=230)


def duration_figure(answer: dict[str, Any], spread: TimeRange, zone: Zone) -> dict[str, Any]:
    """Return the line of the mean duration."""
    buckets = answer["aggregations"]["time"]["buckets"]
    means = [bucket["mean"]["value"] for bucket in buckets]
    top = max((mean for mean in means if mean is not None), default=0.0)
    factor, suffix = (1000.0, " ms") if top < 1 else (1.0, " s")
    values = [None if mean is None else mean * factor for mean in means]
    each = figures.Line(name="average duration", times=[bucket["key"] / 1000 for bucket in buckets], values=values)
    figure = figures.lines([each], spread, zone, suffix=suffix, height=230)
    around = max(60.0, spread.span / 60)
    figure["layout"]["meta"] = {"logs": "duration:*", "before": around, "after": around}
    return figure


def errors_table(lines: list[dict[str, Any]], zone: Zone) -> Component:
    """Return one row for each failed request, newest first."""
    rows: list[list[Component]] = [
        [
            parts.moment(parse_moment(str(line[TIME_FIELD]), 0.0), zone),
            *(str(line.get(name, "")) for name in ("level", "message", "error")),
            html.Code(str(line["request_id"])),
        ]
        for line in lines
    ]
    headings = ["@timestamp", "level", "message", "error", "request_id"]
    return parts.table(headings, rows, empty="No failed request in this time range.", label=ERROR_ANALYSIS.title)


def callbacks(first: FirstContent, asked: Parts) -> None:
    """Register the page's callbacks: one for each visualisation, so that one that fails leaves the others."""
    inputs = (Input("url", "search"), Input("tick", "n_intervals"), Input("refresh", "n_clicks"))

    def answer(visualisation: Visualisation, search: str) -> tuple[dict[str, Any], TimeRange, int]:
        spread = parse_range(parameters(search), time.time())
        width = bar_width(spread.span)
        body = search_body(visualisation, gte=rfc3339(spread.start), lte=rfc3339(spread.end), interval=f"{width}s")
        return asked.store.search(INDEX_PATTERN, body), spread, width

    @first.callback(
        Output({"type": "chart", "key": LOG_LEVELS.id}, "figure"),
        Output(f"{LOG_LEVELS.id}-notice", "children"),
        *inputs,
    )
    def levels(search: str, _ticks: int, _clicks: int) -> tuple[Any, str]:
        try:
            found, spread, width = answer(LOG_LEVELS, search)
        except (AwayError, RangeError) as error:
            return parts.empty_figure(), f"No data: {error}."
        figure = levels_figure(found, spread, viewer_zone(), width)
        return figure, "" if figure["data"] else NOTHING

    @first.callback(
        Output({"type": "chart", "key": REQUEST_DURATION.id}, "figure"),
        Output(f"{REQUEST_DURATION.id}-notice", "children"),
        *inputs,
    )
    def durations(search: str, _ticks: int, _clicks: int) -> tuple[Any, str]:
        try:
            found, spread, _ = answer(REQUEST_DURATION, search)
        except (AwayError, RangeError) as error:
            return parts.empty_figure(), f"No data: {error}."
        buckets = found["aggregations"]["time"]["buckets"]
        if not any(bucket["mean"]["value"] is not None for bucket in buckets):
            return parts.empty_figure(), "No line with a duration in this time range."
        return duration_figure(found, spread, viewer_zone()), ""

    @first.callback(Output("dashboard-success", "children"), Output(f"{SUCCESS_RATE.id}-notice", "children"), *inputs)
    def success(search: str, _ticks: int, _clicks: int) -> tuple[Any, str]:
        try:
            found, spread, _ = answer(SUCCESS_RATE, search)
            every = asked.store.count(INDEX_PATTERN, {"query": {"bool": {"filter": [spread.filter()]}}})
        except (AwayError, RangeError) as error:
            return "", f"No data: {error}."
        count = found["hits"]["total"]["value"]
        share = f"{units.number(100 * count / every, 1)} % of {every:,} lines" if every else NOTHING
        return [html.P(f"{count:,}", className="panel-value stat"), html.P(share, className="hint")], ""

    @first.callback(Output("dashboard-errors", "children"), Output(f"{ERROR_ANALYSIS.id}-notice", "children"), *inputs)
    def errors(search: str, _ticks: int, _clicks: int) -> tuple[Any, str]:
        try:
            found = failed_requests.newest(asked.store, parse_range(parameters(search), time.time()))
        except (AwayError, RangeError) as error:
            return "", f"No data: {error}."
        return errors_table(found, viewer_zone()), ""

    @first.callback(Output("dashboard-list", "children"), Output("dashboard-list-notice", "children"), *inputs)
    def listed(search: str, _ticks: int, _clicks: int) -> tuple[Any, Any]:
        try:
            spread = parse_range(parameters(search), time.time())
            body = {
                "size": ERRORS_SHOWN,
                "sort": [{TIME_FIELD: "desc"}, {"_doc": "desc"}],
                "track_total_hits": False,
                "query": {"bool": {"filter": [ERROR_SEARCH.query, spread.filter()]}},
            }
            hits = asked.store.search(INDEX_PATTERN, body)["hits"]["hits"]
        except (AwayError, RangeError) as error:
            return [], parts.notice(f"No data: {error}.", "attention")
        zone = viewer_zone()
        empty = "" if hits else parts.notice("No ERROR line in this time range.")
        return [line(hit, zone) for hit in hits], empty
