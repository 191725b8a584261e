"""Logs: search, histogram by level, lines with their JSON, newest first, followed live or by scrolling back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from dash import ALL, ClientsideFunction, Dash, Input, Output, Patch, State, ctx, dcc, html, no_update

from compose.console import figures, parts, units
from compose.console.address import parameters, written
from compose.console.first import FirstContent
from compose.console.log_search import (
    LEVELS,
    PAGE,
    Asked,
    AskError,
    bar_width,
    histogram_body,
    newer_body,
    page_body,
    sums,
)
from compose.console.markup import identifier
from compose.console.overview_data import Parts
from compose.console.parts import Component
from compose.console.shell import viewer_zone
from compose.console.store import AwayError
from compose.console.timerange import Zone, parse_moment
from compose.provision.visualisations import INDEX_PATTERN

TAIL_MILLISECONDS = 2000
TAIL_LINES = 200
FIGURES: dict[str, Callable[[float], str]] = {
    "prediction": lambda value: f"→ {value:.0f}",
    "confidence": lambda value: f"{100 * value:.1f} %",
    "duration": units.seconds_text,
    "status": lambda value: f"{value:.0f}",
}
EXAMPLES = ("level:ERROR", "duration:>=0.5", "message:refused", "NOT error:*", 'endpoint:"/predict" AND status:422')


def layout() -> Component:
    """Return the page's frame."""
    search = html.Div(
        [
            html.Label("Search the log lines", htmlFor="logs-text", className="unseen"),
            dcc.Input(
                id="logs-text",
                type="search",
                placeholder="level:ERROR AND duration:>=0.5",
                className="search-box",
                autoComplete="off",
                debounce=False,
                spellCheck=False,
            ),
            html.Button("Search", id="logs-go", className="button primary", n_clicks=0),
        ],
        className="search-row",
    )
    chips = html.Div(
        [
            html.Button(
                [level, html.Span("", id={"type": "level-count", "level": level}, className="count")],
                id={"type": "level", "level": level},
                className=f"chip level {level.lower()}",
                n_clicks=0,
                **{"aria-pressed": "false"},
            )
            for level in LEVELS
        ],
        className="chips",
        role="group",
        **{"aria-label": "Levels"},
    )
    tools = html.Div(
        [
            html.Button(
                "Follow",
                id="logs-tail",
                className="button",
                n_clicks=0,
                title="Show new lines as they come",
                **{"aria-pressed": "false"},
            ),
            html.A("NDJSON", id="logs-ndjson", href="/export.ndjson", className="button", title="Export the hits"),
            html.A("CSV", id="logs-csv", href="/export.csv", className="button", title="Export the hits"),
            html.Button("Copy link", id="logs-link", className="button", n_clicks=0),
        ],
        className="logs-tools",
    )
    help_text = html.Details(
        [
            html.Summary("How to search"),
            html.Ul([html.Li(html.Code(example)) for example in EXAMPLES]),
            html.P("Words without a field are looked for everywhere; AND, OR, NOT and brackets combine."),
        ],
        className="help",
    )
    head = html.Div(
        ["time", "level", "message", "error", "request"], className="log-row log-head", **{"aria-hidden": "true"}
    )
    head.children = [html.Span(text) for text in head.children]
    return html.Div(
        [
            html.H1("Logs", className="unseen"),
            html.Section([search, html.Div([chips, tools], className="search-under"), help_text], className="card"),
            html.Section(
                [
                    html.Div(
                        [
                            html.P("Searching …", id="logs-total", className="total"),
                            html.P("", id="logs-bar", className="hint"),
                        ],
                        className="card-head",
                    ),
                    parts.chart("logs-histogram", "Lines over time by level; drag to zoom", height=150),
                    html.P("", id="logs-notice", className="notice quiet", role="status"),
                ],
                className="card",
            ),
            html.Section(
                [
                    head,
                    html.Ol([], id="logs-lines", className="log-lines"),
                    html.Button("Older lines", id="logs-more", className="button wide", n_clicks=0, hidden=True),
                ],
                className="card lines",
                **{"aria-label": "Log lines, newest first"},
            ),
            dcc.Store(id="logs-after"),
            dcc.Store(id="logs-newest"),
            dcc.Interval(id="logs-tail-tick", interval=TAIL_MILLISECONDS, disabled=True),
        ],
        className="logs",
    )


