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
from compose.console.timerange import Zone, parse_moment

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
    at = parse_moment(str(source["@timestamp"]), 0.0) if "@timestamp" in source else None
    summary = html.Summary(
        [
            parts.moment(at, zone, millis=True) if at is not None else html.Span("no time"),
            # Another program's level is no class of ours: there is one called notice.
            html.Span(level or "–", className=f"level {level.lower()}" if level in LEVELS else "level"),
            html.Span(
                [html.Span(str(source.get("message", ""))), html.Span(figures_text(source), className="hint")],
                className="message",
            ),
            html.Span(str(source.get("error", "")), className="error"),
            html.Span(str(source.get("request_id", "")), className="request"),
        ],
        className="log-row",
    )
    whole = {"_index": hit["_index"], "_id": hit["_id"], **source}
    text = msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()
    actions = [html.Pre(text, tabIndex="0")]
    if source.get("request_id"):
        query = 'request_id:"{}"'.format(str(source["request_id"]).replace("\\", "\\\\").replace('"', '\\"'))
        around = written({"q": query, "from": "now-7d"})
        actions.append(dcc.Link("All lines of this request", href="/logs" + around, className="more"))
    # By its id the script opens a line again that was open when others came in before it.
    whole_line = html.Details([summary, html.Div(actions, className="log-json")], open=is_open)
    return html.Li(whole_line, id=f"line-{hit['_id']}")


def figures_text(source: dict[str, Any]) -> str:
    """Return a line's figures in short: `→ 0, 97 %, 0.4 ms, 200`; what is not a number stays as it is."""
    found = []
    for name, form in FIGURES.items():
        value = source.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append(form(float(value)))
        elif value is not None:
            found.append(f"{name} {value}")
    return ", ".join(found)
