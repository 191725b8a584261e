"""An index in memory: how often a field has a value in each index of documents, where first, and at which moments.

What Lucene keeps in its dictionary of terms. It answers the total of a search for one term or word, bounds the hits of
one, and counts the buckets of a date_histogram by terms, without looking at the documents.

A piece of it is about one index of documents. It is made beside the searches, at the first that could have used it, of
an index that has been quiet for a while, and it holds until a load changes that index. What has no piece is looked up
in the table, so answers are the same with and without.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import duckdb
import msgspec
import numpy as np

from compose.store.catalogue import Index
from compose.store.conditions import TRUE, Condition, Term, term_of
from compose.store.deadline import Deadlines
from compose.store.table import Table

log = logging.getLogger(__name__)

QUIET = 1.0  # seconds without a load, after which an index of documents gets its pieces
FIRST = 32  # sequence numbers that are kept of each value
MAX_VALUES = {"terms": 1_000, "times": 100, "words": 20_000}  # of a piece; a field with more has none
MAX_DOCUMENTS = 1_000_000  # of an index; a larger one has no pieces
MAX_BYTES = 32 * 1024 * 1024  # of all pieces; what does not fit is not kept
IDLE = 600.0  # seconds without use, after which a piece makes room for others
MAX_TIES = 100  # documents of the same moment that are read beyond the hits
_FAR = 1 << 60  # milliseconds: no sum of two such overflows
SAMPLED = 16  # of so many moments of an index in order, one is kept to guess by
GAIN = 8  # of all documents, no more than one in so many is looked through by a guess
_EDGES = 65_536  # of intervals that are searched for; with more, all moments are divided

_STATEMENTS = {
    "terms": "SELECT {0}, count(*), min(sequence, {first}) FROM documents WHERE number = ? GROUP BY 1 LIMIT {most}",
    "words": "SELECT word, sum(amount)::BIGINT FROM (SELECT amount, unnest(list_distinct(string_split({0}, ' '))) "
    "AS word FROM (SELECT {0}, count(*) AS amount FROM documents WHERE number = ? GROUP BY 1)) GROUP BY 1 LIMIT {most}",
    "times": "SELECT {0}, count({1}), min({1}), max({1}) FROM documents WHERE number = ? GROUP BY 1 "
    "ORDER BY 1 NULLS LAST LIMIT {most}",
}


class Name(NamedTuple):
    """Which piece: number of the index of documents, kind, column, and for moments the column of the date.

    Kinds are terms, words, times (of each value), dates (a sample, of all values) and all (how many documents).
    """

    number: int
    kind: str
    column: str
    date: str = ""


class Piece(msgspec.Struct):
    """What is known of one field in one index of documents.

    Attributes:
        change: the index's last change before it was made.
        bytes: of memory, roughly.
        used: when it was last, by the monotonic clock.
        usable: whether there is one: the field has few enough values, and there was room.
        counts: value → how many documents have it; None for those without.
        first: value → the lowest sequence numbers of its documents, sorted.
        moments: value → the date of each of its documents that has one, sorted.
    """

    change: int
    bytes: int = 500
    used: float = 0.0
    usable: bool = True
    counts: dict[Any, int] = {}
    first: dict[Any, list[int]] = {}
    moments: dict[Any, Any] = {}


class Postings:
    """All pieces, and the thread that makes them.

    Args:
        deadlines: what ends a statement that takes too long.
        seconds: how long one may take.
    """

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._lock = threading.Lock()
        self._pieces: dict[Name, Piece] = {}
        self._wanted: set[Name] = set()
        self._table: Table | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="postings")

    def view(self, table: Table, indices: list[Index]) -> View:
        """Return what is known at this moment; the caller must not have begun to read before."""
        with self._lock:
            if table is not self._table:  # it was opened again
                self._table = table
                self._pieces.clear()
        return View(self, table, indices)

    def piece(self, table: Table, name: Name) -> Piece | None:
        """Return a piece that holds, or None; then it will be made, unless its index is being written."""
        change, moment = table.changes.get(name.number, (0, 0.0))
        with self._lock:
            found = self._pieces.get(name)
            if found is not None and found.change == change:
                found.used = time.monotonic()
                return found
            if name not in self._wanted and time.monotonic() - moment > QUIET:
                self._wanted.add(name)
                self._pool.submit(self._make, table, name)
        return None

    def _make(self, table: Table, name: Name) -> None:
        change = table.changes.get(name.number, (0, 0.0))[0]
        try:
            if table.commits % 2 == 0:
                cursor = table.cursor()
                with self._deadlines.within(cursor, self._seconds):
                    piece = _read(cursor, name, change)
                # A load takes note of an index before it changes that.
                if table.changes.get(name.number, (0, 0.0))[0] == change:
                    self._keep(table, name, piece)
        except duckdb.Error as error:  # too much memory or time; searches do without, until the index changes
            log.debug("an index in memory could not be made", extra={"reason": str(error)})
            self._keep(table, name, Piece(change, usable=False))
        finally:
            with self._lock:
                self._wanted.discard(name)

    def _keep(self, table: Table, name: Name, piece: Piece) -> None:
        with self._lock:
            if table is not self._table:
                return
            now = piece.used = time.monotonic()
            for key, known in list(self._pieces.items()):
                changed = known.change != table.changes.get(key.number, (0, 0.0))[0]
                if key == name or changed or now - known.used > IDLE:
                    del self._pieces[key]
            size = sum([known.bytes for known in self._pieces.values() if known.usable])
            # Others in use do not go for it, or each search would make again what another one needs.
            fits = size + piece.bytes <= MAX_BYTES
            self._pieces[name] = piece if fits else Piece(piece.change, used=now, usable=False)

    def settled(self) -> None:
        """Return when all pieces that were asked for are made."""
        self._pool.submit(lambda: None).result()

    def stop(self) -> None:
        """Return when nothing is made any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _sample(cursor: Any, name: Name, change: int) -> Piece:
    cursor.execute(
        f"SELECT {name.date} FROM documents WHERE number = ? AND {name.date} IS NOT NULL ORDER BY 1",  # noqa: S608 - columns are our own numbers
        [name.number],
    )
    moments = cursor.fetchnumpy()[name.date]
    sample = np.array(moments[::SAMPLED], dtype=np.int64)  # a copy: the rest is let go
    return Piece(change, 500 + sample.nbytes, counts={None: len(moments)}, moments={None: sample})


