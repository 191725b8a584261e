"""One panel's numbers and its drawing: the same definition that Grafana draws."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
import numpy as np

from compose.console import figures, units
from compose.console.definitions import written_out
from compose.console.evaluation import Curve
from compose.console.history import NeedsPrometheusError, PrometheusHistory, SampleHistory, moments
from compose.console.samples import Floats
from compose.console.store import AwayError
from compose.console.timerange import TimeRange, Zone
from compose.provision.panels import Panel, Query

POINTS = 180
MOST = 6  # series in one chart
OLD = 60.0  # seconds between the last value and the end of the range from which on it is said


class Entry(msgspec.Struct, frozen=True):
    """One series of a chart in its legend: the colour of its line, its name, its newest value in words."""

    colour: str
    name: str
    value: str


class Drawn(msgspec.Struct, kw_only=True):
    """What a panel shows.

    Attributes:
        figure: Plotly's, None where there is nothing to draw.
        value: the newest value in words, for a stat.
        colour: of that value, by the panel's thresholds.
        name: of the series whose value that is, where there are several.
        notice: why there is nothing or not everything, or that the newest value is old; empty otherwise.
        legend: of a chart with several series.
    """

    figure: dict[str, Any] | None = None
    value: str = ""
    colour: str = "plain"
    name: str = ""
    notice: str = ""
    legend: tuple[Entry, ...] = ()


def height(panel: Panel) -> int:
    """Return a chart's height in pixels: under a stat's large figure there is less room in a row of the same height."""
    return 148 if panel.kind == "stat" else 190


def legend(text: str, labels: dict[str, str]) -> str:
    """Return the series' name: `{{label}}` replaced by its label."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), text)


def ask(query: Query, source: PrometheusHistory | SampleHistory, spread: TimeRange) -> tuple[Floats, list[Curve]]:
    """Return the moments and the series of a panel's query.

    Raises:
        AwayError: the source is away.
        NeedsPrometheusError: samples cannot answer it.
    """
    times = np.array([spread.end]) if query.instant else moments(spread.start, spread.end, POINTS)
    step = float(times[1] - times[0]) if len(times) > 1 else 15.0
    expr = written_out(query.expr, window=max(60.0, 4 * step), span=spread.span)
    return times, source.curves(expr, times)


def drawn(panel: Panel, source: PrometheusHistory | SampleHistory, spread: TimeRange, zone: Zone) -> Drawn:
    """Return what the panel shows now; what is wrong is said in it, never raised."""
    named: list[tuple[str, Floats, Curve]] = []
    try:
        for query in panel.queries:
            times, curves = ask(query, source, spread)
            named += [(legend(query.legend, curve.labels), times, curve) for curve in curves]
    except NeedsPrometheusError as error:
        return Drawn(notice=str(error))
    except AwayError as error:
        return Drawn(notice=f"No data: {error}.")
    named = [each for each in named if np.isfinite(each[2].values[each[2].there]).any()]
    if not named:
        reason = panel.empty_when or "nothing was measured in this time range"
        return Drawn(notice=f"No data: {reason}.")
    if panel.kind == "piechart" and not sum(_newest(curve) for _, _, curve in named):
        return Drawn(notice="No data: there is nothing to share out, all counts are 0.")
    shown = _draw(panel, named, spread, zone)
    ended = max(_end(times, curve) for _, times, curve in named)
    if spread.end - ended > OLD:
        # What came to an end must not look like what is now.
        shown.notice = f"The newest value is of {zone.text(ended)}. {shown.notice}".strip()
        shown.colour = "plain"
    return shown


