"""The log line: one JSON object, appended whole to a file of this process's own; never a failed request.

The form of the line and of the files is contract 1 of the design. A line that cannot be written is dropped and
counted by its reason; the counts are the caller's, by `on_drop`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import functools
import logging
import os
import re
import socket
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from pythonjsonlogger.msgspec import MsgspecFormatter

SERVICE = "ml-pipeline"
MAX_LINE = 64 * 1024
MAX_TEXT = 1000
NEARLY_FULL_BYTES = 512 * 1024 * 1024
NEARLY_FULL_SHARE = 0.05
CHECK_SECONDS = 1.0  # how often an unwritable folder is tried again, and the volume's space looked at
DROP_REASONS = ("unwritable", "full", "short_write", "too_long", "volume_nearly_full", "buffer_full")
VOLUME_ID = ".volume-id"
_FILE_NAME = re.compile(r"(app-\d{8}T\d{6}Z-\d+)-(\d{6})\.jsonl")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029\ud800-\udfff]+")

Clock = Callable[[], float]
OnDrop = Callable[[str, int], None]


class LogFile:
    """Appends lines to `app-<start>-<pid>-<number>.jsonl`, the next number at a size or at midnight UTC.

    Args:
        folder: of the log files; it may be absent or unwritable at any time.
        clock: seconds since 1970.
        max_bytes: size from which the next file is begun.
        on_drop: is told the reason and number of lines that were not written.

    Attributes:
        stem, number, size: of the file that is written now, or was last: its name, and its bytes.
        failing: whether the last lines were dropped, and none was written since.
        free: bytes that are free on the volume, when last looked at; None where that could not be.
        on_open: is told the number of a file before that file is made.
    """

    def __init__(self, folder: Path, clock: Clock, max_bytes: int, on_drop: OnDrop) -> None:
        self.folder = folder
        self.written = 0
        self.dropped = 0
        self.failing = False
        self.free: int | None = None
        self.last_error: str | None = None
        self._clock = clock
        self._max_bytes = max_bytes
        self._on_drop = on_drop
        self.on_open: Callable[[int], None] | None = None
        self.stem = f"app-{dt.datetime.fromtimestamp(clock(), dt.UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"
        self.number = 0
        self._handle = -1
        self.size = 0
        self._day = 0
        self._torn = False
        self._next_check = 0.0
        self._retry_at = 0.0
        self._lock = threading.Lock()
        self._counting = threading.Lock()

    @property
    def path(self) -> Path:
        """The file that is written now, or was last."""
        return self.folder / file_name(self.stem, max(self.number, 1))

    def write(self, line: bytes) -> bool:
        """Append one line, given without its newline; return whether it was written whole."""
        if len(line) >= MAX_LINE:
            return self.refuse_long(line)
        return self.append(line + b"\n")

    def append(self, lines: bytes) -> bool:
        """Append whole lines, each ended by a newline, at once; return whether all were written whole."""
        with self._lock:
            now = self._clock()
            whole = True
            try:
                if not self._ready(now):
                    return self.refuse("unwritable", None, lines.count(b"\n"))
                while lines:
                    data = b"\n" + lines if self._torn else lines
                    count = os.write(self._handle, data)
                    self.size += count
                    self._torn = data[count - 1 : count] != b"\n"
                    self.written += data.count(b"\n", len(data) - len(lines), count)
                    if self._torn:  # the line that was cut is lost, those behind it are tried again
                        text = f"{self.path}: only {count} of {len(data)} bytes could be written"
                        whole = self.refuse("short_write", text)
                        count = data.index(b"\n", count) + 1
                    lines = data[count:]
                if whole and self.failing:
                    self.last_error = None
                self.failing = not whole
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                # The next file lets the shipper delete this one, which makes room; one that is empty makes none.
                if not full or self.size:
                    self._close()
                self._retry_at = now + CHECK_SECONDS
                reason = "full" if full else "unwritable"
                return self.refuse(reason, f"{self.path}: {error.strerror}", lines.count(b"\n"))
            return whole

    def refuse_long(self, line: bytes) -> bool:
        """Count a line that is too long."""
        return self.refuse("too_long", f"a line of {len(line)} bytes is longer than {MAX_LINE}")

    def refuse(self, reason: str, error: str | None, count: int = 1) -> bool:
        """Count lines that are not written, and return False; never waits for the disk.

        Args:
            reason: of DROP_REASONS.
            error: for /status; None leaves what is there.
            count: of lines.
        """
        with self._counting:
            self.dropped += count
        self.failing = reason not in ("too_long", "volume_nearly_full")  # those say nothing of the next line
        if error is not None:
            self.last_error = error
        self._on_drop(reason, count)
        return False

    def look(self) -> None:
        """Look at how much is free; like a write it waits for a disk that does not answer."""
        try:
            self._space()
        except OSError:  # without the folder there is no figure, rather than a wrong one
            self.free = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _ready(self, now: float) -> bool:
        """Open, roll over or check the file, as is due; return whether there is one to write to."""
        day = int(now // 86_400)
        if self._handle >= 0 and _is_due(self._next_check, now):
            self._next_check = now + CHECK_SECONDS
            if not self._is_in_place():
                self._close()
            else:
                self._make_room()
        if self._handle >= 0 and (self.size >= self._max_bytes or day != self._day):
            self._close()
        if self._handle < 0:
            if not _is_due(self._retry_at, now):
                return False
            self.folder.mkdir(parents=True, exist_ok=True)
            leave_volume_id(self.folder)
            self.number += 1
            if self.on_open is not None:
                self.on_open(self.number)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
                self._handle = os.open(self.path, flags, 0o644)
            except OSError:
                self.number -= 1  # a number that never was a file would be counted as lost by the shipper
                raise
            self.size, self._day, self._torn = 0, day, False
            self._next_check = now + CHECK_SECONDS
            self.last_error = None
        return True

    def _is_in_place(self) -> bool:
        """Whether nobody deleted, moved or replaced the file: lines that went on in it may be seen by no one."""
        try:
            return os.path.samestat(os.fstat(self._handle), self.path.stat())
        except FileNotFoundError:
            return False

    def _space(self) -> tuple[int, int]:
        """Return the volume's bytes, and how many are free."""
        space = os.statvfs(self.folder)
        self.free = space.f_bavail * space.f_frsize
        return space.f_blocks * space.f_frsize, self.free

    def _make_room(self) -> None:
        """Delete the oldest closed file of ours where the volume is nearly full."""
        total, free = self._space()
        if free >= min(NEARLY_FULL_BYTES, NEARLY_FULL_SHARE * total):
            return
        oldest = oldest_closed(self.folder)
        if oldest is None:
            return
        try:
            with oldest.open("rb") as file:
                lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
            oldest.unlink()
        except OSError:  # the shipper or another worker was faster, or it is another user's: no fault of our own file
            return
        self.refuse("volume_nearly_full", f"{oldest}: deleted with {lines} lines, the volume is nearly full", lines)

    def _close(self) -> None:
        if self._handle >= 0:
            with contextlib.suppress(OSError):  # what was written was written; there is nothing left to do
                os.close(self._handle)
            self._handle = -1


