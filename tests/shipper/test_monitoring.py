"""What the shipper tells of itself while all is well, while the server is away, and while something is stuck."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shipper import monitoring
from shipper.endpoints import Endpoints
from shipper.monitoring import reasons
from shipper.reader import NOTHING, Chunk
from tests.shipper import cluster as faults
from tests.shipper.conftest import Shipping, until
from tests.shipper.test_delivery import refuse


class Watched:
    """A shipper that runs, and its endpoints."""

    def __init__(self, shipping: Shipping) -> None:
        self.service = shipping.service()
        self.endpoints = Endpoints(self.service, "127.0.0.1", 0)
        self._thread = threading.Thread(target=self.service.run)
        self._thread.start()

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of an endpoint."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.endpoints.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """Return all samples by name and labels, as Prometheus reads them."""
        return {
            sample.name + "".join(f"|{value}" for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
        }

    def end(self) -> None:
        """Stop both."""
        self.service.stop()
        self._thread.join(30)
        self.endpoints.close()


@pytest.fixture
def watched(shipping: Shipping) -> Iterator[Watched]:
    """A shipper with short limits."""
    shipping.set(poll_seconds=0.05, stall_seconds=0.5, stop_seconds=1.0)
    shipper = Watched(shipping)
    yield shipper
    shipper.end()


def test_all_is_well(shipping: Shipping, watched: Watched) -> None:
    """200 everywhere, no lag, verdicts counted, the last acknowledgement dated."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 100))
    until(lambda: watched.metrics()["ml_shipper_records_total|acknowledged"] == 100, "all are counted", 60)
    until(lambda: watched.metrics()["ml_shipper_lag_bytes"] == 0, "no lag", 60)
    assert watched.get("/health")[0] == watched.get("/ready")[0] == 200
    found = watched.metrics()
    assert found["ml_shipper_ready"] == 1
    assert abs(time.time() - found["ml_shipper_last_acknowledgement_timestamp_seconds"]) < 60
    told = json.loads(watched.get("/status")[1])
    assert (told["state"], told["acknowledged"], told["lag_bytes"]) == ("shipping", 100, 0)
    assert watched.get("/nothing")[0] == 404


def test_an_outage_is_no_reason_to_restart(shipping: Shipping, watched: Watched) -> None:
    """While the server is away /health stays 200, /ready is 503 with the reason, the lag grows in bytes and seconds."""
    shipping.cluster.odds = {faults.UNAVAILABLE: 1.0}
    data = shipping.lines(0, 100)
    (shipping.logs / "a.log").write_bytes(data)
    until(lambda: watched.get("/ready")[0] == 503, "it is not ready", 60)
    until(lambda: watched.metrics()["ml_shipper_lag_seconds"] > 0.6, "the lag grows", 60)
    assert watched.get("/health")[0] == 200
    found = watched.metrics()
    path = str(shipping.logs / "a.log")
    assert found["ml_shipper_lag_bytes"] == found[f"ml_shipper_file_lag_bytes|{path}"] == len(data)
    assert found[f"ml_shipper_file_lag_seconds|{path}"] > 0.6
    assert found["ml_shipper_retries_total"] > 0
    assert "503" in json.loads(watched.get("/ready")[1])["reasons"][0]
    shipping.cluster.odds = {}
    until(lambda: watched.get("/ready")[0] == 200, "it is ready again", 60)
    until(lambda: watched.metrics()["ml_shipper_lag_seconds"] == 0, "no lag", 60)