def _read(cursor: Any, name: Name, change: int) -> Piece:
    (count,) = cursor.execute("SELECT count(*) FROM documents WHERE number = ?", [name.number]).fetchone()
    if name.kind == "all":
        return Piece(change, counts={None: count})
    if count > MAX_DOCUMENTS:
        return Piece(change, usable=False)
    if name.kind == "dates":
        return _sample(cursor, name, change)
    most = MAX_VALUES[name.kind]
    text = _STATEMENTS[name.kind].format(name.column, name.date, first=FIRST, most=most + 1)
    rows = cursor.execute(text, [name.number]).fetchall()
    piece = Piece(change, counts={row[0]: row[1] for row in rows})
    if len(rows) > most or (name.kind == "times" and _far(rows)):
        return Piece(change, usable=False)
    piece.bytes += sum([150 + len(str(row[0])) for row in rows])
    if name.kind == "terms":
        piece.first = {row[0]: sorted(row[2]) for row in rows}
        piece.bytes += sum([40 * len(sequences) for sequences in piece.first.values()])
    if name.kind == "times":
        cursor.execute(
            f"SELECT {name.date} FROM documents WHERE number = ? AND {name.date} IS NOT NULL "  # noqa: S608 - columns are our own numbers
            f"ORDER BY {name.column} NULLS LAST, {name.date}",
            [name.number],
        )
        moments = np.asarray(cursor.fetchnumpy()[name.date], dtype=np.int64)
        ends: Any = np.cumsum([row[1] for row in rows])[:-1]
        piece.moments = dict(zip(piece.counts, np.split(moments, ends), strict=False))
        piece.bytes += moments.nbytes
    return piece


def _far(rows: list[Any]) -> bool:
    return any(abs(end) > _FAR for row in rows for end in row[2:] if end is not None)


