"""The translog: every change as one line of JSON, on the disk before it is answered.

A batch is its entries followed by one commit line with their number and CRC-32. An entry is the line of one operation,
or a block: a line that says how many new documents follow, and their sources, a line each. Only whole batches count:
what a crash left behind half-written was never answered and is cut off. Files are numbered; a file whose operations
are all in the database is kept up to a limit of bytes, to rebuild from, then deleted.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

_NAME = re.compile(r"translog-(\d{12})\.ndjson")
_COMMIT = b'{"commit":'
_BLOCK = b'{"block":'


class Commit(msgspec.Struct):
    """The line that ends a batch: last sequence number, number of entries, CRC-32 of their bytes."""

    commit: int
    count: int
    crc: int


class Block(msgspec.Struct):
    """The line before the sources of new documents.

    Attributes:
        block: how many they are.
        n: sequence number of the first.
        x: number of the index of all, or of each.
        d: their ids.
    """

    block: int
    n: int
    x: int | list[int]
    d: list[str]

    def lines(self, sources: list[bytes]) -> list[bytes]:
        """Return the documents as lines of their own."""
        numbers = self.x if isinstance(self.x, list) else [self.x] * self.block
        return [
            b'{"n":%d,"x":%d,"d":%s,"v":1,"s":%s}\n' % (self.n + place, number, msgspec.json.encode(name), source)
            for place, (number, name, source) in enumerate(zip(numbers, self.d, sources, strict=True))
        ]


class _Numbered(msgspec.Struct):
    n: int


class TranslogError(RuntimeError):
    """A translog file cannot be used; the message names the file and the offset."""


_commit_decoder = msgspec.json.Decoder(Commit)
_block_decoder = msgspec.json.Decoder(Block)
_sequence_decoder = msgspec.json.Decoder(_Numbered)


def batches(path: Path) -> Iterator[tuple[int, list[bytes], int]]:
    """Read whole batches of one file.

    Returns:
        For each: the last sequence number in it, a line for each operation, the offset behind it.
    """
    lines: list[bytes] = []
    offset, crc, entries = 0, 0, 0
    with path.open("rb") as file:
        for line in file:
            offset += len(line)
            if not line.endswith(b"\n"):
                return
            if line.startswith(_BLOCK):
                try:
                    block = _block_decoder.decode(line)
                except msgspec.DecodeError:
                    return
                # Whatever a source looks like, it is one.
                sources = list(itertools.islice(file, block.block))
                if len(sources) != block.block or not sources[-1].endswith(b"\n"):
                    return
                text = b"".join(sources)
                offset += len(text)
                crc = zlib.crc32(text, zlib.crc32(line, crc))
                entries += 1
                lines += block.lines([source[:-1] for source in sources])
                continue
            if not line.startswith(_COMMIT):
                lines.append(line)
                entries += 1
                crc = zlib.crc32(line, crc)
                continue
            try:
                commit = _commit_decoder.decode(line)
            except msgspec.DecodeError:
                return
            if commit.count != entries or commit.crc != crc:
                return
            yield commit.commit, lines, offset
            lines, crc, entries = [], 0, 0


def _commit_line(last_sequence: int, count: int, crc: int) -> bytes:
    return b'{"commit":%d,"count":%d,"crc":%d}\n' % (last_sequence, count, crc)


def block_of(count: int, first: int, numbers: int | list[int], ids: bytes, text: bytes) -> bytes:
    """Return new documents as one entry.

    Args:
        count: how many.
        first: sequence number of the first one.
        numbers: of the index of all, or of each.
        ids: as a JSON array.
        text: their sources, a line each.
    """
    return b'{"block":%d,"n":%d,"x":%b,"d":%b}\n%b' % (count, first, msgspec.json.encode(numbers), ids, text)


def sync_directory(path: Path) -> None:
    """Make names in a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Translog:
    """Appends batches and makes them durable, many writers by one fsync.

    Args:
        folder: where the files lie; made when absent.
        rotate_bytes: a file longer than this is closed at the next `rotate`.
        fsync: the system call; tests hand in their own.
    """

    def __init__(
        self, folder: Path, *, rotate_bytes: int = 32 * 1024 * 1024, fsync: Callable[[int], None] = os.fsync
    ) -> None:
        self.folder = folder
        self.fsyncs = 0
        self._rotate_bytes = rotate_bytes
        self._fsync = fsync
        self._append_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._written = 0  # bytes appended since start, over all files
        self._synced = 0
        self._failed: str | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[int, int] = {}  # file number → last sequence number in it
        for entry in sorted(folder.iterdir()):
            found = _NAME.fullmatch(entry.name)
            if found:
                self._files[int(found[1])] = -1
        self._number = max(self._files, default=0)
        self._handle = -1
        self._size = 0

    def _path(self, number: int) -> Path:
        return self.folder / f"translog-{number:012d}.ndjson"

    def replay(self, after: int, apply: Callable[[bytes], None]) -> int:
        """Hand every operation of whole batches to `apply` that lies behind a sequence number.

        Args:
            after: last sequence number that the database has.
            apply: takes one line.

        Returns:
            The last sequence number found, or `after`.
        """
        last, numbers = after, sorted(self._files)
        for number, following in itertools.zip_longest(numbers, numbers[1:]):
            known = self._before(following) if following is not None else None
            if known is not None and known <= after:  # not read: a start does not take longer for what is kept
                self._files[number] = known
                continue
            path, end = self._path(number), 0
            for sequence, lines, offset in batches(path):
                end = offset
                self._files[number] = sequence
                if sequence > last:
                    for line in lines:
                        apply(line)
                    last = sequence
            size = path.stat().st_size
            if size > end:
                if number != max(self._files):
                    log.error(
                        "translog file is damaged; what follows in it is left out",
                        extra={"file": str(path), "offset": end, "bytes": size - end},
                    )
                else:
                    log.warning(
                        "cut off an unfinished batch that was never answered",
                        extra={"file": str(path), "offset": end, "bytes": size - end},
                    )
                    os.truncate(path, end)
        return last

    def _before(self, number: int) -> int | None:
        """Return the last sequence number before a file, which the commit that begins it says; None where none does."""
        with self._path(number).open("rb") as file:
            line = file.readline()
        if not line.startswith(_COMMIT):
            return None
        try:
            found = _commit_decoder.decode(line)
        except msgspec.DecodeError:
            return None
        return found.commit if found.count == 0 else None

    def gap(self, loaded: int) -> str:
        """Return in words which changes are neither in a database loaded so far nor here; empty where none is."""
        oldest = min(self._files, default=1)
        first = next(batches(self._path(oldest)), None) if oldest > 1 else None
        if first is None:
            return ""
        last, lines, _ = first
        begin = min((_sequence_decoder.decode(line).n for line in lines), default=last + 1)
        return f"; the changes from {loaded + 1} to {begin - 1} are missing" if begin > loaded + 1 else ""

    def open(self) -> None:
        """Open the newest file for writing, or the first one."""
        self._open(max(self._files, default=1))

    def _open(self, number: int) -> None:
        path = self._path(number)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(handle).st_size
            os.fsync(handle)
            sync_directory(self.folder)
        except OSError:
            os.close(handle)
            raise
        self._handle, self._number, self._size = handle, number, size
        self._files.setdefault(number, -1)

    def append(self, entries: list[bytes], last_sequence: int) -> int:
        """Write one batch, not yet durable.

        Args:
            entries: an operation or a block each, with its last newline.
            last_sequence: sequence number of the last.

        Returns:
            A position to hand to `sync`.

        Raises:
            OSError: it could not be written; nothing of it is left.
            TranslogError: an earlier fsync failed, so nothing more is written.
        """
        data = entries[0] if len(entries) == 1 else b"".join(entries)
        end = _commit_line(last_sequence, len(entries), zlib.crc32(data))
        with self._append_lock:
            if self._failed:
                raise TranslogError(self._failed)
            self._write(data, end)
            self._files[self._number] = last_sequence
            return self._written

    def _write(self, data: bytes, end: bytes) -> None:
        """Write all or nothing."""
        size, done = len(data) + len(end), 0
        try:
            while done < size:
                rest = [data, end] if not done else [(data + end)[done:]]
                done += os.writev(self._handle, rest)
        except OSError:
            try:
                os.ftruncate(self._handle, self._size)
            except OSError as error:  # what is left there would hide all that came after it
                self._failed = f"{self._path(self._number)} cannot be cut back: {error}; restart the store"
            raise
        self._size += size
        self._written += size

    @property
    def position(self) -> int:
        """The position behind all that was appended."""
        return self._written

    def sync(self, position: int) -> None:
        """Return when everything up to a position is on the disk; one fsync serves all who wait.

        Raises:
            TranslogError: the fsync failed; whether the data is on the disk is unknown, so no more writes are taken.
        """
        if self._synced >= position:
            return
        with self._sync_lock:
            if self._synced >= position:
                return
            if self._failed:
                raise TranslogError(self._failed)
            with self._append_lock:
                written, handle = self._written, self._handle
            self._make_durable(handle)
            self._synced = written

    def _make_durable(self, handle: int) -> None:
        try:
            self._fsync(handle)
        except OSError as error:
            # The kernel forgets what it could not write: another fsync would succeed without it.
            self._failed = f"fsync of {self._path(self._number)} failed: {error}; restart the store"
            raise TranslogError(self._failed) from error
        self.fsyncs += 1

    def rotate(self, loaded: int, keep_bytes: int) -> None:
        """Begin a new file if the current one is long, and delete the oldest whose operations are all loaded.

        Args:
            loaded: last sequence number that is durable in the database.
            keep_bytes: loaded files are kept up to this many bytes.

        Raises:
            TranslogError: an fsync failed, so no more writes are taken.
            OSError: the new file cannot be made, or an old one not deleted; writing goes on.
        """
        if self._size >= self._rotate_bytes:
            with self._sync_lock, self._append_lock:
                if self._failed:
                    raise TranslogError(self._failed)
                self._make_durable(self._handle)
                self._synced = self._written
                before, last = self._handle, self._files[self._number]
                self._open(self._number + 1)  # if it cannot be opened, writing goes on in the file before
                os.close(before)
                if last >= 0:  # an empty batch says where this file begins, even while it holds nothing
                    self._write(_commit_line(last, 0, 0), b"")
                    self._files[self._number] = last
        sizes = {number: self._path(number).stat().st_size for number in sorted(self._files)}
        excess = sum(sizes.values()) - keep_bytes
        for number, size in sizes.items():
            if excess <= 0 or number == self._number or self._files[number] > loaded:
                break
            self._path(number).unlink()
            del self._files[number]
            excess -= size

    def bytes_on_disk(self) -> int:
        """Return how many bytes the files take."""
        total = 0
        for number in list(self._files):
            try:
                total += self._path(number).stat().st_size
            except FileNotFoundError:  # deleted by the loader a moment ago
                continue
        return total

    def close(self) -> None:
        """Make all durable and close the file."""
        if self._handle >= 0:
            self.sync(self._written)
            os.close(self._handle)
            self._handle = -1
