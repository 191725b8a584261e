"""One generation under way: what was read of it, and what of that is acknowledged."""

from __future__ import annotations

from collections import deque

from shipper.batch import Segment
from shipper.errors import StateError
from shipper.generation import Record, begins_alike
from shipper.reader import Reader


class Tail:
    """One generation that is read.

    Attributes:
        number: key in segments.
        record: what the checkpoint keeps.
        reader: None while its handle is closed.
        size: bytes, when last looked at.
        segments: read and not acknowledged, in order.
        stamp: the last valid one of what was read, for lines without one.
        seed: of the line hashes.
        grew_at, moved_at, behind_since, gone_at: moments of the monotonic clock, seconds; 0 for never.
        modified: when the file was modified, nanoseconds since 1970, as last looked at.
        orphaned: the file was truncated; what was not read is lost unless a copy turns up.
        finished: nothing will be appended.
    """

    __slots__ = (
        "behind_since", "finished", "gone_at", "grew_at", "key", "modified", "moved_at", "number",
        "orphaned", "path", "read", "reader", "record", "seed", "segments", "size", "stamp",
    )  # fmt: skip

    def __init__(self, number: int, record: Record, reader: Reader, seed: int, moment: float) -> None:
        self.number = number
        self.record = record
        self.reader: Reader | None = reader
        self.key = reader.source.inode()
        self.path = record.path
        self.size = reader.source.size()
        self.read = reader.offset
        self.segments: deque[Segment] = deque()
        self.stamp = record.stamp
        self.seed = seed
        self.grew_at = self.moved_at = moment
        self.modified = 0
        self.behind_since = 0.0
        self.gone_at = 0.0
        self.orphaned = False
        self.finished = reader.source.packed

    @property
    def handle(self) -> Reader:
        """The reader, which is open while anything is read.

        Raises:
            StateError: it is not.
        """
        if self.reader is None:
            raise StateError(f"{self.path}: its handle is closed")
        return self.reader

    @property
    def fallback(self) -> str:
        """Time of the lines before the file's first valid timestamp; empty for none."""
        return self.record.fallback or ""

    @property
    def unsettled(self) -> int:
        """Bytes read and not acknowledged."""
        return self.read - self.record.offset

    @property
    def lag(self) -> int:
        """Bytes not acknowledged."""
        return max(0, self.size - self.record.offset)

    def shrunk(self) -> bool:
        """Whether the file lost or changed something since it was last looked at."""
        reader = self.reader
        if self.orphaned or reader is None:
            return False
        return reader.source.size() < self.size or not self.unchanged(reader)

    def unchanged(self, reader: Reader) -> bool:
        """Whether what is known of the file is still there: the bytes before the offset, or where none were read, its
        beginning. Without that, a file that was replaced before it was read would go under the name of the old one.
        """
        if self.read or reader.source.packed:
            return reader.unchanged()
        length = self.record.signature_length
        return not length or begins_alike(self.record, reader.source.head())

    def stuck(self, moment: float, limit: float) -> bool:
        """Whether the file grows but its acknowledged offset does not move.

        Args:
            moment: of the monotonic clock, seconds.
            limit: seconds.
        """
        return bool(self.lag) and moment - self.moved_at > limit and self.grew_at > self.moved_at
