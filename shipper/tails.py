"""The files under way: each found file to its generation and its offset, through every kind of rotation."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from shipper.absence import PARTING_SECONDS, Absences
from shipper.batch import Segment
from shipper.checkpoint import State
from shipper.dating import AHEAD_BYTES, date_of_name, first_stamp
from shipper.discovery import OURS, Found
from shipper.generation import SIGNATURE_BYTES, digest, sign
from shipper.reader import NOTHING, Chunk, Reader, Source, foreign
from shipper.recognition import Passed, Recognition
from shipper.tail import Tail
from shipper.unreadable import READ_ERRORS, Unreadable
from shipper.wording import counted

logger = logging.getLogger("shipper.tails")

QUIET_SECONDS = 5.0  # so long without growth: a file without a name, or a growing copy, is complete
NEXT_SECONDS = 2.0  # so long a file's first lines wait for the next one, where they have no time of their own


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
        self.unreadable = Unreadable()
        self.absences = Absences(state, self.counts, forget_seconds)
        self._state = state
        self._recognition = Recognition(state, volume, self.counts)
        self._open_files = open_files
        self._attached: dict[str, Tail] = {}  # by generation
        self._by_file: dict[tuple[int, int], Tail] = {}
        self._passed: dict[tuple[int, int], tuple[int, int, float, int, Passed]] = {}
        self.fresh = False  # a generation is new, and must be written down before a line of it is sent
        self.ended = False  # the app is gone: nothing will be appended to any file
        self.closing = False  # the shipper ends: what is there is read now
        self._renewed = False
        self._changes = 0  # grows when a tail ends or is orphaned: files passed over are looked at again

    # -- which files

    def look(self, found: dict[tuple[int, int], Found], moment: float, now: float) -> list[Tail]:
        """Take note of the files on disk.

        Args:
            found: by device and inode.
            moment: of the monotonic clock, seconds.
            now: seconds since 1970; compared only with what the checkpoint keeps.

        Returns:
            The tails that may have something to read.
        """
        due = []
        self.absences.gaps(found.values(), now)
        self._renewed = False
        for key, file in self._ordered(found):
            tail = self._by_file.get(key)
            if tail is None:
                tail = self._attach(file, moment)
                if tail is None:
                    continue
            tail.gone_at = 0.0
            if tail.path != file.path:
                tail.path = tail.record.path = file.path
                self.changed.add(tail.record.generation)
            if self.absences.succeeded(file.path):
                tail.finished = True
            if tail.record.fallback is None and tail.reader is not None:
                with contextlib.suppress(*READ_ERRORS):  # whoever reads it meets the error, and says so
                    self._date(tail, moment)
            if file.size != tail.read or file.modified != tail.modified:
                tail.modified = file.modified
                due.append(tail)
        for key, tail in list(self._by_file.items()):
            if key not in found:
                tail.gone_at = tail.gone_at or moment
                due.append(tail)  # each time: whoever has it open may still write to it
        self.changed |= self.absences.gone(self._attached, now)
        self.unreadable.keep({file.path for file in found.values()})
        self._passed = {key: value for key, value in self._passed.items() if key in found}
        return due

    def _ordered(self, found: dict[tuple[int, int], Found]) -> list[tuple[tuple[int, int], Found]]:
        """Return the files so that what is remembered at an inode comes first: an original is known before its copies.

        The other way round a copy that sorts before its living original would take its place.
        """
        files = list(found.items())
        new = [
            file
            for key, file in files
            if key not in self._by_file and self._passed.get(key, ())[:2] != (file.size, file.modified)
        ]
        if len(new) > 1:
            self._renew()
            remembered = self._recognition.remembered
            files.sort(key=lambda item: item[0] not in self._by_file and not remembered.at(item[1].inode))
        return files

    def _renew(self) -> None:
        """Take note of what the records are now, once for each look."""
        if not self._renewed:
            self._recognition.remembered.renew()
            self._renewed = True

    def undecided(self) -> bool:
        """Whether the next seconds will show of a file whether it must be read, or when its first lines are from."""
        return any(why is Passed.GROWING for _, _, _, _, why in self._passed.values()) or any(
            tail.record.fallback is None and tail.lag and not tail.orphaned
            for tail in self.tails.values()
            if tail.path not in self.unreadable.troubles
        )

    def _attach(self, file: Found, moment: float) -> Tail | None:
        """Find out which generation a file is, and begin to read it where it was left."""
        key = (file.device, file.inode)
        passed = self._passed.get(key)
        if passed and passed[:2] == (file.size, file.modified):
            _, _, since, changes, why = passed
            may = (why is Passed.GROWING and moment - since >= QUIET_SECONDS) or (
                why is Passed.UNFINISHED and (self.ended or self.absences.succeeded(file.path))
            )
            if changes == self._changes and not may:
                return None
        else:
            passed = None
        if self.unreadable.rests(file.path, (file.size, file.modified), moment):
            return None
        try:
            source = Source(file.path)
        except READ_ERRORS as error:
            self.unreadable.failed(file.path, error, (file.size, file.modified), moment)
            return None
        try:
            if source.inode() != key:
                source.close()
                return None  # replaced between the two looks; the next one finds it
            tail = self._recognised(source, file, passed is not None and moment - passed[2] >= QUIET_SECONDS, moment)
        except READ_ERRORS as error:
            source.close()
            self.unreadable.failed(file.path, error, (file.size, file.modified), moment)
            return None
        self.unreadable.cleared(file.path)
        if isinstance(tail, Passed):
            if passed is None:
                self._pass_over(tail, file.path, source)
            source.close()
            self._passed[key] = (file.size, file.modified, passed[2] if passed else moment, self._changes, tail)
            return None
        self._passed.pop(key, None)
        if self._by_file.get(tail.key) is tail:
            del self._by_file[tail.key]  # it goes on in a copy
        self._by_file[key] = tail
        self._attached[tail.record.generation] = tail
        tail.key = key
        self.tails[tail.number] = tail
        record = tail.record
        record.path, record.device, record.inode, record.gone_at = file.path, *key, 0.0
        if record.generation not in self._state.records:
            self._state.records[record.generation] = record
            self.changed.add(record.generation)
            self.fresh = True
        return tail

    def _pass_over(self, why: Passed, path: str, source: Source) -> None:
        """Count and say once that a file is left alone, where that is for good."""
        if why is Passed.COPY:
            self.counts["copies"] += 1
            logger.info("%s is a copy of a file that is read: not read as well", path)
        elif why is Passed.FOREIGN:
            self.counts["foreign"] += 1
            packer = foreign(source.head())
            logger.warning("%s is packed by %s: not read; use gzip, or leave it out by SHIPPER_EXCLUDE", path, packer)

    def _recognised(self, source: Source, file: Found, quiet: bool, moment: float) -> Tail | Passed:
        self._renew()
        finished = self.ended or self.absences.succeeded(file.path)
        tail = self._recognition.recognise(source, file, self._attached, finished, quiet, moment, self._shrunk)
        if self._recognition.volumes.added:
            self._recognition.volumes.added = False
            self.changed.add("")
        return tail

    def _shrunk(self, tail: Tail) -> None:
        self._truncated(tail, tail.handle.source.size())

    # -- what is in them

    def refill(self, tail: Tail, length: int, moment: float) -> Chunk:
        """Return a tail's next complete lines.

        Args:
            length: bytes to read.
            moment: of the monotonic clock, seconds.

        Raises:
            OSError: it cannot be read now.
        """
        whole = self.has_more(tail, moment)
        return NOTHING if whole is None else tail.handle.read(length, whole)

    def has_more(self, tail: Tail, moment: float) -> bool | None:
        """Look at a tail's file: None where nothing can be read of it, else whether it will not grow any more.

        Raises:
            OSError: it cannot be read now.
        """
        if tail.orphaned:
            return None
        reader = tail.reader or self._reopen(tail)
        if reader is None:
            return None
        size = reader.source.size()
        if size < tail.read or not tail.unchanged(reader):
            self._truncated(tail, size)
            return None
        if size != tail.size:
            if size > tail.size:
                tail.grew_at = moment
            tail.size = tail.record.size = size
            self.changed.add(tail.record.generation)
        if size == tail.read:
            return None
        if tail.record.signature_length < SIGNATURE_BYTES:
            sign(tail.record, reader.source.head())
        if tail.record.fallback is None and not self._date(tail, moment):
            return None
        unlinked = tail.gone_at and not reader.source.linked()
        return (
            self.ended or tail.finished or bool(unlinked and moment - max(tail.grew_at, tail.gone_at) >= QUIET_SECONDS)
        )

    def _date(self, tail: Tail, moment: float) -> bool:
        """Find the time of a file's first lines where they have none: that of the next line with one, else its name's.

        Where there is neither, it is written down before a line is sent: what is sent again must go to the same index,
        also when the next line has come, or the file has another name, meanwhile.

        Returns:
            False while the next line may still tell.
        """
        ahead = tail.handle.source.at(0, AHEAD_BYTES)
        stamp = first_stamp(ahead)
        if not stamp:
            final = self.closing or self.ended or tail.finished or tail.gone_at or tail.read
            if not (final or len(ahead) == AHEAD_BYTES or moment - tail.moved_at >= NEXT_SECONDS):
                return False
            stamp = date_of_name(tail.path)
            self.fresh = True
        tail.record.fallback = stamp
        self.changed.add(tail.record.generation)
        return True

    def took(self, tail: Tail, segment: Segment, lines: list[bytes], ended: bool) -> None:
        """Note that lines went into a batch."""
        reader = tail.handle
        segment.end -= not ended
        reader.advance(lines, ended, segment.end)
        tail.read = segment.end
        segment.before = reader.before
        segment.unterminated = not ended
        tail.stamp = segment.stamp
        tail.segments.append(segment)

    def settle(self, segment: Segment, moment: float) -> bool:
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
            tail.moved_at = moment
            moved = True
        return moved

    def failed(self, tail: Tail, error: Exception, look: tuple[int, int], moment: float) -> None:
        """Note that a file could not be read; a handle that went stale, as on a network volume, is opened anew."""
        self.unreadable.failed(tail.path, error, look, moment)
        tail.modified = 0  # so that it is looked at again
        if isinstance(error, OSError) and error.errno == errno.ESTALE and tail.reader is not None:
            tail.reader.source.close()
            tail.reader = None

    def _reopen(self, tail: Tail) -> Reader | None:
        source = None
        with contextlib.suppress(FileNotFoundError):
            source = Source(tail.path)
        if source is None or source.inode() != tail.key:
            if source is not None:
                source.close()
            if tail.gone_at and tail.size > tail.read:
                unread = counted(tail.size - tail.read, "byte")
                logger.warning("%s went with %s unread: lost unless a copy turns up", tail.path, unread)
                self._orphan(tail)
            return None
        tail.reader = Reader(source, tail.read)
        size = source.size()
        before = digest(tail.segments[-1].before) if tail.segments else tail.record.marker
        if size < tail.read or (digest(tail.reader.before) != before if tail.read else not tail.unchanged(tail.reader)):
            self._truncated(tail, size)
            return None
        return tail.reader

    def _truncated(self, tail: Tail, size: int) -> None:
        """Let go of a file whose content was replaced; its next content is another generation."""
        self._orphan(tail)
        self.counts["truncated"] += 1
        unread = max(0, tail.size - tail.read)
        if not unread:
            logger.info("%s was truncated to %s; all that was seen had been read", tail.path, counted(size, "byte"))
            return
        logger.warning(
            "%s was truncated to %s; %s not read yet, lost unless a copy turns up",
            tail.path, counted(size, "byte"), counted(unread, "byte", "was", "were"),
        )  # fmt: skip

    def _orphan(self, tail: Tail) -> None:
        self._by_file.pop(tail.key, None)
        tail.orphaned = True
        tail.gone_at = tail.grew_at = 0.0
        self._changes += 1

    def tidy(self, moment: float, now: float, delete: bool, remove: Callable[[str], None]) -> None:
        """Let go of what is done.

        Args:
            moment: of the monotonic clock, seconds.
            now: seconds since 1970, for the checkpoint.
            delete: remove files of the app's that are acknowledged and succeeded.
            remove: deletes a file.
        """
        handles = sum(tail.reader is not None for tail in self.tails.values())
        for tail in list(self.tails.values()):
            if tail.orphaned and not tail.gone_at:
                tail.gone_at = moment
            unread = tail.size - tail.read
            if unread > 0 and tail.orphaned and moment - tail.gone_at >= QUIET_SECONDS:
                self.counts["lost_bytes"] += unread
                logger.error("%s: %s lost, gone unread", tail.path, counted(unread, "byte", "is", "are"))
                tail.size = tail.read
            elif unread > 0 or tail.segments:
                continue
            if tail.gone_at:
                linked = tail.reader is not None and tail.reader.source.linked() and not tail.orphaned
                if moment - max(tail.gone_at, tail.grew_at) >= (PARTING_SECONDS if linked else QUIET_SECONDS):
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
        self._attached.pop(tail.record.generation, None)
        tail.record.gone_at = now
        tail.record.size = tail.record.offset
        self.changed.add(tail.record.generation)
        self._changes += 1

    def close(self) -> None:
        """Close all handles."""
        for tail in self.tails.values():
            if tail.reader is not None:
                tail.reader.source.close()
