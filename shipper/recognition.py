"""Which remembered generation a file on disk is: the same one, a copy, one that a power cut rewound, or a new one."""

from __future__ import annotations

import enum
import logging
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shipper.checkpoint import State
from shipper.discovery import Found
from shipper.generation import (
    ALIKE_BYTES,
    SIGNATURE_BYTES,
    Kind,
    Record,
    compare,
    digest,
    generation_id,
    is_copy,
    rewind,
    seed_of,
    sign,
    telling,
)
from shipper.reader import Reader, Source, foreign, volume_id
from shipper.tail import Tail

logger = logging.getLogger("shipper.recognition")

_STEP = 1024 * 1024


class Passed(enum.Enum):
    """Why a file is not read now."""

    EMPTY = "nothing is in it"
    UNFINISHED = "its first line is not complete"
    COPY = "all of it is in a file that is read"
    FOREIGN = "it is packed, and not by gzip"
    GROWING = "it may become a copy of a file that was read"


class Remembered:
    """The checkpoint's records, found by inode and by signature without looking through all of them."""

    def __init__(self, records: dict[str, Record]) -> None:
        self._records = records
        self._by_inode: dict[int, list[Record]] = {}
        self._by_signature: dict[int, dict[str, list[Record]]] = {}

    def renew(self) -> None:
        """Take note of what changed since: signatures grow, records come and go."""
        self._by_inode.clear()
        self._by_signature.clear()
        for record in self._records.values():
            self.note(record)

    def note(self, record: Record) -> None:
        """Take note of one more."""
        self._by_inode.setdefault(record.inode, []).append(record)
        if record.signature_length:
            same = self._by_signature.setdefault(record.signature_length, {})
            same.setdefault(record.signature, []).append(record)

    def at(self, inode: int) -> list[Record]:
        """Return those that were last seen at an inode."""
        return list(self._by_inode.get(inode, ()))

    def alike(self, head: bytes) -> list[Record]:
        """Return those that began as a file with this head does."""
        return [
            record
            for length, same in self._by_signature.items()
            if length <= len(head)
            for record in same.get(digest(head[:length]), ())
        ]


class Volumes:
    """The identity of each folder's volume; the first one used stays."""

    def __init__(self, known: dict[str, str], given: str) -> None:
        self.added = False
        self._known = known
        self._given = given

    def of(self, folder: Path) -> tuple[str, int]:
        """Return a folder's volume id and the seed of the line hashes in it."""
        known = self._known.get(str(folder))
        if known is None:
            known = volume_id(folder) or self._given
            if not known:
                known = socket.gethostname()
                logger.warning(
                    "%s has no .volume-id and SHIPPER_VOLUME_ID is not set: the host name stands in; if it changes"
                    " and the checkpoint is lost, lines are sent twice",
                    folder,
                )
            self._known[str(folder)] = known
            self.added = True
        return known, seed_of(known)


class Look(NamedTuple):
    """What is seen of a file that is to be recognised.

    Attributes:
        source: its bytes.
        file: its path and inode.
        head: its first bytes.
        size: how many it has.
        volume: the identity of its folder's volume.
        seed: of the line hashes in that folder.
        quiet: it has not grown for a while, so it is not a copy under way.
        moment: of the monotonic clock, seconds.
    """

    source: Source
    file: Found
    head: bytes
    size: int
    volume: str
    seed: int
    quiet: bool
    moment: float

    def compare(self, record: Record) -> Kind:
        """Return what the file is to a record that was last seen at its inode."""
        return compare(record, self.head, self.size, self._before(record))

    def is_copy(self, record: Record) -> bool:
        """Whether it has what was read of a record's file."""
        return is_copy(record, self.head, self.size, self._before(record), self.source.packed)

    def _before(self, record: Record) -> bytes:
        return self.source.at(record.offset - record.marker_length, record.marker_length)


