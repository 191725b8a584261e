"""One log line as the pages show it: a summary that opens to its JSON. What is in it is text, never markup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from dash import dcc, html

from compose.console import parts, units
from compose.console.address import written
from compose.console.log_search import LEVELS
from compose.console.parts import Component
from compose.console.timerange import Zone, moment_of
from compose.provision.visualisations import TIME_FIELD

LONGEST_LEVEL = 20
FIGURES: dict[str, Callable[[float], str]] = {
    "prediction": lambda value: f"→ {value:.0f}",
    "confidence": lambda value: f"{100 * value:.1f} %",
    "duration": units.seconds_text,
    "status": lambda value: f"{value:.0f}",
}


def line(hit: dict[str, Any], zone: Zone, *, is_open: bool = False) -> Component:
    """Return a hit of a search as an element of a list."""
    source = hit["_source"]
    level = str(source.get("level", ""))
    at = moment_of(source.get(TIME_FIELD))
    summary = html.Summary(
        [
            parts.moment(at, zone, millis=True) if at is not None else html.Span("no time"),
            # Another program's level is no class of ours: there is one called notice.
            html.Span(
                parts.visible(level, LONGEST_LEVEL) or "–",
                className=f"level {level.lower()}" if level in LEVELS else "level",
            ),
            html.Span(
                [html.Span(_short(source, "message")), html.Span(figures_text(source), className="hint")],
                className="message",
            ),
            html.Span(_short(source, "error"), className="error"),
            html.Span(_short(source, "request_id"), className="request"),
        ],
        className="log-row",
    )
    whole = {"_index": hit["_index"], "_id": hit["_id"], **source}
    text = parts.visible(msgspec.json.format(msgspec.json.encode(whole), indent=2).decode())
    actions = [html.Pre(text, tabIndex="0")]
    if source.get("request_id"):
        href = request_lines(str(source["request_id"]))
        actions.append(dcc.Link("All lines of this request", href=href, className="more"))
    # By its id the script opens a line again that was open when others came in before it.
    whole_line = html.Details([summary, html.Div(actions, className="log-json")], open=is_open)
    return html.Li(whole_line, id=f"line-{hit['_id']}")


def _short(source: dict[str, Any], field: str) -> str:
    """Return a field as a row has room for it; the whole of it is in the line's JSON."""
    return parts.visible(str(source.get(field, "")), parts.LONGEST_TEXT)


def request_lines(request_id: str) -> str:
    """Return the address of all lines of a request."""
    query = 'request_id:"{}"'.format(request_id.replace("\\", "\\\\").replace('"', '\\"'))
    return "/logs" + written({"q": query, "from": "now-7d"})


def figures_text(source: dict[str, Any]) -> str:
    """Return a line's figures in short: `→ 0, 97 %, 0.4 ms, 200`; what is not a number stays as it is."""
    found = []
    for name, form in FIGURES.items():
        value = source.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append(form(float(value)))
        elif value is not None:
            found.append(f"{name} {value}")
    return parts.visible(", ".join(found), parts.LONGEST_TEXT)
