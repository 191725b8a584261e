"""Logs: search, histogram by level, lines with their JSON, newest first, followed live or by scrolling back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, Patch, State, ctx, dcc, html, no_update

from compose.console import level_bars, parts
from compose.console.address import parameters
from compose.console.first import FirstContent
from compose.console.log_line import line
from compose.console.log_search import LEVELS, PAGE, Asked, AskError, bar_width, histogram_body, page_body, sums
from compose.console.markup import identifier
from compose.console.overview_data import Parts
from compose.console.parts import Component
from compose.console.shell import viewer_zone
from compose.console.store import AwayError
from compose.provision.visualisations import INDEX_PATTERN
from compose.wording import counted

TAIL_MILLISECONDS = 2000
FOLLOWED = 100  # lines on the page while it follows
EXAMPLES = ("level:ERROR", "duration:>=0.5", "message:refused", "NOT error:*", 'endpoint:"/predict" AND status:422')


def layout() -> Component:
    """Return the page's frame."""
    return html.Div(
        [
            html.H1("Logs", className="unseen"),
            _search_card(),
            html.Section(
                [
                    html.Div(
                        [
                            html.P("Searching …", id="logs-total", className="total"),
                            html.P("", id="logs-bar", className="hint"),
                        ],
                        className="card-head",
                    ),
                    html.P("", id="logs-notice", className="notice quiet", role="status"),
                    parts.chart("logs-histogram", "Lines over time by level; drag to zoom", height=150),
                ],
                className="card",
            ),
            _lines_card(),
            dcc.Store(id="logs-after"),
            dcc.Store(id="logs-shown"),
            dcc.Interval(id="logs-tail-tick", interval=TAIL_MILLISECONDS, disabled=True),
        ],
        className="logs",
    )


def _search_card() -> Component:
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
    help_text = html.Details(
        [
            html.Summary("How to search"),
            html.Ul([html.Li(html.Code(example)) for example in EXAMPLES]),
            html.P("Words without a field are looked for everywhere; AND, OR, NOT and brackets combine."),
        ],
        className="help",
    )
    return html.Section(
        [search, html.Div([_levels(), _tools()], className="search-under"), help_text], className="card"
    )


