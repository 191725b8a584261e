"""Which files are found, when, and from where they are read."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from shipper.errors import StateError
from shipper.reader import Source
from tests.optional import lacking
from tests.shipper.conftest import Shipping, line, started, until


def test_a_file_and_a_folder_that_come_later_are_found(shipping: Shipping) -> None:
    """Both are read from their beginning, whatever was in them before they were found."""
    later = shipping.logs / "later"
    shipping.set(paths=f"{shipping.logs}/*.log:{later}/*.log", poll_seconds=0.05)
    service, thread = started(shipping)
    try:
        (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
        later.mkdir()
        (later / "b.log").write_bytes(shipping.lines(10, 10))
        until(lambda: len(shipping.cluster.documents) == 20, "both are read")
    finally:
        service.stop()
        thread.join(20)
    shipping.each_once(20)


def test_a_file_in_two_patterns_is_read_once_and_excluded_ones_never(shipping: Shipping) -> None:
    """Patterns may overlap; names that are excluded stay out."""
    shipping.set(paths=f"{shipping.logs}/*.log:{shipping.logs}/a*", exclude="*debug*")
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
    (shipping.logs / "a-debug.log").write_bytes(shipping.lines(10, 10))
    shipping.ship()
    shipping.each_once(10)


def test_a_file_that_may_not_be_read_is_said_and_read_when_it_may(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No right to read is a warning with the file's name, and is tried again."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    refused = [True]

    def source(path: str) -> Source:
        """Refuse as the system does; root, who runs the tests in CI, may read everything."""
        if refused[0]:
            raise PermissionError(13, "Permission denied", path)
        return Source(path)

    monkeypatch.setattr("shipper.tails.Source", source)
    shipping.set(poll_seconds=0.05)
    service, thread = started(shipping)
    try:
        until(lambda: str(log) in service.tails.unreadable.troubles, "it is said")
        assert "Permission denied" in service.tails.unreadable.troubles[str(log)].text
        refused[0] = False
        until(lambda: len(shipping.cluster.documents) == 10, "it is read")
    finally:
        service.stop()
        thread.join(20)
    shipping.each_once(10)


def test_a_link_that_is_switched(shipping: Shipping) -> None:
    """A symbolic link whose target is another file now: both targets are read once."""
    first, second = shipping.logs / "one.txt", shipping.logs / "two.txt"
    first.write_bytes(shipping.lines(0, 10))
    second.write_bytes(shipping.lines(10, 10))
    link = shipping.logs / "current.log"
    link.symlink_to(first)
    shipping.ship()
    link.unlink()
    link.symlink_to(second)
    shipping.ship()
    link.unlink()
    link.symlink_to(first)
    with first.open("ab") as file:
        file.write(shipping.lines(20, 10))
    shipping.ship()
    shipping.each_once(30)


def test_moved_away_truncated_and_moved_back(shipping: Shipping) -> None:
    """A file that leaves, is cut and comes back is a new generation with its new lines."""
    log = shipping.logs / "a.log"
    away = shipping.logs.parent / "away"
    log.write_bytes(shipping.lines(0, 10))
    shipping.ship()
    log.rename(away)
    shipping.ship()
    away.write_bytes(shipping.lines(10, 3))
    away.rename(log)
    shipping.ship()
    shipping.each_once(13)


def test_moved_to_another_folder_and_written_on(shipping: Shipping) -> None:
    """A file moved between two watched folders is the same one."""
    other = shipping.logs / "other"
    other.mkdir()
    shipping.set(paths=f"{shipping.logs}/*.log:{other}/*.log")
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    shipping.ship()
    log.rename(other / "a.log")
    with (other / "a.log").open("ab") as file:
        file.write(shipping.lines(10, 10))
    shipping.ship()
    shipping.each_once(20)


def test_writers_of_the_old_and_the_new_file_at_once(shipping: Shipping) -> None:
    """After a rotation one writer still has the old file and another the new one: all lines arrive."""
    shipping.set(poll_seconds=0.05)
    log = shipping.logs / "a.log"
    old = log.open("ab", buffering=0)
    service, thread = started(shipping)
    try:
        old.write(shipping.lines(0, 10))
        log.rename(shipping.logs / "a.log.1")
        (shipping.logs / "a.log").touch()  # the new one is empty at first
        new = log.open("ab", buffering=0)

        def write(file: object, first: int) -> None:
            for number in range(first, first + 100):
                file.write(line(number))  # type: ignore[attr-defined]

        writers = [threading.Thread(target=write, args=pair) for pair in ((old, 10), (new, 110))]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        until(lambda: len(shipping.cluster.documents) == 210, "all lines arrive")
        new.close()
    finally:
        old.close()
        service.stop()
        thread.join(20)
    shipping.each_once(210)


def test_more_files_than_handles(shipping: Shipping) -> None:
    """With few handles files are closed and opened again as they grow: each line once."""
    service = shipping.service()
    service.tails._open_files = 5
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        for turn in range(3):
            for number in range(40):
                with (shipping.logs / f"{number}.log").open("ab") as file:
                    file.write(line(turn * 40 + number))
            until(lambda turn=turn: len(shipping.cluster.documents) == (turn + 1) * 40, "the turn arrives")
        until(lambda: sum(tail.reader is not None for tail in service.tails.tails.values()) <= 5, "handles are closed")
    finally:
        service.stop()
        thread.join(20)
    shipping.each_once(120)


def test_a_reply_of_many_megabytes(shipping: Shipping) -> None:
    """Long reasons for hundreds of refused documents are read and kept; the others arrive."""
    shipping.set(batch_lines=2000)
    shipping.cluster.judge = lambda _index, _id, document: (
        (400, "document_parsing_exception", "x" * 40_000) if int(document["message"][5:]) % 10 == 0 else None
    )
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 1000))
    service = shipping.ship(timeout=60)
    assert service.tally.counts["dead_letter"] == 100
    assert len(shipping.cluster.documents) == 900


@pytest.mark.soak
def test_a_file_of_two_gigabytes(shipping: Shipping) -> None:
    """Offsets beyond 2^31 are offsets: the lines at the end arrive."""
    if os.statvfs(shipping.logs).f_bavail * os.statvfs(shipping.logs).f_frsize < 3_000_000_000:
        lacking("room for a large file", "3 GB are needed")
    with (shipping.logs / "a.log").open("wb") as file:
        file.truncate(2_200_000_000)  # a hole of NULs, as a stale writer leaves it after a truncation
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + shipping.lines(0, 100))
    shipping.ship(timeout=300)
    found = shipping.cluster.messages()
    assert all(found[f"line {number}"] == 1 for number in range(100))


def test_the_state_folder_must_be_usable(shipping: Shipping, tmp_path: Path) -> None:
    """A state folder that cannot be made refuses the start, naming the setting."""
    taken = tmp_path / "file"
    taken.write_text("in the way")
    shipping.set(state_dir=taken / "state")
    with pytest.raises(StateError, match="SHIPPER_STATE_DIR"):
        shipping.service()


def test_polling_alone_is_enough(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no notifications, as on network volumes, files are found and read all the same."""

    def refuse(self: object) -> None:
        raise OSError("inotify watch limit reached")

    monkeypatch.setattr("shipper.discovery.Observer.start", refuse)
    shipping.set(poll_seconds=0.1)
    service, thread = started(shipping)
    try:
        (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
        until(lambda: len(shipping.cluster.documents) == 10, "a new file is found", 60)
        (shipping.logs / "a.log").rename(shipping.logs / "a.log.1")
        (shipping.logs / "a.log").write_bytes(shipping.lines(10, 10))
        until(lambda: len(shipping.cluster.documents) == 20, "a rotation is followed", 60)
    finally:
        service.stop()
        thread.join(30)
    shipping.each_once(20)


def test_a_notification_that_is_missed_is_made_up_for(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notifications only say when to look: without any of them the next look finds what they would have told."""
    monkeypatch.setattr("shipper.discovery.Watch.on_any_event", lambda *_: None)
    monkeypatch.setattr("shipper.service.HOT_SECONDS", 0.01)
    shipping.set(poll_seconds=0.1)
    service, thread = started(shipping)
    try:
        for turn in range(5):
            with (shipping.logs / "a.log").open("ab") as file:
                file.write(shipping.lines(turn * 10, 10))
            until(lambda turn=turn: len(shipping.cluster.documents) == turn * 10 + 10, "it is read", 60)
    finally:
        service.stop()
        thread.join(30)
    shipping.each_once(50)


def test_an_idle_shipper_looks_less_often_where_a_look_costs_more(shipping: Shipping) -> None:
    """A look that took long is followed by a rest, so that looking stays below one hundredth of a core."""
    service = shipping.service()
    looks: list[float] = []
    service._scan = lambda: looks.append(1.0)  # type: ignore[method-assign]
    service._scanned, service._scan_cost = time.monotonic() - 5, 0.1
    service._turn()
    assert not looks  # 0.1 s of work: ten seconds of rest, although polling is set to a second
    service._scanned = time.monotonic() - 11
    service._turn()
    assert looks
    service.tails.close()
    service.checkpoint.close()
    service.server.close()
