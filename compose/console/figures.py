"""Charts as Plotly's plain dictionaries: no colours of text or grid, which the style sheet gives for dark and light."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import msgspec

from compose.console.timerange import TimeRange, Zone, utc_text

PALETTE = ("#4c8bd6", "#d9822b", "#2f9e6e", "#9a6bd6", "#d15c8f", "#1f9ca8", "#a57f4f", "#7d8590")
LEVEL_COLOURS = {
    "DEBUG": "#8b949e",
    "INFO": "#5b8fc9",
    "WARNING": "#d99a1f",
    "ERROR": "#e5534b",
    "CRITICAL": "#b62f8b",
}
STATE_COLOURS = {"green": "#2f9e6e", "yellow": "#d99a1f", "red": "#e5534b", "blue": "#4c8bd6"}
Figure = dict[str, Any]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One drawn series: name, times (seconds since 1970), values (None for a gap), colour."""

    name: str
    times: Sequence[float]
    values: Sequence[float | None]
    colour: str = ""


def layout(spread: TimeRange | None, zone: Zone, *, unit: str = "", height: int = 190, legend: bool = True) -> Figure:
    """Return what all charts share.

    Args:
        spread: the time axis; None where there is none.
        unit: written after the numbers of the value axis.
        height: pixels.
    """
    base: Figure = {
        "autosize": True,
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8, "pad": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "inherit", "size": 11},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top", "font": {"size": 11}},
        "hovermode": "x unified",
        "hoverlabel": {"font": {"size": 12}, "align": "left"},
        "colorway": list(PALETTE),
        "bargap": 0.15,
        "yaxis": {
            "rangemode": "tozero",
            "ticksuffix": unit,
            "nticks": 5,
            "zeroline": False,
            "automargin": True,
            "fixedrange": True,
        },
        # The labels stand a little lower: the first one must not touch the 0 of the value axis.
        "xaxis": {"showgrid": False, "nticks": 7, "automargin": True, "zeroline": False, "ticklabelstandoff": 6},
        "dragmode": "zoom",
        "transition": {"duration": 0},
        "meta": {},  # what the script reads at a click or a zoom
    }
    if spread is not None:
        axis = zone.steady(spread)
        if axis is not zone:
            base["xaxis"]["title"] = {"text": "UTC, for the clocks change in this range", "font": {"size": 11}}
            base["meta"]["utc"] = True
        base["xaxis"] |= {"type": "date", "range": [axis.wall(spread.start), axis.wall(spread.end)], "nticks": 6}
        base["xaxis"]["tickformatstops"] = [
            {"dtickrange": [None, 60_000], "value": "%H:%M:%S"},
            {"dtickrange": [60_000, 43_200_000], "value": "%H:%M"},
            {"dtickrange": [43_200_000, None], "value": "%-d %b"},
        ]
        base["uirevision"] = f"{spread.start_text}/{spread.end_text}"
    return base


def lines(
    series: list[Line], spread: TimeRange, zone: Zone, *, suffix: str = "", fill: bool = True, **more: Any
) -> Figure:
    """Return a line chart over time; each point keeps its moment in UTC for the hover and the way to the log."""
    data, axis = [], zone.steady(spread)
    for place, each in enumerate(series):
        colour = each.colour or PALETTE[place % len(PALETTE)]
        trace: Figure = {
            "type": "scatter",
            # A line through two or three points is hardly seen at the edge of an hour.
            "mode": "lines+markers" if sum(value is not None for value in each.values) < 6 else "lines",
            "marker": {"size": 5},
            "cliponaxis": False,  # the newest point lies on the edge
            "name": each.name or "value",
            "x": [axis.wall(at) for at in each.times],
            "y": list(each.values),
            "customdata": [[at, utc_text(at)] for at in each.times],
            "line": {"width": 1.8, "color": colour, "shape": "linear"},
            "connectgaps": False,
            "hovertemplate": "%{y:.4~g}" + suffix + "  <i>%{customdata[1]}</i><extra>" + plain(each.name) + "</extra>",
        }
        if fill and len(series) == 1:
            trace |= {"fill": "tozeroy", "fillcolor": faint(colour)}
        data.append(trace)
    shown = layout(spread, zone, unit=suffix, legend=len(series) > 1, **more)
    return {"data": data, "layout": shown}


def bars(series: list[Line], spread: TimeRange, zone: Zone, width: float, **more: Any) -> Figure:
    """Return stacked bars of counts over time; `width` in seconds."""
    axis = zone.steady(spread)
    data = [
        {
            "type": "bar",
            "name": each.name,
            "x": [axis.wall(at + width / 2) for at in each.times],
            "y": list(each.values),
            "width": width * 900,
            "customdata": [[at, utc_text(at)] for at in each.times],
            "marker": {"color": each.colour or PALETTE[place % len(PALETTE)], "line": {"width": 0}},
            "hovertemplate": "%{y:,}  <i>from %{customdata[1]}</i><extra>" + plain(each.name) + "</extra>",
        }
        for place, each in enumerate(series)
    ]
    shown = layout(spread, zone, **more)
    shown |= {"barmode": "stack"}
    heights = collections.Counter[float]()
    for each in series:
        heights.update({at: value or 0 for at, value in zip(each.times, each.values, strict=True)})
    if max(heights.values(), default=0) < shown["yaxis"]["nticks"]:
        shown["yaxis"]["dtick"] = 1  # there is no half a line
    return {"data": data, "layout": shown}


def donut(parts: list[tuple[str, float]], zone: Zone, *, height: int = 190) -> Figure:
    """Return a ring of shares; names and shares stand beside it, where a thin slice has room for its figure too."""
    whole = sum(value for _, value in parts) or 1.0
    shown = layout(None, zone, height=height)
    shown |= {"hovermode": "closest", "legend": {"orientation": "v", "x": 1, "y": 0.5, "font": {"size": 12}}}
    data = [
        {
            "type": "pie",
            "hole": 0.62,
            "labels": [f"{name} {100 * value / whole:.1f} %" for name, value in parts],
            "values": [value for _, value in parts],
            "sort": False,
            "direction": "clockwise",
            "textinfo": "none",
            "marker": {"colors": list(PALETTE), "line": {"width": 0}},
            "hovertemplate": "%{label}, %{value:,}<extra></extra>",
        }
    ]
    return {"data": data, "layout": shown}


def threshold_shapes(levels: list[tuple[float, str]]) -> list[Figure]:
    """Return dashed lines at values, each with its colour."""
    return [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": value,
            "y1": value,
            "line": {"color": STATE_COLOURS.get(colour, colour), "width": 1, "dash": "dash"},
        }
        for value, colour in levels
    ]


def faint(colour: str) -> str:
    """Return a colour as a faint filling."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.12)"


def plain(text: str) -> str:
    """Return text that Plotly does not take for markup: it reads a little HTML in names and hovers."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("{", "(").replace("}", ")")
