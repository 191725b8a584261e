"""The state of each alert: inactive, pending or firing, from Prometheus or by evaluating the same condition here."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
import numpy as np

from compose.console.definitions import watched
from compose.console.evaluation import Curve, merged
from compose.console.history import History, NeedsPrometheusError, PrometheusHistory, SampleHistory
from compose.console.samples import Floats
from compose.provision.alerts import Alert
from compose.provision.prometheus import seconds

TICK = 15.0
STALE = 300.0  # seconds
Phase = Literal["inactive", "pending", "firing", "unknown"]
ORDER = {"firing": 0, "pending": 1, "unknown": 2, "inactive": 3}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One alert as it is now.

    Attributes:
        since: when its condition began to hold, seconds since 1970; None while inactive.
        labels: of the series for which it holds, without what Prometheus adds.
        value: of that series.
        why: where the phase is unknown, why.
    """

    alert: Alert
    phase: Phase
    since: float | None = None
    labels: dict[str, str] = {}
    value: float | None = None
    why: str = ""


def phases(alert: Alert, curves: list[Curve], times: Floats) -> list[State]:
    """Return the states that a condition has at the last moment.

    Args:
        curves: the condition's series over the moments of evaluation.
        times: those moments, ascending, reaching back at least as far as the alert's `hold`.
    """
    hold = seconds(alert.hold)
    result = []
    for curve in merged(curves, named=False):
        if not curve.there[-1]:
            continue
        quiet = np.flatnonzero(~curve.there)
        first = int(quiet[-1]) + 1 if len(quiet) else 0
        since = float(times[first])
        phase: Phase = "firing" if float(times[-1]) - since >= hold else "pending"
        result.append(State(alert=alert, phase=phase, since=since, labels=curve.labels, value=float(curve.values[-1])))
    return result or [State(alert=alert, phase="inactive")]


def evaluated(alert: Alert, history: SampleHistory | PrometheusHistory, now: float) -> list[State]:
    """Return the states of one alert by evaluating its condition, first now, and back in time only where it holds.

    Raises:
        AwayError: the source is away.
    """
    end = TICK * np.floor(now / TICK)
    try:
        current = history.curves(alert.expr, np.array([end]))
        if not any(curve.there[-1] for curve in current):
            return [State(alert=alert, phase="inactive")]
        back = int(np.ceil(seconds(alert.hold) / TICK)) + 1
        times = end - TICK * np.arange(back, -1, -1)
        return phases(alert, history.curves(alert.expr, times), times)
    except NeedsPrometheusError as error:
        return [State(alert=alert, phase="unknown", why=str(error))]


def states(history: History, now: float) -> list[State]:
    """Return the state of every alert, firing first.

    Raises:
        AwayError: the source is away.
    """
    found = history.ask(lambda source: _asked(source, now))
    severity = {"critical": 0, "warning": 1, "info": 2, "none": 3}
    return sorted(found, key=lambda s: (ORDER[s.phase], severity[s.alert.severity], s.alert.name))


def _asked(source: SampleHistory | PrometheusHistory, now: float) -> list[State]:
    if isinstance(source, PrometheusHistory) and {alert.name for alert in watched()} <= source.rules():
        return told(source)
    if isinstance(source, SampleHistory) and _is_stale(source):
        # Without samples `absent` would hold, and everything else be quiet: neither is knowledge.
        why = "no samples of the last five minutes are in the store"
        return [State(alert=alert, phase="unknown", why=why) for alert in watched()]
    return [state for alert in watched() for state in evaluated(alert, source, now)]


def _is_stale(source: SampleHistory) -> bool:
    age = source.age()
    return age is None or age > STALE


def told(source: PrometheusHistory) -> list[State]:
    """Return the states that Prometheus itself tells.

    Raises:
        AwayError: it is away.
    """
    by_key = {alert.key: alert for alert in watched()}
    found = []
    for each in source.alerts():
        labels = dict(each["labels"])
        alert = by_key.get(f"{labels.pop('alertname')}/{labels.pop('severity', '')}")
        if alert is None:  # another one's rule
            continue
        since = datetime.fromisoformat(each["activeAt"]).timestamp()
        phase: Phase = "firing" if each["state"] == "firing" else "pending"
        found.append(State(alert=alert, phase=phase, since=since, labels=labels, value=float(each["value"])))
    active = {state.alert.key for state in found}
    return found + [State(alert=alert, phase="inactive") for key, alert in by_key.items() if key not in active]


def covered(now_states: list[State]) -> list[State]:
    """Return what a person should see: a warning is left out while the same name is critical, as Alertmanager does."""
    critical = {s.alert.name for s in now_states if s.phase == "firing" and s.alert.severity == "critical"}
    return [
        s
        for s in now_states
        if s.phase in ("firing", "pending")
        and s.alert.severity != "none"
        and not (s.alert.severity == "warning" and s.alert.name in critical)
    ]
