"""The log file: one append a line, numbering, faults that never reach the request."""

from __future__ import annotations

import collections
import logging
import os
import re
import shutil
import uuid
from pathlib import Path

import msgspec
import pytest

from app import logs
from app.logs import EventLog, LogFile, leave_volume_id, oldest_closed
from tests.app.conftest import Clock, lines


class Writer:
    """A log file with counted drops."""

    def __init__(self, folder: Path, clock: Clock, max_bytes: int = 1 << 20) -> None:
        self.drops: collections.Counter[str] = collections.Counter()
        self.file = LogFile(folder, clock, max_bytes, lambda reason, count: self.drops.update({reason: count}))
        self.log = EventLog(self.file, clock)


def test_a_line_has_the_contracts_form(tmp_path: Path, clock: Clock) -> None:
    """Time in UTC with microseconds and Z first, service, level; what is None is absent."""
    clock.now += 0.25
    Writer(tmp_path, clock).log.event(logging.INFO, "app.x", "served", prediction=1, instance=None, error=None)
    (line,) = lines(tmp_path)
    assert next(iter(line)) == "@timestamp"
    assert line["@timestamp"] == "2026-11-24T09:30:00.250000Z"
    assert (line["level"], line["service"], line["logger"]) == ("INFO", "ml-pipeline", "app.x")
    assert not {"instance", "error"} & set(line)


def test_the_name_tells_start_process_and_number(tmp_path: Path, clock: Clock) -> None:
    """`app-<start>-<pid>-<number>.jsonl`."""
    Writer(tmp_path, clock).log.event(logging.INFO, "a", "b")
    (path,) = tmp_path.glob("*.jsonl")
    assert path.name == f"app-20261124T093000Z-{os.getpid()}-000001.jsonl"


def test_size_and_midnight_begin_the_next_number(tmp_path: Path, clock: Clock) -> None:
    """The next file is begun at the size, and at midnight UTC; none is renamed."""
    writer = Writer(tmp_path, clock, max_bytes=100)
    for _ in range(3):
        assert writer.file.write(b"x" * 99)
    clock.now += 86_400
    assert writer.file.write(b"y")
    assert [path.name[-8:-6] for path in sorted(tmp_path.glob("*.jsonl"))] == ["01", "02", "03", "04"]
    oldest = oldest_closed(tmp_path)
    assert oldest is not None
    assert oldest.name.endswith("-000001.jsonl")


def test_a_folder_that_cannot_be_written_is_a_counted_drop(tmp_path: Path, clock: Clock) -> None:
    """A file stands where the folder should be: dropped and counted, and written again once it can be."""
    folder = tmp_path / "logs"
    folder.write_text("in the way")
    writer = Writer(folder, clock)
    for _ in range(5):
        assert not writer.file.write(b"{}")
    assert writer.drops == {"unwritable": 5}
    assert "logs" in str(writer.file.last_error)
    folder.unlink()
    clock.now += 2
    assert writer.file.write(b"{}")
    assert str(writer.file.last_error) == "None"
    assert [path.name[-12:] for path in folder.glob("app-*")] == ["000001.jsonl"]


def test_a_deleted_folder_is_noticed(tmp_path: Path, clock: Clock) -> None:
    """Lines do not go on into a file that nobody can see."""
    folder = tmp_path / "logs"
    writer = Writer(folder, clock)
    writer.file.write(b"{}")
    shutil.rmtree(folder)
    clock.now += 2
    assert writer.file.write(b'{"after":1}')
    assert lines(folder) == [{"after": 1}]
    assert not writer.drops


def test_a_file_that_was_moved_away_is_left(tmp_path: Path, clock: Clock) -> None:
    """Renamed as logrotate does: lines go on in the next file, where whoever follows the folder looks for them."""
    writer = Writer(tmp_path, clock)
    writer.file.write(b'{"n":1}')
    (path,) = tmp_path.glob("app-*.jsonl")
    path.rename(tmp_path / f"{path.name}.1")
    clock.now += 2
    assert writer.file.write(b'{"n":2}')
    assert lines(tmp_path) == [{"n": 2}]
    assert not writer.drops


def test_a_clock_set_back_stops_no_line(tmp_path: Path, clock: Clock) -> None:
    """An hour back: a folder that can be written again is written at once, and a deleted file is noticed."""
    folder = tmp_path / "logs"
    folder.write_text("in the way")
    writer = Writer(folder, clock)
    assert not writer.file.write(b"{}")
    failing = writer.file.failing
    folder.unlink()
    clock.now -= 3600
    assert writer.file.write(b'{"n":1}')
    assert (failing, writer.file.failing) == (True, False)
    shutil.rmtree(folder)
    clock.now -= 3600
    assert writer.file.write(b'{"n":2}')
    assert lines(folder) == [{"n": 2}]


