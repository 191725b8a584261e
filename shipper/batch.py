"""Records to one bulk body of bounded bytes, and the way back from a record's verdict to its place in a file."""

from __future__ import annotations

import bisect


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

    Attributes:
        actions, documents: per record, its two lines of the body, without their newlines.
        offsets: per record, where its line begins in its generation.
        segments: the stretches, in order.
        firsts: per segment, the number of its first record.
        size: bytes of the whole body.
    """

    __slots__ = ("actions", "documents", "firsts", "offsets", "segments", "size")

    def __init__(self) -> None:
        self.actions: list[bytes] = []
        self.documents: list[bytes] = []
        self.offsets: list[int] = []
        self.segments: list[Segment] = []
        self.firsts: list[int] = []
        self.size = 0

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.offsets)

    def begin(self, owner: int, path: str, start: int) -> Segment:
        """Open a stretch; the records that follow are its own."""
        segment = Segment(owner, path, start)
        self.segments.append(segment)
        self.firsts.append(len(self))
        return segment

    def segment_of(self, record: int) -> Segment:
        """Return the stretch that a record belongs to."""
        return self.segments[bisect.bisect_right(self.firsts, record) - 1]

    def size_of(self, records: list[int]) -> int:
        """Return the bytes of a body of these records, ascending."""
        if len(records) == len(self):
            return self.size
        return sum(len(self.actions[record]) + len(self.documents[record]) + 2 for record in records)

    def body(self, records: list[int]) -> bytes:
        """Return the bulk body of these records, ascending."""
        whole = len(records) == len(self)
        lines = [b""] * (2 * len(records) + 1)  # the last one ends the body in a newline
        lines[0:-1:2] = self.actions if whole else [self.actions[record] for record in records]
        lines[1::2] = self.documents if whole else [self.documents[record] for record in records]
        return b"\n".join(lines)

    def address(self, record: int) -> tuple[str, str]:
        """Return a record's index and id."""
        parts = self.actions[record].split(b'"')
        return parts[5].decode(), parts[9].decode()