def _levels() -> Component:
    return html.Div(
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


def _tools() -> Component:
    follow = html.Button(
        "Follow",
        id="logs-tail",
        className="button",
        n_clicks=0,
        title=f"Keep the newest {FOLLOWED} lines on the page",
        **{"aria-pressed": "false"},
    )
    return html.Div(
        [
            follow,
            html.A("NDJSON", id="logs-ndjson", href="/export.ndjson", className="button", title="Export the hits"),
            html.A("CSV", id="logs-csv", href="/export.csv", className="button", title="Export the hits"),
            html.Button("Copy link", id="logs-link", className="button", n_clicks=0),
        ],
        className="logs-tools",
    )


def _lines_card() -> Component:
    headings = [html.Span(text) for text in ("time", "level", "message", "error", "request")]
    return html.Section(
        [
            html.Div(headings, className="log-row log-head", **{"aria-hidden": "true"}),
            html.Ol([], id="logs-lines", className="log-lines"),
            html.Button("Older lines", id="logs-more", className="button wide", n_clicks=0, hidden=True),
        ],
        className="card lines",
        **{"aria-label": "Log lines, newest first"},
    )


def total_text(count: int) -> str:
    """Return the number of hits in words."""
    return counted(count, "line") if count else "No lines"


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


def over_time(asked: Parts, search: str, ids: list[dict[str, str]]) -> tuple[Any, ...]:
    """Return bars, number of hits, width of a bar, the count of each level's button, and a notice.

    Args:
        search: the address's parameters.
        ids: of the levels' counts.
    """
    try:
        wanted = Asked.from_address(parameters(search), time.time())
        answer = asked.store.search(INDEX_PATTERN, histogram_body(wanted))
    except (AskError, AwayError) as error:
        head = "Not searched" if isinstance(error, AskError) else "No answer"
        sentence = str(error)
        return parts.empty_figure(), head, "", [""] * len(ids), sentence[:1].upper() + sentence[1:] + "."
    total, counts = sums(answer)
    if wanted.levels:
        total = sum(counts.get(level, 0) for level in wanted.levels)
    width = bar_width(wanted.spread.span)
    notice = "" if total else "No log lines match in this time range. Try a longer one, or another search."
    bar = f"one bar is {_width_text(width)}" if total else ""
    chips = [f"{counts.get(each['level'], 0):,}" for each in ids]
    figure = level_bars.figure(answer, wanted.spread, viewer_zone(), width, only=wanted.levels, height=150)
    figure["layout"]["showlegend"] = False
    return figure, total_text(total), bar, chips, notice


def newest_lines(asked: Parts, search: str) -> tuple[Any, ...]:
    """Return the newest lines, where older ones begin, a mark of what is shown, and whether there are no older ones."""
    try:
        wanted = Asked.from_address(parameters(search), time.time())
        size = FOLLOWED if wanted.tail else PAGE
        hits = asked.store.search(INDEX_PATTERN, page_body(wanted, size=size))["hits"]["hits"]
    except (AskError, AwayError):
        return [], None, None, True  # the notice over the bars says what is wrong
    after = hits[-1]["sort"] if len(hits) == size and not wanted.tail else None
    zone = viewer_zone()
    return [line(hit, zone) for hit in hits], after, mark(hits), after is None


def older_lines(asked: Parts, search: str, after: list[Any]) -> tuple[Any, ...]:
    """Return the lines that come after those on the page, as `newest_lines` does; what is on the page stays."""
    try:
        wanted = Asked.from_address(parameters(search), time.time())
        hits = asked.store.search(INDEX_PATTERN, page_body(wanted, after))["hits"]["hits"]
    except (AskError, AwayError):
        return no_update, no_update, no_update, False  # the button stays, to be pressed again
    zone, patched = viewer_zone(), Patch()
    patched.extend([line(hit, zone) for hit in hits])
    last = hits[-1]["sort"] if len(hits) == PAGE else None
    return patched, last, no_update, last is None


def followed(asked: Parts, search: str, shown: list[Any] | None) -> tuple[Any, Any]:
    """Return the newest lines and their mark where they are others than those shown.

    All of them, not those newer than the newest: the lines of another worker's file may come in between later.
    """
    try:
        wanted = Asked.from_address(parameters(search), time.time())
        body = page_body(wanted, size=FOLLOWED) | {"track_total_hits": False}
        hits = asked.store.search(INDEX_PATTERN, body)["hits"]["hits"]
    except (AskError, AwayError):
        return no_update, no_update
    if mark(hits) == shown:
        return no_update, no_update
    zone = viewer_zone()
    return [line(hit, zone) for hit in hits], mark(hits)


def mark(hits: list[dict[str, Any]]) -> list[Any]:
    """Return what changes whenever a line joins the newest ones: how many there are, the first's and the last's id."""
    return [len(hits), *(hits[at]["_id"] for at in (0, -1) if hits)]


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
    def histogram(search: str, _ticks: int, _clicks: int, ids: list[dict[str, str]]) -> tuple[Any, ...]:
        return over_time(asked, search, ids)

    @first.callback(
        Output("logs-lines", "children"),
        Output("logs-after", "data"),
        Output("logs-shown", "data"),
        Output("logs-more", "hidden"),
        Input("url", "search"),
        Input("refresh", "n_clicks"),
        Input("logs-more", "n_clicks"),
        State("logs-after", "data"),
    )
    def lines(search: str, _clicks: int, more: int, after: list[Any] | None) -> tuple[Any, ...]:
        if not more or ctx.triggered_id != "logs-more":
            return newest_lines(asked, search)
        return older_lines(asked, search, after) if after else (no_update, no_update, no_update, True)

    @first.app.callback(
        Output("logs-lines", "children", allow_duplicate=True),
        Output("logs-shown", "data", allow_duplicate=True),
        Input("logs-tail-tick", "n_intervals"),
        State("url", "search"),
        State("logs-shown", "data"),
        prevent_initial_call=True,
    )
    def follow(_ticks: int, search: str, shown: list[Any] | None) -> tuple[Any, Any]:
        return followed(asked, search, shown)


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
            return counted(width // size, word)
    return counted(width, "second")
