"""Model: scores on labels beside the hold-out's, confusion, calibration, drift, class mix, feedback."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from dash import Input, Output, html

from compose.console import figures, parts
from compose.console.first import FirstContent
from compose.console.history import NeedsPrometheusError
from compose.console.overview_data import Parts
from compose.console.own_panels import PANELS
from compose.console.pages.panels import panel_card
from compose.console.parts import Component
from compose.console.services import ServiceState
from compose.console.shell import viewer_zone
from compose.console.store import AwayError
from compose.console.timerange import parse_moment
from compose.console.verdict import ICON, Mood
from compose.provision.objectives import Objectives
from compose.wording import counted

SHOWN = (
    "class-mix", "feature-drift", "model-scores", "live-scores-by-version", "live-labels-by-version", "live-figures",
    "feedback-labels", "feedback-delay",
)  # fmt: skip
SCORES = (("accuracy", "Accuracy"), ("precision", "Precision"), ("recall", "Recall"), ("f1_score", "F1"))
Cells = dict[tuple[int, int], float]  # (predicted, actual) → labels


def layout() -> Component:
    """Return the page's frame."""
    return html.Div(
        [
            html.H1("Model", className="page-title"),
            html.Div(parts.notice("Asking the model service …"), id="model-about"),
            html.Div(
                [
                    parts.card(
                        "Calibration on the hold-out",
                        html.P("Of the rows that got this probability, how many did subscribe.", className="hint"),
                        parts.chart(
                            "calibration", "Calibration: observed share over predicted probability", height=240
                        ),
                        html.P("", id="calibration-notice", className="notice quiet"),
                    ),
                    html.Div(id="model-confusion"),
                    html.Div(id="model-drift"),
                ],
                className="grid model-middle",
            ),
            html.Div([panel_card(PANELS[key]) for key in SHOWN], className="grid three"),
        ],
        className="model",
    )


def rates(cells: Cells) -> dict[str, float]:
    """Return accuracy, precision, recall and F1 of a confusion matrix; NaN where nothing is divided."""
    tn, fp, fn, tp = cells.get((0, 0), 0), cells.get((1, 0), 0), cells.get((0, 1), 0), cells.get((1, 1), 0)

    def share(part: float, whole: float) -> float:
        return part / whole if whole else math.nan

    return {
        "accuracy": share(tn + tp, tn + fp + fn + tp),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "f1_score": share(2 * tp, 2 * tp + fp + fn),
    }


def scores_card(told: dict[str, Any], cells: Cells, aims: Objectives) -> Component:
    """Return the scores: from labels, estimated, from the hold-out with all and with the required fields.

    Args:
        told: what the model service says of its model; empty where it says nothing.
    """
    if not told:
        return parts.card("Scores", parts.notice("Not known: the model service tells none."), name="scores")
    held, labels = told.get("holdout") or {}, sum(cells.values())
    live, estimated = rates(cells), told.get("estimated") or {}
    whole, required = held.get("all") or {}, held.get("required") or {}

    def cell(value: float | None) -> str:
        return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"

    rows = [
        [title, cell(live[key]), cell(estimated.get(key)), cell(whole.get(key)), cell(required.get(key))]
        for key, title in SCORES
    ]
    rows.append(["ROC AUC", "–", "–", *(cell(each.get("roc_auc")) for each in (whole, required))])
    rows.append(["Always no", "–", "–", *(cell(each.get("baseline_accuracy")) for each in (whole, required))])
    headings = [
        "score",
        f"labels ({labels:,.0f})",
        "estimate",
        f"hold-out ({whole.get('rows', 0):,})",
        f"eight fields ({required.get('rows', 0):,})",
    ]
    shown = "labelled predictions" if told.get("scores_live") else "the hold-out"
    window = counted(told.get("labels") or 0, "label")
    note = (
        f"The gauge ml_model_accuracy shows {shown}: the window holds {window}, and "
        f"{aims.feedback_samples:,} are wanted. The estimate is what calibrated probabilities promise without labels. "
        "The labels of the table are those since the service started, as of the newest sample."
    )
    table = parts.table(headings, rows, empty="No scores.", label="Scores")
    return parts.card("Scores", table, html.P(note, className="hint after"), name="scores")


def about_card(service: ServiceState, now: float) -> Component:
    """Return which model answers."""
    told = service.told.get("model")
    if service.health == "away":
        return parts.card("The active model", parts.notice(f"The model service is away: {service.words}", "bad"))
    if not told:
        return parts.card("The active model", parts.notice("No model is loaded.", "bad"))
    drifted = told.get("drifted") or []
    mood: Mood = "attention" if drifted else "good"
    words = f"{counted(len(drifted), 'input')} drifted" if drifted else "no drift"
    off = str(told.get("drift", "on"))
    trained = told.get("trained_at")
    pairs: list[tuple[str, Component]] = [
        ("kind", told.get("type", "")),
        ("version", html.Code(str(told.get("version", "")))),
        ("trained", ["", parts.since(parse_moment(trained, now), now), " ago"] if trained else "not told"),
        ("data", told.get("data", "")),
        ("drift", parts.state(mood, words, ICON[mood]) if off == "on" else off),
    ]
    rows = [html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs]
    return parts.card("The active model", html.Dl(rows, className="facts"))


