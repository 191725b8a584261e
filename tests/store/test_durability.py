"""SIGKILL at any moment loses no acknowledged document and doubles none."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.ports import free_port


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the store and wait until it answers."""
    environment = {**os.environ, "STORE_DIR": str(folder), "STORE_PORT": str(port)}
    with (folder.parent / "store.log").open("ab") as output:
        process = subprocess.Popen([sys.executable, "-P", "-m", "compose.store"], env=environment, stderr=output)
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}/_cluster/health", timeout=2)
            except httpx.TransportError:
                assert process.poll() is None, (folder.parent / "store.log").read_text()
                time.sleep(0.02)
            else:
                return process
        pytest.fail("the store did not answer within 60 s")
    except BaseException:  # also where the run is interrupted: no store outlives its test
        process.kill()
        process.wait()
        raise


def write_for_ever(url: str, writer: int, acknowledged: set[str], ended: threading.Event) -> None:
    """Send bulk requests, each batch again until it is answered; remember the ids that were acknowledged."""
    number = 0
    while not ended.is_set():
        ids = [f"{writer}-{number + step:08d}" for step in range(100)]
        lines = []
        for name in ids:
            lines.append(b'{"create":{"_index":"kill","_id":"%s"}}\n' % name.encode())
            lines.append(b'{"level":"INFO","id":"%s","@timestamp":"2026-11-24T10:00:00.000Z"}\n' % name.encode())
        while not ended.is_set():
            try:
                answer = httpx.post(
                    f"{url}/_bulk",
                    content=b"".join(lines),
                    timeout=10,
                    headers={"content-type": "application/x-ndjson"},
                )
                items = msgspec.json.decode(answer.content)["items"]
            except (httpx.TransportError, msgspec.DecodeError):
                time.sleep(0.02)
                continue
            taken = [item["create"]["_id"] for item in items if item["create"]["status"] in (201, 409)]
            acknowledged.update(taken)
            if len(taken) == len(ids):
                break
        number += 100


def killed(tmp_path: Path, rounds: int) -> dict[str, Any]:
    """Kill the store again and again under load; return what was acknowledged and what is there."""
    folder, port, chance = tmp_path / "store", free_port(), random.Random(7)
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    acknowledged: list[set[str]] = [set(), set()]
    ended = threading.Event()
    writers = [threading.Thread(target=write_for_ever, args=(url, n, acknowledged[n], ended)) for n in range(2)]
    process = start(folder, port)
    try:
        for writer in writers:
            writer.start()
        for _ in range(rounds):
            time.sleep(chance.uniform(0.1, 0.9))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = start(folder, port)
        ended.set()
        for writer in writers:
            writer.join()
        httpx.post(f"{url}/_refresh", timeout=30)
        found: list[str] = []
        page: list[Any] | None = None
        while True:
            body: dict[str, Any] = {"size": 10_000, "sort": ["_doc"], "_source": False}
            if page is not None:
                body["search_after"] = page
            hits = httpx.post(f"{url}/kill/_search", json=body, timeout=30).json()["hits"]["hits"]
            if not hits:
                break
            found += [hit["_id"] for hit in hits]
            page = hits[-1]["sort"]
        count = httpx.get(f"{url}/kill/_count").json()["count"]
    finally:
        ended.set()
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    return {"acknowledged": acknowledged[0] | acknowledged[1], "found": found, "count": count, "code": code}


def check(result: dict[str, Any]) -> None:
    """Each acknowledged document is there, and none twice."""
    assert result["acknowledged"], "nothing was written, so nothing was shown"
    assert result["acknowledged"] <= set(result["found"])
    assert len(result["found"]) == len(set(result["found"])) == result["count"]
    assert result["code"] == 0
    print(f"acknowledged {len(result['acknowledged'])}, there {result['count']}")


def test_ten_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """After ten kills under bulk load, every acknowledged document is there once."""
    check(killed(tmp_path, 10))


@pytest.mark.soak
def test_fifty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """After fifty kills under bulk load, every acknowledged document is there once."""
    check(killed(tmp_path, 50))
