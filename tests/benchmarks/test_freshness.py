"""How long a line takes from its write to being searchable, at several rates; and files into a real Elasticsearch."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.benchmarks import log_files, report
from tests.benchmarks.contenders import ROOT, ours
from tests.benchmarks.race import ended

pytestmark = pytest.mark.bench

RATES = ((1, 20.0), (100, 15.0), (5000, 10.0))  # lines per second, seconds
LOOK = 0.02
DOCUMENTS = int(os.environ.get("ML_BENCH_ELASTICSEARCH", "1000000"))
ALL = "/ml-pipeline-*/_count"


def started(folder: Path, logs: Path, url: str, setup: str) -> subprocess.Popen[bytes]:
    """Start our shipper with its default settings."""
    folder.mkdir(parents=True, exist_ok=True)
    command, environment = ours(url=url, setup=setup).start(folder, logs, 0)
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(command, env=os.environ | environment, cwd=ROOT, stdout=output, stderr=output)


def cleared(client: httpx.Client) -> None:
    """Delete all of our indices, one by one: Elasticsearch takes no pattern for that."""
    for index in client.get("/_cat/indices/ml-pipeline-*", params={"format": "json"}).json():
        client.delete(f"/{index['index']}").raise_for_status()


def counted(client: httpx.Client) -> int:
    """Return how many documents a search finds."""
    answer = client.get(ALL, params={"ignore_unavailable": "true", "allow_no_indices": "true"})
    return int(answer.json().get("count", 0)) if answer.status_code == 200 else 0


def waits(client: httpx.Client, file: Path, rate: int, seconds: float, before: int) -> list[float]:
    """Write lines at a rate; return for each how long it took until a search found it, seconds."""
    total = int(rate * seconds)
    step = max(1, rate // 50)  # written fifty times a second
    start = dt.datetime.now(dt.UTC)
    lines = b"".join(log_files.lines(total, rate * 1_000_000, start)).splitlines(keepends=True)
    written: list[float] = []

    def write() -> None:
        began = time.monotonic()
        with file.open("ab", buffering=0) as log:
            for place in range(0, total, step):
                time.sleep(max(0.0, began + place / rate - time.monotonic()))
                part = lines[place : place + step]
                written.extend([time.monotonic()] * len(part))
                log.write(b"".join(part))

    thread = threading.Thread(target=write)
    thread.start()
    took: list[float] = []
    limit = time.monotonic() + seconds + 300
    while len(took) < total and time.monotonic() < limit:
        found = counted(client) - before
        now = time.monotonic()
        took += [now - written[place] for place in range(len(took), min(found, len(written)))]
        time.sleep(LOOK)
    thread.join()
    assert len(took) == total
    return took


def test_freshness_on_the_embedded_store(tmp_path: Path, embedded_store: str) -> None:
    """The median and the 99th percentile of the time from a line's write to a search that finds it."""
    logs = tmp_path / "logs"
    logs.mkdir()
    file = logs / "app-20261124T000000-1-000001.jsonl"
    rows = []
    with httpx.Client(base_url=embedded_store, timeout=60) as client:
        cleared(client)
        shipper = started(tmp_path / "state", logs, embedded_store, "install")
        try:
            done = 0
            waits(client, file, 10, 1.0, done)  # the first lines wait for the start
            done += 10
            for rate, seconds in RATES:
                took = waits(client, file, rate, seconds, done)
                done += len(took)
                cuts = statistics.quantiles(took, n=100, method="inclusive")
                rows.append(f"| {rate:,} | {cuts[49]:.2f} | {cuts[98]:.2f} | {max(took):.2f} | {len(took):,} |")
        finally:
            shipper.send_signal(signal.SIGTERM)
            ended(shipper)
    report.write(
        "freshness",
        f"{report.machine()}. Seconds from the write to a search that finds the line, looked for every 20 ms.\n\n"
        "| lines per second | median | 99th percentile | longest | lines |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(rows),
    )


def body(first: int, count: int, own: bool) -> bytes:
    """Return a bulk body, with ids of our form or with none."""
    lines = b"".join(log_files.lines(count, first, dt.datetime(2026, 11, 24, tzinfo=dt.UTC))).splitlines()
    chance = random.Random(first)
    index = "2026.11.22" if own else "2026.11.23"  # the policy wants a date in the name
    return b"".join(
        (
            b'{"create":{"_index":"ml-pipeline-%b","_id":"0123456789abcdef-%012d-%016x"}}\n%b\n'
            % (index.encode(), (first + place) * 320, chance.getrandbits(64), line)
            if own
            else b'{"create":{"_index":"ml-pipeline-%b"}}\n%b\n' % (index.encode(), line)
        )
        for place, line in enumerate(lines)
    )


