"""The panels of both dashboards as plain data: titles, queries, units, thresholds; Grafana and the console draw it."""

from __future__ import annotations

from typing import Literal

import msgspec

from compose.provision.objectives import Objectives

Kind = Literal["stat", "timeseries", "piechart", "heatmap", "table"]
# Grafana's unit ids; the console formats the same ones.
Unit = Literal["percentunit", "percent", "reqps", "s", "decmbytes", "bytes", "short", "none", "dateTimeFromNow"]
Colour = Literal["green", "yellow", "red", "blue"]

# Requests that are predictions: probes and scrapes are in the same histogram and would hide a slow model.
PREDICT = 'endpoint="/predict"'


class Threshold(msgspec.Struct, frozen=True):
    """From `value` on (None: from below) the panel has this colour."""

    value: float | None
    colour: Colour


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One query of a panel.

    Attributes:
        expr: PromQL; `$__rate_interval` may stand for a window. For source "elasticsearch" a query_string query whose
            hits are counted over time.
        legend: the series' name; `{{label}}` is replaced.
        source: which data source it asks.
        instant: only the newest value is wanted.
    """

    expr: str
    legend: str = ""
    source: Literal["prometheus", "elasticsearch"] = "prometheus"
    instant: bool = False


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel.

    Attributes:
        key: stable name, unique over all dashboards; the console's element id.
        title, description: as shown.
        kind: how it is drawn.
        unit: Grafana's unit id.
        queries: what it shows.
        thresholds: colours, lowest first; empty for none.
        minimum, maximum: ends of the value axis, None for automatic.
        decimals: digits after the point, None for automatic.
        width, height: in Grafana's grid, 24 wide.
        logs: KQL of the log lines behind the panel, None where there are none.
        guide: one of the guide's six; its query stays as printed.
        empty_when: says when an empty panel is right; empty text: it always has data.
    """

    key: str
    title: str
    description: str
    kind: Kind
    unit: Unit
    queries: tuple[Query, ...]
    thresholds: tuple[Threshold, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = None
    width: int = 8
    height: int = 8
    logs: str | None = None
    guide: bool = False
    empty_when: str = ""


class Row(msgspec.Struct, frozen=True):
    """Panels under one heading; an empty title means no heading."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """A page of panels.

    Attributes:
        uid: Grafana's stable id, also the file's name.
        span: the time range shown at first, as `now-<span>`.
        refresh: how often it asks again.
    """

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    tags: tuple[str, ...] = ("ml-pipeline",)
    span: str = "1h"
    refresh: str = "30s"

    def panels(self) -> tuple[Panel, ...]:
        """Return all panels in reading order."""
        return tuple(panel for row in self.rows for panel in row.panels)


def dashboards(objectives: Objectives | None = None) -> tuple[Dashboard, ...]:
    """Return both dashboards: the model's and the stack's own."""
    from compose.provision.panels_production import production
    from compose.provision.panels_stack import stack

    aims = objectives or Objectives()
    return production(aims), stack(aims)
