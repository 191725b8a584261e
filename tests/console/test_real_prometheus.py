"""The console asking a real Prometheus: PromQL's own values, the same alerts, and the samples once it is away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from compose.console import api, own_panels, panel_data
from compose.console.alerting import states
from compose.console.history import History, PrometheusHistory, SampleHistory, moments
from compose.console.overview_data import Parts
from compose.console.services import Services
from compose.console.settings import ConsoleSettings
from compose.console.store import AwayError, Store
from compose.console.timerange import TimeRange, Zone
from compose.provision import prometheus
from compose.provision.panels import Panel
from compose.provision.prometheus import Target
from tests.console.stores import exposition
from tests.ports import free_port
from tests.provision.servers import Endpoint, prometheus_command, query, query_range, running, wait_for

COMPRESSED = 60  # minutes become seconds
NOWHERE = "http://127.0.0.1:1"  # nothing listens on tcpmux here
PANELS = [panel for panel in own_panels.PANELS.values() if panel.queries[0].source == "prometheus"]


class Watched(msgspec.Struct, frozen=True):
    """A Prometheus with our rules that scrapes one service, the service, and when it had seen enough."""

    url: str
    service: Endpoint
    now: float


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A real Prometheus with the real rules, their waits compressed, over a service whose counters grow."""
    folder, told = tmp_path_factory.mktemp("watched"), Endpoint(exposition(90))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "rules.yml").write_text(prometheus.rules(compressed=COMPRESSED))
    targets = (Target("app", told.address), Target("prometheus", f"127.0.0.1:{port}"))
    (folder / "prometheus.yml").write_text(prometheus.configuration(targets, None, interval="1s"))
    number = 90

    def seen() -> bool:
        nonlocal number
        number += 1
        told.text = exposition(number)
        return number > 220 and bool(query(url, 'ALERTS{alertname="ModelAccuracyLow",alertstate="firing"}'))

    with running(prometheus_command(folder, port), f"{url}/-/ready", folder / "prometheus.txt"):
        wait_for(seen, "an alert fires and rates can be had", 120)
        yield Watched(url, told, time.time() - 1)
    told.close()


def history(url: str, store_url: str = NOWHERE, seconds: float = 5.0) -> History:
    """Return the console's history with that Prometheus."""
    settings = ConsoleSettings(prometheus_url=url, store_url=store_url, request_seconds=seconds)
    return History(settings, Store(settings))


@pytest.fixture
def asking(watched: Watched) -> Iterator[PrometheusHistory]:
    """The console's way to that Prometheus, as it chooses it by itself."""
    chosen = history(watched.url).source()
    assert isinstance(chosen, PrometheusHistory)
    yield chosen
    chosen.close()


@pytest.mark.parametrize("panel", PANELS, ids=[panel.key for panel in PANELS])
def test_a_panel_shows_what_promql_says(panel: Panel, watched: Watched, asking: PrometheusHistory) -> None:
    """Each panel's series are those that Prometheus itself gives for the panel's query at the same moments."""
    spread = TimeRange(start=watched.now - 60, end=watched.now)
    for each in panel.queries:
        times, curves = panel_data.ask(each, asking, spread)
        found = {
            frozenset(curve.labels.items()): {
                round(float(at)): float(value)
                for at, value, there in zip(times, curve.values, curve.there, strict=True)
                if there
            }
            for curve in curves
        }
        expr = each.expr.replace("$__rate_interval", "60s").replace("$__range", "60s")
        if each.instant:
            told = [(one["metric"], [one["value"]]) for one in query(watched.url, expr, watched.now)]
        else:
            grid = moments(spread.start, spread.end, panel_data.POINTS)
            answer = query_range(watched.url, expr, float(grid[0]), float(grid[-1]), 15)
            told = [(one["metric"], one["values"]) for one in answer]
        wanted = {frozenset(metric.items()): {round(at): float(text) for at, text in pairs} for metric, pairs in told}
        assert found.keys() == wanted.keys()
        for labels, values in wanted.items():
            assert found[labels] == pytest.approx(values, nan_ok=True)
    if panel.key in ("model-accuracy", "class-mix", "targets", "prometheus-series"):
        assert panel_data.drawn(panel, asking, spread, Zone("UTC")).figure is not None


def test_the_overviews_figures_are_promqls(watched: Watched, asking: PrometheusHistory) -> None:
    """A recording rule's name gives what the rule has recorded."""
    (curve,) = asking.curves("ml:predict_duration_seconds:p95_5m", np.array([watched.now]))
    (recorded,) = query(watched.url, "ml:predict_duration_seconds:p95_5m", watched.now)
    assert curve.values[0] == pytest.approx(float(recorded["value"][1]), rel=0.01)


