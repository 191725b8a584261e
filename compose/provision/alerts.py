"""Recording rules and alerts as plain data; Prometheus, Grafana, the console and the runbook read them from here."""

from __future__ import annotations

from typing import Literal

import msgspec

from compose.provision.objectives import Objectives

Severity = Literal["warning", "critical", "info", "none"]
RUNBOOK = "docs/runbook.md"


class Recording(msgspec.Struct, frozen=True):
    """A rule that keeps the value of `expr` as series `record`."""

    record: str
    expr: str


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert.

    Attributes:
        name: in CamelCase; the runbook has a heading of the same name. A name may come twice, with two severities.
        severity: `critical` silences `warning` of the same name.
        expr: PromQL that has a result while the condition holds.
        hold: how long it has to hold first, as Prometheus writes durations.
        keep: how long it goes on firing once its condition holds no more, so that a scrape that was missed does not
            resolve it. (Prometheus 2.42 or later.)
        summary: one line.
        description: what it means, with `{{ $value }}` where that helps.
        guide: one of the guide's own.
    """

    name: str
    severity: Severity
    expr: str
    hold: str
    summary: str
    description: str
    guide: bool = False
    keep: str = "2m"

    @property
    def key(self) -> str:
        """Name and severity: unique."""
        return f"{self.name}/{self.severity}"

    def runbook(self, page: str = "") -> str:
        """Return where it says what to do about it.

        Args:
            page: address of the runbook; empty: its path in the sources.
        """
        return f"{page or RUNBOOK}#{self.name.lower()}"


class Group(msgspec.Struct, frozen=True):
    """Rules that are evaluated together."""

    name: str
    interval: str
    recordings: tuple[Recording, ...]
    alerts: tuple[Alert, ...]


def groups(objectives: Objectives | None = None) -> tuple[Group, ...]:
    """Return every recording rule and alert in the order of evaluation."""
    from compose.provision import alerts_model, alerts_objectives, alerts_stack

    aims = objectives or Objectives()
    return (
        Group("ml-objectives", "15s", alerts_objectives.recordings(aims), alerts_objectives.alerts(aims)),
        Group("ml-model", "15s", (), alerts_model.alerts(aims)),
        Group("ml-stack", "15s", (), alerts_stack.alerts(aims)),
    )


def alerts(objectives: Objectives | None = None) -> tuple[Alert, ...]:
    """Return every alert."""
    return tuple(alert for group in groups(objectives) for alert in group.alerts)


def grown(counter: str, by: float = 0) -> str:
    """Return the condition that a counter grew by more than `by` in a quarter of an hour.

    `increase` needs a sample from before: a counter that stands above nothing at its very first scrape, because the
    part counted before anybody looked, would never be told.
    """
    return f"increase({counter}[15m]) > {number(by)} or {counter} > {number(by)} unless {counter} offset 15m"


def number(value: float) -> str:
    """Return a number as PromQL has it, without a needless `.0` or an exponent."""
    return f"{value:.10f}".rstrip("0").rstrip(".")