def confusion_card(cells: Cells, why: str) -> Component:
    """Return the confusion matrix of the labels."""
    title = "Confusion, from labels"
    if why:
        return parts.card(title, parts.notice(f"Not known: {why}", "attention"))
    total = sum(cells.values())
    if not total:
        text = "No labels have come back yet. POST /feedback with request_id and actual gives them."
        return parts.card(title, parts.notice(text))
    names = {0: "no", 1: "yes"}
    rows = [
        [
            html.Strong(f"predicted {names[predicted]}"),
            *(
                html.Span(
                    [f"{cells.get((predicted, actual), 0):,.0f}",
                     html.Span(f"{100 * cells.get((predicted, actual), 0) / total:.1f} %", className="hint")],
                    className="cell right" if predicted == actual else "cell wrong",
                )
                for actual in (0, 1)
            ),
        ]
        for predicted in (0, 1)
    ]  # fmt: skip
    table = parts.table(["labels", "was no", "was yes"], rows, empty="", label=title)
    return parts.card(
        title, table, html.P(f"{counted(total, 'label')} since the service started", className="hint after")
    )


def calibration_figure(bins: list[dict[str, float]], zone: Any) -> dict[str, Any]:
    """Return observed share over predicted probability, with the line on which they are equal."""
    layout = figures.layout(None, zone, unit=" %", height=240, legend=False)
    edges = [0, 25, 50, 75, 100]
    ticks = {"range": [-5, 105], "tickvals": edges, "ticktext": [f"{edge} %" for edge in edges], "fixedrange": True}
    layout["xaxis"] |= ticks  # a little wider than the figures: no marker is cut
    layout["yaxis"] |= ticks
    layout["hovermode"] = "closest"
    even = {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 100],
        "y": [0, 100],
        "hoverinfo": "skip",
        "line": {"dash": "dot", "width": 1.2, "color": figures.PALETTE[7]},
    }
    points = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [100 * each["predicted"] for each in bins],
        "y": [100 * each["observed"] for each in bins],
        "customdata": [each["count"] for each in bins],
        "marker": {"size": [min(18, 5 + math.log2(1 + each["count"])) for each in bins], "color": figures.PALETTE[0]},
        "line": {"width": 1.6, "color": figures.PALETTE[0]},
        "hovertemplate": "predicted %{x:.1f} %, observed %{y:.1f} %<br>%{customdata:,} rows<extra></extra>",
    }
    return {"data": [even, points], "layout": layout}


def drift_card(thresholds: list[tuple[str, float, float, float]], why: str, state: str = "on") -> Component:
    """Return each input's drift against its own threshold.

    Args:
        thresholds: input, PSI, threshold, samples.
        why: it is not known; empty: it is.
        state: `on`, or `off` with the reason.
    """
    title = "Drift by input"
    if why:
        return parts.card(title, parts.notice(f"Not known: {why}", "attention"))
    rows: list[list[Component]] = []
    for name, psi, threshold, samples in sorted(thresholds, key=lambda each: -each[1] / max(each[2], 1e-9)):
        ratio = psi / threshold if threshold else 0.0
        mood: Mood = "bad" if ratio > 2 else "attention" if ratio > 1 else "good"
        word = {"bad": "drifts", "attention": "begins", "good": "same"}[mood]
        rows.append([name, f"{psi:.3f}", f"{threshold:.3f}", f"{samples:,.0f}", parts.state(mood, word, ICON[mood])])
    few = "Not measured: fewer requests than the drift window needs have come."
    empty = few if state == "on" else f"Drift is {state}."
    table = parts.table(["input", "PSI", "threshold", "values", "state"], rows, empty=empty, label=title)
    return parts.card(title, table)


def callbacks(first: FirstContent, asked: Parts, aims: Objectives) -> None:
    """Register the page's callback."""

    def by_labels(expr: str, now: float, *names: str) -> dict[tuple[str, ...], float]:
        curves = asked.history.ask(lambda source: source.curves(expr, np.array([now])))
        return {
            tuple(curve.labels.get(name, "") for name in names): float(curve.values[-1])
            for curve in curves
            if curve.there[-1]
        }

    @first.callback(
        Output("model-about", "children"),
        Output({"type": "chart", "key": "calibration"}, "figure"),
        Output("calibration-notice", "children"),
        Output("model-confusion", "children"),
        Output("model-drift", "children"),
        Input("tick", "n_intervals"),
        Input("refresh", "n_clicks"),
    )
    def model(_ticks: int, _clicks: int) -> tuple[Any, ...]:
        now = time.time()
        service = asked.services.model()
        told = service.told.get("model") or {}
        cells: Cells = {}
        drifts: list[tuple[str, float, float, float]] = []
        why = ""
        try:
            found = by_labels("sum by (predicted, actual) (ml_feedback_total)", now, "predicted", "actual")
            cells = {(int(predicted), int(actual)): value for (predicted, actual), value in found.items()}
            psi, limits, samples = (
                by_labels(f"max by (feature) (ml_feature_psi{more})", now, "feature")
                for more in ("", "_threshold", "_samples")
            )
            drifts = [(key[0], psi[key], limits.get(key, 0.0), samples.get(key, 0.0)) for key in psi]
        except (AwayError, NeedsPrometheusError) as error:
            why = str(error)
        if not why and not cells and service.health == "away":
            why = "the model service is away, and no samples of it are in the store."
        bins = ((told.get("holdout") or {}).get("all") or {}).get("calibration") or []
        about = html.Div([about_card(service, now), scores_card(told, cells, aims)], className="grid model-top")
        notice = "" if bins else "The model service tells no calibration."
        figure = calibration_figure(bins, viewer_zone()) if bins else parts.empty_figure()
        return about, figure, notice, confusion_card(cells, why), drift_card(drifts, why, told.get("drift", "on"))
