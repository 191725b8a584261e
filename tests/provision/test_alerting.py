"""The real stack under a real Prometheus and Alertmanager: alerts arrive and resolve; every series asked for exists."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from compose.console.promql import Selector, parse, selectors
from compose.provision import alertmanager, prometheus
from compose.provision.alerts import alerts, groups
from compose.provision.files import FOLDER
from compose.provision.panels import dashboards
from compose.stack import population
from compose.stack.alert import Plan, send_test
from compose.stack.supervisor import StackError
from tests.optional import need
from tests.ports import free_port, free_ports
from tests.provision.recording import openmetrics
from tests.provision.servers import (
    Endpoint,
    Relay,
    alertmanager_command,
    prometheus_command,
    query,
    running,
    wait_for,
)
from tests.provision.test_alerts import promtool
from tests.stack.running import RunningStack, running_stack

COMPRESSED = 60  # minutes become seconds
CROWD = 16
SETTINGS: dict[str, Any] = {
    "APP_THREADS": "1",  # with no queue: a crowd is answered 503, which is the error burst
    "APP_QUEUE": "0",
    "APP_DRIFT_MINIMUM": "60",
}
MADE_BY_PROMETHEUS = ("up", "ALERTS", "scrape_duration_seconds")


class Alerting(msgspec.Struct):
    """The running stack, who is told, who watches the Watchdog, and the addresses of the pair that watches it."""

    stack: RunningStack
    people: Endpoint
    watcher: Endpoint
    prometheus: str
    alertmanager: str

    def predict(self, count: int, callers: int, rows: int = 1) -> Counter[int]:
        """Send so many requests, of so many rows each, by so many callers at once; return how many had which status."""
        body: dict[str, Any] = population.customer(population.load(), random.Random(count))
        if rows > 1:
            body = {"instances": [body] * rows}
        # A connection that is kept alive may be closed by the crowded service, or by another thread of the client's
        # pool, in the moment in which it is used again.
        fresh = {"Connection": "close"}
        with httpx.Client(timeout=30, headers=fresh) as client, ThreadPoolExecutor(callers) as pool:
            return Counter(
                pool.map(lambda _: client.post(f"{self.stack.app}/predict", json=body).status_code, range(count))
            )

    def freeze(self, number: signal.Signals) -> None:
        """Stop or continue all processes of the model service: it keeps its port and does not answer."""
        os.killpg(self.stack.pid("app"), number)


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    """The real stack; Prometheus and Alertmanager with our own files, the waits compressed sixty times."""
    folder = tmp_path_factory.mktemp("alerting")
    people, watcher = Endpoint(), Endpoint()
    port, manager = free_ports(2)
    need("prometheus", apt="prometheus")
    urls = [f"http://127.0.0.1:{number}" for number in (port, manager)]
    (folder / "alertmanager.yml").write_text(
        alertmanager.configuration(
            webhook={"url": f"http://{people.address}/"},
            watchdog={"url": f"http://{watcher.address}/"},
            group_wait="1s",
            group_interval="1s",
        )
    )
    (folder / "rules.yml").write_text(prometheus.rules(compressed=COMPRESSED))
    with (
        running_stack(folder / "stack", **SETTINGS) as stack,
        running(alertmanager_command(folder, manager), f"{urls[1]}/-/ready", folder / "alertmanager.txt"),
    ):
        targets = prometheus.local_targets(
            app=_port(stack.app), shipper=_port(stack.shipper), store=_port(stack.store), prometheus=port,
            alertmanager=manager,
        )  # fmt: skip
        configuration = prometheus.configuration(targets, f"127.0.0.1:{manager}", interval="1s", stack="test")
        (folder / "prometheus.yml").write_text(configuration)
        command = prometheus_command(folder, port, "--rules.alert.resend-delay=2s")
        with running(command, f"{urls[0]}/-/ready", folder / "prometheus.txt"):
            yield Alerting(stack, people, watcher, *urls)
    for endpoint in (people, watcher):
        endpoint.close()


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_an_error_burst_arrives_and_resolves(alerting: Alerting) -> None:
    """Callers that the real service refuses reach the receiver as critical, with the runbook, and resolve."""
    people = alerting.people

    def crowd() -> bool:
        # Many rows keep the one thread at work while others knock; one row is answered before the next caller comes.
        assert set(alerting.predict(2 * CROWD, CROWD, rows=500)) <= {200, 503}
        return bool(people.alerts("PredictionErrorRateHigh", "firing", "critical"))

    def calm() -> bool:
        assert set(alerting.predict(50, 1)) == {200}
        return bool(people.alerts("PredictionErrorRateHigh", "resolved", "critical"))

    wait_for(crowd, "the burst arrives", 120)
    alert = people.alerts("PredictionErrorRateHigh", "firing", "critical")[0]
    assert re.match(r"[1-9][\d.]*% of the prediction requests", alert["annotations"]["description"])
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#predictionerrorratehigh"
    assert alert["labels"]["stack"] == "test"
    wait_for(calm, "the burst resolves", 180)


def test_a_service_that_is_down_arrives_and_resolves(alerting: Alerting) -> None:
    """A service that does not answer becomes a warning, then critical, and resolves when it answers again."""
    people = alerting.people
    alerting.freeze(signal.SIGSTOP)
    try:
        wait_for(lambda: people.alerts("ServiceDown", "firing", "critical"), "service down arrives")
        shown = query(alerting.prometheus, 'ALERTS{alertname="ServiceDown",alertstate="firing",job="app"}')
        assert {series["metric"]["severity"] for series in shown} == {"warning", "critical"}
    finally:
        alerting.freeze(signal.SIGCONT)
    assert "app does not answer" in {
        a["annotations"]["summary"] for a in people.alerts("ServiceDown", "firing", "critical")
    }
    wait_for(lambda: people.alerts("ServiceDown", "resolved", "critical"), "service down resolves")


def _asked() -> list[Selector]:
    """Return every selector of rules and panels, without windows, recording rules written out."""
    exprs = [each.expr for page in dashboards() for panel in page.panels() for each in panel.queries
             if each.source == "prometheus"]  # fmt: skip
    for group in groups():
        exprs += [rule.expr for rule in group.recordings] + [rule.expr for rule in group.alerts]
    recorded = {rule.record for group in groups() for rule in group.recordings}
    plain = [expr.replace("$__rate_interval", "1m").replace("$__range", "20m") for expr in exprs]
    found = {
        msgspec.structs.replace(selector, window=None, offset=0.0)
        for expr in plain
        for selector in selectors(parse(expr))
        if selector.name not in recorded
    }
    return sorted(found, key=repr)


def _exporters(selector: Selector) -> bool:
    return selector.name.startswith("elasticsearch_")


def _written(selector: Selector) -> str:
    matchers = ",".join(f'{m.label}{m.operator}"{m.text}"' for m in selector.matchers)
    return f"{selector.name}{{{matchers}}}"


def test_every_series_that_is_asked_for_is_exposed(alerting: Alerting) -> None:
    """Each selector of rules and panels, labels included, finds series in the running /metrics of the real parts."""
    alerting.predict(100, 1)
    # The labels of a version are a series from its first label on.
    customer = population.customer(population.load(), random.Random(1))
    predicted = httpx.post(f"{alerting.stack.app}/predict", json=customer, timeout=30).json()
    label = {"request_id": predicted["request_id"], "actual": predicted["prediction"]}
    assert httpx.post(f"{alerting.stack.app}/feedback", json=label, timeout=30).status_code == 200
    asked = [each for each in _asked() if each.name not in MADE_BY_PROMETHEUS and not _exporters(each)]
    names = {each.name for each in asked}
    assert len(names) > 25
    assert {name.partition("_")[0] for name in names} == {"ml", "http", "prometheus", "alertmanager"}
    for each in asked:
        expr = _written(each)
        wait_for(lambda expr=expr: query(alerting.prometheus, expr), f"{expr} is exposed")  # type: ignore[misc]


def test_the_exporter_exposes_what_is_asked_of_elasticsearch(real_elasticsearch: str, tmp_path: Path) -> None:
    """The Docker stack's exporter has each series that is asked for; an Elasticsearch that goes is down by its rule."""
    program = need("prometheus-elasticsearch-exporter", apt="prometheus-elasticsearch-exporter")
    asked = [each for each in _asked() if _exporters(each)]
    assert len(asked) >= 4
    port, exporter = free_ports(2)
    address = f"127.0.0.1:{exporter}"
    targets = (prometheus.Target("elasticsearch-exporter", address),)
    down = next(alert.expr for alert in alerts() if alert.name == "ElasticsearchDown")
    relay = Relay(real_elasticsearch.removeprefix("http://"))
    (tmp_path / "prometheus.yml").write_text(prometheus.configuration(targets, None, interval="1s"))
    (tmp_path / "rules.yml").write_text(prometheus.rules())
    index = "ml-pipeline-exporter-2026.11.24"
    command = [program, f"--es.uri=http://{relay.address}", "--es.indices", f"--web.listen-address={address}"]
    httpx.post(
        f"{real_elasticsearch}/{index}/_doc?refresh=true", json={"@timestamp": "2026-11-24T09:00:00Z"}, timeout=60
    )
    url = f"http://127.0.0.1:{port}"
    try:
        with (
            running(command, f"http://{address}/metrics", tmp_path / "exporter.txt"),
            running(prometheus_command(tmp_path, port), f"{url}/-/ready", tmp_path / "prometheus.txt"),
        ):
            for expr in map(_written, asked):
                wait_for(lambda expr=expr: query(url, expr), f"{expr} is exposed")  # type: ignore[misc]
            assert not query(url, down)
            relay.close()
            wait_for(lambda: query(url, down), "the exporter that cannot reach Elasticsearch is told from one that can")
    finally:
        relay.close()
        httpx.delete(f"{real_elasticsearch}/{index}", timeout=60)


