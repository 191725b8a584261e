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
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # what was a file when it was found may be a pipe by now
_GZIP = b"\x1f\x8b\x08"
_OTHERS = {
    b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh91AY&SY": "bzip2", b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress",
}  # fmt: skip


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
        path: of the file; what gzip packed is unpacked, whatever its name.

    Raises:
        OSError: it cannot be opened.
        EOFError: what gzip packs there is not complete yet.
    """

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, _FLAGS)
        self._stream: Any = None
        self.unpacked = 0
        try:
            self.packed = path.endswith(".gz") or os.pread(self._handle, len(_GZIP), 0) == _GZIP
            if self.packed:
                # By another handle: the first one's place in the file is shared with the worker that gets it.
                self._stream = unpacking(os.open(path, _FLAGS), self._handle)
                while block := self._stream.read(16 * CHUNK):
                    self.unpacked += len(block)
        except BaseException:
            self.close()
            raise

    def size(self) -> int:
        """Bytes that can be read."""
        return self.unpacked if self.packed else os.fstat(self._handle).st_size

    def linked(self) -> bool:
        """Whether the file still has a name."""
        try:
            return os.fstat(self._handle).st_nlink > 0
        except OSError:  # on a network volume the handle of a file that went is stale
            return False

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


def unpacking(handle: int, same: int) -> Any:
    """Return a stream of what gzip packed; it closes its handle.

    Args:
        handle: of the packed file, for this stream alone.
        same: another handle of what must be the same file.

    Raises:
        OSError: it is not.
    """
    file = os.fdopen(handle, "rb")
    if not os.path.sameopenfile(handle, same):
        file.close()
        raise OSError("it was replaced while it was opened")
    stream: Any = igzip.IGzipFile(fileobj=file)  # type: ignore[no-untyped-call]  # isal ships no types here
    stream.myfileobj = file  # closed with it, as gzip does with a file of its own
    return stream


def foreign(head: bytes) -> str:
    """Return the name of the program that packed a file, of those whose files are not unpacked here; empty for none."""
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), "")


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
