"""A real Prometheus and a real Alertmanager: an alert arrives at a receiver and resolves; the files are taken."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from compose.provision import alertmanager, prometheus
from compose.provision.files import FOLDER
from compose.provision.panels import dashboards
from compose.stack.alert import send_test
from compose.stack.supervisor import StackError
from tests.optional import need
from tests.provision.servers import (
    Endpoint,
    alertmanager_command,
    prometheus_command,
    query,
    running,
    wait_for,
)
from tests.stack.running import free_ports

COMPRESSED = 60  # minutes become seconds
CALM = "ml_prediction_error_rate 0.01\nml_model_accuracy 0.91\n"
BURST = "ml_prediction_error_rate 0.25\nml_model_accuracy 0.91\n"


class Alerting(msgspec.Struct):
    """The running pair: the app that is scraped, who is told, who watches the Watchdog, and the addresses."""

    app: Endpoint
    people: Endpoint
    watcher: Endpoint
    prometheus: str
    alertmanager: str


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    """Prometheus and Alertmanager with our own files, the waits compressed sixty times."""
    folder = tmp_path_factory.mktemp("alerting")
    app, people, watcher = Endpoint(CALM), Endpoint(), Endpoint()
    port, manager = free_ports(2)
    targets = (
        prometheus.Target("app", app.address),
        prometheus.Target("shipper", app.address),
        prometheus.Target("prometheus", f"127.0.0.1:{port}"),
        prometheus.Target("alertmanager", f"127.0.0.1:{manager}"),
    )
    configuration = prometheus.configuration(targets, f"127.0.0.1:{manager}", interval="1s", stack="test")
    (folder / "prometheus.yml").write_text(configuration)
    (folder / "rules.yml").write_text(prometheus.rules(compressed=COMPRESSED))
    (folder / "alertmanager.yml").write_text(
        alertmanager.configuration(
            webhook={"url": f"http://{people.address}/"},
            watchdog={"url": f"http://{watcher.address}/"},
            group_wait="1s",
            group_interval="1s",
        )
    )
    urls = [f"http://127.0.0.1:{number}" for number in (port, manager)]
    with (
        running(alertmanager_command(folder, manager), f"{urls[1]}/-/ready", folder / "alertmanager.txt"),
        running(
            prometheus_command(folder, port, "--rules.alert.resend-delay=2s"),
            f"{urls[0]}/-/ready",
            folder / "prometheus.txt",
        ),
    ):
        yield Alerting(app, people, watcher, *urls)
    for endpoint in (app, people, watcher):
        endpoint.close()


def test_an_error_burst_arrives_and_resolves(alerting: Alerting) -> None:
    """Errors above 10 % reach the receiver as critical, with the runbook, and resolve when they end."""
    people = alerting.people
    alerting.app.text = BURST
    try:
        wait_for(lambda: people.alerts("PredictionErrorRateHigh", "firing", "critical"), "the burst arrives")
    finally:
        alerting.app.text = CALM
    alert = people.alerts("PredictionErrorRateHigh", "firing", "critical")[0]
    assert alert["annotations"]["description"].startswith("25% of the prediction requests")
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#predictionerrorratehigh"
    assert alert["labels"]["stack"] == "test"
    wait_for(lambda: people.alerts("PredictionErrorRateHigh", "resolved", "critical"), "the burst resolves")


def test_a_service_that_is_down_arrives_and_resolves(alerting: Alerting) -> None:
    """A target that does not answer becomes a warning, then critical, and resolves when it answers again."""
    people = alerting.people
    alerting.app.text = None
    try:
        wait_for(lambda: people.alerts("ServiceDown", "firing", "critical"), "service down arrives")
        shown = query(alerting.prometheus, 'ALERTS{alertname="ServiceDown",alertstate="firing",job="app"}')
        assert {series["metric"]["severity"] for series in shown} == {"warning", "critical"}
    finally:
        alerting.app.text = CALM
    assert "app does not answer" in {
        a["annotations"]["summary"] for a in people.alerts("ServiceDown", "firing", "critical")
    }
    wait_for(lambda: people.alerts("ServiceDown", "resolved", "critical"), "service down resolves")


def test_the_dead_mans_switch_has_its_own_way(alerting: Alerting) -> None:
    """The Watchdog arrives at its own receiver and at nobody else's."""
    wait_for(lambda: alerting.watcher.alerts("Watchdog", "firing", "none"), "the Watchdog arrives")
    assert not alerting.people.alerts("Watchdog", "firing", "none")


def test_a_test_alert_goes_the_whole_way(alerting: Alerting) -> None:
    """`alert test` reaches the receiver, and says which one."""
    said: list[str] = []
    send_test(alerting.alertmanager, said.append, now=datetime.now(UTC), number="one")
    assert "to receiver: people" in said[0]
    wait_for(lambda: alerting.people.alerts("AlertTest", "firing", "warning"), "the test alert arrives")


def test_without_alertmanager_the_test_alert_says_so() -> None:
    """Nothing listens: the error names the address and the option."""
    (port,) = free_ports(1)
    with pytest.raises(StackError, match=r"does not answer \(ConnectError\).*--alertmanager"):
        send_test(f"http://127.0.0.1:{port}", lambda _line: None, now=datetime.now(UTC), number="two")


def test_no_rule_fails(alerting: Alerting) -> None:
    """The real Prometheus evaluates every rule without an error, and knows the series that our panels ask of it."""
    wait_for(lambda: query(alerting.prometheus, "alertmanager_notifications_total"), "Alertmanager is scraped")
    assert query(alerting.prometheus, "sum(prometheus_rule_evaluation_failures_total) == 0")
    stack = next(page for page in dashboards() if page.uid == "ml-pipeline-stack")
    own = [panel for panel in stack.panels() if panel.key in ("targets-up", "scrape-duration", "prometheus-series",
                                                              "alerts-firing", "notifications")]  # fmt: skip
    assert len(own) == 5
    for panel in own:
        for each in panel.queries:
            expr = each.expr.replace("$__rate_interval", "1m")
            wait_for(lambda expr=expr: query(alerting.prometheus, expr), f"{panel.title} has data: {expr}")  # type: ignore[misc]


@pytest.mark.parametrize("name", ["alertmanager.yml", "alertmanager.webhook.yml"])
def test_alertmanager_takes_the_configuration(name: str, tmp_path: Path) -> None:
    """`amtool check-config` accepts it; `url_file`, which only 0.26 knows, is put as `url` for an older one."""
    text = (FOLDER / "alertmanager" / name).read_text()
    path = tmp_path / name
    path.write_text(text.replace("url_file: /run/secrets/", "url: http://localhost/"))
    program = need("amtool", apt="prometheus-alertmanager")
    done = subprocess.run([program, "check-config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
