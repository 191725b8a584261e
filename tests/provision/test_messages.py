"""One fault is one message: what a real Alertmanager tells, and what it keeps quiet, when many alerts fire at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from compose.provision import alertmanager
from compose.provision.alerts import alerts
from tests.ports import free_port
from tests.provision.servers import Endpoint, alertmanager_command, running, wait_for

KEYS = {alert.key for alert in alerts()}
LATE = ("ShipperLag/warning/shipper", "ShipperLag/critical/shipper", "ShipperNotReady/warning/shipper")


def _down(*jobs: str) -> tuple[str, ...]:
    return tuple(f"ServiceDown/{severity}/{job}" for job in jobs for severity in ("warning", "critical"))


# what fires, as name/severity/job → what is told of it
FAULTS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "the store is dead": ((*_down("store"), *LATE), {"ServiceDown/critical/store"}),
    "Elasticsearch is dead": (
        ("ElasticsearchDown/critical/elasticsearch-exporter", *LATE),
        {"ElasticsearchDown/critical/elasticsearch-exporter"},
    ),
    "Elasticsearch is red": (
        ("ElasticsearchRed/critical/elasticsearch-exporter", *LATE),
        {"ElasticsearchRed/critical/elasticsearch-exporter"},
    ),
    "the store's disk is full": (
        ("StoreDiskFilling/warning/store", "StoreDiskFilling/critical/store", *LATE),
        {"StoreDiskFilling/critical/store"},
    ),
    "the app is dead": (
        (*_down("app"), "NoPredictions/critical/app", "ServiceUnstable/warning/app", "ServiceUnstable/critical/app"),
        {"ServiceDown/critical/app"},
    ),
    "the service has no model": (
        ("ModelNotLoaded/warning/app", "ModelNotLoaded/critical/app", "PredictionErrorRateHigh/critical/app"),
        {"ModelNotLoaded/critical/app"},
    ),
    "lines are late": (
        ("ShipperLag/warning/shipper", "ShipperNotReady/warning/shipper"),
        {"ShipperLag/warning/shipper"},
    ),
    "lines are lost while the disk is full": (
        ("LogDiskFilling/critical/app", "LogLinesDropped/critical/app"),
        {"LogDiskFilling/critical/app", "LogLinesDropped/critical/app"},
    ),
    "another part than the store is down": (
        (*_down("grafana"), "ShipperLag/critical/shipper"),
        {"ServiceDown/critical/grafana", "ShipperLag/critical/shipper"},
    ),
}


class Told:
    """A running Alertmanager and what it told."""

    def __init__(self, url: str, people: Endpoint) -> None:
        self.url, self.people = url, people

    def fire(self, stack: str, keys: tuple[str, ...]) -> None:
        """Hand it alerts, all at once."""
        body = []
        for key in keys:
            name, severity, job = key.split("/")
            assert f"{name}/{severity}" in KEYS
            labels = {"alertname": name, "severity": severity, "job": job, "instance": f"{job}:1", "stack": stack}
            body.append({"labels": labels})
        assert httpx.post(f"{self.url}/api/v2/alerts", json=body).status_code == 200

    def messages(self, stack: str) -> list[set[str]]:
        """Return what each message about a stack said, in the notation of FAULTS."""
        told = [body["alerts"] for body in list(self.people.received) if body["commonLabels"].get("stack") == stack]
        return [{_key(alert["labels"]) for alert in each} for each in told]

    def shown(self, stack: str) -> dict[str, str]:
        """Return the state of each alert of a stack."""
        found = httpx.get(f"{self.url}/api/v2/alerts", params={"filter": f'stack="{stack}"'}).json()
        return {_key(each["labels"]): each["status"]["state"] for each in found}


def _key(labels: dict[str, Any]) -> str:
    return f"{labels['alertname']}/{labels['severity']}/{labels['job']}"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """An Alertmanager with our routes and inhibitions that does not wait long."""
    folder, people, port = tmp_path_factory.mktemp("messages"), Endpoint(), free_port()
    text = alertmanager.configuration(
        webhook={"url": f"http://{people.address}/"}, group_wait="1s", group_interval="1s"
    )
    (folder / "alertmanager.yml").write_text(text)
    url = f"http://127.0.0.1:{port}"
    with running(alertmanager_command(folder, port), f"{url}/-/ready", folder / "alertmanager.txt"):
        yield Told(url, people)
    people.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_and_its_effects_are_not(fault: str, told: Told) -> None:
    """Of all alerts that a fault fires, the cause is told; what follows from it is suppressed."""
    fires, wanted = FAULTS[fault]
    told.fire(fault, fires)
    wait_for(lambda: wanted <= set().union(*told.messages(fault)), "the cause is told")
    wait_for(lambda: "unprocessed" not in told.shown(fault).values(), "every alert was looked at")
    assert {key for key, state in told.shown(fault).items() if state == "active"} == wanted
    assert set().union(*told.messages(fault)) == wanted


def test_a_machine_that_is_gone_is_one_message(told: Told) -> None:
    """All services of a machine that stops are told in one message, not in one each."""
    jobs = ("app", "shipper", "store", "prometheus")
    told.fire("machine", _down(*jobs))
    wait_for(lambda: told.messages("machine"), "it is told")
    assert told.messages("machine") == [{f"ServiceDown/critical/{job}" for job in jobs}]


def test_another_stack_is_told_all_the_same(told: Told) -> None:
    """A store that is down explains nothing in a stack beside it."""
    told.fire("here", ("ServiceDown/critical/store",))
    told.fire("there", ("ShipperLag/critical/shipper",))
    wait_for(lambda: told.messages("there"), "the other stack is told")
    assert told.shown("there") == {"ShipperLag/critical/shipper": "active"}
