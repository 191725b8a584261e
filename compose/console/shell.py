"""What surrounds every page: head with navigation, time range, refresh and theme; the address is the state."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import flask
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, dcc, html

from compose.console.address import parameters, written
from compose.console.timerange import PRESETS, RangeError, Zone, parse_range

PAGES = (
    ("/", "Overview"),
    ("/logs", "Logs"),
    ("/dashboard", "Dashboard"),
    ("/model", "Model"),
    ("/pipeline", "Pipeline"),
    ("/try", "Try it"),
)
INDEX = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <title>{%title%}</title>
    {%favicon%}
    {%css%}
  </head>
  <body>
    <a class="skip" href="#page">Skip to the page</a>
    {%app_entry%}
    <p id="connection" role="alert" hidden></p>
    <noscript>The console needs JavaScript; the logs can be read with curl as well, see docs/console.md.</noscript>
    <footer class="dash-scripts">{%config%}{%scripts%}{%renderer%}</footer>
  </body>
</html>
"""


def viewer_zone() -> Zone:
    """Return the viewer's time zone, which our script leaves in a cookie; UTC, marked so, before it could."""
    told = flask.request.cookies.get("zone", "")[:64]
    return Zone(told) if told else Zone("UTC", mark=" UTC")


def layout(refresh_seconds: int) -> html.Div:
    """Return the frame; the page goes into `page`."""
    links = [dcc.Link(title, href=path, id=nav_id(title), className="nav-link") for path, title in PAGES]
    presets = [
        html.Button(short, id={"type": "preset", "value": text}, className="chip", n_clicks=0)
        for short, text in PRESETS
    ]
    custom = [
        html.Label(["From", dcc.Input(id="range-from", placeholder="now-6h", debounce=False, autoComplete="off")]),
        html.Label(["To", dcc.Input(id="range-to", placeholder="now", debounce=False, autoComplete="off")]),
        html.Button("Apply", id="range-apply", className="button primary", n_clicks=0),
        html.P("now, now-90m, or a time in your zone such as 2026-11-25 13:00", className="hint"),
    ]
    picker = html.Details(
        id="range-picker",
        className="picker",
        children=[
            html.Summary("Last hour", id="range-label", title="Time range"),
            html.Div(
                [
                    html.Div(presets, className="chips"),
                    html.Div(custom, className="custom"),
                    html.P("", id="zone-note", className="hint"),
                ],
                className="picker-body",
            ),
        ],
    )
    tools = html.Div(
        [
            picker,
            html.Button("Pause", id="pause", className="button", n_clicks=0, title="Stop asking again by itself"),
            html.Button("Refresh", id="refresh", className="button", n_clicks=0, title="Ask again now"),
            html.Button(
                "◐",
                id="theme",
                className="button icon",
                n_clicks=0,
                title="Dark or light",
                **{"aria-label": "Change between dark and light"},
            ),
        ],
        className="tools",
    )
    head = html.Header(
        [
            html.Div([html.Span("ML", className="logo"), html.Span("pipeline console")], className="brand"),
            html.Nav(links, className="nav", **{"aria-label": "Pages"}),
            tools,
        ],
        className="head",
    )
    return html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Interval(id="tick", interval=refresh_seconds * 1000),
            head,
            html.Main(html.P("Loading …", className="quiet"), id="page", tabIndex="-1"),
            html.Div("", id="announcer", className="unseen", role="status", **{"aria-live": "polite"}),
        ],
        className="frame",
    )


def prepare(path: str, search: str, find: Callable[[str], Any]) -> None:
    """Do what the frame's script does from the address alone: range, links that keep it, the page's own link.

    Args:
        find: returns an element of the frame by its id.
    """
    asked = parameters(search)
    keep = written({name: asked.get(name, "") for name in ("from", "to")})
    for href, title in PAGES:
        link = find(nav_id(title))
        link.href = href + keep
        if href == (path.rstrip("/") or "/"):
            setattr(link, "aria-current", "page")
    with contextlib.suppress(RangeError):
        find("range-label").children = parse_range(asked, time.time()).label(viewer_zone())


def nav_id(title: str) -> str:
    """Return the id of the link to a page."""
    return f"nav-{title.lower().replace(' ', '-')}"


def callbacks(app: Dash) -> None:
    """Register what the frame does, all of it in the browser."""
    browser = app.clientside_callback
    browser(
        ClientsideFunction("ui", "preset"),
        Output("url", "search", allow_duplicate=True),
        Input({"type": "preset", "value": ALL}, "n_clicks"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    browser(
        ClientsideFunction("ui", "custom"),
        Output("url", "search", allow_duplicate=True),
        Input("range-apply", "n_clicks"),
        Input("range-from", "n_submit"),
        Input("range-to", "n_submit"),
        State("range-from", "value"),
        State("range-to", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    browser(
        ClientsideFunction("ui", "frame"),
        Output("range-label", "children"),
        Output("zone-note", "children"),
        *(Output(nav_id(title), "href") for _, title in PAGES),
        Input("url", "pathname"),
        Input("url", "search"),
    )
    browser(
        ClientsideFunction("ui", "pause"),
        Output("tick", "disabled"),
        Output("pause", "children"),
        Input("pause", "n_clicks"),
    )
    browser(
        ClientsideFunction("ui", "theme"),
        Output("theme", "title"),
        Input("theme", "n_clicks"),
    )
    for kind in ("panel", "chart"):
        browser(
            ClientsideFunction("ui", "zoom"),
            Output("url", "search", allow_duplicate=True),
            Input({"type": kind, "key": ALL}, "relayoutData"),
            State({"type": kind, "key": ALL}, "figure"),
            State("url", "search"),
            prevent_initial_call=True,
        )
        browser(
            ClientsideFunction("ui", "follow"),
            Output("url", "href", allow_duplicate=True),
            Input({"type": kind, "key": ALL}, "clickData"),
            State({"type": kind, "key": ALL}, "figure"),
            prevent_initial_call=True,
        )