def _is_due(moment: float, now: float) -> bool:
    """Whether a moment, at most CHECK_SECONDS ahead when it was set, has come; also after the clock was set back."""
    return not moment - CHECK_SECONDS <= now < moment


def file_name(stem: str, number: int) -> str:
    """Return the name of a process's file of that number."""
    return f"{stem}-{number:06d}.jsonl"


def oldest_closed(folder: Path) -> Path | None:
    """Return the oldest log file of ours that has a successor, or None."""
    newest: dict[str, int] = {}
    found = []
    for path in folder.iterdir():
        if match := _FILE_NAME.fullmatch(path.name):
            stem, number = match[1], int(match[2])
            newest[stem] = max(newest.get(stem, 0), number)
            found.append((stem, number, path))
    closed = [(stem, number, path) for stem, number, path in found if number < newest[stem]]
    return min(closed)[2] if closed else None


def leave_volume_id(folder: Path) -> None:
    """Leave a UUID in `.volume-id`, made complete by link so that the first writer wins.

    Raises:
        OSError: the folder cannot be written.
    """
    target = folder / VOLUME_ID
    if target.exists():
        return
    temporary = folder / f".{VOLUME_ID}.{os.getpid()}.{threading.get_ident()}"
    try:
        with temporary.open("w", encoding="ascii") as file:
            file.write(f"{uuid.uuid4()}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def clean(text: str) -> str:
    """Return text for one field: no control characters, at most 1,000 characters."""
    return _CONTROL.sub(" ", text)[:MAX_TEXT]


_message = functools.lru_cache(64)(clean)  # of the same few sentences


@functools.lru_cache(4)
def _second(seconds: int) -> str:
    """Return a time without its fraction, as `YYYY-MM-DDTHH:MM:SS`."""
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}"


class EventLog:
    """Makes the lines of events and hands them on.

    Args:
        file: where they end; None: logging is off.
        clock: seconds since 1970.
        put: takes a line, without its newline; None: the file itself, in the caller's thread.
    """

    def __init__(self, file: LogFile | None, clock: Clock, put: Callable[[bytes], bool] | None = None) -> None:
        self.file = file
        self._put = put if put is not None else file.write if file is not None else None
        self._clock = clock
        self._always = {"service": SERVICE, "host": socket.gethostname()}
        self._to_json = MsgspecFormatter().jsonify_log_record

    def event(self, level: int, logger: str, message: str, **fields: object) -> None:
        """Log one line; a field that is None is left out. Never raises for what the file system does.

        Args:
            level: of `logging`, e.g. logging.INFO.
            logger: dotted name.
            message: a sentence of ours; never a value that a client sent.
            fields: the other fields of the contract.
        """
        if self._put is None:
            return
        # The fields of the contract, not those of a LogRecord: making one costs more than the whole line.
        seconds, rest = divmod(int(self._clock() * 1e6), 1_000_000)
        line: dict[str, object] = {
            "@timestamp": f"{_second(seconds)}.{rest:06d}Z",
            "level": logging.getLevelName(level),
            "logger": logger,
            "message": _message(message),
            **self._always,
        }
        line.update({name: value for name, value in fields.items() if value is not None})
        if isinstance(error := fields.get("error"), str):
            line["error"] = clean(error)
            if not line["error"]:
                del line["error"]
        self._put(self._to_json(line).encode())
