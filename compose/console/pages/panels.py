"""The boxes of panels that several pages have, and the callback that fills all of a page at once."""

from __future__ import annotations

import re
import time
from typing import Any

from dash import ALL, Input, Output, State, dcc, html

from compose.console import panel_data, parts, units
from compose.console.address import parameters
from compose.console.first import FirstContent
from compose.console.log_search import query_string
from compose.console.overview_data import Parts
from compose.console.own_panels import PANELS
from compose.console.parts import Component
from compose.console.shell import viewer_zone
from compose.console.timerange import RangeError, TimeRange, parse_range
from compose.provision.panels import Panel

_WINDOW = re.compile(r"\[(\d+)([smhd])\]")


def panel_card(panel: Panel) -> Component:
    """Return the box of one panel; a callback fills value, chart and notice."""
    height = panel_data.height(panel)
    unit = units.scale_text(panel)
    link = None
    if panel.logs is not None:
        link = dcc.Link(
            "log lines", href="/logs?q=" + query_string(panel.logs), id={"type": "panel-logs", "key": panel.key},
            className="more",
        )  # fmt: skip
    value = html.P("", id={"type": "panel-value", "key": panel.key}, className="panel-value")
    return parts.card(
        panel.title,
        value,
        html.P("Loading …", id={"type": "panel-notice", "key": panel.key}, className="notice quiet"),
        parts.chart(
            panel.key,
            f"{panel.title}: {panel.description}" + (f" In {unit}." if unit else ""),
            height=height,
            kind="panel",
        ),
        html.Ul([], id={"type": "panel-legend", "key": panel.key}, className="legend"),
        more=link,
        name=f"panel {panel.kind}",
        about=panel.description,
    )


def legend(entries: tuple[panel_data.Entry, ...]) -> list[Component]:
    """Return the names of a chart's series with their colours and newest values.

    Under the chart, not Plotly's within its height: on a phone that left the lines no room.
    """
    return [
        html.Li([html.Span(className="swatch", style={"background": each.colour}), each.name, html.Strong(each.value)])
        for each in entries
    ]


def panel_outputs(found: dict[str, panel_data.Drawn], keys: list[str]) -> tuple[list[Any], ...]:
    """Return what fills the boxes of panels: figures, values, their classes, notices, legends."""
    figures = [found[key].figure or parts.empty_figure() for key in keys]
    values, classes, notices = [], [], []
    for key in keys:
        panel, drawn = PANELS[key], found[key]
        stat = panel.kind == "stat"
        shown = drawn.value if drawn.figure is not None and panel.kind != "piechart" else ""
        unit = units.scale_text(panel)
        extra = f" {unit}" if shown and not stat and unit == "per minute" else ""
        shown = shown.removesuffix(" /s") if extra else shown
        values.append(html.Span([html.Strong(shown), extra, f" {drawn.name}" if drawn.name else ""]) if shown else "")
        classes.append(f"panel-value {'stat' if stat else 'small'} {drawn.colour}")
        notices.append(drawn.notice)
    return figures, values, classes, notices, [legend(found[key].legend) for key in keys]


def link_panels(figures: list[Any], keys: list[str], spread: TimeRange) -> None:
    """Leave in each chart which log lines lie behind a point, for the click that leads there."""
    for key, figure in zip(keys, figures, strict=True):
        logs = PANELS[key].logs
        if logs is not None and figure["data"]:
            around = max(60.0, spread.span / 60)
            # A rate's point tells of the window that ends at it.
            before = around + max((window(query.expr) for query in PANELS[key].queries), default=0.0)
            figure["layout"]["meta"] |= {"logs": query_string(logs), "before": before, "after": around}


def window(expression: str) -> float:
    """Return the longest window of a PromQL expression, seconds; 0 where it has none."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    return float(max((int(count) * seconds[unit] for count, unit in _WINDOW.findall(expression)), default=0))


def callbacks(first: FirstContent, asked: Parts) -> None:
    """Register the callback that draws whatever panels the page has."""

    @first.callback(
        Output({"type": "panel", "key": ALL}, "figure"),
        Output({"type": "panel-value", "key": ALL}, "children"),
        Output({"type": "panel-value", "key": ALL}, "className"),
        Output({"type": "panel-notice", "key": ALL}, "children"),
        Output({"type": "panel-legend", "key": ALL}, "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
        Input("refresh", "n_clicks"),
        State({"type": "panel-value", "key": ALL}, "id"),
    )
    def draw(search: str, _ticks: int, _clicks: int, ids: list[dict[str, str]]) -> tuple[list[Any], ...]:
        keys = [each["key"] for each in ids]
        zone = viewer_zone()
        try:
            spread = parse_range(parameters(search), time.time())
        except RangeError as error:
            found = {key: panel_data.Drawn(notice=f"Time range: {error}.") for key in keys}
            return panel_outputs(found, keys)
        found = asked.history.ask(
            lambda source: {key: panel_data.drawn(PANELS[key], source, spread, zone) for key in keys}
        )
        shown = panel_outputs(found, keys)
        link_panels(shown[0], keys, spread)
        return shown
