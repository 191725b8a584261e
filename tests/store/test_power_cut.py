"""A power cut at any moment, and a kill amid any kind of change, loses nothing answered and leaves nothing half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from compose.store.engine import Engine
from compose.store.settings import StoreSettings
from tests.optional import need
from tests.ports import free_port
from tests.store.changes import Changes, held
from tests.store.disk_model import CALLS, Disk
from tests.store.test_disk import wait_for
from tests.store.test_durability import start


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Disk, Changes]:
    """What strace saw of a store while it changed, and the changes."""
    strace, port = need("strace", apt="strace"), free_port()
    folder = tmp_path_factory.mktemp("traced")
    trace, room = folder / "trace", folder / "store"
    environment = {**os.environ, "STORE_DIR": str(room), "STORE_PORT": str(port), "STORE_REFRESH_SECONDS": "0.1"}
    process = subprocess.Popen(
        [strace, "-f", "-y", "-xx", "-s", "10000000", "-ttt", "-e", f"trace={CALLS}", "-o", str(trace),
         sys.executable, "-P", "-m", "compose.store"],
        env=environment,
    )  # fmt: skip
    changes = Changes(11)
    try:
        wait_for(f"http://127.0.0.1:{port}", process)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            for number in range(60):
                changes.next(client)
                if number % 7 == 0:
                    time.sleep(0.15)  # so that the loader's moments lie between changes as well
    finally:
        store = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
        os.kill(int(store.split()[0]), signal.SIGTERM)
        process.wait(120)
    return Disk(trace, room), changes


def cut(disk: Disk, changes: Changes, folder: Path, seed: int) -> None:
    """Cut the power at a random moment, start, and compare; then once more from what that start left."""
    chance = random.Random(seed)
    first = next(place for place, moment in enumerate(disk.moments) if moment > changes.sent[1].answered)  # type: ignore[operator]
    moment = chance.randrange(first, len(disk.moments))
    disk.after_cut(moment, folder, chance, chance.choice([0, 0.5, 0.9, 1]))
    possible = changes.possible(disk.moments[moment])
    for _ in range(2):
        engine = Engine(StoreSettings(dir=folder))
        try:
            found = held(engine)
            assert found in possible, f"seed {seed}, event {moment}: {len(found)} indices"
            assert engine.last_error is None
            assert engine.orphans == 0
        finally:
            engine.stop()


@pytest.mark.parametrize("seed", range(12))
def test_a_power_cut_loses_nothing_answered(traced: tuple[Disk, Changes], tmp_path: Path, seed: int) -> None:
    """Whatever pages of unsynced writes reached the disk, all changes answered before are there, each whole."""
    cut(*traced, tmp_path / "disk", seed)


@pytest.mark.soak
def test_many_power_cuts_lose_nothing_answered(traced: tuple[Disk, Changes], tmp_path: Path) -> None:
    """The same at 300 moments."""
    for seed in range(1000, 1300):
        cut(*traced, tmp_path / str(seed), seed)


def test_the_model_shows_a_missing_fsync(traced: tuple[Disk, Changes], tmp_path: Path) -> None:
    """Were no fsync of the translog seen, answered changes would be missed: the comparison can fail."""
    disk, changes = traced
    translog = {each.file for each in disk.names if each.kind == "make" and "/translog-" in each.path}
    changed = [write for write in disk.writes if write.file in translog]
    before = [write.synced for write in changed]
    moment = max(write.at for write in changed) + 1
    try:
        for write in changed:
            write.synced = None
        disk.after_cut(moment, tmp_path / "disk", random.Random(1), 0)
    finally:
        for write, synced in zip(changed, before, strict=True):
            write.synced = synced
    engine = Engine(StoreSettings(dir=tmp_path / "disk"))
    try:
        assert held(engine) not in changes.possible(disk.moments[moment])
    finally:
        engine.stop()


def killed(tmp_path: Path, rounds: int) -> None:
    """Kill the store again and again amid changes and searches, and compare after each start."""
    folder, port, chance, changes = tmp_path / "store", free_port(), random.Random(5), Changes(rounds)
    folder.mkdir()
    url, ended = f"http://127.0.0.1:{port}", threading.Event()

    def ask() -> None:
        """Ask for what makes pieces of the index in memory, without end."""
        bodies = [{"query": {"term": {"level": "INFO"}}}, {"size": 0, "aggs": {"a": {"terms": {"field": "level"}}}}]
        while not ended.is_set():
            try:
                httpx.post(f"{url}/logs-*/_search", json=chance.choice(bodies), timeout=20)
            except httpx.TransportError:
                time.sleep(0.05)

    searcher = threading.Thread(target=ask)
    searcher.start()
    try:
        for number in range(rounds):
            process = start(folder, port)
            timer = threading.Timer(chance.uniform(0.2, 2.5), process.kill)
            timer.start()
            try:
                with httpx.Client(base_url=url, timeout=60) as client:
                    while True:
                        changes.next(client)
            except httpx.TransportError:
                pass  # that was the kill
            finally:
                timer.cancel()
                process.kill()
                process.wait()
            engine = Engine(StoreSettings(dir=folder))
            try:
                found = held(engine)
                assert found in changes.possible(time.time()), number
                assert engine.last_error is None
            finally:
                engine.stop()
            changes.settle(found)
    finally:
        ended.set()
        searcher.join()
    assert len(changes.sent) > 2 * rounds, "hardly anything was written, so hardly anything was shown"


def test_kills_amid_any_change(tmp_path: Path) -> None:
    """After kills amid bulks, deletions, templates, policies, mappings and snapshots, each change is there or not."""
    killed(tmp_path, 4)


@pytest.mark.soak
def test_many_kills_amid_any_change(tmp_path: Path) -> None:
    """The same with sixty kills."""
    killed(tmp_path, 60)
