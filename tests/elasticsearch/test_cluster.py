"""Three real nodes and the real shipper: a node is killed while it ships, and each line is a document once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from elasticsearch import Elasticsearch

from tests.elasticsearch.node import QUICK_START, Node
from tests.optional import need
from tests.ports import free_port, free_ports

NAMES = ("node-1", "node-2", "node-3")
PATIENCE = 180.0  # seconds
pytestmark = pytest.mark.timeout(900)


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; what cannot be asked just now does not."""
    deadline, reason = time.monotonic() + PATIENCE, ""
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (httpx.HTTPError, KeyError, ValueError, IndexError) as error:
            reason = f" ({type(error).__name__}: {error})"
        time.sleep(0.2)
    raise AssertionError(f"after {PATIENCE:.0f} s still not so: {what}{reason}")


@pytest.fixture
def nodes(elasticsearch_home: Path) -> Iterator[dict[str, Node]]:
    """Three nodes that know one another, small ones, by name."""
    http, transport = free_ports(3), free_ports(3)
    seeds = json.dumps([f"127.0.0.1:{port}" for port in transport])
    java, started = need("java", apt="default-jdk-headless"), dict[str, Node]()
    with tempfile.TemporaryDirectory(prefix="ml-pipeline-cluster-") as folder:
        Path(folder).chmod(0o755)
        try:
            for number, name in enumerate(NAMES):
                settings = {
                    "node.name": name,
                    "discovery.type": "multi-node",
                    "discovery.seed_hosts": seeds,
                    "cluster.initial_master_nodes": json.dumps(NAMES),
                    "http.port": str(http[number]),
                    "transport.port": str(transport[number]),
                }
                room = Path(folder) / name
                room.mkdir()
                started[name] = Node(
                    elasticsearch_home, java, room, heap="320m", jvm=QUICK_START, settings=settings, wait=False
                )
            for node in started.values():
                node.ready()
            yield started
        finally:
            for node in started.values():
                node.stop()


class Writer:
    """Appends lines like the model service's until the block ends; knows how many."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "app-20261125T000000-7-1.jsonl").open("a", encoding="utf-8")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.written = 0

    def _write(self) -> None:
        while not self._stopping.wait(0.02):
            for _ in range(10):
                stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
                line = {"@timestamp": stamp, "level": "INFO", "service": "ml-pipeline", "message": str(self.written)}
                self._file.write(json.dumps(line) + "\n")
                self.written += 1
            self._file.flush()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._file.close()


def counts(client: Elasticsearch) -> Counter[str]:
    """Return each message that is in the cluster, and how often."""
    client.indices.refresh(index="ml-pipeline-*")
    found: Counter[str] = Counter()
    after: list[Any] | None = None
    order: list[str | dict[str, Any]] = ["@timestamp", {"message.keyword": "asc"}]
    while True:
        answer = client.search(
            index="ml-pipeline-*", size=5000, sort=order, source_includes="message", search_after=after
        )
        page = answer["hits"]["hits"]
        if not page:
            return found
        found.update(hit["_source"]["message"] for hit in page)
        after = page[-1]["sort"]


@pytest.fixture
def shipper(nodes: dict[str, Node], tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A shipper that knows all three nodes; its log folder, and its own address."""
    logs = tmp_path / "logs"
    logs.mkdir()
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")}
    given = {
        "SHIPPER_PATHS": str(logs / "*.jsonl"),
        "SHIPPER_URL": ",".join(node.url for node in nodes.values()),
        "SHIPPER_STATE_DIR": str(tmp_path / "state"),
        "SHIPPER_SETUP": "install",
        "SHIPPER_VOLUME_ID": "0f0e7c1e-7c53-4d0e-9d38-2f3f6f6f3a11",
        "SHIPPER_PORT": str(port),
    }
    with (tmp_path / "shipper.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "shipper", "run"], env=inherited | given, stdout=output, stderr=output
        )
        try:
            yield logs, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.long
@pytest.mark.parametrize("victim", ["master", pytest.param("other", marks=pytest.mark.soak)])
def test_a_cluster_loses_a_node_and_no_line(nodes: dict[str, Node], shipper: tuple[Path, str], victim: str) -> None:
    """SIGKILL of one of three nodes under load: the indices have a replica, the shipper goes on with the others."""
    logs, own = shipper
    first = nodes[NAMES[0]].url
    assert httpx.get(f"{first}/_cluster/health").json()["number_of_nodes"] == 3

    def acknowledged() -> int:
        return int(httpx.get(f"{own}/status").json()["acknowledged"])

    with Writer(logs) as writer:
        wait_for(lambda: acknowledged() > 500, "lines are shipped")
        wait_for(
            lambda: httpx.get(f"{first}/_cluster/health").json()["status"] == "green", "each shard has its replica"
        )
        index = httpx.get(f"{first}/_cat/indices/ml-pipeline-*?format=json").json()[0]
        assert (index["pri"], index["rep"]) == ("1", "1")
        master = httpx.get(f"{first}/_cat/master?format=json").json()[0]["node"]
        killed = master if victim == "master" else next(name for name in NAMES if name != master)
        os.kill(nodes[killed].server().pid, signal.SIGKILL)
        before = acknowledged()
        wait_for(lambda: acknowledged() > before + 1000, "the shipper goes on with the nodes that are left")
        left = [node.url for name, node in nodes.items() if name != killed]
        wait_for(lambda: httpx.get(f"{left[0]}/_cluster/health").json()["number_of_nodes"] == 2, "the node is missed")
    wait_for(lambda: httpx.get(f"{own}/status").json()["lag_bytes"] == 0, "all is acknowledged")
    with Elasticsearch(left, request_timeout=60) as client:
        found = counts(client)
    assert found == {str(number): 1 for number in range(writer.written)}
    assert writer.written > 1500