def test_the_dashboards_recorded_series_are_still_exposed(alerting: Alerting) -> None:
    """Every metric of app, shipper and store in the recorded run still exists: the recording is not out of date."""
    alerting.predict(100, 1)
    recorded = set(re.findall(r"^((?:ml|http)_\w+)\{", openmetrics(), re.MULTILINE))
    urls = (f"{alerting.stack.app}/metrics", f"{alerting.stack.shipper}/metrics",
            f"{alerting.stack.store}/_embedded/metrics")  # fmt: skip

    def missing() -> set[str]:
        exposed = "".join(httpx.get(url).text for url in urls)
        # Families without a series yet (refusals before the first one) have their TYPE line all the same.
        families = set(re.findall(r"^# TYPE (\w+)", exposed, re.MULTILINE))
        return {name for name in recorded if not {name, re.sub(r"_(bucket|sum|count)$", "", name)} & families}

    wait_for(lambda: not missing(), f"every recorded metric is exposed, {missing()} too")


def test_the_stores_metrics_are_clean(alerting: Alerting) -> None:
    """`promtool check metrics` has nothing to say about what the store exposes."""
    text = httpx.get(f"{alerting.stack.store}/_embedded/metrics").text
    done = promtool("check", "metrics", input=text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ml_store_documents " in text


def _post(url: str, *alerts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Hand alerts to Alertmanager and return how it shows them, by summary."""
    body = [{"labels": labels, "annotations": {"summary": labels["test"]}} for labels in alerts]
    assert httpx.post(f"{url}/api/v2/alerts", json=body).status_code == 200
    shown = httpx.get(f"{url}/api/v2/alerts").json()
    return {each["annotations"]["summary"]: each for each in shown if "test" in each["labels"]}


def test_grafanas_alerts_page_nobody_twice(alerting: Alerting) -> None:
    """Alerts with Grafana's label go to the receiver that tells nobody; the same one of Prometheus goes to people."""
    own = {"alertname": "ModelAccuracyLow", "severity": "warning", "job": "page-test"}
    shown = _post(alerting.alertmanager, {**own, "test": "ours"}, {**own, "origin": "grafana", "test": "grafana"})
    receivers = {name: [each["name"] for each in shown[name]["receivers"]] for name in ("ours", "grafana")}
    assert receivers == {"ours": ["people"], "grafana": ["nobody"]}
    wait_for(lambda: alerting.people.alerts("ModelAccuracyLow", "firing", "warning"), "ours arrives")
    told = [a for body in list(alerting.people.received) for a in body["alerts"]]
    assert not [a for a in told if a["labels"].get("origin") == "grafana"]


def test_critical_silences_warning(alerting: Alerting) -> None:
    """While the critical alert of a name fires, Alertmanager suppresses the warning of the same part only."""
    own = {"alertname": "ShipperLag", "job": "inhibition"}
    alerts = (
        {**own, "severity": "critical", "instance": "a", "test": "critical"},
        {**own, "severity": "warning", "instance": "a", "test": "same"},
        {**own, "severity": "warning", "instance": "b", "test": "other"},
    )

    def states() -> dict[str, str]:
        return {name: each["status"]["state"] for name, each in _post(alerting.alertmanager, *alerts).items()}

    wait_for(lambda: states().get("same") == "suppressed", "the warning is suppressed")
    assert states()["other"] != "suppressed"
    assert states()["critical"] != "suppressed"


def test_the_dead_mans_switch_has_its_own_way(alerting: Alerting) -> None:
    """The Watchdog arrives at its own receiver and at nobody else's."""
    wait_for(lambda: alerting.watcher.alerts("Watchdog", "firing", "none"), "the Watchdog arrives")
    assert not alerting.people.alerts("Watchdog", "firing", "none")


def _plan(alerting: Alerting, number: str) -> Plan:
    return Plan(alertmanager=alerting.alertmanager, prometheus=alerting.prometheus, number=number)


def test_a_test_alert_goes_the_whole_way(alerting: Alerting) -> None:
    """`alert test` finds Prometheus connected, reaches the receiver, and says that it was told."""
    wait_for(lambda: alerting.watcher.alerts("Watchdog", "firing", "none"), "the Watchdog arrives")
    said: list[str] = []
    send_test(_plan(alerting, "one"), said.append, now=datetime.now(UTC))
    assert said[0].endswith("/api/v2/alerts; its Watchdog has arrived")
    assert "to receiver: people" in said[1]
    assert re.match(r"told: \d+ notifications went out and none failed", said[2])
    wait_for(lambda: alerting.people.alerts("AlertTest", "firing", "warning"), "the test alert arrives")


def test_a_receiver_that_fails_is_said(alerting: Alerting) -> None:
    """When the webhook answers 400, `alert test` ends with an error."""
    alerting.people.answer = 400
    try:
        with pytest.raises(
            StackError, match=r"could not deliver \d+ of \d+ notifications: does the webhook answer 2xx"
        ):
            send_test(_plan(alerting, "refused"), lambda _line: None, now=datetime.now(UTC))
    finally:
        alerting.people.answer = 200


def test_a_receiver_without_an_address_is_said(tmp_path: Path) -> None:
    """An Alertmanager that has nobody to tell, and no Prometheus: both are said, and nothing is called delivered."""
    (manager, nothing) = free_ports(2)
    (tmp_path / "alertmanager.yml").write_text(alertmanager.configuration(group_wait="1s"))
    url, said = f"http://127.0.0.1:{manager}", list[str]()
    with running(alertmanager_command(tmp_path, manager), f"{url}/-/ready", tmp_path / "alertmanager.txt"):
        plan = Plan(alertmanager=url, prometheus=f"http://127.0.0.1:{nothing}", number="nobody")
        send_test(plan, said.append, now=datetime.now(UTC))
    assert "does not answer: only the way from Alertmanager on is tried" in said[0]
    assert said[-1].startswith("receiver people has no address: nobody is told; set ALERT_WEBHOOK_URL")


def test_without_alertmanager_the_test_alert_says_so() -> None:
    """Nothing listens: the error names the address and the option."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(StackError, match=r"does not answer \(ConnectError\).*--alertmanager"):
        send_test(Plan(alertmanager=url, prometheus=url, number="two"), lambda _line: None, now=datetime.now(UTC))


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
