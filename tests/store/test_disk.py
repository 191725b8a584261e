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
from tests.ports import free_port

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


def test_a_disk_that_others_fill_refuses_and_heals(small: Path) -> None:
    """While another program leaves no byte free, reads go on and writes are 429; with space back writes are taken."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ, "STORE_DIR": str(small / "store"), "STORE_PORT": str(port), "STORE_DISK_RESERVE": str(8 * 2**20),
    }  # fmt: skip
    filler = small / "filler"
    with (small.parent / "store.log").open("wb") as output:
        process = subprocess.Popen([sys.executable, "-P", "-m", "compose.store"], env=environment, stderr=output)
    headers = {"content-type": "application/x-ndjson"}
    try:
        wait_for(url, process)
        before = b"".join(LINE % (number, b"before") for number in range(500))
        answer = httpx.post(f"{url}/_bulk?refresh=true", content=before, timeout=120, headers=headers)
        assert answer.json()["errors"] is False
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 2**20)
            except OSError:
                pass  # no space left
        statuses = list[int]()  # one may still be taken: the free bytes are asked for once a second
        deadline = time.monotonic() + 60
        while statuses[-3:] != [429] * 3 and time.monotonic() < deadline:
            body = LINE % (500 + len(statuses), b"full")
            item = httpx.post(f"{url}/_bulk", content=body, timeout=120, headers=headers).json()
            statuses.append(item["items"][0]["create"]["status"])
            found = httpx.post(f"{url}/logs/_search", json={"query": {"match": {"message": "before"}}}, timeout=60)
            assert found.status_code == 200, found.text
            assert found.json()["hits"]["total"]["value"] == 500
            assert httpx.get(f"{url}/logs/_doc/7", timeout=60).json()["found"] is True
        assert statuses[-1] == 429
        assert set(statuses) <= {201, 429}
        filler.unlink()
        deadline, status = time.monotonic() + 60, 0
        while status != 201 and time.monotonic() < deadline:
            answer = httpx.post(
                f"{url}/_bulk?refresh=true", content=LINE % (600, b"after"), timeout=60, headers=headers
            )
            status = answer.json()["items"][0]["create"]["status"]
        assert status == 201
        assert httpx.get(f"{url}/logs/_count", timeout=60).json()["count"] == 501 + statuses.count(201)
    finally:
        process.kill()
        process.wait()


def test_a_disk_that_others_fill_while_documents_wait_loses_nothing(small: Path) -> None:
    """Acknowledged documents that were not loaded when the disk filled up are there once there is room again."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ, "STORE_DIR": str(small / "store"), "STORE_PORT": str(port), "STORE_DISK_RESERVE": "0",
        "STORE_REFRESH_SECONDS": "1",
    }  # fmt: skip
    filler = small / "filler"
    with (small.parent / "store.log").open("wb") as output:
        process = subprocess.Popen([sys.executable, "-P", "-m", "compose.store"], env=environment, stderr=output)
    headers = {"content-type": "application/x-ndjson"}
    acknowledged = set[int]()
    try:
        wait_for(url, process)
        httpx.put(f"{url}/logs", timeout=60).raise_for_status()
        with filler.open(
            "wb", buffering=0
        ) as file:  # all but six MiB, so that the translog fits and its loading does not
            for _ in range(2**20):
                if os.statvfs(small).f_bavail * os.statvfs(small).f_frsize < 6 * 2**20:
                    break
                file.write(b"\0" * 2**18)
            for start in range(0, 6000, 500):
                body = b"".join(LINE % (n, os.urandom(400).hex().encode()) for n in range(start, start + 500))
                items = httpx.post(f"{url}/_bulk", content=body, timeout=120, headers=headers).json().get("items", [])
                acknowledged |= {int(each["create"]["_id"]) for each in items if each["create"]["status"] == 201}
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass  # no space left
        assert acknowledged
        filler.unlink()
        deadline, count = time.monotonic() + 60, -1
        while count != len(acknowledged) and time.monotonic() < deadline:
            httpx.post(f"{url}/_refresh", timeout=60)
            count = httpx.get(f"{url}/logs/_count", timeout=60).json().get("count", -1)
        assert count == len(acknowledged)
        some = sorted(acknowledged)[:: max(1, len(acknowledged) // 50)]
        asked = httpx.post(f"{url}/logs/_mget", json={"ids": [str(number) for number in some]}, timeout=60).json()
        assert all(document["found"] for document in asked["docs"])
    finally:
        process.kill()
        process.wait()
