"""Overview: are the model, the service and the log pipeline well?"""

from __future__ import annotations

import time
from typing import Any

from dash import ALL, Dash, Input, Output, State, dcc, html

from compose.console import panel_data, parts, units, verdict
from compose.console.alerting import State as AlertState
from compose.console.alerting import covered
from compose.console.log_search import query_string
from compose.console.overview_data import GUIDE, PANELS, Parts, gather
from compose.console.parts import Component
from compose.console.services import ServiceState
from compose.console.shell import viewer_zone
from compose.console.timerange import RangeError, TimeRange, Zone, parse_range
from compose.provision.objectives import Objectives
from compose.provision.panels import Panel

PAGE_LINK = {"model": "/model", "service": "/dashboard", "pipeline": "/pipeline"}
HEALTH_MOOD = {"ready": ("good", "✓"), "not ready": ("attention", "!"), "away": ("bad", "✕")}


def layout() -> Component:
    """Return the page's frame."""
    return html.Div(
        [
            html.H1("Overview", className="unseen"),
            html.Div(parts.notice("Asking model, service and log pipeline …"), id="overview-verdict"),
            html.Div(id="overview-kpis", className="kpis", role="list", **{"aria-label": "Targets"}),
            html.Div([panel_card(panel) for panel in GUIDE], className="grid three"),
            html.Div(id="overview-below", className="grid below"),
        ],
        className="overview",
    )


def panel_card(panel: Panel) -> Component:
    """Return the box of one panel; a callback fills value, chart and notice."""
    height = 110 if panel.kind == "stat" else 190
    unit = units.scale_text(panel)
    link = None
    if panel.logs is not None:
        link = dcc.Link(
            "log lines", href="/logs?q=" + query_string(panel.logs), id={"type": "panel-logs", "key": panel.key},
            className="more",
        )  # fmt: skip
    value = html.P("", id={"type": "panel-value", "key": panel.key}, className="panel-value")
    return parts.card(
        panel.title,
        html.P([panel.description], className="panel-note"),
        value,
        html.P("Loading …", id={"type": "panel-notice", "key": panel.key}, className="notice quiet"),
        parts.chart(
            panel.key,
            f"{panel.title}: chart over the time range" + (f", {unit}" if unit else ""),
            height=height,
            kind="panel",
        ),
        more=link,
        name=f"panel {panel.kind}",
    )