class Recognition:
    """Recognises files.

    Args:
        state: of the checkpoint.
        volume: SHIPPER_VOLUME_ID, for folders without `.volume-id`.
        counts: of what happened to files.
    """

    def __init__(self, state: State, volume: str, counts: Counter[str]) -> None:
        self.remembered = Remembered(state.records)
        self.volumes = Volumes(state.volumes, volume)
        self._records = state.records
        self._counts = counts
        self._number = 0

    def recognise(
        self,
        source: Source,
        file: Found,
        attached: dict[str, Tail],
        finished: bool,
        quiet: bool,
        moment: float,
        shrunk: Callable[[Tail], None],
    ) -> Tail | Passed:
        """Return the tail of a file: a new one, or the one that goes on in it; or why it is passed over.

        Args:
            source: its bytes.
            file: its path and inode.
            attached: the tails under way, by generation.
            finished: nothing will be appended to the file.
            quiet: it has not grown for a while, so it is not a copy under way.
            moment: of the monotonic clock, seconds.
            shrunk: told of a tail that was truncated since it was last looked at.
        """
        head, size = source.head(), source.size()
        if not size:
            return Passed.EMPTY
        if foreign(head):
            return Passed.FOREIGN
        volume, seed = self.volumes.of(Path(file.path).parent)
        look = Look(source, file, head, size, volume, seed, quiet, moment)
        if (known := self._known(look, attached)) is not None:
            return self._begin(known, look)
        for record in self.remembered.alike(head):
            tail = attached.get(record.generation)
            found = self._inherited(record, look) if tail is None else self._followed(record, tail, look, shrunk)
            if found is not None:
                return found
        if b"\n" not in head and len(head) < SIGNATURE_BYTES and not (finished or source.packed):
            return Passed.UNFINISHED
        return self._new(look)

    def _known(self, look: Look, attached: dict[str, Tail]) -> Record | None:
        """Return the record of this very file, rewound where a power cut took some of it; None: another file."""
        for record in self.remembered.at(look.file.inode):
            if record.generation in attached:
                continue
            kind = look.compare(record)
            if kind is Kind.SAME:
                return record
            if kind is Kind.REWOUND:
                self._counts["rewound"] += 1
                logger.warning(
                    "%s: what was acknowledged of it is not all there, as after a power cut; read again, what is there"
                    " is met by its id",
                    look.file.path,
                )
                rewind(record)
                return record
        return None

    def _inherited(self, record: Record, look: Look) -> Tail | Passed | None:
        """Return what a file is that begins like one that is not read any more; None: something else."""
        if look.is_copy(record):
            self._counts["inherited"] += 1
            return self._begin(record, look)
        return Passed.GROWING if look.size < record.offset and not look.quiet else None

    def _followed(self, record: Record, tail: Tail, look: Look, shrunk: Callable[[Tail], None]) -> Tail | Passed | None:
        """Return what a file is that begins like one that is read now; None: something else."""
        if tail.shrunk():
            shrunk(tail)
        if not tail.orphaned and tail.reader and tail.reader.source.linked():
            if is_held(tail, look.source, look.size):
                return Passed.COPY
            if not tail.shrunk():
                self._counts["collisions"] += 1
                logger.warning("%s begins like %s and is another file", look.file.path, tail.path)
                return None
            shrunk(tail)  # at this very moment: what was compared was no longer all that it had read
        if tail.reader is None and look.is_copy(record):
            if not tail.orphaned and not tail.gone_at:
                return Passed.COPY
            return self._move(tail, look.source)
        if continues(tail, look.source, look.size):
            return self._move(tail, look.source)
        return Passed.GROWING if look.size < tail.read and not look.quiet else None

    def _new(self, look: Look) -> Tail:
        file = look.file
        incarnation = 0
        while (name := generation_id(look.volume, file.inode, look.head, incarnation)) in self._records:
            incarnation += 1
        record = Record(generation=name, path=file.path, device=file.device, inode=file.inode, incarnation=incarnation)
        tail = self._begin(record, look)
        self.remembered.note(record)
        return tail

    def _begin(self, record: Record, look: Look) -> Tail:
        self._number += 1
        reader = Reader(look.source, record.offset)
        sign(record, look.source.head())
        tail = Tail(self._number, record, reader, look.seed, look.moment)
        record.size = tail.size
        return tail

    def _move(self, tail: Tail, source: Source) -> Tail:
        """Go on in a copy of a file that is not there any more."""
        if tail.reader is None:
            tail.reader = Reader(source, tail.read)
        else:
            tail.reader.source.close()
            tail.reader.source = source
        tail.size = source.size()
        tail.orphaned = False
        tail.finished = source.packed
        self._counts["inherited"] += 1
        return tail


def is_held(tail: Tail, source: Source, size: int) -> bool:
    """Whether all of another file is the beginning of what a tail reads, and enough to be no accident."""
    mine = tail.handle.source
    return ALIKE_BYTES <= size <= mine.size() and _equal(mine, source, size)


def continues(tail: Tail, source: Source, size: int) -> bool:
    """Whether another file has all that a truncated or deleted one had when it was last read, and may have more.

    Of a deleted one it must be enough to be no accident, or packed: its name's next file may begin with the same words.
    """
    reader = tail.reader
    if reader is None:
        return False
    told = source.packed or telling(tail.record, source.head())
    if tail.orphaned:
        enough = tail.read or told
        place = tail.read - len(reader.before)
        return bool(enough) and size >= tail.read and source.at(place, len(reader.before)) == reader.before
    mine = reader.source
    whole = mine.size()
    return (told or whole >= ALIKE_BYTES) and size >= whole and _equal(mine, source, whole)


def _equal(one: Source, other: Source, length: int) -> bool:
    """Whether two files are equal up to a length; the end first, for there they differ if at all."""
    place = max(0, length - SIGNATURE_BYTES)
    if one.at(place, length - place) != other.at(place, length - place):
        return False
    return all(
        one.at(at, min(_STEP, length - at)) == other.at(at, min(_STEP, length - at)) for at in range(0, length, _STEP)
    )
