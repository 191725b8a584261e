"""What strace sees before an acknowledgement, and what a disk that is really full does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.optional import lacking, need
from tests.store.test_durability import free_port

_CALL = re.compile(r"(write|fsync|fdatasync|writev|sendto|sendmsg)\((\d+)<([^>]*)>(.*)")
LINE = b'{"create":{"_index":"logs","_id":"%d"}}\n{"level":"INFO","message":"%s"}\n'


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the store answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            httpx.get(f"{url}/_cluster/health", timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the store did not answer within 60 s")


def test_the_fsync_comes_before_the_answer(tmp_path: Path) -> None:
    """strace sees the batch written to the translog, then its fsync, then the answer to the socket."""
    strace, port, trace = need("strace", apt="strace"), free_port(), tmp_path / "trace"
    environment = {**os.environ, "STORE_DIR": str(tmp_path / "store"), "STORE_PORT": str(port)}
    calls = "trace=write,fsync,fdatasync,writev,sendto,sendmsg"
    process = subprocess.Popen(
        [strace, "-f", "-y", "-s", "4000", "-e", calls, "-o", str(trace), sys.executable, "-P", "-m", "compose.store"],
        env=environment,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process)
        answer = httpx.post(f"{url}/_bulk", content=LINE % (1, b"unmistakable"), timeout=60,
                            headers={"content-type": "application/x-ndjson"})  # fmt: skip
        assert answer.json()["items"][0]["create"]["status"] == 201
    finally:
        store = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
        os.kill(int(store.split()[0]), signal.SIGTERM)  # strace ends with the store that it runs
        process.wait(60)
    seen = [found.groups() for line in trace.read_text(errors="replace").splitlines() if (found := _CALL.search(line))]
    written = next(
        place for place, call in enumerate(seen) if call[0] in ("write", "writev") and "unmistakable" in call[3]
    )
    log = seen[written][2]
    assert "/translog/" in log
    later = seen[written + 1 :]
    synced = next(place for place, call in enumerate(later) if call[0] in ("fsync", "fdatasync") and call[2] == log)
    answered = next(place for place, call in enumerate(later) if "201 " in call[3] or "200 OK" in call[3])
    assert synced < answered


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 MiB."""
    if os.geteuid() != 0:
        lacking("the right to mount", "run as root to fill a real file system")
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lacking("the right to mount", done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_refuses_and_reads_go_on(small: Path) -> None:
    """When the store has filled a disk down to the reserve, writes are 429 with the reason, and reads go on."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "STORE_DIR": str(small / "store"),
        "STORE_PORT": str(port),
        "STORE_DISK_RESERVE": str(48 * 2**20),
    }
    command = [sys.executable, "-P", "-m", "compose.store"]
    acknowledged, refused = set[int](), ""
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(url, process)
        for start in range(0, 200_000, 500):
            body = b"".join(LINE % (number, os.urandom(200).hex().encode()) for number in range(start, start + 500))
            answer = httpx.post(
                f"{url}/_bulk", content=body, timeout=120, headers={"content-type": "application/x-ndjson"}
            )
            if answer.status_code != 200:
                assert answer.status_code in (429, 503), answer.text
                refused = answer.text
                break
            for item in answer.json()["items"]:
                result = item["create"]
                if result["status"] == 201:
                    acknowledged.add(int(result["_id"]))
                else:
                    assert result["status"] in (429, 503), result
                    refused = result["error"]["reason"]
            if refused:
                break
        assert acknowledged
        assert "STORE_DISK_RESERVE" in refused
        found = httpx.get(f"{url}/logs/_search?size=1", timeout=60)
        assert found.status_code == 200, found.text
        assert found.json()["hits"]["hits"]
        some = sorted(acknowledged)[:: max(1, len(acknowledged) // 50)]
        asked = httpx.post(f"{url}/logs/_mget", json={"ids": [str(number) for number in some]}, timeout=60).json()
        assert all(document["found"] for document in asked["docs"])
    finally:
        process.kill()
        process.wait()
