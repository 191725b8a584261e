"""Records to one bulk body of bounded bytes, and the way back from a record's verdict to its place in a file."""

from __future__ import annotations

import bisect
from collections.abc import Sequence


class Segment:
    """A stretch of one generation that is acknowledged as a whole.

    Attributes:
        owner: key of the file's tail in the service.
        start, end: byte offsets in the generation.
        stamp: the last valid timestamp before `end`.
        path: where the file was when it was read.
        done: every record of it is settled.
        before: the last bytes before `end`.
        unterminated: its last line had no newline.
    """

    __slots__ = ("before", "done", "end", "owner", "path", "stamp", "start", "unterminated")

    def __init__(self, owner: int, path: str, start: int) -> None:
        self.owner = owner
        self.path = path
        self.start = self.end = start
        self.stamp = ""
        self.done = False
        self.unterminated = False
        self.before = b""


class Batch:
    """What goes out in one bulk request.

    It is kept as pieces of the body, many records each; single records are looked up only when something is unusual.

    Attributes:
        segments: the stretches, in order.
        firsts: per segment, the number of its first record.
        size: bytes of the whole body.
    """

    __slots__ = ("_count", "_pieces", "_rows", "firsts", "segments", "size")

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.firsts: list[int] = []
        self.size = 0
        self._count = 0
        self._pieces: list[bytes] = []
        self._rows: list[bytes] | None = None

    def __len__(self) -> int:
        """Return the number of records."""
        return self._count

    def begin(self, owner: int, path: str, start: int) -> Segment:
        """Open a stretch; the records that follow are its own."""
        segment = Segment(owner, path, start)
        self.segments.append(segment)
        self.firsts.append(len(self))
        return segment

    def add(self, rows: bytes, count: int) -> None:
        """Add records.

        Args:
            rows: for each an action line and a document line, each ended by the only newline in it.
            count: of the records.
        """
        self._pieces.append(rows)
        self._count += count
        self.size += len(rows)
        self._rows = None

    def segment_of(self, record: int) -> Segment:
        """Return the stretch that a record belongs to."""
        return self.segments[bisect.bisect_right(self.firsts, record) - 1]

    def size_of(self, records: Sequence[int]) -> int:
        """Return the bytes of a body of these records, ascending."""
        if len(records) == len(self):
            return self.size
        rows = self._split()
        return sum(len(rows[2 * record]) + len(rows[2 * record + 1]) + 2 for record in records)

    def body(self, records: Sequence[int]) -> bytes:
        """Return the bulk body of these records, ascending."""
        if len(records) == len(self):
            if len(self._pieces) != 1:
                self._pieces = [b"".join(self._pieces)]
            return self._pieces[0]
        rows = self._split()
        lines = [line for record in records for line in (rows[2 * record], rows[2 * record + 1])]
        return b"\n".join([*lines, b""])

    def action(self, record: int) -> bytes:
        """Return the first line of a record, without its newline."""
        return self._split()[2 * record]

    def document(self, record: int) -> bytes:
        """Return the second line of a record, without its newline: the document as it is sent."""
        return self._split()[2 * record + 1]

    def address(self, record: int) -> tuple[str, str]:
        """Return a record's index and id."""
        parts = self.action(record).split(b'"')
        return parts[5].decode(), parts[9].decode()

    def offset(self, record: int) -> int:
        """Return where a record's line begins in its generation: the second part of its id."""
        return int(self.address(record)[1].split("-")[1])

    def _split(self) -> list[bytes]:
        """Return the lines of the whole body."""
        if self._rows is None:
            self._rows = self.body(range(len(self))).split(b"\n")
        return self._rows
