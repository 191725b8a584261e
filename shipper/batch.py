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
        pieces: per record, its action line and its document, each ended by a newline.
        offsets: per record, where its line begins in its generation.
        segments: the stretches, in order.
        firsts: per segment, the number of its first record.
        size: bytes of all pieces.
    """

    __slots__ = ("firsts", "offsets", "pieces", "segments", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.offsets: list[int] = []
        self.segments: list[Segment] = []
        self.firsts: list[int] = []
        self.size = 0

    def begin(self, owner: int, path: str, start: int) -> Segment:
        """Open a stretch; the records that follow are its own."""
        segment = Segment(owner, path, start)
        self.segments.append(segment)
        self.firsts.append(len(self.pieces))
        return segment

    def segment_of(self, record: int) -> Segment:
        """Return the stretch that a record belongs to."""
        return self.segments[bisect.bisect_right(self.firsts, record) - 1]


def address(piece: bytes) -> tuple[str, str, bytes]:
    """Return a piece's index, id and document."""
    action, document = piece.split(b"\n", 1)
    parts = action.split(b'"')
    return parts[5].decode(), parts[9].decode(), document[:-1]
