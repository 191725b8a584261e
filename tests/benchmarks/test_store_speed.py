"""The embedded store against Elasticsearch: writing, the guide's searches, memory and start, side by side in one run.

Prints figures and writes them into docs/embedded-store.md, asserts none. Both hold the same documents, are warm, and
Elasticsearch's request cache is off.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from tests.benchmarks.report import machine, write
from tests.contract.dataset import index_body
from tests.elasticsearch.documents import bulk_bodies, log_documents
from tests.elasticsearch.embedded import EmbeddedStore
from tests.elasticsearch.node import Node
from tests.optional import need

DOCUMENTS = int(os.environ.get("ML_BENCH_DOCUMENTS", "1000000"))
PAGE = Path(__file__).parents[2] / "docs" / "embedded-store.md"
DAYS = 30
BATCH = 2000  # documents of one bulk body, about 1.3 MB
ROUNDS = 21
WARMING_ROUNDS = 15
START = datetime(2026, 10, 20, tzinfo=UTC)
MIDDLE = (START + timedelta(days=15)).strftime("%Y-%m-%dT%H:%M:%SZ")

OPERATIONS: dict[str, dict[str, Any]] = {
    "guide's aggregation": {
        "aggs": {
            "prediction_distribution": {"terms": {"field": "prediction"}},
            "avg_confidence": {"avg": {"field": "confidence"}},
        },
        "size": 0,
    },
    "range and sort": {
        "query": {"range": {"@timestamp": {"gte": MIDDLE}}},
        "sort": [{"@timestamp": {"order": "desc"}}],
        "size": 10,
    },
    "match": {"query": {"match": {"level": "ERROR"}}},
    "query_string": {
        "query": {"query_string": {"query": "level:ERROR"}},
        "sort": [{"@timestamp": "desc"}],
        "size": 5,
    },
    "match, words": {"query": {"match": {"message": "deadline"}}, "sort": [{"@timestamp": "desc"}], "size": 10},
    "date histogram by level": {
        "aggs": {
            "hours": {
                "date_histogram": {"field": "@timestamp", "fixed_interval": "3h"},
                "aggs": {"levels": {"terms": {"field": "level"}}},
            }
        },
        "size": 0,
    },
}


class Contender(msgspec.Struct):
    """A server to measure: its name, its address, and how to find its processes."""

    name: str
    url: str
    processes: Callable[[], list[psutil.Process]]

    def cpu(self) -> float:
        """CPU seconds it has used so far, of the user and the system."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(each.user + each.system for each in times)

    def resident(self) -> float:
        """Resident memory in MiB."""
        return sum(process.memory_info().rss for process in self.processes()) / 2**20


def _write(contender: Contender, count: int, prefix: str) -> tuple[float, float]:
    """Write documents in bulks with durable answers; return CPU and wall seconds, until they can be searched."""
    with httpx.Client(base_url=contender.url, timeout=300) as client:
        days = [f"/{prefix}{START + timedelta(days=day):%Y.%m.%d}" for day in range(DAYS)]
        for day in days:
            client.put(day, json=index_body()).raise_for_status()
        cpu, wall = contender.cpu(), 0.0
        documents = log_documents(count, seed=11, start=START, step=timedelta(days=DAYS) / count)
        for body in bulk_bodies(documents, seed=11, size=BATCH, prefix=prefix):
            began = time.perf_counter()  # making the documents is not counted
            answer = client.post("/_bulk", content=body, headers={"content-type": "application/x-ndjson"})
            wall += time.perf_counter() - began
            assert not answer.raise_for_status().json()["errors"]
        client.post(f"/{prefix}*/_refresh").raise_for_status()
        found = client.get(f"/{prefix}*/_count").raise_for_status().json()["count"]
        assert found == count, f"{contender.name} has {found} documents of {count}"
        return contender.cpu() - cpu, wall


