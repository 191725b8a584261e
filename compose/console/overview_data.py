"""Gathers what the Overview judges: the targets' figures, the alerts, the services, the newest log line."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec
import numpy as np

from compose.console import alerting
from compose.console.history import History, NeedsPrometheusError, PrometheusHistory, SampleHistory
from compose.console.own_panels import PANELS
from compose.console.services import Services
from compose.console.store import AwayError, Store
from compose.console.timerange import moment_of
from compose.console.verdict import Facts
from compose.provision.visualisations import INDEX_PATTERN

# The panels' own queries where there is one; the volume over five minutes, since one minute jumps.
FIGURES = {
    "accuracy": PANELS["model-accuracy"].queries[0].expr,
    "live": PANELS["live-figures"].queries[0].expr,
    "error_rate": f"({PANELS['error-rate'].queries[0].expr}) / 100",
    "availability": PANELS["availability"].queries[0].expr,
    "p95": "ml:predict_duration_seconds:p95_5m",
    "per_minute": "sum(rate(ml_predictions_total[5m])) * 60",
}


class Parts(msgspec.Struct, frozen=True):
    """What every page asks."""

    store: Store
    history: History
    services: Services


def figure(source: PrometheusHistory | SampleHistory, expr: str, now: float) -> float:
    """Return the newest value of an expression; NaN where there is none.

    Raises:
        AwayError: the source is away.
    """
    try:
        curves = source.curves(expr, np.array([now]))
    except NeedsPrometheusError:
        return math.nan
    values = [float(curve.values[-1]) for curve in curves if curve.there[-1]]
    return values[0] if values else math.nan


def newest_line(store: Store, now: float) -> float | None:
    """Return how many seconds old the newest log line in the store is; None where there is none.

    Raises:
        AwayError: the store is away.
    """
    body: dict[str, Any] = {"size": 1, "sort": [{"@timestamp": "desc"}], "_source": ["@timestamp"],
                            "track_total_hits": False}  # fmt: skip
    # The last hour first: a search over everything reads everything.
    for since in ("now-1h", "now-31d"):
        hits = store.search(INDEX_PATTERN, body | {"query": {"range": {"@timestamp": {"gte": since}}}})["hits"]["hits"]
        if hits:
            at = moment_of(hits[0]["_source"].get("@timestamp"))
            return None if at is None else max(0.0, now - at)
    return None


def gather(parts: Parts, now: float | None = None) -> Facts:
    """Return what is known; what cannot be had is NaN or None, and never an error."""
    moment = time.time() if now is None else now
    asked = parts.services.ask()  # they answer while the figures are computed
    values = dict.fromkeys(FIGURES, math.nan)
    states: list[alerting.State] = []
    why = ""
    try:
        values = parts.history.ask(
            lambda source: {name: figure(source, expr, moment) for name, expr in FIGURES.items()}
        )
        states = alerting.states(parts.history, moment)
    except AwayError as error:
        why = str(error)
    app, shipper, store = (each.result() for each in asked)
    newest = None
    if store.health != "away":
        try:
            newest = newest_line(parts.store, moment)
        except AwayError as error:
            why = why or str(error)
    return Facts(
        accuracy=values["accuracy"],
        live=None if math.isnan(values["live"]) else bool(values["live"]),
        p95=values["p95"],
        error_rate=values["error_rate"],
        per_minute=values["per_minute"],
        availability=values["availability"],
        newest_line=newest,
        model_service=app,
        shipper=shipper,
        store=store,
        states=states,
        states_why=why,
    )