def server_process(url: str) -> psutil.Process | None:
    """Return the process that listens at an address; None where it is not ours to see."""
    port = httpx.URL(url).port
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.status == "LISTEN" and connection.pid:
            return psutil.Process(connection.pid)
    return None


def cpu(process: psutil.Process | None) -> float:
    """Return the CPU seconds of a process so far."""
    if process is None:
        return 0.0
    used = process.cpu_times()
    return float(used.user + used.system)


def put(client: httpx.Client, content: bytes) -> None:
    """Send one bulk request."""
    answer = client.post("/_bulk?filter_path=errors", content=content, headers={"content-type": "application/x-ndjson"})
    assert answer.json() == {"errors": False}


def test_files_into_a_real_elasticsearch(tmp_path: Path, real_elasticsearch: str) -> None:
    """From files to all searchable, whose CPU it was, what our ids cost, and which size of a request is best."""
    logs = tmp_path / "logs"
    logs.mkdir()
    log_files.write(logs / "app-20261124T000000-1-000001.jsonl", DOCUMENTS)
    server = server_process(real_elasticsearch)
    parts = []
    with httpx.Client(base_url=real_elasticsearch, timeout=120) as client:
        for warming in range(20):
            put(client, body(10**9 + warming * 5000, 5000, own=True))
        cleared(client)
        before, began = cpu(server), time.monotonic()
        shipper = started(tmp_path / "state", logs, real_elasticsearch, "install")
        while counted(client) < DOCUMENTS and time.monotonic() - began < 600:
            time.sleep(0.2)
            client.post("/ml-pipeline-*/_refresh")
        wall, theirs = time.monotonic() - began, cpu(server) - before
        assert counted(client) == DOCUMENTS
        shipper.send_signal(signal.SIGTERM)
        mine = ended(shipper)
        stored = client.get("/_cat/indices/ml-pipeline-*", params={"format": "json", "bytes": "b"}).json()
        size = sum(int(index["pri.store.size"]) for index in stored) / DOCUMENTS
        parts.append(
            f"{report.machine()}. {DOCUMENTS:,} lines from a file to all found by a search: {wall:.1f} s"
            f" ({DOCUMENTS / wall:,.0f} a second). CPU: shipper {mine:.1f} s, Elasticsearch {theirs:.1f} s:"
            f" the shipper's share is {mine / (mine + theirs):.0%}."
            f" A document takes {size:.0f} bytes of the index."
        )
        cleared(client)
        rows = []
        sent = 0
        for size in (0, DOCUMENTS, 5 * DOCUMENTS):
            while sent < size:
                for own in (True, False):
                    put(client, body(sent, 5000, own))
                sent += 5000
            costs: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(10):
                for own in (True, False):
                    ready = body(sent, 5000, own)
                    before = cpu(server)
                    put(client, ready)
                    client.post("/ml-pipeline-*/_refresh")
                    costs[own].append(cpu(server) - before)
                sent += 5000
            with_ids, without = (statistics.median(costs[own]) / 5000 * 1e6 for own in (True, False))
            rows.append(f"| {size:,} | {with_ids:.0f} | {without:.0f} | {with_ids / without - 1:+.0%} |")
        parts.append(
            "| documents there | our ids, CPU µs per document | automatic ids | cost |\n| --- | --- | --- | --- |\n"
            + "\n".join(rows)
        )
        rows = []
        for count in (250, 1000, 2500, 5000, 10_000, 20_000):
            bodies = [
                body(10**8 + count * 10**5 + at * count, count, own=True) for at in range(max(3, 60_000 // count))
            ]
            before, began = cpu(server), time.monotonic()
            for ready in bodies:
                put(client, ready)
            wall, used = time.monotonic() - began, cpu(server) - before
            total = count * len(bodies)
            rows.append(f"| {count:,} | {len(bodies[0]) / 1e6:.1f} | {total / wall:,.0f} | {used / total * 1e6:.0f} |")
        parts.append(
            "| documents of a request | MB | documents per second, one sender | Elasticsearch's CPU µs per document |\n"
            "| --- | --- | --- | --- |\n" + "\n".join(rows)
        )
        cleared(client)
    report.write("elasticsearch", "\n\n".join(parts))