class View:
    """What all pieces say of some indices at one moment.

    Attributes:
        used: whether they have bounded or counted anything but the total; then `holds` must be asked at the end.
    """

    def __init__(self, postings: Postings, table: Table, indices: list[Index]) -> None:
        self._postings = postings
        self._table = table
        self._indices = indices
        self._before = table.commits
        self.used = False

    def holds(self) -> bool:
        """Return whether all that was read since is of the moment that this is of."""
        return self._before % 2 == 0 and self._table.commits == self._before

    def _pieces(self, kind: str, column: str, date: str = "", *, using: bool = True) -> tuple[list[Piece], list[Index]]:
        """Return the pieces that there are, and the indices without one."""
        pieces, rest = list[Piece](), list[Index]()
        for index in self._indices:
            piece = self._postings.piece(self._table, Name(index.number, kind, column, date))
            if piece is not None and piece.usable:
                pieces.append(piece)
            else:
                rest.append(index)
        self.used |= bool(pieces) and using
        return pieces, rest

    def total(self, asked: Condition) -> tuple[int, list[Index]]:
        """Return how many documents a condition selects, as far as that is known, and the indices not covered."""
        term = Term("all", "", None) if asked == TRUE else term_of(asked)
        if term is None or self._before % 2:
            return 0, self._indices
        pieces, rest = self._pieces(term.kind, term.column, using=False)
        return sum([piece.counts.get(term.value, 0) for piece in pieces]), rest

    def earliest(self, asked: Condition, most: int) -> Condition | None:
        """Return the condition that a document is among the first that came; None where that is not known."""
        term = term_of(asked)
        if term is None or term.kind != "terms" or most > FIRST or self._before % 2:
            return None
        pieces, rest = self._pieces("terms", term.column)
        if rest:
            return None
        found = heapq.merge(*[piece.first.get(term.value, ()) for piece in pieces])
        sequences = [sequence for sequence, _ in zip(found, range(most), strict=False)]
        return f"(sequence <= {sequences[-1] if sequences else -1})", []

    def outermost(self, asked: Condition, date: str, most: int, *, newest: bool) -> Condition | None:
        """Return the condition that a document is among the newest or oldest; None where it is not known or of many."""
        term = term_of(asked)
        if term is None or term.kind != "terms" or self._before % 2:
            return None
        pieces, rest = self._pieces("times", term.column, date)
        found = [piece.moments[term.value] for piece in pieces if term.value in piece.moments]
        if rest or sum(map(len, found)) < most:
            return None
        ends = np.concatenate([moments[-most:] if newest else moments[:most] for moments in found])
        ends.sort()
        bound = int(ends[-most] if newest else ends[most - 1])
        if newest:
            amount = sum([len(moments) - int(moments.searchsorted(bound)) for moments in found])
        else:
            amount = sum([int(moments.searchsorted(bound, "right")) for moments in found])
        return (f"({date} {'>=' if newest else '<='} {bound})", []) if amount <= most + MAX_TIES else None

    def near(self, date: str, most: int, share: float, *, newest: bool) -> Condition | None:
        """Return a condition that some more documents have than those that are wanted, the newest or the oldest.

        A guess: whether it holds for enough is seen from what is found with it. None where it would be no use.

        Args:
            date: column by which they are sorted.
            most: how many are wanted.
            share: of all documents, that may be wanted.
            newest: from which end.
        """
        pieces, _ = self._pieces("dates", "", date, using=False)
        wanted = int((2 * most + 4) / share) if share else 0
        if not wanted or GAIN * wanted >= sum([piece.counts[None] for piece in pieces]):
            return None
        count = wanted // SAMPLED + 1
        found = [piece.moments[None] for piece in pieces]
        ends = np.sort(np.concatenate([moments[-count:] if newest else moments[:count] for moments in found]))
        count = min(count, len(ends))
        return f"({date} {'>=' if newest else '<='} {int(ends[-count] if newest else ends[count - 1])})", []

    def documents(self, date: str) -> int:
        """Return how many documents have a date, as far as that is known."""
        pieces, _ = self._pieces("dates", "", date, using=False)
        return sum([piece.counts[None] for piece in pieces])

    def counted(self, column: str) -> tuple[dict[Any, int], list[Index]]:
        """Return value of a column → how many documents have it, and the indices that this does not cover."""
        if self._before % 2:
            return {}, self._indices
        pieces, rest = self._pieces("terms", column)
        found: dict[Any, int] = {}
        for piece in pieces:
            for value, amount in piece.counts.items():
                found[value] = found.get(value, 0) + amount
        return found, rest

    def intervals(
        self, column: str, date: str, width: int, shift: int
    ) -> tuple[dict[tuple[int, Any], int], list[Index]]:
        """Return (number of the interval, value) → how many documents, and the indices that this does not cover.

        Args:
            column: of the values.
            date: column of the moments.
            width: of an interval in milliseconds.
            shift: what is added to a moment before it is divided by the width.
        """
        if self._before % 2:
            return {}, self._indices
        pieces, rest = self._pieces("times", column, date)
        listed = [pair for piece in pieces for pair in piece.moments.items() if len(pair[1])]
        if not listed:
            return {}, rest
        low = (min([int(moments[0]) for _, moments in listed]) + shift) // width
        high = (max([int(moments[-1]) for _, moments in listed]) + shift) // width
        edges = np.arange(low + 1, high + 1) * width - shift if high - low < _EDGES else None
        found: dict[tuple[int, Any], int] = {}
        for value, moments in listed:
            for place, amount in _divided(moments, width, shift, low, edges):
                key = (place, value)
                found[key] = found.get(key, 0) + amount
        return found, rest


def _divided(moments: Any, width: int, shift: int, low: int, edges: Any) -> list[tuple[int, int]]:
    """Return number of an interval and how many of the sorted moments are in it, where there are some.

    `edges` has the begin of each interval after the one with the number `low`; None where there are too many of them.
    """
    if edges is None:
        places, amounts = np.unique((moments + shift) // width, return_counts=True)
        return list(zip(places.tolist(), amounts.tolist(), strict=True))
    first, last = (int(moments[0]) + shift) // width, (int(moments[-1]) + shift) // width
    ends = [*moments.searchsorted(edges[first - low : last - low]).tolist(), len(moments)]
    found, before = list[tuple[int, int]](), 0
    for place, end in enumerate(ends, first):
        if end > before:
            found.append((place, end - before))
        before = end
    return found