def test_a_stall_that_nobody_owns_up_to_shows(
    shipping: Shipping, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes wait, the server answers, and nothing is acknowledged: whatever the fault of ours is, /ready tells."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
    until(lambda: len(shipping.cluster.documents) == 10, "it ships", 60)
    hold = threading.Event()
    settle = watched.service._delivery.settle
    monkeypatch.setattr(watched.service._delivery, "settle", lambda *a: (hold.wait(60), settle(*a))[1])
    (shipping.logs / "b.log").write_bytes(shipping.lines(10, 10))
    until(lambda: "stalled" in watched.get("/ready")[1], "it says so", 60)
    assert watched.get("/ready")[0] == 503
    assert watched.get("/health")[0] == 200
    hold.set()
    until(lambda: watched.get("/ready")[0] == 200, "it is over", 60)


def test_a_file_that_grows_and_does_not_move_shows(
    shipping: Shipping, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file is stuck while another one goes on: it is named, counted, and not hidden by the other's progress."""
    stuck, free = shipping.logs / "stuck.log", shipping.logs / "free.log"
    for path in (stuck, free):
        path.write_bytes(shipping.lines(0, 1))
    until(lambda: len(shipping.cluster.documents) == 2, "it ships", 60)
    read = watched.service.tails.refill

    def refill(tail: object, length: int, moment: float) -> Chunk:
        chunk = read(tail, length, moment)  # type: ignore[arg-type]
        return NOTHING if getattr(tail, "path", "") == str(stuck) else chunk

    monkeypatch.setattr(watched.service.tails, "refill", refill)

    def named() -> bool:
        for path in (stuck, free):
            with path.open("ab") as file:
                file.write(shipping.lines(1, 1))
        return any(text.startswith(f"{stuck} grows") for text in reasons(watched.service, time.monotonic()))

    until(named, "it is named", 60)
    assert watched.metrics()["ml_shipper_files_stalled"] == 1
    assert str(free) not in watched.get("/ready")[1]


def test_a_file_that_cannot_be_read_shows(shipping: Shipping, watched: Watched) -> None:
    """It is a reason in /ready, and a metric; it goes with the file."""
    packed = shipping.logs / "a.log.gz"
    packed.write_bytes(b"\x1f\x8b\x08\x00 no more than a beginning")
    until(lambda: f"{packed} cannot be read" in watched.get("/ready")[1], "it is named", 60)
    assert watched.metrics()["ml_shipper_files_unreadable"] == 1
    packed.unlink()
    until(lambda: watched.get("/ready")[0] == 200, "it is forgotten", 60)


def test_refusals_are_counted_by_reason(shipping: Shipping, watched: Watched) -> None:
    """Each type of error that made a dead letter has its own count."""
    shipping.cluster.judge = refuse("line 3")
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    until(lambda: watched.metrics().get("ml_shipper_dead_letters_total") == 1, "it is counted", 60)
    assert watched.metrics()["ml_shipper_refusals_total|document_parsing_exception"] == 1


def test_a_reading_thread_that_hangs_shows(
    shipping: Shipping, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log disk that does not answer: /health and /ready are 503 and name it, and the lag grows; then all is well."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    shipping.arrived(20)
    until(lambda: watched.get("/ready")[0] == 200, "all is well", 60)
    entered, answers, scan = threading.Event(), threading.Event(), watched.service._scan

    def hangs() -> None:
        entered.set()
        answers.wait(60)
        scan()

    monkeypatch.setattr(monitoring, "TICK_LIMIT", 1.0)
    monkeypatch.setattr(watched.service, "_scan", hangs)
    try:
        assert entered.wait(60)
        until(lambda: watched.get("/ready")[0] == 503, "it is not ready", 60)
        assert "no file was looked at for" in watched.get("/ready")[1]
        assert json.loads(watched.get("/health")[1])["alive"] is False
        assert watched.metrics()["ml_shipper_ready"] == 0
        assert watched.metrics()["ml_shipper_lag_seconds"] >= 1
        assert json.loads(watched.get("/status")[1])["lag_seconds"] >= 1
    finally:
        answers.set()
    monkeypatch.setattr(monitoring, "TICK_LIMIT", 30.0)
    until(lambda: watched.get("/ready")[0] == 200, "it is ready again", 60)
    assert watched.metrics()["ml_shipper_lag_seconds"] == 0


def test_memory_is_bounded_while_the_server_is_away(shipping: Shipping, watched: Watched) -> None:
    """However much waits in the files, what is read and not acknowledged stays below the limits."""
    shipping.cluster.odds = {faults.UNAVAILABLE: 1.0}
    shipping.set(batch_bytes=50_000, batch_lines=200)
    watched.service.offer(shipping.settings)
    for number in range(4):
        (shipping.logs / f"{number}.log").write_bytes(shipping.lines(number * 30_000, 30_000))
    until(lambda: watched.get("/ready")[0] == 503, "it waits", 60)
    until(lambda: watched.service.dispatch.held >= 200_000, "it reads what it may", 60)
    time.sleep(1)
    chunk = 2 * 1024 * 1024
    tails = list(watched.service.tails.tails.values())
    assert sum(tail.unsettled for tail in tails) <= 5 * 50_000 + 2 * chunk
    assert sum(tail.lag for tail in tails) > 9_000_000
