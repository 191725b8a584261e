"""Dashboard: the guide's four Kibana visualisations and the error list, from the definitions that Kibana gets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dash import Input, Output, dcc, html

from compose.console import failed_requests, figures, level_bars, parts, units
from compose.console.address import parameters
from compose.console.first import FirstContent
from compose.console.log_line import LONGEST_LEVEL, line, request_lines
from compose.console.log_search import bar_width
from compose.console.overview_data import Parts
from compose.console.parts import Component
from compose.console.shell import viewer_zone
from compose.console.store import AwayError, Store
from compose.console.timerange import RangeError, TimeRange, Zone, moment_of, parse_range, rfc3339
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
from compose.wording import counted

ERRORS_SHOWN = 20
LONGEST_ID = 64  # characters of a request's id in the table
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
    figure["layout"]["meta"] |= {"logs": "duration:*", "before": around, "after": around}
    return figure


def errors_table(lines: list[dict[str, Any]], zone: Zone) -> Component:
    """Return one row for each failed request, newest first."""
    rows: list[list[Component]] = [
        [
            "no time" if (at := moment_of(each.get(TIME_FIELD))) is None else parts.moment(at, zone),
            parts.visible(str(each.get("level", "")), LONGEST_LEVEL),
            *(
                html.Span(parts.visible(str(each.get(name, "")), parts.LONGEST_TEXT), className="text")
                for name in ("message", "error")
            ),
            dcc.Link(html.Code(parts.visible(str(each["request_id"]), LONGEST_ID)),
                     href=request_lines(str(each["request_id"]))),
        ]
        for each in lines
    ]  # fmt: skip
    headings = ["@timestamp", "level", "message", "error", "request_id"]
    return parts.table(headings, rows, empty="No failed request in this time range.", label=ERROR_ANALYSIS.title)


class Answers:
    """What the page shows, each part by itself, so that one that fails leaves the others.

    Args:
        store: where the lines are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def _search(self, visualisation: Visualisation, search: str) -> tuple[dict[str, Any], TimeRange, int]:
        spread = _range(search)
        width = bar_width(spread.span)
        body = search_body(visualisation, gte=rfc3339(spread.start), lte=rfc3339(spread.end), interval=f"{width}s")
        return self._store.search(INDEX_PATTERN, body), spread, width

    def levels(self, search: str) -> tuple[Any, str]:
        """Return the bars of Log Levels Over Time, and a notice."""
        try:
            found, spread, width = self._search(LOG_LEVELS, search)
        except (AwayError, RangeError) as error:
            return parts.empty_figure(), f"No data: {error}."
        figure = level_bars.figure(found, spread, viewer_zone(), width, height=230)
        return figure, "" if figure["data"] else NOTHING

    def durations(self, search: str) -> tuple[Any, str]:
        """Return the line of Request Duration Trends, and a notice."""
        try:
            found, spread, _ = self._search(REQUEST_DURATION, search)
        except (AwayError, RangeError) as error:
            return parts.empty_figure(), f"No data: {error}."
        buckets = found["aggregations"]["time"]["buckets"]
        if not any(bucket["mean"]["value"] is not None for bucket in buckets):
            return parts.empty_figure(), "No line with a duration in this time range."
        return duration_figure(found, spread, viewer_zone()), ""

    def success(self, search: str) -> tuple[Any, str]:
        """Return the count and share of Prediction Success Rate, and a notice."""
        try:
            found, spread, _ = self._search(SUCCESS_RATE, search)
            every = self._store.count(INDEX_PATTERN, {"query": {"bool": {"filter": [spread.filter()]}}})
        except (AwayError, RangeError) as error:
            return "", f"No data: {error}."
        count = found["hits"]["total"]["value"]
        share = f"{units.number(100 * count / every, 1)} % of {counted(every, 'line')}" if every else NOTHING
        return [html.P(f"{count:,}", className="panel-value stat"), html.P(share, className="hint")], ""

    def errors(self, search: str) -> tuple[Any, str]:
        """Return the table of Error Analysis, and a notice."""
        try:
            found = failed_requests.newest(self._store, _range(search))
        except (AwayError, RangeError) as error:
            return "", f"No data: {error}."
        return errors_table(found, viewer_zone()), ""

    def listed(self, search: str) -> tuple[Any, Any]:
        """Return the newest ERROR lines, and a notice."""
        try:
            body = {
                "size": ERRORS_SHOWN,
                "sort": [{TIME_FIELD: "desc"}, {"_doc": "desc"}],
                "track_total_hits": False,
                "query": {"bool": {"filter": [ERROR_SEARCH.query, _range(search).filter()]}},
            }
            hits = self._store.search(INDEX_PATTERN, body)["hits"]["hits"]
        except (AwayError, RangeError) as error:
            return [], parts.notice(f"No data: {error}.", "attention")
        zone = viewer_zone()
        empty = "" if hits else parts.notice("No ERROR line in this time range.")
        return [line(hit, zone) for hit in hits], empty


def _range(search: str) -> TimeRange:
    return parse_range(parameters(search), time.time())


def callbacks(first: FirstContent, asked: Parts) -> None:
    """Register the page's callbacks: one for each part."""
    answers = Answers(asked.store)
    inputs = (Input("url", "search"), Input("tick", "n_intervals"), Input("refresh", "n_clicks"))
    places: tuple[tuple[Output, str, Callable[[str], tuple[Any, Any]]], ...] = (
        (Output({"type": "chart", "key": LOG_LEVELS.id}, "figure"), f"{LOG_LEVELS.id}-notice", answers.levels),
        (
            Output({"type": "chart", "key": REQUEST_DURATION.id}, "figure"),
            f"{REQUEST_DURATION.id}-notice",
            answers.durations,
        ),
        (Output("dashboard-success", "children"), f"{SUCCESS_RATE.id}-notice", answers.success),
        (Output("dashboard-errors", "children"), f"{ERROR_ANALYSIS.id}-notice", answers.errors),
        (Output("dashboard-list", "children"), "dashboard-list-notice", answers.listed),
    )
    for place, notice, answer in places:
        first.callback(place, Output(notice, "children"), *inputs)(
            lambda search, _ticks, _clicks, answer=answer: answer(search)
        )