def test_the_alerts_are_prometheus_own(watched: Watched) -> None:
    """Firing and pending alerts are those that Prometheus tells, with severity, labels, since when and value."""
    chosen = history(watched.url)
    watched.service.text = exposition(230, drift=0.5)  # critical only after an hour of it, here a minute

    def agree() -> bool:
        told = httpx.get(f"{watched.url}/api/v1/alerts", timeout=30).json()["data"]["alerts"]
        wanted = {
            (each["labels"]["alertname"], each["labels"]["severity"], each["state"], each["activeAt"][:19])
            for each in told
        }
        found = {
            (state.alert.name, state.alert.severity, state.phase,
             time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(state.since)))
            for state in states(chosen, time.time())
            if state.phase in ("firing", "pending")
        }  # fmt: skip
        # one may turn from pending to firing between the two questions
        return found == wanted and {"firing", "pending"} <= {each[2] for each in found}

    wait_for(agree, "the console tells the alerts that Prometheus tells")
    accuracy = next(state for state in states(chosen, time.time()) if state.alert.name == "ModelAccuracyLow")
    assert accuracy.labels["job"] == "app"
    assert 0 < (accuracy.value or 0) < 0.9
    chosen.prometheus.close()


def test_a_refused_query_is_said(asking: PrometheusHistory) -> None:
    """What Prometheus says against a query is handed on, and it stays the source."""
    with pytest.raises(AwayError, match="parse error"):
        asking.curves("rate(up", np.array([1.0]))
    assert asking.lost == ""


def source_told(url: str, store_url: str) -> tuple[str, str]:
    """Return what /api/status says of the figures' source, and why it is not Prometheus."""
    settings = ConsoleSettings(prometheus_url=url, store_url=store_url, app_url=NOWHERE, shipper_url=NOWHERE)
    store = Store(settings)
    parts = Parts(store, History(settings, store), Services(settings, store))
    told = api.status(parts, 0.0)["metrics"]
    store.close()
    parts.history.prometheus.close()
    return told["source"], told["why_not_prometheus"]


def test_a_wrong_address_is_said_and_the_samples_are_used(watched: Watched, embedded_store: str) -> None:
    """Nobody there, something else there, a Prometheus without our service: each is said, and the samples are used."""
    stranger = Endpoint("hello")
    try:
        for url, words in (
            (NOWHERE, f"Prometheus at {NOWHERE} is away"),
            (f"http://{stranger.address}", f"http://{stranger.address} is no Prometheus (status 200)"),
            (embedded_store, f"{embedded_store} is no Prometheus"),
        ):
            source, why = source_told(url, embedded_store)
            assert source == "samples in the store"
            assert words in why
        assert source_told(watched.url, embedded_store) == ("Prometheus", "")
    finally:
        stranger.close()


def test_a_prometheus_that_does_not_know_our_service(tmp_path: Path) -> None:
    """A Prometheus that scrapes others is not used, and the reason is said."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "rules.yml").write_text("groups: []\n")
    (tmp_path / "prometheus.yml").write_text(prometheus.configuration((), None, interval="1s"))
    with running(prometheus_command(tmp_path, port), f"{url}/-/ready", tmp_path / "prometheus.txt"):
        chosen = history(url)
        assert isinstance(chosen.source(), SampleHistory)
        assert chosen.why == f'Prometheus at {url} does not scrape our service (job="app")'
        chosen.prometheus.close()


def test_one_that_hangs_costs_one_timeout() -> None:
    """A Prometheus that takes connections and says nothing is asked once, not once for each panel."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = PrometheusHistory(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)
        for _ in range(50):
            with pytest.raises(AwayError, match="is away"):
                hanging.curves("up", np.array([1.0]))
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):  # no second connection was made
            silent.accept()
        hanging.close()


def test_one_that_goes_away_is_left_at_once(tmp_path: Path) -> None:
    """Prometheus dies between two questions: the question is put to the samples; it is used again once it is back."""
    clock, told = [0.0], Endpoint(exposition(1))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "rules.yml").write_text("groups: []\n")
    targets = (Target("app", told.address),)
    (tmp_path / "prometheus.yml").write_text(prometheus.configuration(targets, None, interval="1s"))
    settings = ConsoleSettings(prometheus_url=url, store_url=NOWHERE)
    chosen = History(settings, Store(settings), clock=lambda: clock[0])
    command, log = prometheus_command(tmp_path, port), tmp_path / "prometheus.txt"
    for _ in range(2):
        with running(command, f"{url}/-/ready", log):
            wait_for(lambda: query(url, 'up{job="app"}'), "the service is scraped")
            clock[0] += History.RECHECK + 1
            assert chosen.ask(lambda source: source.name) == "Prometheus"

        def question(source: PrometheusHistory | SampleHistory) -> str:
            if isinstance(source, PrometheusHistory):
                source.curves("up", np.array([1.0]))
            return source.name

        assert chosen.ask(question) == "samples in the store"
        assert "is away" in chosen.why
        clock[0] += 1
        assert isinstance(chosen.source(), SampleHistory)
    chosen.prometheus.close()
    told.close()
