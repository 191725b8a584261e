"""Panels and alerts evaluated from samples, compared with the real Prometheus over the same run."""

from __future__ import annotations

import functools
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from compose.console import own_panels
from compose.console.alerting import phases
from compose.console.definitions import needs_prometheus, tree, written_out
from compose.console.promql import PromqlError, parse
from compose.console.samples import Floats
from compose.provision.alerts import Alert, alerts
from compose.provision.panels import Panel
from tests.console.recorded import case_samples, evaluate, recorded_samples
from tests.optional import need
from tests.ports import free_port
from tests.provision.alert_cases import CASES, Case
from tests.provision.recording import END, START, openmetrics
from tests.provision.servers import prometheus_command, running
from tests.provision.test_alerts import promtool
from tests.provision.test_recorded_run import plain

PANELS = list(own_panels.PANELS.values())
ALERTS = {alert.key: alert for alert in alerts()}
ONLY_PROMETHEUS_PANELS = {"alerts-firing", "prometheus-series", "notifications"}
ONLY_PROMETHEUS_ALERTS = {
    "PrometheusRulesFailing/warning",
    "PrometheusNotificationsDropped/critical",
    "AlertmanagerNotificationsFailing/critical",
}


@functools.cache
def left_open() -> bool:
    """Whether the installed Prometheus has windows that are open on the left: from version 3 on."""
    done = subprocess.run(
        [need("prometheus", apt="prometheus"), "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"version (\d+)", done.stdout + done.stderr)
    assert found is not None
    return int(found[1]) >= 3


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


def asked(url: str, expr: str, step: int) -> dict[frozenset[tuple[str, str]], dict[int, float]]:
    """Return what Prometheus answers over the run: labels → moment → value."""
    parameters: dict[str, Any] = {"query": expr, "start": START, "end": END, "step": step}
    answer = httpx.get(f"{url}/api/v1/query_range", params=parameters, timeout=60)
    assert answer.status_code == 200, answer.text
    return {
        frozenset(each["metric"].items()): {int(at): float(value) for at, value in each["values"]}
        for each in answer.json()["data"]["result"]
    }


def compare(url: str, expr: str, name: str) -> int:
    """Compare an expression at every 20 s of the run (so that windows fall on and beside samples); return how many."""
    times = np.arange(START, END + 1, 20, dtype=float)
    wanted = asked(url, expr, 20)
    found = {
        frozenset(curve.labels.items()): {
            int(at): float(value) for at, value, there in zip(times, curve.values, curve.there, strict=True) if there
        }
        for curve in evaluate(recorded_samples(), tree(expr), times, left_open=left_open())
    }
    assert found.keys() == wanted.keys(), name
    count = 0
    for labels, values in wanted.items():
        assert found[labels].keys() == values.keys(), (name, labels)
        for at, value in values.items():
            mine = found[labels][at]
            same = math.isclose(mine, value, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(mine) and math.isnan(value))
            assert same, f"{name} {dict(labels)} at {at - START} s: {mine} here, {value} in Prometheus"
            count += 1
    return count


@pytest.mark.parametrize("panel", PANELS, ids=[panel.key for panel in PANELS])
def test_a_panel_shows_what_prometheus_shows(panel: Panel, prometheus_url: str) -> None:
    """Every query of every panel gives the same series and values, or says that it needs Prometheus."""
    for query in panel.queries:
        if query.source != "prometheus":
            continue
        expr = written_out(plain(query.expr), window=60, span=1200)
        if panel.key in ONLY_PROMETHEUS_PANELS:
            assert "Prometheus alone" in needs_prometheus(expr)
            continue
        assert needs_prometheus(expr) == ""
        assert compare(prometheus_url, expr, panel.title) > 0


@pytest.mark.parametrize("key", sorted(ALERTS))
def test_an_alerts_condition_holds_when_it_does_in_prometheus(key: str, prometheus_url: str) -> None:
    """Every alert's condition gives the same series and values over the run, or says that it needs Prometheus."""
    if key in ONLY_PROMETHEUS_ALERTS:
        assert "Prometheus alone" in needs_prometheus(ALERTS[key].expr)
        return
    assert needs_prometheus(ALERTS[key].expr) == ""
    compare(prometheus_url, plain(ALERTS[key].expr), key)


def firing(alert: Alert, series: dict[str, str], minute: int) -> int:
    """Return how many alerts fire at a minute, evaluated once a minute as promtool does in the tests of the rules."""
    times: Floats = np.arange(minute + 1, dtype=np.float64) * 60
    curves = evaluate(case_samples(series), tree(alert.expr), times, left_open=left_open())
    return sum(state.phase == "firing" for state in phases(alert, curves, times))


@pytest.mark.parametrize(("key", "case"), [pair for pair in CASES.items() if pair[0] not in ONLY_PROMETHEUS_ALERTS])
def test_an_alert_fires_when_prometheus_fires_it(key: str, case: Case) -> None:
    """On the series on which promtool proves each alert, it fires at the same minute and not a minute earlier."""
    alert = ALERTS[key]
    assert firing(alert, case.fires, case.at) == case.count
    if case.at:
        assert firing(alert, case.fires, case.at - 1) == 0
    for series in case.below:
        assert firing(alert, series, case.at) == 0
        assert firing(alert, series, case.at + 20) == 0
    assert firing(alert, {}, case.at + 20) == case.without_data


@pytest.mark.parametrize(
    "expr", ["topk(3, up)", "up[5m:1m]", "up % 2", "sum without (job) (up)", "rate(up[5m])[", "x @ 5", ""]
)
def test_what_cannot_be_evaluated_is_refused(expr: str) -> None:
    """An expression outside the part that is evaluated ends in an error that names it, never in a number."""
    with pytest.raises(PromqlError):
        parse(expr)


@pytest.mark.parametrize(("open_left", "by_hand"), [(False, 7.0), (True, 5.0 * 180 / 120)])
def test_a_counter_that_begins_anew_goes_on(open_left: bool, by_hand: float) -> None:
    """After a restart increase() counts on: 2→4, anew 1, 1→5 is 7; without the sample on the left edge 5, stretched."""
    held = case_samples({"c_total": "2 4 1 5"})
    (curve,) = evaluate(held, parse("increase(c_total[3m])"), np.array([180.0]), left_open=open_left)
    assert curve.values[0] == pytest.approx(by_hand)


def test_a_condition_that_goes_on_by_its_other_half_goes_on() -> None:
    """What holds by the left side of `or` and then by the right one is one alert, held since the first."""
    alert = Alert(
        name="Either", severity="warning", expr="a > 0 or b > 0", hold="4m", summary="", description=""
    )  # fmt: skip
    series = {'a{job="x"}': "1 1 1 0 0 0", 'b{job="x"}': "0 0 0 1 1 1"}
    times: Floats = np.arange(6, dtype=np.float64) * 60
    (state,) = phases(alert, evaluate(case_samples(series), parse(alert.expr), times), times)
    assert (state.phase, state.since, state.labels) == ("firing", 0, {"job": "x"})


def test_the_objectives_are_followed() -> None:
    """OBJECTIVE_* moves the console's alerts, recording rules and panels as it moves Prometheus's rules."""
    program = (
        "from compose.console import definitions, own_panels\n"
        "print([a.expr for a in definitions.watched() if a.name == 'ModelAccuracyLow'])\n"
        "print([t.value for t in own_panels.PANELS['model-accuracy'].thresholds])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OBJECTIVE_ACCURACY": "0.8", "OBJECTIVE_ACCURACY_CRITICAL": "0.7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["['ml_model_accuracy < 0.8', 'ml_model_accuracy < 0.7']", "[None, 0.7, 0.8]"]