def panel_outputs(
    found: dict[str, panel_data.Drawn], keys: list[str]
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Return what fills the boxes of panels: figures, values, their classes, notices."""
    figures = [found[key].figure or parts.empty_figure() for key in keys]
    values, classes, notices = [], [], []
    for key in keys:
        panel, drawn = PANELS[key], found[key]
        stat = panel.kind == "stat"
        shown = drawn.value if drawn.figure is not None and panel.kind != "piechart" else ""
        unit = units.scale_text(panel)
        extra = f" {unit}" if shown and not stat and unit == "per minute" else ""
        shown = shown.removesuffix(" /s") if extra else shown
        values.append(html.Span([html.Strong(shown), extra]) if shown else "")
        classes.append(f"panel-value {'stat' if stat else 'small'} {drawn.colour}")
        notices.append(drawn.notice)
    return figures, values, classes, notices


def link_panels(figures: list[Any], keys: list[str], spread: TimeRange) -> None:
    """Leave in each chart which log lines lie behind a point, for the click that leads there."""
    for key, figure in zip(keys, figures, strict=True):
        logs = PANELS[key].logs
        if logs is not None and figure["data"]:
            around = max(60.0, spread.span / 60)
            figure["layout"]["meta"] = {"logs": query_string(logs), "around": around}


def verdict_card(aspects: tuple[verdict.Aspect, ...], source: str, now: float, zone: Zone) -> Component:
    """Return the sentence on top and the three aspects under it."""
    mood, sentence = verdict.sentence(aspects)
    top = html.Div(
        [
            html.Span(verdict.ICON[mood], className="verdict-icon", **{"aria-hidden": "true"}),
            html.Div(
                [
                    html.P(verdict.WORD[mood], className="verdict-word"),
                    html.P(sentence, className="verdict-sentence", id="verdict"),
                ]
            ),
            html.P(["as of ", parts.moment(now, zone), html.Br(), f"figures: {source}"], className="verdict-source"),
        ],
        className="verdict-top",
    )
    rows = [
        html.Li(
            dcc.Link(
                [
                    html.Span(aspect.title, className="aspect-title"),
                    parts.state(aspect.mood, verdict.WORD[aspect.mood], verdict.ICON[aspect.mood]),
                    html.Span(aspect.reason, className="aspect-reason"),
                ],
                href=PAGE_LINK[aspect.key],
            ),
            className=f"aspect {aspect.mood}",
        )
        for aspect in aspects
    ]
    return html.Section(
        [top, html.Ul(rows, className="aspects")], className=f"verdict {mood}", **{"aria-label": "Verdict"}
    )


def kpi_tile(kpi: verdict.Kpi) -> Component:
    """Return one target's tile."""
    mood, word, icon = {
        True: ("good", "met", "✓"),
        False: ("bad", "not met", "✕"),
        None: ("unknown", "no data", "?"),
    }[kpi.met]
    value = "–" if kpi.met is None else kpi.value
    return html.Div(
        [
            html.P(kpi.title, className="kpi-title"),
            html.P(value, className="kpi-value"),
            parts.state(mood, word, icon),
            html.P([kpi.target, f" · {kpi.note}" if kpi.note else ""], className="kpi-target"),
        ],
        className=f"kpi {mood}",
        role="listitem",
    )


def grouped(states: list[AlertState]) -> list[list[AlertState]]:
    """Return the states in groups of one alert and phase; a pending warning goes where a graver one says the same."""
    groups: dict[tuple[str, str, str], list[AlertState]] = {}
    graver = {(s.alert.name, s.phase, tuple(s.labels.items())) for s in states if s.alert.severity == "critical"}
    for state in states:
        if state.alert.severity == "warning" and (state.alert.name, state.phase, tuple(state.labels.items())) in graver:
            continue
        groups.setdefault((state.alert.name, state.phase, state.alert.severity), []).append(state)
    return list(groups.values())


def alert_row(states: list[AlertState], now: float) -> Component:
    """Return one line of the alerts: what, for which series, since when."""
    first = states[0]
    mood = {"critical": "bad", "warning": "attention"}.get(first.alert.severity, "unknown")
    firing = first.phase == "firing"
    icon = ("✕" if mood == "bad" else "!") if firing else "…"
    text = verdict.summary(first)
    if len(states) > 1:
        varying = sorted(name for name in first.labels if len({s.labels.get(name) for s in states}) > 1)
        joined = {name: ", ".join(dict.fromkeys(state.labels.get(name, "") for state in states)) for name in varying}
        text = verdict.summary(first, joined)
    oldest = min(state.since or now for state in states)
    about = html.Span([first.alert.name, " · for ", parts.since(oldest, now)], className="hint")
    word = f"{first.phase}, {first.alert.severity}"
    return html.Li(
        [parts.state(mood if firing else "unknown", word, icon), html.Div([html.Strong(text), about])],
        className=first.phase,
    )


def alerts_card(states: list[AlertState], why: str, now: float) -> Component:
    """Return the firing and pending alerts."""
    shown = covered(states)
    unknown = [state for state in states if state.phase == "unknown"]
    rows = [alert_row(group, now) for group in grouped(shown)]
    children: list[Component] = []
    if why and not states:
        children.append(parts.notice(f"Alerts are not known: {why}", "attention"))
    elif rows:
        children.append(html.Ul(rows, className="alerts"))
    else:
        children.append(parts.notice("No alert is firing or pending."))
    if unknown:
        names = ", ".join(sorted({state.alert.name for state in unknown}))
        children.append(html.P(f"Not evaluated without Prometheus: {names}.", className="hint"))
    firing = sum(state.phase == "firing" for state in shown)
    return parts.card("Alerts", *children, more=html.Span(f"{firing} firing", className="hint"), name="alerts-card")


def services_card(found: tuple[ServiceState, ...]) -> Component:
    """Return how each service is, in its own words."""
    rows = [
        html.Li(
            [
                parts.state(HEALTH_MOOD[each.health][0], each.health, HEALTH_MOOD[each.health][1]),
                html.Div([html.Strong(each.name), html.Span(each.words, className="hint")]),
            ]
        )
        for each in found
    ]
    return parts.card("Services", html.Ul(rows, className="alerts"))


def lag_card(shipper: ServiceState, newest: float | None) -> Component:
    """Return how far the log lines are behind."""
    if shipper.health == "away":
        return parts.card("Log lag", parts.notice("The shipper does not answer, so its lag is not known.", "bad"))
    told = shipper.told
    pairs = [
        ("oldest line waiting", units.seconds_text(float(told.get("lag_seconds") or 0))),
        ("bytes waiting", units.bytes_text(float(told.get("lag_bytes") or 0))),
        ("newest line in the store", "none" if newest is None else f"{units.seconds_text(newest)} old"),
        ("dead letters", f"{int(told.get('dead_letters') or 0):,}"),
    ]
    rows = [html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs]
    return parts.card("Log lag", html.Dl(rows, className="facts"))


def callbacks(app: Dash, asked: Parts, aims: Objectives) -> None:
    """Register the page's callbacks."""

    @app.callback(
        Output("overview-verdict", "children"),
        Output("overview-kpis", "children"),
        Output("overview-below", "children"),
        Input("tick", "n_intervals"),
        Input("refresh", "n_clicks"),
    )
    def judge(_ticks: int, _clicks: int) -> tuple[Any, ...]:
        now, zone = time.time(), viewer_zone()
        facts = gather(asked, now)
        aspects = verdict.aspects(facts, aims)
        below = [
            alerts_card(facts.states, facts.states_why, now),
            services_card((facts.model_service, facts.shipper, facts.store)),
            lag_card(facts.shipper, facts.newest_line),
        ]
        source = asked.history.source().name
        return (
            verdict_card(aspects, source, now, zone),
            [kpi_tile(kpi) for kpi in verdict.kpis(facts, aims)],
            below,
        )

    @app.callback(
        Output({"type": "panel", "key": ALL}, "figure"),
        Output({"type": "panel-value", "key": ALL}, "children"),
        Output({"type": "panel-value", "key": ALL}, "className"),
        Output({"type": "panel-notice", "key": ALL}, "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
        Input("refresh", "n_clicks"),
        State({"type": "panel-value", "key": ALL}, "id"),
    )
    def draw(search: str, _ticks: int, _clicks: int, ids: list[dict[str, str]]) -> tuple[list[Any], ...]:
        from compose.console.address import parameters

        keys = [each["key"] for each in ids]
        zone = viewer_zone()
        try:
            spread = parse_range(parameters(search), time.time())
        except RangeError as error:
            found = {key: panel_data.Drawn(notice=f"Time range: {error}.") for key in keys}
            return panel_outputs(found, keys)
        source = asked.history.source()
        found = {key: panel_data.drawn(PANELS[key], source, spread, zone) for key in keys}
        shown = panel_outputs(found, keys)
        link_panels(shown[0], keys, spread)
        return shown
