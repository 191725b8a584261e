"""Writers, searches, deletions, snapshots and dropped indices at once: nothing fails, and the counts are right."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.elasticsearch.embedded import EmbeddedStore

NDJSON = {"content-type": "application/x-ndjson"}
MIB = 2**20
MOST_MEMORY = 900 * MIB  # resident; 256 MiB are DuckDB's, 64 what waits, the rest Python's and the requests'
SEARCHES: list[dict[str, Any]] = [
    {"query": {"term": {"level": "ERROR"}}, "sort": [{"n": "desc"}], "size": 20},
    {"size": 0, "aggs": {"a": {"terms": {"field": "level"}, "aggs": {"b": {"avg": {"field": "n"}}}}}},
    {"query": {"query_string": {"query": "text:quick AND NOT level:INFO"}}, "track_total_hits": True},
]


TEMPLATE: dict[str, Any] = {
    "index_patterns": ["crowd-*"],
    "template": {"mappings": {"properties": {"level": {"type": "keyword"}, "n": {"type": "long"}}}},
}


class Crowd:
    """Clients that work on one store until time is up; whatever goes wrong is kept.

    Args:
        url: of the store.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.ended = threading.Event()
        self.problems: list[str] = []
        self.expected: dict[str, int] = {}
        self._lock = threading.Lock()

    def call(self, client: httpx.Client, method: str, path: str, allowed: tuple[int, ...] = (), **given: Any) -> Any:
        """Send a request; keep an answer that is no success and not allowed."""
        answer = client.request(method, path, **given)
        if answer.status_code >= 300 and answer.status_code not in allowed:
            self.problems.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    def write(self, client: httpx.Client, chance: random.Random, name: str) -> None:
        """Write a batch to an index of its own, replace some of it, delete some of it."""
        known = self.expected.get(name, 0)
        ids = list(range(known, known + chance.randrange(1, 400)))
        lines: list[Any] = []
        for each in ids:
            document = {"n": each, "level": chance.choice(["INFO", "ERROR"]), "text": "the quick brown fox"}
            lines += [{"create": {"_index": name, "_id": str(each)}}, document]
        again = chance.sample(ids, len(ids) // 10)
        for each in again:
            lines += [{"index": {"_index": name, "_id": str(each)}}, {"n": -each, "level": "WARNING"}]
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        found = self.call(client, "POST", "/_bulk", content=body, headers=NDJSON)
        if found.get("errors"):
            self.problems.append(str(found)[:300])
        with self._lock:
            self.expected[name] = known + len(ids)

    def delete(self, client: httpx.Client, chance: random.Random, name: str) -> None:
        """Write a document and delete it; the index is as it was."""
        which = f"/{name}/_doc/x{chance.randrange(50)}"
        self.call(client, "PUT", which, json={"n": 1, "level": "INFO"})
        self.call(client, "DELETE", which)
        self.expected.setdefault(name, 0)

    def search(self, client: httpx.Client, chance: random.Random, _name: str) -> None:
        """Search all indices."""
        found = self.call(client, "POST", "/crowd-*/_search", json=chance.choice(SEARCHES))
        if found.get("timed_out") or found.get("_shards", {}).get("failed"):
            self.problems.append(str(found)[:300])

    def drop(self, client: httpx.Client, chance: random.Random, name: str) -> None:
        """Make an index, fill it, ask it, drop it."""
        lines: list[Any] = []
        for number in range(chance.randrange(1, 50)):
            lines += [{"index": {"_index": name, "_id": str(number)}}, {"level": "INFO"}]
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        self.call(client, "POST", "/_bulk", content=body, headers=NDJSON)
        self.call(client, "POST", f"/{name}/_refresh")
        found = self.call(client, "GET", f"/{name}/_count")
        if found.get("count") != len(lines) // 2:
            self.problems.append(f"{name}: {found} instead of {len(lines) // 2}")
        self.call(client, "DELETE", f"/{name}")

    def snapshot(self, client: httpx.Client, chance: random.Random, name: str) -> None:
        """Make a snapshot and delete it."""
        path = f"/_snapshot/backup/{name}-{chance.randrange(10**9)}"
        self.call(client, "PUT", f"{path}?wait_for_completion=true", json={"indices": "crowd-w*"})
        self.call(client, "DELETE", path)

    def work(self, act: Callable[[httpx.Client, random.Random, str], None], name: str) -> None:
        """Do one thing again and again."""
        chance = random.Random(name)
        with httpx.Client(base_url=self.url, timeout=120) as client:
            try:
                while not self.ended.is_set():
                    act(client, chance, name)
            except (httpx.HTTPError, AttributeError) as error:
                self.problems.append(f"{name}: {error!r}")
                self.ended.set()


def together(tmp_path: Path, seconds: float) -> None:
    """Let them all work for so long, and count at the end, also after a start."""
    store = EmbeddedStore(tmp_path, STORE_MAX_PENDING=str(4 * MIB))
    crowd = Crowd(store.url)
    httpx.put(f"{store.url}/_index_template/crowd", json=TEMPLATE).raise_for_status()
    work = [
        *((crowd.write, f"crowd-w{number}") for number in range(4)),
        *((crowd.delete, f"crowd-d{number}") for number in range(2)),
        *((crowd.search, f"search-{number}") for number in range(3)),
        *((crowd.drop, f"crowd-x{number}") for number in range(2)),
        (crowd.snapshot, "snapshot"),
    ]
    threads = [threading.Thread(target=crowd.work, args=pair) for pair in work]
    highest = 0
    try:
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until and not crowd.ended.is_set():
            highest = max(highest, sum(process.memory_info().rss for process in store.processes()))
            time.sleep(0.1)
        crowd.ended.set()
        for thread in threads:
            thread.join(300)
        assert not any(thread.is_alive() for thread in threads), "someone waits for ever"
        assert not crowd.problems, crowd.problems[:5]
        assert sum(crowd.expected.values()) > 0
        counted = _counts(store.url, crowd.expected)
        assert counted == crowd.expected
    finally:
        crowd.ended.set()
        assert store.stop() == 0
    assert highest < MOST_MEMORY, f"{highest / MIB:.0f} MiB"
    print(f"{sum(counted.values())} documents, {highest / MIB:.0f} MiB")
    store = EmbeddedStore(tmp_path)
    try:
        assert _counts(store.url, crowd.expected) == crowd.expected
    finally:
        store.stop()


def _counts(url: str, names: dict[str, int]) -> dict[str, int]:
    with httpx.Client(base_url=url, timeout=120) as client:
        client.post("/_refresh").raise_for_status()
        found = {name: client.get(f"/{name}/_count").raise_for_status().json()["count"] for name in names}
        rows = client.get("/_cat/indices?format=json&h=index,docs.count").raise_for_status().json()
    assert {row["index"]: int(row["docs.count"]) for row in rows} == found, "what is counted is not what is known"
    return found


def test_all_at_once(tmp_path: Path) -> None:
    """Twelve clients for some seconds."""
    together(tmp_path, 6)


@pytest.mark.soak
def test_all_at_once_for_long(tmp_path: Path) -> None:
    """Twelve clients for two minutes."""
    together(tmp_path, 120)
