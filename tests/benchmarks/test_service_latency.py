"""Latency of /predict with the log store alive, dead, and without logging: three services in one run, in turns.

Each service is held to the first core; the client, the shippers and the store have the others, the latter two at a
lower priority, so that the client measures the service and not its own wait for a core. Prints figures, asserts none.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

from tests.app.conftest import GUIDE_REQUEST
from tests.app.server import Server, serving, until
from tests.benchmarks import report
from tests.elasticsearch.embedded import EmbeddedStore
from tests.ports import free_port
from tests.stack.running import trained_models

REQUESTS = int(os.environ.get("ML_BENCH_LATENCY", "20000"))  # of each service
ROUNDS = 20
RATE = 400.0  # requests per second, a fifth of what a core answers: what waits is not the queue
CONNECTIONS = 4
GOAL = 1.05
BODY = json.dumps(GUIDE_REQUEST).encode()


class Setting(msgspec.Struct):
    """One of the three: its service, and the latencies of each round in seconds."""

    name: str
    server: Server
    rounds: list[list[float]]

    def all(self) -> list[float]:
        """Every latency."""
        return [each for one in self.rounds for each in one]


def p99(latencies: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(latencies, n=100)[98]


def drive(server: Server, count: int) -> list[float]:
    """Send requests at the rate over kept connections; return how long each took from its sending, seconds."""
    port = int(server.url.rpartition(":")[2])
    latencies: list[float] = []
    start = time.perf_counter() + 0.05

    def send(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(first, count, CONNECTIONS):
            time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
            began = time.perf_counter()
            connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            latencies.append(time.perf_counter() - began)
            assert answer.status == 200, text[:300]
        connection.close()

    threads = [threading.Thread(target=send, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(latencies) == count
    return latencies


@contextlib.contextmanager
def shipping(folder: Path, url: str) -> Iterator[None]:
    """Run our shipper with its default settings on the service's logs, at a lower priority."""
    environment = {
        "SHIPPER_PATHS": str(folder / "logs" / "*.jsonl"),
        "SHIPPER_URL": url,
        "SHIPPER_STATE_DIR": str(folder / "shipper"),
        "SHIPPER_PORT": "0",
    }
    with (folder / "shipper.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "shipper", "run"], env=os.environ | environment, stdout=output, stderr=output
        )
    try:
        psutil.Process(process.pid).nice(10)
        yield
        assert process.poll() is None, (folder / "shipper.txt").read_text()[-3000:]
    finally:
        process.terminate()
        process.wait(90)


def held(server: Server, cores: list[int]) -> None:
    """Hold a service's threads to the first core."""
    top = psutil.Process(server.process.pid)
    for process in (top, *top.children(recursive=True)):
        for thread in process.threads():
            with contextlib.suppress(psutil.Error):
                psutil.Process(thread.id).cpu_affinity(cores[:1])


def count(url: str) -> int:
    """Return how many predictions a search finds."""
    query = {"q": "prediction:*", "ignore_unavailable": "true"}
    return int(httpx.get(f"{url}/ml-pipeline-*/_count", params=query, timeout=60).json()["count"])


def logged(folder: Path) -> int:
    """Return how many predictions stand in a service's log files."""
    return sum(path.read_bytes().count(b'"prediction served"') for path in (folder / "logs").glob("*.jsonl"))


def table(settings: list[Setting]) -> str:
    """Return the latencies and their ratios."""
    without = settings[-1]
    rows = [
        "| log store | p50 | p99 | p99 ÷ without logging | the same, median of the rounds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for each in settings:
        ratio = p99(each.all()) / p99(without.all())
        by_round = [p99(own) / p99(other) for own, other in zip(each.rounds, without.rounds, strict=True)]
        rows.append(
            f"| {each.name} | {1000 * statistics.median(each.all()):.2f} ms | {1000 * p99(each.all()):.2f} ms |"
            f" {ratio:.2f} | {statistics.median(by_round):.2f} ({min(by_round):.2f}–{max(by_round):.2f}) |"
        )
    alive, dead = settings[0], settings[1]
    ratio = p99(dead.all()) / p99(alive.all())
    rows.append(f"\nDead ÷ alive: {ratio:.2f}. The goal is a p99 ratio of at most {GOAL}.")
    return "\n".join(rows)


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_latency_does_not_hang_on_the_log_store(tmp_path: Path) -> None:
    """Print p50 and p99 of the three, and their ratios; the lines of the first are found, those of the second kept."""
    cores = sorted(psutil.Process().cpu_affinity() or [0])
    names = ("alive", "dead", "logging off")
    folders = [tmp_path / name.split()[0] for name in names]
    for folder in folders:
        folder.mkdir()
        shutil.copytree(trained_models(), folder / "models")
    psutil.Process().cpu_affinity(cores[1:] or cores)
    with contextlib.ExitStack() as stack:
        stack.callback(psutil.Process().cpu_affinity, cores)
        (tmp_path / "store").mkdir()
        store = EmbeddedStore(tmp_path / "store")
        stack.callback(store.stop)
        for process in store.processes():
            process.nice(10)
        settings = []
        for name, folder in zip(names, folders, strict=True):
            log = "false" if name == "logging off" else "true"
            server = stack.enter_context(serving(folder / "models", folder, APP_LOG=log))
            held(server, cores)
            settings.append(Setting(name, server, []))
        stack.enter_context(shipping(folders[0], store.url))
        stack.enter_context(shipping(folders[1], f"http://127.0.0.1:{free_port()}"))
        size = max(100, REQUESTS // ROUNDS)
        for each in settings:
            drive(each.server, size)  # warm, not counted
        for number in range(ROUNDS):
            for each in (*settings[number % 3 :], *settings[: number % 3]):
                each.rounds.append(drive(each.server, size))
        total = size * (ROUNDS + 1)
        until(lambda: count(store.url) == total, "each prediction of the first is a document", 120)
        until(lambda: logged(folders[1]) == total, "each prediction of the second is in its file", 60)
        assert not (folders[2] / "logs").exists()
    text = f"{report.machine()}. {size * ROUNDS:,} requests of each, {RATE:.0f} a second, in {ROUNDS} turns."
    report.write("latency", f"{text}\n\n{table(settings)}")
