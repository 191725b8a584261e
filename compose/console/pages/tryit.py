"""Try it: one prediction from form to log line, the whole pipeline in one view."""

from __future__ import annotations

import time
import uuid
from typing import Any

import msgspec
from dash import ALL, Dash, Input, Output, State, dcc, html, no_update

from compose.console import parts, units
from compose.console.log_line import line
from compose.console.overview_data import Parts
from compose.console.parts import Component
from compose.console.services import Services
from compose.console.shell import viewer_zone
from compose.console.store import AwayError
from compose.provision.visualisations import INDEX_PATTERN, TIME_FIELD

# The guide's request; the form's fields and choices come from the service's own description of itself.
EXAMPLE: dict[str, Any] = {
    "age": 30, "job": "admin", "marital": "single", "education": "secondary", "housing": "yes", "loan": "no",
    "duration": 200, "campaign": 2,
}  # fmt: skip
NOTHING_SENT = parts.notice("Nothing was sent yet.")
FEW = 4  # choices that are named under the field
WAIT_SECONDS = 60.0
LOOK_MILLISECONDS = 400


def layout(services: Services) -> Component:
    """Return the page; its fields are those that the service's OpenAPI document requires."""
    try:
        schema = services.request_schema()
    except AwayError as error:
        form: Component = parts.notice(f"The form is made from the service's own description: {error}", "bad")
    else:
        form = html.Div(
            [
                html.Div([field(name, schema["properties"][name]) for name in ordered(schema)], className="form"),
                html.Button("Predict", id="try-send", className="button primary", n_clicks=0),
            ]
        )
    return html.Div(
        [
            html.H1("Try it", className="page-title"),
            html.Div(
                [
                    parts.card("1. Request", html.P("POST /predict", className="hint"), form),
                    parts.card("2. Answer", html.Div(NOTHING_SENT, id="try-answer"), name="live"),
                ],
                className="grid two",
            ),
            parts.card(
                "3. Its log line",
                html.Div(parts.notice("It appears here once it went from the file through the shipper to the store."),
                         id="try-line", **{"aria-live": "polite"}),
            ),
            dcc.Store(id="try-sent"),
            dcc.Interval(id="try-tick", interval=LOOK_MILLISECONDS, disabled=True),
        ],
        className="try",
    )  # fmt: skip


def ordered(schema: dict[str, Any]) -> list[str]:
    """Return the required fields, in the guide's order where it names them."""
    required = list(schema.get("required", ()))
    return sorted(required, key=lambda name: list(EXAMPLE).index(name) if name in EXAMPLE else len(EXAMPLE))


def field(name: str, described: dict[str, Any]) -> Component:
    """Return one field of the form: text with the schema's choices to pick from, or a number with its limits.

    Not Dash's own Dropdown and RadioItems: axe finds hidden focus and wrong roles in them.
    """
    identity = {"type": "try", "field": name}
    hint = str(described.get("description", "")).replace("`", "")
    choices = [str(each) for each in described.get("enum", ())]
    chosen = EXAMPLE.get(name, choices[0] if choices else described.get("minimum"))
    title = html.Span(name, className="field-name")
    if choices:
        control = dcc.Input(id=identity, type="text", value=chosen, list=f"try-{name}", autoComplete="off")
        known = html.Datalist([html.Option(value=each) for each in choices], id=f"try-{name}")
        among = f"{hint}: {', '.join(choices)}" if len(choices) <= FEW else hint
        return html.Label([title, control, known, html.Span(among, className="hint")])
    low, high = described.get("minimum", 0), described.get("maximum", 0)
    step = 1 if described.get("type") == "integer" else "any"
    control = dcc.Input(id=identity, type="number", value=chosen, min=low, max=high, step=step)
    return html.Label([title, control, html.Span(f"{hint}, {low:,} to {high:,}", className="hint")])


def answer_view(status: int, body: dict[str, Any], seconds: float) -> Component:
    """Return the service's answer: the prediction in words, or what does not fit."""
    request_id = html.P(["request_id ", html.Code(str(body.get("request_id", "–")))])
    took = html.P(f"status {status}, {units.seconds_text(seconds)} from here", className="hint")
    if status == 200 and "prediction" in body:
        says = {0: "does not subscribe", 1: "subscribes"}.get(body["prediction"], str(body["prediction"]))
        sure = html.P(f"confidence {100 * float(body.get('confidence', 0)):.1f} %", className="hint")
        head: list[Component] = [html.P(says, className="panel-value stat"), sure]
    else:
        errors = [f"{each.get('field')}: {each.get('detail')}" for each in body.get("errors", [])]
        head = [
            parts.state("bad", "refused" if status < 500 else "failed", "✕"),
            html.P(str(body.get("detail", "no reason given"))),
            html.Ul([html.Li(error) for error in errors]),
        ]
    whole = html.Pre(msgspec.json.format(msgspec.json.encode(body), indent=2).decode(), tabIndex="0")
    return html.Div([*head, request_id, took, html.Details([html.Summary("whole answer"), whole])])


def callbacks(app: Dash, asked: Parts) -> None:
    """Register the page's callbacks: send, then look for the line until it is there."""

    @app.callback(
        Output("try-answer", "children"),
        Output("try-sent", "data"),
        Output("try-line", "children"),
        Output("try-tick", "disabled"),
        Input("try-send", "n_clicks"),
        State({"type": "try", "field": ALL}, "value"),
        State({"type": "try", "field": ALL}, "id"),
        prevent_initial_call=True,
    )
    def send(clicks: int, values: list[Any], ids: list[dict[str, str]]) -> tuple[Any, ...]:
        if not clicks:
            return no_update, no_update, no_update, no_update
        request_id = str(uuid.uuid4())
        fields = {each["field"]: value for each, value in zip(ids, values, strict=True) if value is not None}
        at, began = time.time(), time.perf_counter()
        try:
            status, body = asked.services.predict(fields, request_id)
        except AwayError as error:
            return parts.notice(f"{error}", "bad"), None, parts.notice("Nothing was sent."), True
        answer = answer_view(status, body, time.perf_counter() - began)
        sent = {"id": body.get("request_id", request_id), "at": at}
        return answer, sent, parts.notice("Waiting for the line …"), False

    @app.callback(
        Output("try-line", "children", allow_duplicate=True),
        Output("try-tick", "disabled", allow_duplicate=True),
        Input("try-tick", "n_intervals"),
        State("try-sent", "data"),
        prevent_initial_call=True,
    )
    def look(_ticks: int, sent: dict[str, Any] | None) -> tuple[Any, ...]:
        if not sent:
            return no_update, True
        waited = time.time() - sent["at"]
        body = {"size": 5, "query": {"term": {"request_id": sent["id"]}}, "sort": [{TIME_FIELD: "asc"}]}
        try:
            hits = asked.store.search(INDEX_PATTERN, body)["hits"]["hits"]
        except AwayError as error:
            return parts.notice(f"{error}. The line waits in its file; looking on.", "bad"), waited > WAIT_SECONDS
        if hits:
            arrived = html.P(f"Found in the store {units.seconds_text(waited)} after the request.", className="hint")
            zone = viewer_zone()
            return [arrived, html.Ol([line(hit, zone, is_open=True) for hit in hits], className="log-lines")], True
        if waited > WAIT_SECONDS:
            text = f"Not in the store after {WAIT_SECONDS:.0f} s: see Pipeline for what holds it up."
            return parts.notice(text, "attention"), True
        return parts.notice(f"Waiting for the line … {waited:.0f} s"), False
