"""Every query of both dashboards, parsed by promtool and evaluated by the real Prometheus over the recorded run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from compose.console.alerting import phases
from compose.console.definitions import tree
from compose.provision.alerts import alerts, groups
from compose.provision.files import FOLDER
from compose.provision.panels import Panel, dashboards
from tests.console.recorded import evaluate, recorded_samples
from tests.ports import free_port
from tests.provision.panel_values import table
from tests.provision.recording import END, START, STEP, log_lines, openmetrics
from tests.provision.servers import prometheus_command, query, query_range, running
from tests.provision.test_alerts import promtool

PANELS = [panel for page in dashboards() for panel in page.panels()]
RECORDED = {rule.record: rule.expr for group in groups() for rule in group.recordings}
DOCUMENT = FOLDER.parent.parent.parent / "docs" / "dashboards.md"


def plain(expr: str) -> str:
    """Return the query as Prometheus takes it: Grafana's windows and our recording rules written out."""
    for name, rule in RECORDED.items():
        expr = expr.replace(name, f"({rule})")
    return expr.replace("$__rate_interval", "1m").replace("$__range", "20m")


@pytest.fixture(scope="module")
def prometheus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus over blocks made from the recorded run."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "run.om").write_text(openmetrics())
    done = promtool("tsdb", "create-blocks-from", "openmetrics", folder / "run.om", folder / "data")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 15s}\n")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(prometheus_command(folder, port), f"{url}/-/ready", folder / "prometheus.txt"):
        yield url


def _values(panel: Panel, url: str) -> list[list[float]]:
    """Return for each series of each query what the panel draws: one value, or one every 15 s."""
    found: list[list[float]] = []
    for each in panel.queries:
        if each.source == "elasticsearch":
            continue  # asked of a real Elasticsearch in test_kibana.py
        expr = plain(each.expr)
        if each.instant or panel.kind == "stat":
            series = [[float(one["value"][1])] for one in query(url, expr, END)]
        else:
            series = [[float(pair[1]) for pair in one["values"]] for one in query_range(url, expr, START, END, STEP)]
        assert any(math.isfinite(value) for one in series for value in one), f"{panel.title}: nothing for {expr}"
        found += series
    return found


@pytest.mark.parametrize("panel", PANELS, ids=[panel.key for panel in PANELS])
def test_each_panel_has_data(panel: Panel, prometheus_url: str) -> None:
    """Each PromQL query gives finite values: at the end for a single figure, at least somewhere on a line."""
    _values(panel, prometheus_url)


def test_the_document_lists_every_panel(prometheus_url: str) -> None:
    """docs/dashboards.md has a row for each panel, in their order, and none for one that is gone."""
    errors = sum(each.get("level") == "ERROR" for each in log_lines())
    rows = {
        panel.key: [[float(errors)]] if panel.queries[0].source == "elasticsearch" else _values(panel, prometheus_url)
        for panel in PANELS
    }
    text = table(dashboards(), rows)
    print(text)
    assert text in DOCUMENT.read_text(), "take the table that is printed above into docs/dashboards.md"


def test_every_expression_is_parsed_by_promtool(tmp_path: Path) -> None:
    """The committed dashboards' expressions, as recording rules, are valid for promtool."""
    exprs = [
        target["expr"]
        for path in sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
        if "expr" in target
    ]
    assert len(exprs) > 30
    rules = [{"record": f"panel:{number}", "expr": plain(expr)} for number, expr in enumerate(exprs)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_error_burst_is_seen(prometheus_url: str) -> None:
    """The 5xx share of the recording rule is zero before the burst, high in it, and falls after it."""
    expr = plain("ml:predict_errors:ratio_rate5m")
    before, during, after = (
        float(query(prometheus_url, expr, START + 60 * minute)[0]["value"][1]) for minute in (9, 14, 20)
    )
    assert before == 0
    assert during > 0.1
    assert after < during


def test_metrics_and_log_tell_the_same(prometheus_url: str) -> None:
    """In the burst, what the metrics count as 5xx is what the log has as ERROR lines, give or take a scrape."""
    expr = 'sum(http_requests_total{endpoint="/predict",status=~"5.."})'
    counted = float(query(prometheus_url, expr, END)[0]["value"][1])
    written = sum(each.get("level") == "ERROR" for each in log_lines())
    assert written == pytest.approx(counted, abs=20)
    assert written > 50


def _instances(content: str) -> set[str]:
    return set(re.findall(r'instance="([^"]+)"', content))


def test_the_recording_is_whole() -> None:
    """Five jobs on the guide's ports; 81 scrapes; log lines in order of time, with all levels that the app writes."""
    text = openmetrics()
    assert {f"127.0.0.1:{port}" for port in (5000, 9108, 9200, 9090, 9093)} <= _instances(text)
    scrapes = [each for each in text.splitlines() if each.startswith('up{instance="127.0.0.1:5000"')]
    assert len(scrapes) == (END - START) // STEP + 1
    lines: list[dict[str, Any]] = log_lines()
    stamps = [each["@timestamp"] for each in lines]
    assert stamps == sorted(stamps)
    assert {"INFO", "WARNING", "ERROR"} <= {each.get("level") for each in lines}
    assert msgspec.json.encode(lines[0])


def test_the_burst_fires_its_alert_and_ends(prometheus_url: str) -> None:
    """The error rate goes over 10 % in the burst and is back at nothing at the end; its alert holds in between only."""
    rate = query_range(prometheus_url, "ml_prediction_error_rate", START, END, STEP)[0]["values"]
    values = [float(value) for _, value in rate]
    assert values[0] == values[-1] == 0
    assert max(values) > 0.3
    alert = next(each for each in alerts() if each.key == "PredictionErrorRateHigh/critical")
    held = [int(at) for at, _ in query_range(prometheus_url, alert.expr, START, END, STEP)[0]["values"]]
    assert held == list(range(held[0], held[-1] + 1, STEP))
    assert held[-1] - held[0] > 120, "longer than it has to hold before it fires"
    assert held[0] >= START + 600
    assert held[-1] < END - 60
    # the same by the console: firing in the burst, nothing at the end
    for moment, phase in ((START + 840, "firing"), (END, "inactive")):
        times = np.arange(moment - 300, moment + 1, 15, dtype=float)
        assert [
            state.phase for state in phases(alert, evaluate(recorded_samples(), tree(alert.expr), times), times)
        ] == [phase]


def test_a_second_instance_of_the_app_breaks_no_panel(tmp_path: Path) -> None:
    """Drift over its threshold is asked of each instance by itself: else Prometheus finds duplicate series."""
    panel = next(each for each in PANELS if each.key == "feature-drift")
    series = [
        {"series": f'{name}{{instance="{instance}",job="app",feature="age"}}', "values": f"{value}+0x10"}
        for instance in ("a", "b")
        for name, value in (("ml_feature_psi", 0.3), ("ml_feature_psi_threshold", 0.1))
    ]
    asked = {
        "expr": f"count({panel.queries[0].expr})",
        "eval_time": "5m",
        "exp_samples": [{"labels": "{}", "value": 2}],
    }
    path = tmp_path / "instances.yml"
    path.write_text(
        yaml.safe_dump({"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [asked]}]})
    )
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
