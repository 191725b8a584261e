"""Overview: are the model, the service and the log pipeline well?"""

from __future__ import annotations

import time
from typing import Any

from dash import Input, Output, dcc, html

from compose.console import parts, units, verdict
from compose.console.alerting import State as AlertState
from compose.console.alerting import covered
from compose.console.first import FirstContent
from compose.console.overview_data import Parts, gather
from compose.console.own_panels import GUIDE
from compose.console.pages import runbook
from compose.console.pages.panels import panel_card
from compose.console.parts import Component
from compose.console.services import ServiceState
from compose.console.shell import viewer_zone
from compose.console.timerange import Zone, ago
from compose.provision.objectives import Objectives

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


def verdict_card(aspects: tuple[verdict.Aspect, ...], source: str, why: str, now: float, zone: Zone) -> Component:
    """Return the sentence on top and the three aspects under it.

    Args:
        source: where the figures come from.
        why: why that is not Prometheus; empty where it is.
    """
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
            html.P(
                [
                    "as of ",
                    parts.moment(now, zone),
                    f" {zone.abbreviation(now)} ",
                    html.Br(),
                    html.Span(f"figures: {source}", title=why),
                ],
                className="verdict-source",
            ),
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
    text = verdict.summary(first, verdict.joined(states))
    oldest = min(state.since or now for state in states)
    about = html.Span(
        [
            first.alert.name, " · for ", parts.since(oldest, now), " · ",
            dcc.Link("what to do", href=runbook.address(first.alert.name), className="more"),
        ],
        className="hint",
    )  # fmt: skip
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
    elif states and len(unknown) == len(states):
        return parts.card("Alerts", parts.notice(f"Alerts are not known: {unknown[0].why}.", "attention"))
    elif rows:
        children.append(html.Ul(rows, className="alerts"))
    else:
        children.append(parts.notice("No alert is firing or pending."))
    if unknown:
        names = ", ".join(sorted({state.alert.name for state in unknown}))
        children.append(html.P(f"Not evaluated without Prometheus: {names}.", className="hint"))
    firing = sum(state.phase == "firing" for state in shown)
    known = f"{firing} firing" if states else "not known"
    return parts.card("Alerts", *children, more=html.Span(known, className="hint"), name="alerts-card")


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


def lag_card(shipper: ServiceState, store: ServiceState, newest: float | None) -> Component:
    """Return how far the log lines are behind."""
    if shipper.health == "away":
        return parts.card("Log lag", parts.notice("The shipper does not answer, so its lag is not known.", "bad"))
    told = shipper.told
    absent = "not known" if store.health == "away" else "none"
    pairs = [
        ("oldest line waiting", units.seconds_text(float(told.get("lag_seconds") or 0))),
        ("bytes waiting", units.bytes_text(float(told.get("lag_bytes") or 0))),
        ("newest line in the store", absent if newest is None else f"{ago(newest)} old"),
        ("dead letters", f"{int(told.get('dead_letters') or 0):,}"),
    ]
    rows = [html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs]
    return parts.card("Log lag", html.Dl(rows, className="facts"))


def callbacks(first: FirstContent, asked: Parts, aims: Objectives) -> None:
    """Register the page's callbacks."""

    @first.callback(
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
            lag_card(facts.shipper, facts.store, facts.newest_line),
        ]
        source = asked.history.source().name
        return (
            verdict_card(aspects, source, asked.history.why, now, zone),
            [kpi_tile(kpi) for kpi in verdict.kpis(facts, aims)],
            below,
        )
