"""Full disks, clocks that jump, ten thousand files, and a server that stays away: what it costs is bounded."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.optional import lacking
from tests.shipper.conftest import Shipping
from tests.shipper.test_commands import environment
from tests.shipper.test_delivery import started, until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A volume of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        lacking("a small volume", "only root can mount one")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path, data: bytes) -> int:
    """Append to a file until its volume is full; return the file's size."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(data) == len(data):
            pass
    return path.stat().st_size


def test_a_full_disk_under_the_checkpoint_is_said_and_survived(shipping: Shipping, small_disk: Path) -> None:
    """Lines go on, the trouble shows in /ready, and once there is room the checkpoint is right again."""
    shipping.set(state_dir=small_disk / "state")
    service, thread = started(shipping)
    filler = small_disk / "filler"
    try:
        until((small_disk / "state" / "checkpoint.json").exists, "it runs")
        fill(filler, b"x" * 512)
        for number in range(40):
            (shipping.logs / f"{number}.log").write_bytes(shipping.lines(number * 10, 10))
        until(lambda: len(shipping.cluster.documents) == 400, "all lines arrive")
        until(lambda: "checkpoint" in service.tally.stuck, "it says that the checkpoint cannot be written")
        filler.unlink()
        until(lambda: "checkpoint" not in service.tally.stuck, "it says no more")
    finally:
        service.stop()
        thread.join(20)
    again = shipping.ship()
    assert again.tally.counts["acknowledged"] + again.tally.counts["already_there"] == 0
    shipping.each_once(400)


def test_a_full_disk_under_the_logs_is_no_trouble(shipping: Shipping, small_disk: Path) -> None:
    """A torn last line of a writer that found no room waits, and what is whole arrives."""
    logs = small_disk / "logs"
    logs.mkdir()
    shipping.set(paths=f"{logs}/*.log")
    line = shipping.lines(0, 1)
    assert fill(logs / "a.log", line) % len(line), "the last line is torn"
    written = (logs / "a.log").read_bytes().count(b"\n")
    shipping.ship()
    assert sum(shipping.cluster.messages().values()) == written


@pytest.mark.parametrize("jump", [-90_000.0, 90_000.0])
def test_the_clock_may_jump(shipping: Shipping, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """A day back or forth changes nothing: indices come from the lines, waiting from a clock that cannot jump."""
    service, thread = started(shipping)
    try:
        (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
        until(lambda: len(shipping.cluster.documents) == 50, "the first lines arrive")
        real = time.time
        monkeypatch.setattr("time.time", lambda: real() + jump)
        (shipping.logs / "b.log").write_bytes(shipping.lines(50, 50))
        until(lambda: len(shipping.cluster.documents) == 100, "the next ones as well")
    finally:
        monkeypatch.undo()
        service.stop()
        thread.join(20)
    shipping.ship()
    shipping.each_once(100)


def test_a_deleted_state_folder_is_made_again(shipping: Shipping) -> None:
    """Somebody removes it while it runs: it is written anew, and nothing doubles."""
    service, thread = started(shipping)
    try:
        (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
        until(lambda: len(shipping.cluster.documents) == 50, "the first lines arrive")
        gone = shipping.settings.state_dir.rename(shipping.logs.parent / "gone")
        shutil.rmtree(gone)
        (shipping.logs / "b.log").write_bytes(shipping.lines(50, 50))
        until((shipping.settings.state_dir / "checkpoint.json").exists, "it is there again")
    finally:
        service.stop()
        thread.join(20)
    assert shipping.ship().tally.counts["acknowledged"] == 0
    shipping.each_once(100)


def test_one_hot_file_does_not_starve_the_others(shipping: Shipping) -> None:
    """With a backlog of a large file, lines of small ones arrive long before it is done."""
    shipping.set(batch_lines=500, batch_bytes=100_000)
    (shipping.logs / "hot.log").write_bytes(shipping.lines(0, 60_000))
    for number in range(20):
        (shipping.logs / f"zz{number}.log").write_bytes(shipping.lines(60_000 + number, 1))
    service, thread = started(shipping)
    try:
        cold = {f"line {60_000 + number}" for number in range(20)}
        until(lambda: cold <= set(shipping.cluster.messages()), "the cold lines arrive", 60)
        assert len(shipping.cluster.documents) < 50_000
    finally:
        service.give_up.set()
        service.stop()
        thread.join(30)


@pytest.mark.bench
def test_ten_thousand_idle_files(shipping: Shipping) -> None:
    """Prints the share of a core that ten thousand idle files and a busy one cost."""
    for number in range(10_000):
        (shipping.logs / f"{number}.log").write_bytes(shipping.lines(number, 1))
    process = subprocess.Popen(
        [sys.executable, "-m", "shipper", "run"], env=environment(shipping), stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: len(shipping.cluster.documents) == 10_000, "all are read once", 120)
        time.sleep(5)
        watched = psutil.Process(process.pid)
        before, began = sum(watched.cpu_times()[:2]), time.monotonic()
        with (shipping.logs / "busy.log").open("ab", buffering=0) as file:
            while time.monotonic() - began < 60:
                file.write(shipping.lines(10_000, 1))
                time.sleep(1)
        spent = sum(watched.cpu_times()[:2]) - before
        share = 100 * spent / (time.monotonic() - began)
        print(f"10,000 idle files and a busy one: {share:.2f} % of a core, {watched.memory_info().rss / 2**20:.0f} MiB")
    finally:
        process.kill()
        process.wait()


@pytest.mark.bench
def test_two_gigabytes_wait(shipping: Shipping) -> None:
    """Prints the memory while the server is away and 2 GB wait."""
    block = shipping.lines(0, 20_000)
    with (shipping.logs / "a.log").open("wb") as file:
        for _ in range(2_000_000_000 // len(block)):
            file.write(block)
    shipping.cluster.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "shipper", "run"], env=environment(shipping), stderr=subprocess.DEVNULL
    )
    try:
        watched = psutil.Process(process.pid)
        sizes = []
        for _ in range(6):
            time.sleep(5)
            sizes.append(watched.memory_info().rss / 2**20)
        print("server away, 2 GB wait: MiB every 5 s:", " ".join(f"{size:.0f}" for size in sizes))
    finally:
        process.kill()
        process.wait()
