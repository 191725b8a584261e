"""Full and vanishing volumes: what cannot be written is said, nothing is lost, and it goes on when there is room."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.deadletter import read
from tests.optional import lacking
from tests.shipper.conftest import Shipping, started, until


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


def test_a_full_disk_under_the_dead_letters_holds_the_file_until_there_is_room(
    shipping: Shipping, small_disk: Path
) -> None:
    """A refused document that cannot be kept is not let go: its file waits, says so, and goes on with room."""
    shipping.set(state_dir=small_disk / "state")
    shipping.cluster.judge = lambda _index, _id, document: (
        (400, "document_parsing_exception", "no") if document["message"] in ("line 3", "line 40") else None
    )
    service, thread = started(shipping)
    filler = small_disk / "filler"
    try:
        until((small_disk / "state" / "checkpoint.json").exists, "it runs")
        fill(filler, b"x" * 512)
        (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
        until(lambda: len(shipping.cluster.documents) == 48, "the neighbours arrive")
        until(lambda: any("make it writable" in text for text in service.tally.stuck.values()), "it says so")
        assert service.tally.counts["dead_letter"] == 0
        filler.unlink()
        until(lambda: service.tally.counts["dead_letter"] == 2, "both are kept", 60)
    finally:
        service.stop()
        thread.join(30)
    letters = [letter for path in service.letters.files() for letter in read(path)]
    assert sorted(letter.offset for letter in letters) == [len(shipping.lines(0, 3)), len(shipping.lines(0, 40))]


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


def test_a_log_volume_that_fills_and_is_freed(shipping: Shipping, small_disk: Path) -> None:
    """While the shipper runs a writer meets a full volume, makes room by deleting what was read, and goes on."""
    logs = small_disk / "logs"
    logs.mkdir()
    shipping.set(paths=f"{logs}/*.log", poll_seconds=0.05)
    service, thread = started(shipping)
    try:
        line = shipping.lines(0, 1)
        size = fill(logs / "a.log", line)
        whole = size // len(line)
        until(lambda: len(shipping.cluster.documents) == whole, "what is whole arrives", 60)
        torn = size % len(line)
        (logs / "a.log").unlink()
        until(lambda: len(shipping.cluster.documents) == whole + bool(torn), "the torn end arrives as it is", 60)
        until(lambda: not service.tails.tails, "the handle is let go, and with it the room", 60)
        (logs / "b.log").write_bytes(shipping.lines(1, 10))
        until(lambda: len(shipping.cluster.documents) == whole + bool(torn) + 10, "the next file arrives", 60)
    finally:
        service.stop()
        thread.join(30)
    assert service.tails.counts["lost_bytes"] == 0


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
