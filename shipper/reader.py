"""Complete lines of one generation, from an offset; plain files and .gz."""

from __future__ import annotations

import os
import resource
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from isal import igzip

from shipper.generation import MARKER_BYTES, SIGNATURE_BYTES

CHUNK = 128 * 1024  # read and made into records at once: what is in the processor's cache costs half
LONGEST = 64 * 1024 * 1024
_WITHOUT_END = itemgetter(slice(-1))


class Chunk(NamedTuple):
    """Lines that were read together.

    Attributes:
        lines: without their newlines.
        data: the same lines with newlines between them.
        ended: whether the last one ended in a newline.
    """

    lines: list[bytes]
    data: bytes
    ended: bool


NOTHING = Chunk([], b"", True)


class Source:
    """The bytes of a file, by offset; the handle stays open so that a deleted file can be read to its end.

    Args:
        path: of the file; `.gz` is unpacked.

    Raises:
        OSError: it cannot be opened.
        EOFError: a .gz is not complete yet.
    """

    def __init__(self, path: str) -> None:
        self.packed = path.endswith(".gz")
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._stream: Any = None
        if self.packed:
            self._stream = igzip.IGzipFile(filename=path)  # type: ignore[no-untyped-call]  # isal ships no types here
            self.unpacked = 0
            while block := self._stream.read(16 * CHUNK):
                self.unpacked += len(block)

    def size(self) -> int:
        """Bytes that can be read."""
        return self.unpacked if self.packed else os.fstat(self._handle).st_size

    def linked(self) -> bool:
        """Whether the file still has a name."""
        return os.fstat(self._handle).st_nlink > 0

    def fileno(self) -> int:
        """Return the handle."""
        return self._handle

    def inode(self) -> tuple[int, int]:
        """Device and inode."""
        seen = os.fstat(self._handle)
        return seen.st_dev, seen.st_ino

    def at(self, offset: int, length: int) -> bytes:
        """Return the bytes at an offset, fewer at the end."""
        if not self.packed:
            return os.pread(self._handle, length, offset)
        self._stream.seek(offset)
        data: bytes = self._stream.read(length)
        return data

    def head(self) -> bytes:
        """Return the first bytes, as many as a signature wants."""
        return self.at(0, SIGNATURE_BYTES)

    def close(self) -> None:
        """Close the handle."""
        os.close(self._handle)
        if self._stream is not None:
            self._stream.close()


class Reader:
    """Where one file is read.

    Args:
        source: the bytes.
        offset: of the first byte not yet read.
    """

    def __init__(self, source: Source, offset: int) -> None:
        self.source = source
        self.offset = offset
        self.before = source.at(max(0, offset - MARKER_BYTES), min(offset, MARKER_BYTES))

    def unchanged(self) -> bool:
        """Whether what lies before the offset is still what was read there."""
        if self.source.packed:
            return True  # a .gz is only looked at when it is complete
        return self.source.at(self.offset - len(self.before), len(self.before)) == self.before

    def read(self, length: int = CHUNK, whole: bool = False) -> Chunk:
        """Return complete lines; the offset moves by `advance`.

        Args:
            length: bytes to read, more where a line is longer.
            whole: the file will not grow any more: take its last line even without a newline.
        """
        while True:
            data = self.source.at(self.offset, length)
            end = data.rfind(b"\n")
            if end >= 0:
                lines = BytesIO(data).readlines()  # a third cheaper than split, which looks at each byte by itself
                if end + 1 < len(data):
                    lines.pop()
                return Chunk(list(map(_WITHOUT_END, lines)), data[:end], True)
            if len(data) < length:
                return Chunk([data], data, False) if whole and data else NOTHING
            if length >= LONGEST:
                return Chunk([data], data, False)  # no line is that long: it is cut, and counted as such
            length *= 4

    def advance(self, lines: list[bytes], ended: bool, end: int) -> None:
        """Move on behind lines that were read here; they are not read again.

        Args:
            lines: from the offset on.
            ended: whether the last one ended in a newline.
            end: the byte offset behind them.
        """
        last = b"" if ended else b"\n"
        seen = b""
        for line in reversed(lines):
            seen = line + b"\n" + seen
            if len(seen) > MARKER_BYTES:
                break
        seen = seen.removesuffix(last) if last else seen
        self.before = (self.before + seen)[-MARKER_BYTES:]
        self.offset = end


def volume_id(folder: Path) -> str:
    """Return what the app left in `.volume-id`, or an empty text."""
    try:
        return (folder / ".volume-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def open_files() -> int:
    """Raise the limit of open files as far as allowed; return how many logs may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return max(16, soft - 128)