def _draw(panel: Panel, named: list[tuple[str, Floats, Curve]], spread: TimeRange, zone: Zone) -> Drawn:
    going_on = [each for each in named if spread.end - _end(*each[1:]) <= OLD]
    name, newest = headline(going_on or named, has_limits=bool(panel.thresholds))
    result = Drawn(
        value=units.value_text(newest, panel.unit, panel.decimals),
        colour=units.colour(newest, panel.thresholds),
        name=name if len(named) > 1 else "",
    )
    if panel.key == "live-figures":  # 0 and 1 say nothing to a person
        result.value = "from labels" if newest else "from the hold-out"
    if len(named) > MOST:
        result.notice = f"The {MOST} largest of {len(named)} series are drawn."
        named = sorted(named, key=lambda each: -_newest(each[2]))[:MOST]
    if panel.kind == "piechart":
        result.figure = figures.donut([(name, _newest(curve)) for name, _, curve in named], zone)
        return result
    factor, suffix = _scale(panel, named)
    drawn_lines = [
        figures.Line(name=name, times=times.tolist(), values=_gaps(curve, factor)) for name, times, curve in named
    ]
    stat = panel.kind == "stat"
    figure = figures.lines(drawn_lines, spread, zone, suffix=suffix, height=height(panel))
    figure["layout"]["showlegend"] = False
    axis = figure["layout"]["yaxis"]
    if panel.thresholds and not stat:
        levels = [(each.value * factor, each.colour) for each in panel.thresholds if each.value is not None]
        top = max((max((v for v in line.values if v is not None), default=0.0) for line in drawn_lines), default=0.0)
        # A threshold far above the data would press the data flat: it is drawn once the data comes near.
        figure["layout"]["shapes"] = figures.threshold_shapes([each for each in levels if each[0] <= 3 * top])
    if stat:
        _as_stat(figure, axis, drawn_lines, result.colour)
    elif panel.minimum is not None:
        axis["rangemode"] = "tozero"
    if len(named) > 1 and not stat:
        result.legend = tuple(
            Entry(
                trace["line"]["color"],
                name,
                units.value_text(_newest(curve), panel.unit, panel.decimals)
                if spread.end - _end(times, curve) <= OLD or not going_on
                else "ended",
            )
            for trace, (name, times, curve) in zip(figure["data"], named, strict=True)
        )
    result.figure = figure
    return result


def headline(named: list[tuple[str, Floats, Curve]], *, has_limits: bool) -> tuple[str, float]:
    """Return name and newest value of the series that a panel's head tells.

    It is /predict's; else, where the panel has thresholds, the largest; else the first.
    """
    for name, _, curve in named:
        if name == "/predict":
            return name, _newest(curve)
    values = [(name, _newest(curve)) for name, _, curve in named]
    if not has_limits:
        return values[0]
    return max(values, key=lambda each: -math.inf if math.isnan(each[1]) else each[1])


def _as_stat(figure: dict[str, Any], axis: dict[str, Any], drawn_lines: list[figures.Line], colour: str) -> None:
    """Make a sparkline of a chart: the number is above it."""
    values = [value for line in drawn_lines for value in line.values if value is not None]
    low, high = min(values), max(values)
    room = max((high - low) * 0.3, abs(high) * 0.02, 1e-9)
    axis |= {"range": [max(0.0, low - room) if low >= 0 else low - room, high + room], "visible": False}
    axis.pop("rangemode", None)
    for trace in figure["data"]:
        shade = figures.STATE_COLOURS.get(colour, figures.PALETTE[0])
        trace["line"]["color"] = shade
        if "fillcolor" in trace:
            trace["fillcolor"] = figures.faint(shade)


def _end(times: Floats, curve: Curve) -> float:
    """Return when a series has its newest value, seconds since 1970."""
    return float(times[curve.there & np.isfinite(curve.values)].max(initial=0.0))


def _newest(curve: Curve) -> float:
    found = np.flatnonzero(curve.there & np.isfinite(curve.values))
    return float(curve.values[found[-1]]) if len(found) else math.nan


def _gaps(curve: Curve, factor: float) -> list[float | None]:
    kept = curve.there & np.isfinite(curve.values)
    return [float(value) * factor if there else None for value, there in zip(curve.values, kept, strict=True)]


def _scale(panel: Panel, named: list[tuple[str, Floats, Curve]]) -> tuple[float, str]:
    """Return what values are multiplied with, and the suffix on the axis."""
    if panel.unit == "percentunit":
        return 100.0, " %"
    if panel.unit == "s":
        top = max(float(np.nanmax(np.where(curve.there, curve.values, np.nan))) for _, _, curve in named)
        return (1000.0, " ms") if top < 1 else (1.0, " s")
    if panel.unit == "bytes":
        return 1 / 1024, " KiB"
    return 1.0, {"percent": " %", "decmbytes": " MB"}.get(panel.unit, "")
