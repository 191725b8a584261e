"""The files under way: each found file to its generation and its offset, through every kind of rotation."""

from __future__ import annotations

import logging
import re
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from shipper.batch import Segment
from shipper.checkpoint import State
from shipper.discovery import OURS, Found
from shipper.generation import (
    ALIKE_BYTES,
    SIGNATURE_BYTES,
    Kind,
    Record,
    compare,
    digest,
    generation_id,
    is_copy,
    seed_of,
    sign,
)
from shipper.reader import Reader, Source, volume_id
from shipper.tail import Tail

logger = logging.getLogger("shipper.tails")

QUIET_SECONDS = 5.0  # so long without growth: a file without a name, or a growing copy, is complete
PARTING_SECONDS = 60.0  # a file renamed out of sight may still be written to
_DATE = re.compile(r"(?<!\d)(20\d\d)[-.]?(0[1-9]|1[0-2])[-.]?(0[1-9]|[12]\d|3[01])(?!\d)")


class Tails:
    """All files under way.

    Args:
        state: of the checkpoint; its records are kept up to date here.
        volume: SHIPPER_VOLUME_ID, for folders without `.volume-id`.
        forget_seconds: how long a file that is gone is remembered.
        open_files: handles that may be open.
    """

    def __init__(self, state: State, volume: str, forget_seconds: float, open_files: int) -> None:
        self.counts: Counter[str] = Counter()
        self.tails: dict[int, Tail] = {}
        self.changed: set[str] = set()
        self.unreadable: dict[str, str] = {}
        self._state = state
        self._volume = volume
        self._forget = forget_seconds
        self._open_files = open_files
        self._by_file: dict[tuple[int, int], Tail] = {}
        self._passed: dict[tuple[int, int], tuple[int, int, float, int]] = {}
        self._newest: dict[str, int] = {}
        self._number = 0
        self._changes = 0  # grows when a tail ends or is orphaned: files passed over are looked at again

    # -- which files

    def look(self, found: dict[tuple[int, int], Found], now: float) -> list[Tail]:
        """Take note of the files on disk.

        Args:
            found: by device and inode.
            now: seconds since 1970.

        Returns:
            The tails that may have something to read.
        """
        due = []
        self._numbers(found)
        for key, file in found.items():
            tail = self._by_file.get(key)
            if tail is None:
                tail = self._attach(file, now)
                if tail is None:
                    continue
            tail.gone_at = 0.0
            if tail.path != file.path:
                tail.path = tail.record.path = file.path
                self.changed.add(tail.record.generation)
            match = OURS.fullmatch(Path(file.path).name)
            if match and self._newest[match[1]] > int(match[2]):
                tail.finished = True
            if file.size != tail.read or tail.reader is None:
                due.append(tail)
        for key, tail in list(self._by_file.items()):
            if key not in found and not tail.gone_at:
                tail.gone_at = now
                due.append(tail)
        attached = {tail.record.generation for tail in self.tails.values()}
        for name, record in list(self._state.records.items()):
            if name in attached:
                continue
            if not record.gone_at:
                record.gone_at = now
                self.changed.add(name)
            elif now - record.gone_at > self._forget:
                del self._state.records[name]
                self.changed.add(name)
        self._passed = {key: value for key, value in self._passed.items() if key in found}
        return due

    def _numbers(self, found: dict[tuple[int, int], Found]) -> None:
        """Notice files of the app's that went before they were seen: a gap in their numbers."""
        seen: dict[str, set[int]] = {}
        for file in found.values():
            match = OURS.fullmatch(Path(file.path).name)
            if match:
                seen.setdefault(match[1], set()).add(int(match[2]))
        for prefix, numbers in seen.items():
            last = self._newest.get(prefix)
            if last is not None:
                lost = sorted(set(range(last + 1, max(numbers))) - numbers)
                if lost:
                    self.counts["lost_files"] += len(lost)
                    logger.error("%s: files %s went before they were read; their lines are lost", prefix, lost)
            self._newest[prefix] = max(*numbers, last or 0)

    def _attach(self, file: Found, now: float) -> Tail | None:
        """Find out which generation a file is, and begin to read it where it was left."""
        key = (file.device, file.inode)
        passed = self._passed.get(key)
        if passed and passed[:2] == (file.size, file.modified):
            if now - passed[2] < QUIET_SECONDS and passed[3] == self._changes:
                return None
        else:
            passed = None
        try:
            source = Source(file.path)
        except (OSError, EOFError) as error:
            if self.unreadable.get(file.path) != str(error):
                self.unreadable[file.path] = str(error)
                logger.warning("%s cannot be read (%s); it is tried again", file.path, error)
            return None
        self.unreadable.pop(file.path, None)
        if source.inode() != key:
            source.close()
            return None  # replaced between the two looks; the next one finds it
        quiet = passed is not None and now - passed[2] >= QUIET_SECONDS
        tail = self._recognise(source, file, quiet, now)
        if tail is None:
            source.close()
            since = passed[2] if passed else now
            self._passed[key] = (file.size, file.modified, since, self._changes)
            return None
        self._passed.pop(key, None)
        self._by_file[key] = tail
        tail.key = key
        self.tails[tail.number] = tail
        record = tail.record
        record.path, record.device, record.inode, record.gone_at = file.path, *key, 0.0
        self._state.records[record.generation] = record
        return tail

    def _recognise(self, source: Source, file: Found, quiet: bool, now: float) -> Tail | None:
        head, size = source.head(), source.size()
        if not size:
            return None
        volume, seed = self._volume_of(Path(file.path).parent)
        attached = {tail.record.generation: tail for tail in self.tails.values()}

        def before(record: Record) -> bytes:
            return source.at(record.offset - record.marker_length, record.marker_length)

        for record in list(self._state.records.values()):
            if record.inode != file.inode or record.generation in attached:
                continue
            kind = compare(record, head, size, before(record))
            if kind is Kind.SAME:
                return self._begin(record, source, seed, now)
            if kind is Kind.REWOUND:
                self.counts["rewound"] += 1
                logger.warning(
                    "%s: shorter than acknowledged, as after a power cut; read again, what is there is met by its id",
                    file.path,
                )
                record.offset, record.marker_length, record.marker, record.stamp = 0, 0, "", ""
                return self._begin(record, source, seed, now)
        for record in self._alike(head):
            tail = attached.get(record.generation)
            if tail is not None and not tail.orphaned and tail.reader:
                whole = tail.reader.source.size()
                if whole < tail.size or not tail.reader.unchanged():
                    self._truncated(tail, whole)  # copied, then truncated, since it was last read
            if tail is not None and not tail.orphaned and tail.reader and tail.reader.source.linked():
                if self._holds(tail, source, size):
                    return None  # a copy of what is being read anyway
                self.counts["collisions"] += 1
                logger.warning("%s begins like %s and is another file", file.path, tail.path)
            elif tail is not None:
                if self._continues(tail, source, size):
                    return self._move(tail, source)
                if size < tail.read and not quiet:
                    return None  # perhaps a copy that still grows
            elif is_copy(record, head, size, before(record), alive=False):
                self.counts["inherited"] += 1
                return self._begin(record, source, seed, now)
            elif size < record.offset and not quiet:
                return None
        return self._new(source, file, head, volume, seed, now)

    def _new(self, source: Source, file: Found, head: bytes, volume: str, seed: int, now: float) -> Tail | None:
        finished = source.packed or (
            (match := OURS.fullmatch(Path(file.path).name)) is not None and self._newest[match[1]] > int(match[2])
        )
        if b"\n" not in head and len(head) < SIGNATURE_BYTES and not finished:
            return None  # its first line is not complete
        incarnation = 0
        while (name := generation_id(volume, file.inode, head, incarnation)) in self._state.records:
            incarnation += 1
        record = Record(generation=name, path=file.path, device=file.device, inode=file.inode, incarnation=incarnation)
        tail = self._begin(record, source, seed, now)
        date = _DATE.search(Path(file.path).name)
        tail.fallback = f"{date[1]}-{date[2]}-{date[3]}T00:00:00.000000Z" if date else ""
        return tail

    def _begin(self, record: Record, source: Source, seed: int, now: float) -> Tail:
        self._number += 1
        reader = Reader(source, record.offset)
        sign(record, source.head())
        return Tail(self._number, record, reader, seed, now)

    def _move(self, tail: Tail, source: Source) -> Tail:
        """Go on in a copy of a file that is not there any more."""
        tail.handle.source.close()
        tail.handle.source = source
        self._by_file.pop(tail.key, None)
        tail.size = source.size()
        tail.orphaned = False
        tail.finished = source.packed
        self.counts["inherited"] += 1
        return tail

    def _alike(self, head: bytes) -> list[Record]:
        lengths = {record.signature_length for record in self._state.records.values()} - {0}
        signatures = {(length, digest(head[:length])) for length in lengths if length <= len(head)}
        return [
            record
            for record in self._state.records.values()
            if (record.signature_length, record.signature) in signatures
        ]

    def _holds(self, tail: Tail, source: Source, size: int) -> bool:
        """Whether all of another file is the beginning of what a tail reads, and enough to be no accident."""
        mine = tail.handle.source
        if size < ALIKE_BYTES or size > mine.size():
            return False
        length = min(size, SIGNATURE_BYTES)
        return mine.at(0, length) == source.at(0, length) and mine.at(size - length, length) == source.at(
            size - length, length
        )

    def _continues(self, tail: Tail, source: Source, size: int) -> bool:
        """Whether another file has all that a truncated or deleted one had when it was last read, and may have more."""
        reader = tail.reader
        if reader is None:
            return False
        if tail.orphaned:
            enough = tail.read or tail.record.signature_length >= ALIKE_BYTES
            place = tail.read - len(reader.before)
            return bool(enough) and size >= tail.read and source.at(place, len(reader.before)) == reader.before
        mine = reader.source
        whole = mine.size()
        length = min(whole, SIGNATURE_BYTES)
        return size >= whole and all(source.at(at, length) == mine.at(at, length) for at in (0, whole - length))

    def _volume_of(self, folder: Path) -> tuple[str, int]:
        known = self._state.volumes.get(str(folder))
        if known is None:
            known = volume_id(folder) or self._volume
            if not known:
                known = socket.gethostname()
                logger.warning(
                    "%s has no .volume-id and SHIPPER_VOLUME_ID is not set: the host name stands in; if it changes"
                    " and the checkpoint is lost, lines are sent twice",
                    folder,
                )
            self._state.volumes[str(folder)] = known
            self.changed.add("")
        return known, seed_of(known)

    # -- what is in them

    def refill(self, tail: Tail, length: int, now: float) -> tuple[list[bytes], bool]:
        """Return a tail's next complete lines, and whether the last of them ended in a newline.

        Args:
            length: bytes to read.
            now: seconds since 1970.
        """
        reader = tail.reader
        if reader is None:
            reader = self._reopen(tail)
            if reader is None:
                return [], True
        if tail.orphaned:
            return [], True
        size = reader.source.size()
        if size < tail.read or not reader.unchanged():
            self._truncated(tail, size)
            return [], True
        if size != tail.size:
            tail.size, tail.grew_at = size, now
        if size == tail.read:
            return [], True
        if tail.record.signature_length < SIGNATURE_BYTES:
            sign(tail.record, reader.source.head())
        unlinked = tail.gone_at and not reader.source.linked()
        whole = tail.finished or bool(unlinked and now - max(tail.grew_at, tail.gone_at) >= QUIET_SECONDS)
        return reader.read(length, whole)

    def took(self, tail: Tail, segment: Segment, lines: list[bytes], ended: bool) -> None:
        """Note that lines went into a batch."""
        reader = tail.handle
        reader.advance(lines, ended)
        segment.end = tail.read = reader.offset
        segment.before = reader.before
        segment.unterminated = not ended
        tail.stamp = segment.stamp
        tail.segments.append(segment)

    def settle(self, segment: Segment) -> bool:
        """Note that all of a segment is settled; returns whether its file moved on."""
        segment.done = True
        tail = self.tails.get(segment.owner)
        moved = False
        while tail is not None and tail.segments and tail.segments[0].done:
            first = tail.segments.popleft()
            record = tail.record
            record.offset, record.stamp, record.unterminated = first.end, first.stamp, first.unterminated
            record.marker_length, record.marker = len(first.before), digest(first.before)
            self.changed.add(record.generation)
            moved = True
        return moved

    def _reopen(self, tail: Tail) -> Reader | None:
        try:
            source = Source(tail.path)
        except (OSError, EOFError):
            return None
        if source.inode() != tail.key:
            source.close()
            return None
        tail.reader = Reader(source, tail.read)
        size = source.size()
        if size < tail.read or digest(tail.reader.before) != tail.record.marker:
            self._truncated(tail, size)
            return None
        return tail.reader

    def _truncated(self, tail: Tail, size: int) -> None:
        """Let go of a file whose content was replaced; its next content is another generation."""
        self._by_file.pop(tail.key, None)
        tail.orphaned = True
        tail.gone_at = tail.grew_at = 0.0
        self._changes += 1
        self.counts["truncated"] += 1
        logger.warning(
            "%s was truncated to %d bytes; %d bytes were not read yet, which are lost unless a copy turns up",
            tail.path, size, max(0, tail.size - tail.read),
        )  # fmt: skip

    def tidy(self, now: float, delete: bool, remove: Callable[[str], None]) -> None:
        """Let go of what is done.

        Args:
            now: seconds since 1970.
            delete: remove files of the app's that are acknowledged and succeeded.
            remove: deletes a file.
        """
        handles = sum(tail.reader is not None for tail in self.tails.values())
        for tail in list(self.tails.values()):
            if tail.orphaned and not tail.gone_at:
                tail.gone_at = now
            unread = tail.size - tail.read
            if unread > 0 and tail.orphaned and now - tail.gone_at >= QUIET_SECONDS:
                self.counts["lost_bytes"] += unread
                logger.error("%s: %d bytes were truncated away before they were read: lost", tail.path, unread)
                tail.size = tail.read
            elif unread > 0 or tail.segments:
                continue
            if tail.gone_at:
                linked = tail.reader is not None and tail.reader.source.linked() and not tail.orphaned
                if now - max(tail.gone_at, tail.grew_at) >= (PARTING_SECONDS if linked else QUIET_SECONDS):
                    self._end(tail, now)
            elif delete and tail.finished and OURS.fullmatch(Path(tail.path).name):
                try:
                    remove(tail.path)
                    self.counts["deleted_files"] += 1
                    self._end(tail, now)
                except OSError as error:
                    logger.warning("%s is acknowledged but cannot be deleted: %s", tail.path, error.strerror)
                    tail.finished = False
            elif handles > self._open_files and tail.reader is not None:
                tail.reader.source.close()
                tail.reader = None
                handles -= 1

    def _end(self, tail: Tail, now: float) -> None:
        if tail.reader is not None:
            tail.reader.source.close()
            tail.reader = None
        if self._by_file.get(tail.key) is tail:
            del self._by_file[tail.key]
        del self.tails[tail.number]
        tail.record.gone_at = now
        self.changed.add(tail.record.generation)
        self._changes += 1

    def close(self) -> None:
        """Close all handles."""
        for tail in self.tails.values():
            if tail.reader is not None:
                tail.reader.source.close()
