"""`alert test`: sends one alert to Alertmanager and waits until it is seen there, so that the whole way is tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx

from compose.stack.supervisor import StackError

NAME = "AlertTest"
POLL_SECONDS = 0.2


def send_test(url: str, say: Callable[[str], None], *, now: datetime, number: str, wait: float = 30.0) -> None:
    """Send a test alert that ends by itself after a minute.

    Args:
        url: Alertmanager's base address.
        now: instant at which it starts.
        number: label that tells this test from another, so that it is a group of its own.
        wait: seconds until Alertmanager has to list it.

    Raises:
        StackError: Alertmanager did not take or show it.
    """
    moment = now.astimezone(UTC)
    alert = {
        "labels": {"alertname": NAME, "severity": "warning", "job": "ml-stack", "test": number},
        "annotations": {
            "summary": "This is a test",
            "description": "`ml-stack alert test` sent it; nothing is wrong.",
            "runbook_url": "docs/runbook.md",
        },
        "startsAt": moment.isoformat(),
        "endsAt": (moment + timedelta(minutes=1)).isoformat(),
    }
    base = url.rstrip("/")
    try:
        answer = httpx.post(f"{base}/api/v2/alerts", json=[alert], timeout=10)
        if answer.status_code != 200:
            raise StackError(f"Alertmanager at {base} refused the alert with {answer.status_code}: {answer.text[:300]}")
        deadline = time.monotonic() + wait
        while not (
            found := httpx.get(f"{base}/api/v2/alerts", params={"filter": f'test="{number}"'}, timeout=10).json()
        ):
            if time.monotonic() > deadline:
                raise StackError(f"Alertmanager at {base} took the alert and does not show it after {wait:.0f} s")
            time.sleep(POLL_SECONDS)
    except httpx.HTTPError as error:
        raise StackError(
            f"Alertmanager at {base} does not answer ({type(error).__name__}); is it running? give --alertmanager"
        ) from None
    receivers = ", ".join(receiver["name"] for receiver in found[0]["receivers"])
    say(f"sent: {NAME} (test {number}), state {found[0]['status']['state']}, to receiver: {receivers}")
    say("it arrives after the group's wait (30 s unless changed) and resolves by itself after a minute")