def test_after_a_short_write_the_next_line_begins_anew(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torn line is counted, and does not swallow its successor."""
    writer = Writer(tmp_path, clock)
    writer.file.write(b'{"n":1}')
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda handle, data: write(handle, data[:4]))
        assert not writer.file.write(b'{"n":2}')
    assert writer.file.write(b'{"n":3}')
    assert writer.drops == {"short_write": 1}
    (path,) = tmp_path.glob("*.jsonl")
    assert path.read_bytes() == b'{"n":1}\n{"n"\n{"n":3}\n'


def test_a_full_device_is_counted_as_full(tmp_path: Path, clock: Clock) -> None:
    """The kernel's own full device: the write fails with ENOSPC and is counted as that."""
    writer = Writer(tmp_path, clock)
    writer.file.write(b"{}")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer.file._handle)
    os.close(full)
    assert not writer.file.write(b"{}")
    assert writer.drops == {"full": 1}
    assert "No space left" in str(writer.file.last_error)
    clock.now += 2
    assert writer.file.write(b"{}")
    assert (writer.file.failing, str(writer.file.last_error)) == (False, "None")


def test_a_nearly_full_volume_loses_its_oldest_closed_file(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest closed file of ours goes, its lines counted; the open one and others' stay."""
    (tmp_path / "other.jsonl").write_text("{}\n")
    writer = Writer(tmp_path, clock, max_bytes=20)
    for _ in range(10):
        writer.file.write(b'{"a":"bcdef"}')
    before = len(list(tmp_path.glob("app-*")))
    monkeypatch.setattr(logs, "NEARLY_FULL_BYTES", 1 << 62)
    monkeypatch.setattr(logs, "NEARLY_FULL_SHARE", 1.1)
    clock.now += 2
    writer.file.write(b"{}")
    assert len(list(tmp_path.glob("app-*"))) in (before - 1, before)
    assert writer.drops["volume_nearly_full"] == 2
    assert (tmp_path / "other.jsonl").exists()
    assert not list(tmp_path.glob("*-000001.jsonl"))


def test_a_file_that_another_deletes_first_costs_no_line(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest closed file is gone between the look and the deletion: nothing of ours is lost or closed."""
    writer = Writer(tmp_path, clock)
    writer.file.write(b"{}")
    monkeypatch.setattr(logs, "NEARLY_FULL_BYTES", 1 << 62)
    monkeypatch.setattr(logs, "NEARLY_FULL_SHARE", 1.1)
    monkeypatch.setattr(logs, "oldest_closed", lambda folder: folder / "app-20261124T000000Z-1-000001.jsonl")
    clock.now += 2
    assert writer.file.write(b"{}")
    assert not writer.drops
    assert [path.name[-12:] for path in tmp_path.glob("app-*")] == ["000001.jsonl"]


def test_a_line_that_is_too_long_is_dropped(tmp_path: Path, clock: Clock) -> None:
    """64 KiB is the longest."""
    writer = Writer(tmp_path, clock)
    assert not writer.file.write(b"x" * logs.MAX_LINE)
    assert writer.drops == {"too_long": 1}
    assert not writer.file.failing


def test_error_and_message_are_cut_and_cleaned(tmp_path: Path, clock: Clock) -> None:
    """1,000 characters, no control characters, one line."""
    Writer(tmp_path, clock).log.event(logging.ERROR, "a", "b\nc", error="e\x00\r\n\u2028" + "x" * 5000)
    (line,) = lines(tmp_path)
    assert line["message"] == "b c"
    assert len(line["error"]) == 1000
    assert not re.search(r"[\x00-\x1f\u2028]", line["error"])


def test_the_first_volume_id_wins(tmp_path: Path) -> None:
    """A UUID that later writers leave as it is, with no temporary file behind."""
    leave_volume_id(tmp_path)
    first = (tmp_path / ".volume-id").read_text()
    leave_volume_id(tmp_path)
    assert (tmp_path / ".volume-id").read_text() == first
    assert str(uuid.UUID(first.strip())) == first.strip()
    assert [path.name for path in tmp_path.iterdir()] == [".volume-id"]


def test_each_line_is_valid_json(tmp_path: Path, clock: Clock) -> None:
    """Quotes, non-ASCII text and lone surrogates come out as JSON in UTF-8."""
    Writer(tmp_path, clock).log.event(logging.INFO, "a", 'say "ü" \ud800 漢')
    (path,) = tmp_path.glob("*.jsonl")
    assert msgspec.json.decode(path.read_bytes())["message"].startswith('say "ü"')
