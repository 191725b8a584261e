"""Every panel of both dashboards has data on the recorded run, evaluated by the real Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from compose.provision.alerts import groups
from compose.provision.panels import Panel, dashboards
from tests.provision.recording import END, START, openmetrics
from tests.provision.servers import prometheus_command, query, running
from tests.provision.test_alerts import promtool
from tests.stack.running import free_ports

PANELS = [panel for page in dashboards() for panel in page.panels()]
RECORDED = {rule.record: rule.expr for group in groups() for rule in group.recordings}


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
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with running(prometheus_command(folder, port), f"{url}/-/ready", folder / "prometheus.txt"):
        yield url


@pytest.mark.parametrize("panel", PANELS, ids=[panel.key for panel in PANELS])
def test_each_panel_has_data(panel: Panel, prometheus_url: str) -> None:
    """Each PromQL query of the panel is parsed and gives finite values at the end of the run."""
    for each in panel.queries:
        if each.source != "prometheus":
            continue  # its query is tested on Elasticsearch with Kibana's
        found = query(prometheus_url, plain(each.expr), END)
        values = [float(series["value"][1]) for series in found]
        print(f"{panel.title} | {each.legend} | {values[:4]}")
        assert values, f"{panel.title}: no data for {each.expr}"
        assert any(math.isfinite(value) for value in values)


def test_the_error_burst_is_seen(prometheus_url: str) -> None:
    """During the burst the 5xx share of the recording rule is far above what it is before."""
    expr = plain("ml:predict_errors:ratio_rate5m")
    before, during = (float(query(prometheus_url, expr, START + 60 * minute)[0]["value"][1]) for minute in (9, 14))
    assert before == 0
    assert 0.1 < during < 0.5
