"""Dead letters: documents that Elasticsearch refuses for what they are, kept on disk, bounded, for replay."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from shipper.errors import DeadLetterError

LOCK = "dead-letters.lock"
PATTERN = "dead-letters-*.jsonl"
FILE_BYTES = 8 * 1024 * 1024


class DeadLetter(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One refused document.

    Attributes:
        file, offset: where its line was read.
        index, id: where it was to go.
        status, type, reason: what Elasticsearch said.
        at: RFC 3339, when.
        line: the document as it was sent, after redaction.
    """

    file: str
    offset: int
    index: str
    id: str
    status: int
    type: str
    reason: str
    at: str
    line: str


class DeadLetters:
    """The dead-letter files of a state folder.

    Args:
        folder: the state folder.
        limit: bytes over all files.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._lock = threading.Lock()

    def files(self) -> list[Path]:
        """The files, oldest first."""
        return sorted(self.folder.glob(PATTERN))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the files from changing, for other threads and for other processes."""
        with self._lock:
            handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)

    def _holding(self) -> contextlib.AbstractContextManager[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeadLetterError(f"{self.folder}: {error.strerror}; make it writable") from None
        return self.held()

    def remove(self, path: Path, ids: set[tuple[str, str]]) -> None:
        """Take letters out of a file, by index and id; the file goes when it is empty."""
        with self.held():
            kept = [letter for letter in read(path) if (letter.index, letter.id) not in ids]
            if not kept:
                path.unlink()
                return
            temporary = path.with_suffix(".tmp")
            temporary.touch(0o600)
            with temporary.open("wb") as file:
                file.writelines(msgspec.json.encode(letter) + b"\n" for letter in kept)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)

    def write(self, letters: list[DeadLetter]) -> None:
        """Append letters and make them durable.

        Raises:
            DeadLetterError: there is no room, or the file cannot be written.
        """
        data = b"".join(msgspec.json.encode(letter) + b"\n" for letter in letters)
        with self._holding():
            files = self.files()
            used = sum(path.stat().st_size for path in files)
            if used + len(data) > self.limit:
                raise DeadLetterError(
                    f"{self.folder}: dead letters fill their {self.limit} bytes; replay or remove them,"
                    " or raise SHIPPER_DEAD_LETTER_BYTES"
                )
            number = int(files[-1].stem.rpartition("-")[2]) if files else 1
            if files and files[-1].stat().st_size >= FILE_BYTES:
                number += 1
            path = self.folder / f"dead-letters-{number:06d}.jsonl"
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                try:
                    before = os.fstat(handle).st_size
                    if os.write(handle, data) < len(data):
                        os.ftruncate(handle, before)
                        raise OSError("the volume is full")
                    os.fsync(handle)
                finally:
                    os.close(handle)
            except OSError as error:
                raise DeadLetterError(f"{path}: {error.strerror or error}; make it writable") from None


def read(path: Path) -> Iterator[DeadLetter]:
    """Read one file's letters.

    Raises:
        msgspec.MsgspecError: a line is not a dead letter.
    """
    with path.open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line, type=DeadLetter)


def moment(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
