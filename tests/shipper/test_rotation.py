"""Files that are renamed, cut, copied, packed, replaced and deleted: each line once, and what is lost is counted."""

from __future__ import annotations

import gzip
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from shipper import tails
from shipper.batch import Batch
from shipper.discovery import find
from shipper.service import Service
from shipper.tail import Tail
from tests.shipper.conftest import Shipping, line, started, until


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(tails, "PARTING_SECONDS", 0.6)


def append(path: Path, data: bytes) -> None:
    """Append bytes with one write."""
    with path.open("ab") as file:
        file.write(data)


def test_a_renamed_file_is_read_on_under_its_new_name(shipping: Shipping) -> None:
    """Rotation while stopped: the rest of the renamed file and all of the new one arrive."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    shipping.ship()
    append(log, shipping.lines(10, 5))
    log.rename(shipping.logs / "a.log.1")
    log.write_bytes(shipping.lines(15, 5))
    service = shipping.ship()
    shipping.each_once(20)
    assert service.tally.counts["acknowledged"] == 10


def test_a_cascade_of_renames(shipping: Shipping, running: Service) -> None:
    """a.log.1 to a.log.2, a.log to a.log.1, again and again while it is written: each line once."""
    log = shipping.logs / "a.log"
    for turn in range(8):
        for number in range(8, 0, -1):  # none is overwritten: what nobody can have read may be lost
            older = shipping.logs / f"a.log.{number}"
            if older.exists():
                older.rename(shipping.logs / f"a.log.{number + 1}")
        if log.exists():
            log.rename(shipping.logs / "a.log.1")
        append(log, shipping.lines(turn * 20, 10))
        time.sleep(0.01)
        append(log, shipping.lines(turn * 20 + 10, 10))
    shipping.arrived(160)
    shipping.each_once(160)


def test_a_file_moved_out_of_sight_is_read_to_its_end(shipping: Shipping, running: Service) -> None:
    """Renamed out of the pattern with unread bytes, and written to after that: all arrive."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    shipping.arrived(10)
    with log.open("ab") as writer:
        writer.write(shipping.lines(10, 10))
        log.rename(shipping.logs / "gone.txt")
        writer.write(shipping.lines(20, 10))
    shipping.arrived(30)
    shipping.each_once(30)


def test_a_deleted_file_is_read_to_its_end(shipping: Shipping, running: Service) -> None:
    """Deleted while open and still written to, its last line without a newline: all arrive."""
    log = shipping.logs / "a.log"
    with log.open("wb") as writer:
        writer.write(shipping.lines(0, 10))
        writer.flush()
        shipping.arrived(10)
        log.unlink()
        writer.write(shipping.lines(10, 10) + line(20).rstrip(b"\n"))
    shipping.arrived(21)
    shipping.each_once(21)
    until(lambda: not running.tails.tails, "the handle is let go")


