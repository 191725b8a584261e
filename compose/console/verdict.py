"""Whether model, service and log pipeline are well: pure judgement over what was asked, in one sentence."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from compose.console.alerting import State, covered
from compose.console.services import ServiceState
from compose.console.timerange import ago
from compose.console.units import seconds_text, value_text
from compose.provision.objectives import Objectives

Mood = Literal["good", "attention", "bad", "unknown"]
RANK: dict[Mood, int] = {"good": 0, "unknown": 1, "attention": 2, "bad": 3}
WORD: dict[Mood, str] = {"good": "Well", "attention": "Needs attention", "bad": "Unwell", "unknown": "Not known"}
ICON: dict[Mood, str] = {"good": "✓", "attention": "!", "bad": "✕", "unknown": "?"}
PIPELINE_JOBS = ("shipper", "store", "elasticsearch-exporter")


class Kpi(msgspec.Struct, frozen=True, kw_only=True):
    """One target and whether it is met.

    Attributes:
        met: None where there is no value.
        value, target: in words.
        note: what the value is of.
    """

    key: str
    title: str
    met: bool | None
    value: str
    target: str
    note: str = ""


class Aspect(msgspec.Struct, frozen=True, kw_only=True):
    """Model, service or log pipeline: how it is, and why in one sentence."""

    key: str
    title: str
    mood: Mood
    reason: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is judged; NaN and None where something is not known.

    Attributes:
        accuracy: share; live: whether it is from labels rather than the hold-out.
        p95: seconds; error_rate: share; per_minute: predictions; availability: share of the last hour.
        newest_line: seconds since the newest log line that the store holds.
        states: of all alerts; states_why: why there are none.
    """

    accuracy: float
    live: bool | None
    p95: float
    error_rate: float
    per_minute: float
    availability: float
    newest_line: float | None
    model_service: ServiceState
    shipper: ServiceState
    store: ServiceState
    states: list[State]
    states_why: str = ""


# They keep their capital within a sentence.
NAMES = ("Elasticsearch", "Prometheus", "Alertmanager", "Grafana", "Kibana")


def kpis(facts: Facts, aims: Objectives) -> tuple[Kpi, ...]:
    """Return the guide's five targets as met or not met."""

    def met(value: float, holds: bool) -> bool | None:
        return holds if math.isfinite(value) else None

    basis = {True: "live, from labels", False: "hold-out", None: ""}[facts.live]
    return (
        Kpi(
            key="accuracy",
            title="Accuracy",
            met=met(facts.accuracy, facts.accuracy >= aims.accuracy),
            value=value_text(facts.accuracy, "percentunit", 1),
            target=f"at least {aims.accuracy * 100:g} %",
            note=basis,
        ),
        Kpi(
            key="p95",
            title="p95 latency",
            met=met(facts.p95, facts.p95 < aims.latency),
            value=value_text(facts.p95, "s"),
            target=f"below {seconds_text(aims.latency)}",
            note="last 5 minutes",
        ),
        Kpi(
            key="errors",
            title="Error rate",
            met=met(facts.error_rate, facts.error_rate < aims.error_rate_warning),
            value=value_text(facts.error_rate, "percentunit", 1),
            target=f"below {aims.error_rate_warning * 100:g} %",
            note="last 5 minutes",
        ),
        Kpi(
            key="volume",
            title="Requests per minute",
            met=met(facts.per_minute, facts.per_minute > aims.predictions_per_minute),
            value=value_text(facts.per_minute, "none", 0 if facts.per_minute >= 10 else 1),
            target=f"more than {aims.predictions_per_minute:g}",
            note="last 5 minutes",
        ),
        Kpi(
            key="availability",
            title="Availability",
            met=met(facts.availability, facts.availability > aims.availability),
            value=value_text(facts.availability, "percentunit", 3),
            target=f"more than {aims.availability * 100:g} %",
            note="last hour",
        ),
    )


def aspect_of(state: State) -> str:
    """Return which aspect an alert speaks of."""
    name, job = state.alert.name, state.labels.get("job", "")
    if name in ("ModelAccuracyLow", "ModelNotLoaded", "FeatureDrift", "FeedbackTooThin", "FeedbackNotKept"):
        return "model"
    if name.startswith(("Shipper", "Log", "Prometheus", "Alertmanager")) or job in PIPELINE_JOBS:
        return "pipeline"
    return "service"


def aspects(facts: Facts, aims: Objectives) -> tuple[Aspect, Aspect, Aspect]:
    """Return how model, service and log pipeline are, each with the most serious reason."""
    found: dict[str, list[tuple[Mood, str]]] = {"model": [], "service": [], "pipeline": []}
    # Of two reasons that are as grave the first one is told: what was just asked, then the alerts.
    _model(facts, aims, found["model"])
    _service(facts, aims, found["service"])
    _pipeline(facts, aims, found["pipeline"])
    firing: dict[tuple[str, str], list[State]] = {}
    for state in covered(facts.states):
        if state.phase == "firing":
            firing.setdefault((state.alert.key, aspect_of(state)), []).append(state)
    for (_, key), states in firing.items():
        mood: Mood = "bad" if states[0].alert.severity == "critical" else "attention"
        text = summary(states[0], joined(states))
        found[key].append((mood, text if text.startswith(NAMES) else text[:1].lower() + text[1:]))
    titles = {"model": "Model", "service": "Service", "pipeline": "Log pipeline"}
    made = []
    for key, reasons in found.items():
        mood, reason = max(reasons, key=lambda each: RANK[each[0]])
        made.append(Aspect(key=key, title=titles[key], mood=mood, reason=reason))
    return made[0], made[1], made[2]