def line(hit: dict[str, Any], zone: Zone, *, is_open: bool = False) -> Component:
    """Return one line: a summary that opens to its JSON. Everything from the log is text, never markup."""
    source = hit["_source"]
    level = str(source.get("level", ""))
    at = parse_moment(str(source["@timestamp"]), 0.0) if "@timestamp" in source else None
    extra = figures_text(source)
    summary = html.Summary(
        [
            parts.moment(at, zone, millis=True) if at is not None else html.Span("no time"),
            html.Span(level or "–", className=f"level {level.lower()}"),
            html.Span(
                [html.Span(str(source.get("message", ""))), html.Span(extra, className="hint")],
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
    return html.Li(html.Details([summary, html.Div(actions, className="log-json")], open=is_open), key=hit["_id"])


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


def histogram(answer: dict[str, Any], asked: Asked, zone: Zone) -> dict[str, Any]:
    """Return the bars of lines over time by level."""
    found: dict[str, tuple[list[float], list[float | None]]] = {}
    for bucket in answer["aggregations"]["time"]["buckets"]:
        rest = bucket["doc_count"]
        for level in bucket["level"]["buckets"]:
            times, counts = found.setdefault(str(level["key"]), ([], []))
            times.append(bucket["key"] / 1000)
            counts.append(level["doc_count"])
            rest -= level["doc_count"]
        if rest > 0:
            times, counts = found.setdefault("no level", ([], []))
            times.append(bucket["key"] / 1000)
            counts.append(rest)
    order = {name: place for place, name in enumerate(LEVELS)}
    shown = [
        name for name in sorted(found, key=lambda name: order.get(name, 9)) if not asked.levels or name in asked.levels
    ]
    series = [
        figures.Line(
            name=name, times=found[name][0], values=found[name][1], colour=figures.LEVEL_COLOURS.get(name, "#7d8590")
        )
        for name in shown
    ]
    figure = figures.bars(series, asked.spread, zone, bar_width(asked.spread.span), height=150)
    figure["layout"]["showlegend"] = False
    return figure


def total_text(count: int, first: bool) -> str:
    """Return the number of hits in words."""
    words = "line" if count == 1 else "lines"
    return f"{count:,} {words}" if count or first else "No lines"


def prepare(search: str, find: Callable[[str], Any]) -> None:
    """Set the controls as the address has them, where the page is there.

    Args:
        find: returns an element by its id, None where it is not there.
    """
    asked = parameters(search)
    levels = asked.get("level", "").split(",")
    if (box := find("logs-text")) is None:
        return
    box.value = asked.get("q", "")
    for level in LEVELS:
        pressed = "true" if level in levels else "false"
        setattr(find(identifier({"type": "level", "level": level})), "aria-pressed", pressed)


def callbacks(first: FirstContent, asked: Parts) -> None:
    """Register the page's callbacks."""
    _browser(first.app)

    @first.callback(
        Output({"type": "chart", "key": "logs-histogram"}, "figure"),
        Output("logs-total", "children"),
        Output("logs-bar", "children"),
        Output({"type": "level-count", "level": ALL}, "children"),
        Output("logs-notice", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
        Input("refresh", "n_clicks"),
        State({"type": "level-count", "level": ALL}, "id"),
    )
    def over_time(search: str, _ticks: int, _clicks: int, ids: list[dict[str, str]]) -> tuple[Any, ...]:
        nothing = [""] * len(ids)
        try:
            wanted = Asked.from_address(parameters(search), time.time())
            answer = asked.store.search(INDEX_PATTERN, histogram_body(wanted))
        except (AskError, AwayError) as error:
            sentence = str(error)
            return parts.empty_figure(), "No answer", "", nothing, sentence[:1].upper() + sentence[1:] + "."
        total, counts = sums(answer)
        if wanted.levels:
            total = sum(counts.get(level, 0) for level in wanted.levels)
        width = bar_width(wanted.spread.span)
        notice = "" if total else "No log lines match in this time range. Try a longer one, or another search."
        bar = f"one bar is {_width_text(width)}" if total else ""
        chips = [f"{counts.get(each['level'], 0):,}" for each in ids]
        return histogram(answer, wanted, viewer_zone()), total_text(total, first=False), bar, chips, notice

    @first.callback(
        Output("logs-lines", "children"),
        Output("logs-after", "data"),
        Output("logs-newest", "data"),
        Output("logs-more", "hidden"),
        Input("url", "search"),
        Input("refresh", "n_clicks"),
        Input("logs-more", "n_clicks"),
        State("logs-after", "data"),
    )
    def lines(search: str, _clicks: int, more: int, after: list[Any] | None) -> tuple[Any, ...]:
        older = bool(more) and ctx.triggered_id == "logs-more"
        if older and not after:
            return no_update, no_update, no_update, True
        try:
            wanted = Asked.from_address(parameters(search), time.time())
            answer = asked.store.search(INDEX_PATTERN, page_body(wanted, after if older else None))
        except AskError:
            return [], None, None, True  # the histogram's notice says what is wrong
        except AwayError:
            # What is on the page stays: the notice above says that the store is away.
            return (no_update if older else []), no_update, no_update, not older
        hits = answer["hits"]["hits"]
        zone = viewer_zone()
        rows = [line(hit, zone) for hit in hits]
        last = hits[-1]["sort"] if len(hits) == PAGE else None
        if older:
            patched = Patch()
            patched.extend(rows)
            return patched, last, no_update, last is None
        newest = hits[0]["_source"].get("@timestamp") if hits else None
        return rows, last, newest, last is None

    @first.app.callback(
        Output("logs-lines", "children", allow_duplicate=True),
        Output("logs-newest", "data", allow_duplicate=True),
        Input("logs-tail-tick", "n_intervals"),
        State("url", "search"),
        State("logs-newest", "data"),
        prevent_initial_call=True,
    )
    def follow(_ticks: int, search: str, newest: str | None) -> tuple[Any, ...]:
        try:
            wanted = Asked.from_address(parameters(search), time.time())
            since = newest or "now-1m"
            hits = asked.store.search(INDEX_PATTERN, newer_body(wanted, since, TAIL_LINES))["hits"]["hits"]
        except (AskError, AwayError):
            return no_update, no_update
        if not hits:
            return no_update, no_update
        zone = viewer_zone()
        patched = Patch()
        for hit in reversed(hits):
            patched.prepend(line(hit, zone))
        return patched, hits[0]["_source"].get("@timestamp", newest)


def _browser(app: Dash) -> None:
    """Register what happens in the browser: the controls write the address, the address sets the controls."""
    app.clientside_callback(
        ClientsideFunction("ui", "search"),
        Output("url", "search", allow_duplicate=True),
        Input("logs-go", "n_clicks"),
        Input("logs-text", "n_submit"),
        Input({"type": "level", "level": ALL}, "n_clicks"),
        Input("logs-tail", "n_clicks"),
        State("logs-text", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("ui", "controls"),
        Output("logs-text", "value"),
        Output({"type": "level", "level": ALL}, "aria-pressed"),
        Output("logs-tail", "aria-pressed"),
        Output("logs-tail", "children"),
        Output("logs-tail-tick", "disabled"),
        Output("logs-ndjson", "href"),
        Output("logs-csv", "href"),
        Input("url", "search"),
        State({"type": "level", "level": ALL}, "id"),
    )
    app.clientside_callback(
        ClientsideFunction("ui", "copy"),
        Output("logs-link", "children"),
        Input("logs-link", "n_clicks"),
        prevent_initial_call=True,
    )


def _width_text(width: int) -> str:
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if width >= size:
            count = width // size
            return f"{count} {word}{'s' if count > 1 else ''}"
    return f"{width} second{'s' if width > 1 else ''}"
