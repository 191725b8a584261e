"""Pieces that pages are made of: cards, times, notices, charts, states in words with icon and colour."""

from __future__ import annotations

import re
from typing import Any

from dash import dcc, html

from compose.console.timerange import Zone, ago, rfc3339, utc_text

Component = Any  # Dash's components carry no types
CHART = {"displayModeBar": False, "responsive": True, "doubleClick": "reset"}
# control characters, and those that turn the direction of what follows: a line could show another text than it has
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LONGEST_TEXT = 400


def visible(text: str, most: int | None = None) -> str:
    """Return text with what would hide in it written out, such as \\u202e; longer than `most` it ends with …."""
    shown = _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "…"


def card(title: str, *children: Component, more: Component = None, name: str = "", about: str = "") -> Component:
    """Return a titled box; `more` stands at the right of its title, `about` is seen on hovering over it."""
    head = html.Div([html.H2(title, title=about or None), more], className="card-head")
    return html.Section([head, *children], className=f"card {name}".strip())


def notice(text: str, kind: str = "quiet") -> Component:
    """Return a sentence in place of what is not there; kind: quiet, attention or bad."""
    return html.P(text, className=f"notice {kind}")


def moment(at: float, zone: Zone, *, millis: bool = False) -> Component:
    """Return a time in the viewer's zone, with UTC on hover."""
    return html.Time(zone.text(at, millis=millis), dateTime=rfc3339(at), title=utc_text(at))


def since(at: float, now: float) -> Component:
    """Return how long ago something was, with the time in UTC on hover."""
    return html.Time(f"{ago(now - at)}", dateTime=rfc3339(at), title=utc_text(at))


def state(mood: str, word: str, icon: str) -> Component:
    """Return a state as icon, word and colour together."""
    return html.Span(
        [html.Span(icon, className="state-icon", **{"aria-hidden": "true"}), word], className=f"state {mood}"
    )


def empty_figure() -> dict[str, Any]:
    """Return a chart with nothing in it, shown while the first answer is awaited."""
    return {
        "data": [],
        "layout": {
            "height": 190,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": {"visible": False},
            "yaxis": {"visible": False},
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        },
    }


def chart(key: str, label: str, *, height: int = 190, kind: str = "chart") -> Component:
    """Return a chart that a callback fills; `label` tells screen readers what it shows; kind: chart or panel."""
    figure = empty_figure()
    figure["layout"]["height"] = height
    graph = dcc.Graph(
        id={"type": kind, "key": key}, figure=figure, config=CHART, className="chart", style={"height": height}
    )
    return html.Div(graph, role="img", **{"aria-label": label})


def table(headings: list[str], rows: list[list[Component]], *, empty: str, label: str) -> Component:
    """Return a table, or the sentence `empty`."""
    if not rows:
        return notice(empty)
    head = html.Thead(html.Tr([html.Th(heading, scope="col") for heading in headings]))
    body = html.Tbody(
        [
            html.Tr([html.Td(cell, **{"data-label": heading}) for heading, cell in zip(headings, row, strict=True)])
            for row in rows
        ]
    )
    return html.Div(html.Table([head, body]), className="table", tabIndex="0", role="region", **{"aria-label": label})