def _model(facts: Facts, aims: Objectives, found: list[tuple[Mood, str]]) -> None:
    if math.isnan(facts.accuracy):
        away = facts.model_service.health == "away"
        known = f"its figures cannot be had: {_source_away(facts)}" if facts.states_why else "nothing was measured yet"
        found.append(("unknown", "its service does not answer" if away else known))
        return
    text = f"accuracy {value_text(facts.accuracy, 'percentunit', 1)}"
    text += {True: " on labelled predictions", False: " on the hold-out", None: ""}[facts.live]
    if facts.accuracy < aims.accuracy_critical:
        found.append(("bad", f"{text}, below {aims.accuracy_critical * 100:g} %"))
    elif facts.accuracy < aims.accuracy:
        found.append(("attention", f"{text}, below {aims.accuracy * 100:g} %"))
    else:
        found.append(("good", text))


def _source_away(facts: Facts) -> str:
    """Return in short why the figures cannot be had; the Alerts box has the whole reason."""
    return "the store is away" if facts.store.health == "away" else "their source is away"


def _service(facts: Facts, aims: Objectives, found: list[tuple[Mood, str]]) -> None:
    if facts.model_service.health == "away":
        found.append(("bad", "it does not answer"))
        return
    if facts.model_service.health == "not ready":
        found.append(("bad", f"it is not ready: {facts.model_service.words}"))
        return
    if facts.error_rate > aims.error_rate:
        found.append(("bad", f"{value_text(facts.error_rate, 'percentunit', 1)} of the requests fail"))
    elif facts.error_rate > aims.error_rate_warning:
        found.append(("attention", f"{value_text(facts.error_rate, 'percentunit', 1)} of the requests fail"))
    if facts.p95 > aims.latency_critical:
        found.append(("bad", f"p95 latency is {seconds_text(facts.p95)}"))
    elif facts.p95 > aims.latency:
        found.append(("attention", f"p95 latency is {seconds_text(facts.p95)}"))
    if math.isnan(facts.per_minute) and math.isnan(facts.error_rate):
        known = "its figures cannot be had" if facts.states_why else "no figures have been sampled yet"
        found.append(("unknown", f"it answers, but {known}"))
    elif not facts.per_minute:
        found.append(("good", "it answers; no requests in the last 5 minutes"))
    else:
        failing = value_text(facts.error_rate, "percentunit", 1)
        found.append(("good", f"it answers in {seconds_text(facts.p95)} (p95), {failing} of the requests fail"))


def _pipeline(facts: Facts, aims: Objectives, found: list[tuple[Mood, str]]) -> None:
    if facts.store.health == "away":
        found.append(("bad", "the store does not answer; lines wait in the log files"))
    elif facts.store.health == "not ready":
        found.append(("bad", f"the store is unwell: {facts.store.words}"))
    if facts.shipper.health == "away":
        found.append(("bad", "the shipper does not answer"))
        return
    if facts.shipper.health == "not ready":
        found.append(("bad", f"the shipper waits: {facts.shipper.words}"))
    lag = float(facts.shipper.told.get("lag_seconds") or 0.0)
    if lag > aims.lag:
        found.append(("bad" if lag > aims.lag_critical else "attention", f"lines arrive {ago(lag)} late"))
    if facts.newest_line is None and facts.store.health == "away":
        return  # said above
    if facts.newest_line is None:
        found.append(("unknown", "no log line has arrived in the last 31 days"))
    else:
        found.append(("good", f"the newest line is {ago(facts.newest_line)} old, nothing waits" if not lag
                      else f"the newest line is {ago(facts.newest_line)} old, lag {seconds_text(lag)}"))  # fmt: skip


def joined(states: list[State]) -> dict[str, str]:
    """Return the labels in which several states of one alert differ, their values in a row."""
    first = states[0].labels
    varying = [name for name in first if len({state.labels.get(name) for state in states}) > 1]
    return {name: ", ".join(dict.fromkeys(state.labels.get(name, "") for state in states)) for name in varying}


def summary(state: State, labels: dict[str, str] | None = None) -> str:
    """Return an alert's one line with its labels, or others that stand for several of its states, filled in."""
    text = state.alert.summary
    for name, value in (state.labels | (labels or {})).items():
        text = text.replace("{{ $labels." + name + " }}", value)
    return text


def sentence(found: tuple[Aspect, ...]) -> tuple[Mood, str]:
    """Return the verdict: the worst mood, and one sentence that names what is not well first."""
    worst = max((aspect.mood for aspect in found), key=lambda mood: RANK[mood])
    if worst == "good":
        return worst, "All is well: the model is good, the service answers and logs arrive."
    troubled = [aspect for aspect in found if aspect.mood != "good"]
    troubled.sort(key=lambda aspect: -RANK[aspect.mood])
    first = troubled[0]
    words = {"bad": "is unwell", "attention": "needs attention", "unknown": "cannot be judged"}
    text = f"The {first.title.lower()} {words[first.mood]}: {first.reason}."
    alike: dict[str, list[str]] = {}
    for aspect in troubled[1:]:
        alike.setdefault(aspect.mood, []).append(aspect.title.lower())
    many = {"bad": "are unwell", "attention": "need attention", "unknown": "cannot be judged"}
    others = [
        f"{' and the '.join(titles)} {many[mood] if len(titles) > 1 else words[mood]}" for mood, titles in alike.items()
    ]
    well = [aspect.title.lower() for aspect in found if aspect.mood == "good"]
    if others:
        text += f" Also: the {' and the '.join(others)}."
    if well:
        text += f" The {' and the '.join(well)} {'are' if len(well) > 1 else 'is'} well."
    return worst, text