def test_a_deleted_and_a_moved_file_are_read_when_they_grow_late(
    shipping: Shipping, running: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a file open may write to it long after it went out of sight: those lines arrive, too."""
    monkeypatch.setattr("shipper.service.HOT_SECONDS", 0.05)
    monkeypatch.setattr(tails, "QUIET_SECONDS", 600.0)  # nothing is given up, however slow this machine is
    monkeypatch.setattr(tails, "PARTING_SECONDS", 600.0)
    deleted, moved = shipping.logs / "a.log", shipping.logs / "b.log"
    with deleted.open("wb", buffering=0) as one, moved.open("wb", buffering=0) as two:
        one.write(shipping.lines(0, 10))
        two.write(shipping.lines(10, 10))
        shipping.arrived(20)
        deleted.unlink()
        moved.rename(shipping.logs / "gone.txt")
        time.sleep(0.6)
        one.write(shipping.lines(20, 5))
        two.write(shipping.lines(25, 5))
        shipping.arrived(30)
        one.write(line(30).rstrip(b"\n"))  # never ended, and nothing will be: it is whole
        monkeypatch.setattr(tails, "QUIET_SECONDS", 0.5)
    shipping.arrived(31)
    shipping.each_once(31)


@pytest.mark.parametrize("after", [3, 10, 30])
def test_a_truncated_file_is_a_new_generation(shipping: Shipping, running: Service, after: int) -> None:
    """Truncated, then less, as much, or more than before: what was written after it arrives, too."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    shipping.arrived(10)
    with log.open("r+b") as writer:
        writer.truncate(0)
        writer.write(shipping.lines(10, after))
    shipping.arrived(10 + after)
    shipping.each_once(10 + after)
    assert running.tails.counts["truncated"] == 1
    assert running.tails.counts["lost_bytes"] == 0


@pytest.mark.parametrize("after", [3, 10, 30])
def test_truncated_while_stopped(shipping: Shipping, after: int) -> None:
    """The same across a restart: the marker before the offset tells, not the size alone."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    shipping.ship()
    with log.open("r+b") as writer:
        writer.truncate(0)
        writer.write(shipping.lines(10, after))
    shipping.ship()
    shipping.each_once(10 + after)


def test_the_same_first_line_again_is_another_incarnation(shipping: Shipping) -> None:
    """A file that begins anew with the same lines is a new generation: its lines arrive although they are equal."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    service, thread = started(shipping)
    try:
        shipping.arrived(10)
        with log.open("r+b") as writer:
            writer.truncate(0)
        until(lambda: service.tails.counts["truncated"] == 1, "the truncation is seen")
        append(log, shipping.lines(0, 4))
        shipping.arrived(14)
    finally:
        service.stop()
        thread.join(20)
    assert sum(shipping.cluster.messages().values()) == 14


def test_copytruncate_with_a_copy_in_sight_loses_nothing(shipping: Shipping, running: Service) -> None:
    """Copied and truncated with lines unread: they are read from the copy, and nothing doubles."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 30))
    shipping.arrived(30)
    running.tails.has_more = stalled = Stalled(running)  # type: ignore[method-assign]  # holds reading up
    append(log, shipping.lines(30, 10))
    time.sleep(0.2)
    shutil.copyfile(log, shipping.logs / "a.log.1")
    os.truncate(log, 0)
    append(log, shipping.lines(40, 10))
    stalled.go.set()
    shipping.arrived(50)
    shipping.each_once(50)
    assert running.tails.counts["lost_bytes"] == 0


class Stalled:
    """Stands before `has_more` and lets nothing be read until it may."""

    def __init__(self, service: Service) -> None:
        self.go = threading.Event()
        self._look = service.tails.has_more

    def __call__(self, tail: Tail, moment: float) -> bool | None:
        return self._look(tail, moment) if self.go.is_set() else None


def test_what_truncation_takes_is_counted(shipping: Shipping, running: Service) -> None:
    """Truncated with bytes unread and no copy: they are lost by nature, counted, and said."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    shipping.arrived(10)
    unfinished = b'{"message":"never ended'
    append(log, unfinished)
    until(lambda: any(tail.size > tail.read for tail in running.tails.tails.values()), "it was seen")
    os.truncate(log, 0)
    append(log, shipping.lines(10, 1))
    shipping.arrived(11)
    until(lambda: running.tails.counts["lost_bytes"] == len(unfinished), "the loss is counted")
    shipping.each_once(11)


def test_a_copy_and_a_packed_copy_are_not_read_again(shipping: Shipping) -> None:
    """A copy, a .gz and a moved file of what was read inherit its offset; an unread .gz is read."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 40))
    shipping.ship()
    (shipping.logs / "a.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    shipping.ship()
    shipping.each_once(40)
    (shipping.logs / "b.log.2.gz").write_bytes(gzip.compress(shipping.lines(40, 20)))
    shipping.ship()
    shipping.each_once(60)


def test_a_packed_copy_of_a_half_read_file_is_read_on(shipping: Shipping) -> None:
    """Packed while stopped, with lines unread: the rest is read from the .gz."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 40))
    shipping.ship()
    (shipping.logs / "a.log.1.gz").write_bytes(gzip.compress(shipping.lines(0, 60)))
    log.unlink()
    shipping.ship()
    shipping.each_once(60)


def test_a_copy_beside_its_original_is_left_alone(shipping: Shipping, running: Service) -> None:
    """A copy of a file that is being read is not read as well."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 40))
    shipping.arrived(40)
    shutil.copyfile(log, shipping.logs / "backup.log")
    append(log, shipping.lines(40, 10))
    shipping.arrived(50)
    time.sleep(1.0)
    shipping.each_once(50)


def test_equal_ends_do_not_make_a_copy(shipping: Shipping, running: Service) -> None:
    """Files that differ in their middle alone are two files; one that is equal throughout is a copy, and counted."""
    head, tail = b"# " + b"=" * 2000 + b"\n", b"# " + b"-" * 2000 + b"\n"
    (shipping.logs / "a.log").write_bytes(head + line(0) + tail)
    shipping.arrived(3)
    (shipping.logs / "b.log").write_bytes(head + line(1) + tail)
    until(lambda: "line 1" in shipping.cluster.messages(), "the other one is read")
    (shipping.logs / "c.log").write_bytes(head + line(0) + tail)
    until(lambda: running.tails.counts["copies"] == 1, "the copy is counted")
    assert shipping.cluster.messages()["line 0"] == 1


def test_two_files_with_equal_first_lines_are_two(shipping: Shipping) -> None:
    """Equal beginnings, even of a kilobyte, do not make two living files one."""
    head = b"# " + b"=" * 2000 + b"\n"
    (shipping.logs / "a.log").write_bytes(head + shipping.lines(0, 20))
    (shipping.logs / "b.log").write_bytes(head + shipping.lines(20, 20))
    assert shipping.ship().tails.counts["collisions"] == 1
    found = shipping.cluster.messages()
    assert all(found[f"line {number}"] == 1 for number in range(40))


def test_a_reused_inode_is_a_new_file(shipping: Shipping) -> None:
    """Deleted and made again, on the same inode where the system gives it: read from its beginning."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    shipping.ship()
    log.unlink()
    log.write_bytes(shipping.lines(10, 30))
    shipping.ship()
    shipping.each_once(40)


def test_an_atomic_replacement_and_links(shipping: Shipping) -> None:
    """A replaced file is a new one; hard links and links to a file seen already are the same one."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    os.link(log, shipping.logs / "b.log")
    (shipping.logs / "c.log").symlink_to(log)
    shipping.ship()
    shipping.each_once(10)
    new = shipping.logs / "new.tmp"
    new.write_bytes(shipping.lines(10, 10))
    new.rename(log)
    shipping.ship()
    shipping.each_once(20)


def test_a_lost_checkpoint_doubles_nothing(shipping: Shipping) -> None:
    """Without its state folder the shipper makes the same ids again: all are there already."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
    shipping.ship()
    shutil.rmtree(shipping.settings.state_dir)
    service = shipping.ship()
    assert service.tally.counts["already_there"] == 50
    shipping.each_once(50)


def test_a_power_cut_that_takes_the_tail_is_no_truncation(shipping: Shipping) -> None:
    """Shorter than acknowledged with the same beginning: read on from there, nothing again."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 60))
    shipping.ship()
    os.truncate(log, len(shipping.lines(0, 50)))
    append(log, shipping.lines(60, 5))
    service = shipping.ship()
    assert service.tails.counts["rewound"] == 1
    found = shipping.cluster.messages()
    assert all(found[f"line {number}"] == 1 for number in range(65))


def test_small_files_are_read_at_once(shipping: Shipping) -> None:
    """An empty file, a file of one short line, many of them: no minimum of bytes."""
    (shipping.logs / "empty.log").touch()
    for number in range(30):
        (shipping.logs / f"{number}.log").write_bytes(line(number))
    shipping.ship()
    shipping.each_once(30)


def test_our_files_are_deleted_once_acknowledged_and_succeeded(shipping: Shipping) -> None:
    """With SHIPPER_DELETE_ACKNOWLEDGED the app's files go, but the newest, and foreign files never."""
    shipping.set(delete_acknowledged=True)
    start = "app-20261124T100000Z-77"
    for number in (1, 2, 3):
        (shipping.logs / f"{start}-{number:06d}.jsonl").write_bytes(shipping.lines(number * 10 - 10, 10))
    (shipping.logs / "foreign.log").write_bytes(shipping.lines(30, 10))
    service, thread = started(shipping)
    until(lambda: service.tails.counts["deleted_files"] == 2, "two files are deleted")
    service.stop()
    thread.join(20)
    assert sorted(path.name for path in shipping.logs.iterdir()) == [f"{start}-000003.jsonl", "foreign.log"]
    shipping.each_once(40)


def test_files_of_processes_that_ended_do_not_stay_for_ever(shipping: Shipping) -> None:
    """A process's last file has no successor of its own: it goes a day later, when a later start has files too."""
    shipping.set(delete_acknowledged=True)
    now = time.time()
    ended, today, idle = (f"app-2026112{day}T100000Z-{day}-000001.jsonl" for day in (1, 2, 3))
    for number, (name, age) in enumerate([(ended, 2), (today, 0), (idle, 2)]):
        (shipping.logs / name).write_bytes(shipping.lines(number * 10, 10))
        os.utime(shipping.logs / name, (now - age * 86_400, now - age * 86_400))
    service, thread = started(shipping)
    until(lambda: service.tails.counts["deleted_files"] == 1, "one file is deleted")
    shipping.arrived(30)
    service.stop()
    thread.join(20)
    # The newest start's process may be idle, and goes on; the second one wrote today.
    assert sorted(path.name for path in shipping.logs.iterdir()) == [today, idle]
    shipping.each_once(30)


def test_a_gap_in_our_numbers_is_counted(shipping: Shipping, running: Service) -> None:
    """A file of the app's that was dropped before it was seen is counted as lost."""
    start = "app-20261124T100000Z-78"
    (shipping.logs / f"{start}-000001.jsonl").write_bytes(shipping.lines(0, 10))
    shipping.arrived(10)
    (shipping.logs / f"{start}-000004.jsonl").write_bytes(shipping.lines(10, 10))
    shipping.arrived(20)
    assert running.tails.counts["lost_files"] == 2


def test_a_copy_of_a_file_that_grew_again_to_its_old_size_inherits(shipping: Shipping) -> None:
    """Copied, truncated and filled to the very same size between two looks: the copy is not taken for another file."""
    log, copy = shipping.logs / "a.log", shipping.logs / "a.log.1"
    log.write_bytes(shipping.lines(0, 10))
    service = shipping.service()
    looking = service.tails
    globs = shipping.settings.globs
    [tail] = looking.look(find(globs, ""), 1.0, 1.0)
    chunk = looking.refill(tail, 1 << 20, 1.0)
    segment = Batch().begin(tail.number, tail.path, tail.read)
    segment.end += len(chunk.data) + 1
    looking.took(tail, segment, chunk.lines, chunk.ended)
    looking.settle(segment, 1.0)
    shutil.copyfile(log, copy)
    with log.open("r+b") as file:
        file.truncate(0)
        file.write(shipping.lines(10, 10)[: copy.stat().st_size])
    looking.look(find(globs, ""), 2.0, 2.0)
    counts = looking.counts
    looking.close()
    service.checkpoint.close()
    assert (counts["truncated"], counts["inherited"], counts["collisions"]) == (1, 1, 0)
