"""Samples as history: what a long range ends with, and a set that is read while it is brought up to date."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from compose.console.evaluation import Curve
from compose.console.history import FRESH, TICK, SampleHistory, moments, with_newest
from compose.console.samples import SampleSet
from compose.console.settings import ConsoleSettings
from compose.console.store import AwayError, Store
from compose.provision.prometheus import Target
from compose.stack import sampler
from compose.stack.sampler import Sampler
from tests.elasticsearch.embedded import EmbeddedStore

NOW = time.time() // 1800 * 1800 - 1800 + 95 * 15  # no multiple of 4, 20 or 120 scrapes


def curve(labels: dict[str, str], values: list[float]) -> Curve:
    """A curve; NaN where it has no value."""
    array = np.array(values, dtype=float)
    return Curve(labels, array, ~np.isnan(array))


def test_the_last_moment_is_that_of_the_finer_samples() -> None:
    """A series that only the finer samples have is added; one that they no longer have ends."""
    coarse = [curve({"a": "1"}, [1, 2, 3]), curve({"a": "2"}, [4, 5, 6])]
    fine = [curve({"a": "1"}, [9]), curve({"a": "3"}, [7])]
    found = {each.labels["a"]: np.where(each.there, each.values, -1).tolist() for each in with_newest(coarse, fine, 3)}
    assert found == {"1": [1, 2, 9], "2": [4, 5, -1], "3": [-1, -1, 7]}


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """An empty store."""
    store = EmbeddedStore(tmp_path)
    yield store
    store.stop()


def test_seven_days_show_a_stack_that_runs_since_a_minute(embedded: EmbeddedStore) -> None:
    """The first scrape of a run is in the coarsest set, and the range ends with the newest scrape's figure."""
    now = NOW
    running = Sampler((Target("store", embedded.url.removeprefix("http://"), "/_embedded/metrics"),), embedded.url,
                      clock=lambda: now)  # fmt: skip
    with httpx.Client() as client:
        for _ in range(4):
            running.once(client)
            now += sampler.SECONDS
        client.post(f"{embedded.url}/ml-metrics-*/_refresh").raise_for_status()
    store = Store(ConsoleSettings(store_url=embedded.url))
    history = SampleHistory(store, clock=lambda: now)
    for span in (3600, 7 * 86_400):
        (up,) = history.curves("up", moments(now - span, now, 180))
        assert (up.there[-1], up.values[-1]) == (True, 1.0), span
    assert history.level(8 * 86_400).newest == NOW
    store.close()


class Slow(Store):
    """A way to the store that takes two seconds of its clock for each question, and counts them."""

    now, questions = NOW, 0

    def search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer, later."""
        self.now += 2
        self.questions += 1
        return super().search(index, body)


def test_a_slow_store_is_not_asked_for_each_figure(embedded: EmbeddedStore) -> None:
    """What a store took two seconds for is used for all figures of a page, which come before the next scrape's."""
    store = Slow(ConsoleSettings(store_url=embedded.url))
    history = SampleHistory(store, clock=lambda: store.now)
    for _ in range(40):
        for expr in ("up", "rate(ml_predictions_total[6h])", "rate(ml_predictions_total[1d])"):
            history.curves(expr, np.array([store.now]))
    assert store.questions == 3  # one for each of three distances between samples
    store.now += TICK
    history.curves("up", np.array([store.now]))
    assert store.questions == 4
    store.close()


def test_a_store_that_hangs_costs_one_timeout() -> None:
    """A store that takes connections and says nothing is asked once for all figures of a page, then again."""
    clock = [NOW]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = Store(ConsoleSettings(store_url=url, request_seconds=0.2))
        history = SampleHistory(store, clock=lambda: clock[0])
        for _ in ("at first", "once it is asked again"):
            for _ in range(50):
                with pytest.raises(AwayError, match="did not answer within"):
                    history.curves("up", np.array([NOW]))
            silent.settimeout(0)
            silent.accept()[0].close()
            with pytest.raises(BlockingIOError):
                silent.accept()
            clock[0] += FRESH
        store.close()


def test_a_set_that_is_read_while_it_forgets_keeps_times_and_values_together() -> None:
    """Whoever reads a series finds each value at its own time, whatever another thread drops meanwhile."""
    held = SampleSet()

    def document(at: float) -> dict[str, Any]:
        text = datetime.fromtimestamp(at, UTC).isoformat()
        return {"@timestamp": text, "job": "j", "instance": "i", "up": 1, "seconds": 0.1, "samples": {"m": {"": at}}}

    ended = threading.Event()

    def update() -> None:
        for at in range(1, 4000):
            held.add([document(float(at))])
            held.forget(at - 50)
        ended.set()

    writer = threading.Thread(target=update)
    writer.start()
    while not ended.is_set():
        for series in held.series("m"):
            assert series.times.tolist() == series.values.tolist()
    writer.join()
