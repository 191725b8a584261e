"""`alert test`: one alert the whole way: is Prometheus connected, does Alertmanager show it, was somebody told."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import yaml
from prometheus_client.parser import text_string_to_metric_families

from compose.provision.prometheus import seconds
from compose.stack.supervisor import StackError

NAME = "AlertTest"
POLL_SECONDS = 0.2
SENT = "alertmanager_notifications_total"
FAILED = "alertmanager_notifications_failed_total"

Say = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried.

    Attributes:
        alertmanager, prometheus: base addresses.
        number: label that tells this test from another, so that it is a group of its own.
        wait: seconds until Alertmanager has to list it, and again until it has told somebody.
    """

    alertmanager: str
    prometheus: str
    number: str
    wait: float = 60.0


def send_test(plan: Plan, say: Say, *, now: datetime) -> None:
    """Send a test alert that ends by itself after a minute, and follow it.

    Args:
        plan: addresses and waits.
        say: prints one line.
        now: instant at which the alert starts.

    Raises:
        StackError: Alertmanager did not take or show it, or could not deliver.
    """
    manager = plan.alertmanager.rstrip("/")
    say(_first_leg(plan.prometheus.rstrip("/"), manager))
    before = _notifications(manager)
    answer = _ask("POST", manager, "/api/v2/alerts", json=[_alert(now, plan.number)])
    if answer.status_code != 200:
        raise StackError(f"Alertmanager at {manager} refused the alert with {answer.status_code}: {answer.text[:300]}")
    found: list[dict[str, Any]] = _until(
        lambda: _ask("GET", manager, "/api/v2/alerts", params={"filter": f'test="{plan.number}"'}).json(),
        plan.wait,
        f"Alertmanager at {manager} took the alert and does not show it after {plan.wait:.0f} s",
    )
    names = ", ".join(receiver["name"] for receiver in found[0]["receivers"])
    say(f"sent: {NAME} (test {plan.number}), state {found[0]['status']['state']}, to receiver: {names}")
    configuration = yaml.safe_load(_ask("GET", manager, "/api/v2/status").json()["config"]["original"])
    if not _has_somebody(configuration, names):
        say(f"receiver {names} has no address: nobody is told; set ALERT_WEBHOOK_URL (docs/dashboards.md)")
        return
    # A group is told after its wait; what is counted before that is the Watchdog's.
    earliest = time.monotonic() + seconds(configuration["route"].get("group_wait", "30s"))
    after = _until(
        lambda: counts if time.monotonic() >= earliest and (counts := _notifications(manager)) != before else None,
        plan.wait,
        f"Alertmanager at {manager} told nobody within {plan.wait:.0f} s: see its log",
    )
    sent, failed = after[SENT] - before[SENT], after[FAILED] - before[FAILED]
    if failed:
        raise StackError(
            f"Alertmanager at {manager} could not deliver {failed:.0f} of {sent:.0f} notifications: does the "
            "webhook answer 2xx? see Alertmanager's log"
        )
    say(f"told: {sent:.0f} notifications went out and none failed; the alert resolves by itself after a minute")


def _alert(now: datetime, number: str) -> dict[str, Any]:
    moment = now.astimezone(UTC)
    return {
        "labels": {"alertname": NAME, "severity": "warning", "job": "ml-stack", "test": number},
        "annotations": {
            "summary": "This is a test",
            "description": "`ml-stack alert test` sent it; nothing is wrong.",
            "runbook_url": "docs/runbook.md",
        },
        "startsAt": moment.isoformat(),
        "endsAt": (moment + timedelta(minutes=1)).isoformat(),
    }


def _first_leg(prometheus: str, manager: str) -> str:
    """Return in words whether Prometheus reaches an Alertmanager: its Watchdog, which always fires, is the proof."""
    watchdog = _ask("GET", manager, "/api/v2/alerts", params={"filter": 'alertname="Watchdog"'}).json()
    try:
        answer = httpx.get(f"{prometheus}/api/v1/alertmanagers", timeout=10).json()
        active = [each["url"] for each in answer["data"]["activeAlertmanagers"]]
    except (httpx.HTTPError, ValueError, KeyError):
        return f"Prometheus at {prometheus} does not answer: only the way from Alertmanager on is tried"
    if not active:
        return f"Prometheus at {prometheus} knows no Alertmanager: its alerts go nowhere"
    arrived = "its Watchdog has arrived" if watchdog else "its Watchdog has not arrived yet"
    return f"Prometheus at {prometheus} sends to {', '.join(active)}; {arrived}"


def _has_somebody(configuration: dict[str, Any], receivers: str) -> bool:
    """Whether one of these receivers has an address in Alertmanager's configuration."""
    known = {each["name"]: each for each in configuration["receivers"]}
    return any(len(known.get(name, {})) > 1 for name in receivers.split(", "))


def _notifications(manager: str) -> dict[str, float]:
    """Return how many notifications were sent and how many failed, of every kind; the Watchdog's are among them."""
    counts = {SENT: 0.0, FAILED: 0.0}
    for family in text_string_to_metric_families(_ask("GET", manager, "/metrics").text):
        for sample in family.samples:
            if sample.name in counts:
                counts[sample.name] += sample.value
    return counts


def _ask(method: str, base: str, path: str, **arguments: Any) -> httpx.Response:
    try:
        return httpx.request(method, base + path, timeout=10, **arguments)
    except httpx.HTTPError as error:
        raise StackError(
            f"Alertmanager at {base} does not answer ({type(error).__name__}); is it running? give --alertmanager"
        ) from None


def _until(look: Callable[[], Any], wait: float, complaint: str) -> Any:
    """Return what `look` finds, as soon as it finds something.

    Raises:
        StackError: the complaint, when it found nothing in time.
    """
    deadline = time.monotonic() + wait
    while not (found := look()):
        if time.monotonic() > deadline:
            raise StackError(complaint)
        time.sleep(POLL_SECONDS)
    return found