def _fill(contender: Contender) -> tuple[float, float]:
    """Write all documents after a rehearsal with a fifth: Java compiles itself while it works."""
    _write(contender, DOCUMENTS // 5, "rehearsal-")
    with httpx.Client(base_url=contender.url, timeout=300) as client:
        for day in range(DAYS):
            client.delete(f"/rehearsal-{START + timedelta(days=day):%Y.%m.%d}").raise_for_status()
    return _write(contender, DOCUMENTS, "bench-")


def _search(contenders: list[Contender], body: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Run one search in turns on each; return the median wall time and the CPU time a search, in milliseconds."""
    clients = {each.name: httpx.Client(base_url=each.url, timeout=300) for each in contenders}
    walls: dict[str, list[float]] = {each.name: [] for each in contenders}
    spent = dict.fromkeys(walls, 0.0)
    for turn in range(ROUNDS + WARMING_ROUNDS):
        for each in contenders:
            cpu, began = each.cpu(), time.perf_counter()
            clients[each.name].post("/bench-*/_search", json=body).raise_for_status()
            wall = time.perf_counter() - began
            if turn >= WARMING_ROUNDS:
                walls[each.name].append(wall)
                spent[each.name] += each.cpu() - cpu
    for client in clients.values():
        client.close()
    return {name: (1000 * statistics.median(walls[name]), 1000 * spent[name] / ROUNDS) for name in walls}


def _row(name: str, figures: list[float], unit: str, goal: str = "") -> str:
    ratio = f"{figures[1] / figures[0]:.2f}" if len(figures) == 2 and figures[0] else ""
    return f"| {name} | " + " | ".join(f"{figure:,.2f} {unit}".strip() for figure in figures) + f" | {ratio} | {goal} |"


def measure(contenders: list[Contender]) -> list[str]:
    """Return the lines of a Markdown table: one column each contender, and the ratio of the second to the first."""
    table = [
        "| | " + " | ".join(each.name for each in contenders) + " | ratio | goal |",
        "| --- " * (len(contenders) + 3) + "|",
    ]
    filled = [_fill(each) for each in contenders]
    table.append(_row("bulk, CPU", [1e6 * cpu / DOCUMENTS for cpu, _ in filled], "µs/document"))
    table.append(_row("bulk, documents per CPU second", [DOCUMENTS / max(cpu, 1e-9) for cpu, _ in filled], "", "≥ 2"))
    table.append(_row("bulk, documents per second, one client", [DOCUMENTS / wall for _, wall in filled], ""))
    for each in contenders:
        if each.name == "Elasticsearch":
            answer = httpx.put(f"{each.url}/bench-*/_settings", json={"index.requests.cache.enable": False}, timeout=60)
            answer.raise_for_status()
    for name, body in OPERATIONS.items():
        found = _search(contenders, body)
        table.append(_row(f"{name}, CPU", [found[each.name][1] for each in contenders], "ms"))
        table.append(_row(f"{name}, wall, median", [found[each.name][0] for each in contenders], "ms", "≤ 0.5"))
    table.append(_row("resident memory", [each.resident() for each in contenders], "MiB", "≤ 0.33"))
    return table


@pytest.mark.bench
def test_embedded_store_against_elasticsearch(elasticsearch_home: Path, tmp_path: Path) -> None:
    """Print CPU time, wall time, memory and start time of both, with the ratio embedded / Elasticsearch."""
    with tempfile.TemporaryDirectory(prefix="ml-pipeline-elasticsearch-") as folder:
        room = Path(folder)
        room.chmod(0o755)
        node = Node(elasticsearch_home, need("java", apt="default-jdk-headless"), room, heap="1g")
        try:
            store = EmbeddedStore(tmp_path)
            try:
                table = measure(
                    [
                        Contender("Elasticsearch", node.url, lambda: [node.server()]),
                        Contender("embedded store", store.url, store.processes),
                    ]
                )
            finally:
                store.stop()
            again = EmbeddedStore(tmp_path)
            again.stop()
        finally:
            node.stop()
    table.append(
        _row("start (Elasticsearch empty, store full)", [node.start_seconds, again.start_seconds], "s", "< 1 s")
    )
    head = f"{machine()}. {DOCUMENTS:,} documents, {DAYS} indices; Elasticsearch 8.19.21 with 1 GB heap."
    text = "\n".join([head, "", *table])
    write("store", text, PAGE)
