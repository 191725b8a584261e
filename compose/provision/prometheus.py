"""Prometheus's files: prometheus.yml for Docker and for one machine, and the rules."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from compose.provision.alerts import Group, groups
from compose.provision.objectives import Objectives
from compose.provision.yaml_text import yaml_text

SCRAPE_INTERVAL = "15s"
RULES_FILE = "rules.yml"
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Target(msgspec.Struct, frozen=True):
    """What is scraped: job (named as its part of the stack is), `host:port`, path."""

    job: str
    address: str
    path: str = "/metrics"


DOCKER_TARGETS = (
    Target("app", "app:5000"),
    Target("shipper", "shipper:9108"),
    Target("elasticsearch-exporter", "elasticsearch-exporter:9114"),
    Target("prometheus", "localhost:9090"),
    Target("alertmanager", "alertmanager:9093"),
    Target("grafana", "grafana:3000"),
)


def local_targets(
    *, app: int, shipper: int, store: int, prometheus: int, alertmanager: int | None
) -> tuple[Target, ...]:
    """Return the targets on this machine, each by its port on 127.0.0.1."""
    targets = [
        Target("app", f"127.0.0.1:{app}"),
        Target("shipper", f"127.0.0.1:{shipper}"),
        Target("store", f"127.0.0.1:{store}", "/_embedded/metrics"),
        Target("prometheus", f"127.0.0.1:{prometheus}"),
    ]
    if alertmanager is not None:
        targets.append(Target("alertmanager", f"127.0.0.1:{alertmanager}"))
    return tuple(targets)


def configuration(
    targets: tuple[Target, ...], alertmanager: str | None, *, interval: str = SCRAPE_INTERVAL, stack: str = "docker"
) -> str:
    """Return prometheus.yml.

    Args:
        targets: what is scraped.
        alertmanager: `host:port`, None for none.
        interval: between two scrapes and between two evaluations.
        stack: value of the external label that tells two Prometheus apart.
    """
    content: dict[str, Any] = {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval if seconds(interval) < 10 else "10s",
            "evaluation_interval": interval,
            "external_labels": {"stack": stack},
        },
        "rule_files": [RULES_FILE],
    }
    if alertmanager is not None:
        content["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    content["scrape_configs"] = [
        {"job_name": target.job}
        | ({"metrics_path": target.path} if target.path != "/metrics" else {})
        | {"static_configs": [{"targets": [target.address]}]}
        for target in targets
    ]
    return yaml_text(content)


def rules(objectives: Objectives | None = None, *, compressed: float = 1, runbook: str = "") -> str:
    """Return the rules file.

    Args:
        objectives: the numbers; None for the defaults.
        compressed: how many times shorter `for`, `keep_firing_for` and the intervals are: only for tests that cannot
            wait for minutes.
        runbook: address of the page that the alerts point to; empty: its path in the sources.
    """
    return yaml_text({"groups": [_group(group, compressed, runbook) for group in groups(objectives)]})


def _group(group: Group, compressed: float, runbook: str) -> dict[str, Any]:
    recorded = [{"record": rule.record, "expr": rule.expr} for rule in group.recordings]
    raised = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": shorter(alert.hold, compressed),
            **({} if alert.keep == "0s" else {"keep_firing_for": shorter(alert.keep, compressed)}),
            "labels": {"severity": alert.severity},
            "annotations": {
                "summary": alert.summary,
                "description": alert.description,
                "runbook_url": alert.runbook(runbook),
            },
        }
        for alert in group.alerts
    ]
    return {"name": group.name, "interval": shorter(group.interval, compressed), "rules": recorded + raised}


def seconds(duration: str) -> float:
    """Return a Prometheus duration in seconds.

    Raises:
        ValueError: it is not one number with one unit.
    """
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration: a number and one of ms, s, m, h, d is wanted")
    return int(match[1]) * _SECONDS[match[2]]


def shorter(duration: str, factor: float) -> str:
    """Return the duration divided by `factor`, never below a second unless it is zero."""
    if factor == 1:
        return duration
    length = seconds(duration)
    return f"{max(1, round(length / factor))}s" if length else "0s"
