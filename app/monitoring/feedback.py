"""Predictions that can still be labelled, and their labels: SQLite, shared by the workers, kept over restarts."""

from __future__ import annotations

import contextlib
import fcntl
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

SINGLE = -1  # the instance of a request that was not a batch
FLUSH_SECONDS = 0.05
FIND_SECONDS = 0.5  # how long an unknown id may still be on its way from another worker's queue
PRUNE_SECONDS = 60.0
QUEUE_ROWS = 100_000
CACHE_SECONDS = 1.0
CELLS = ("tn", "fp", "fn", "tp", "delay")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS prediction (
    request_id TEXT NOT NULL, instance INTEGER NOT NULL, made_at REAL NOT NULL, version TEXT NOT NULL,
    predicted INTEGER NOT NULL, actual INTEGER, labelled_at REAL, PRIMARY KEY (request_id, instance)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS prediction_made ON prediction (made_at);
CREATE INDEX IF NOT EXISTS prediction_labelled ON prediction (version, made_at, predicted, actual)
    WHERE actual IS NOT NULL;
"""

Clock = Callable[[], float]


class FeedbackError(RuntimeError):
    """The database cannot be used; the message names it and says why."""


class Prediction(msgspec.Struct, frozen=True):
    """What is kept of one prediction: nothing of what the client sent but its id."""

    request_id: str
    instance: int
    made_at: float
    version: str
    predicted: int


class Labelled(msgspec.Struct, frozen=True):
    """What became of a label: `status` is recorded, unchanged, corrected, unknown (no such prediction, or expired)."""

    status: str
    predicted: int | None = None
    version: str | None = None
    delay: float | None = None


class FeedbackStore:
    """Keeps predictions and labels; predictions are written by a thread of its own, off the request's path.

    Args:
        path: of the database.
        days, rows: retention.
        clock: seconds since 1970.
        on_lost: is told how many predictions could not be kept.

    Attributes:
        last_error: why the database could not be used; None once it was written again. Predictions are served all the
            same.
    """

    def __init__(self, path: Path, days: float, rows: int, clock: Clock, on_lost: Callable[[int], None]) -> None:
        self._path, self._days, self._rows, self._clock, self._on_lost = path, days, rows, clock, on_lost
        self.last_error: str | None = None
        self._waiting: queue.Queue[list[Prediction] | None] = queue.Queue(QUEUE_ROWS)
        self._cache: tuple[float, float, dict[str, dict[str, float]]] | None = None
        self._prepared = False
        with contextlib.suppress(FeedbackError):
            self._prepare()
        self._thread = threading.Thread(target=self._write_all, name="feedback", daemon=True)
        self._thread.start()

    def _prepare(self) -> None:
        """Make the database, unless that was done.

        Raises:
            FeedbackError: it cannot be.
        """
        if self._prepared:
            return
        with self._telling():
            # SQLite does not wait while the journal's mode changes: workers that start together take turns.
            with self._path.with_suffix(".lock").open("a") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                with self._open() as database:
                    database.execute("PRAGMA journal_mode=WAL")
                    database.executescript(_SCHEMA)
            self._prepared = True

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Note that the database cannot be used; turn what SQLite and the disk say into one kind of error."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            damaged = type(error) is sqlite3.DatabaseError  # its subclasses are about the disk, locks and statements
            self.last_error = f"{self._path}: {error}" + ("; move it away to begin anew" if damaged else "")
            self._prepared = False  # it may have been moved away
            raise FeedbackError(self.last_error) from error

    def remember(self, predictions: list[Prediction]) -> None:
        """Keep predictions for labelling, soon; drops and counts them when the disk cannot follow."""
        try:
            self._waiting.put_nowait(predictions)
        except queue.Full:
            self._on_lost(len(predictions))

    def label(self, labels: Sequence[tuple[str, int, int]]) -> list[Labelled]:
        """Note the true classes of predictions, in one transaction.

        Args:
            labels: request id, instance and true class of each.

        Returns:
            What became of each; an unknown one is looked for again, for all together at most FIND_SECONDS.

        Raises:
            FeedbackError: the database cannot be used.
        """
        self._prepare()
        deadline = time.monotonic() + FIND_SECONDS
        done: dict[int, Labelled] = {}
        left = list(range(len(labels)))
        while True:
            now = self._clock()
            with self._telling(), self._open() as database:
                database.execute("BEGIN IMMEDIATE")  # two workers labelling the same id: one after the other
                for number in left:
                    done[number] = self._label(database, now, *labels[number])
            self.last_error = None
            left = [number for number in left if done[number].status == "unknown"]
            if not left or time.monotonic() >= deadline:
                return [done[number] for number in range(len(labels))]
            time.sleep(FLUSH_SECONDS)

    def _label(self, database: sqlite3.Connection, now: float, request_id: str, instance: int, actual: int) -> Labelled:
        row = database.execute(
            "SELECT made_at, version, predicted, actual FROM prediction "
            "WHERE request_id = ? AND instance = ? AND made_at >= ?",
            (request_id, instance, now - self._days * 86_400),
        ).fetchone()
        if row is None:
            return Labelled("unknown")
        made_at, version, predicted, before = row
        if before == actual:
            return Labelled("unchanged", predicted, version)
        database.execute(
            "UPDATE prediction SET actual = ?, labelled_at = ? WHERE request_id = ? AND instance = ?",
            (actual, now, request_id, instance),
        )
        status = "recorded" if before is None else "corrected"
        return Labelled(status, predicted, version, max(0.0, now - made_at))

    def confusion(self, version: str, days: float) -> dict[str, float]:
        """Return tn, fp, fn, tp and the mean label delay in seconds of a version's predictions of the last days."""
        return self.confusions(days).get(version) or dict.fromkeys(CELLS, 0.0)

    def confusions(self, days: float) -> dict[str, dict[str, float]]:
        """Return the same of each version that has labels, the version that predicted last first.

        Empty where the database cannot be used, which `last_error` tells: the other figures are not lost with these.
        """
        now = self._clock()
        if self._cache is not None and self._cache[1] == days and 0 <= now - self._cache[0] < CACHE_SECONDS:
            return self._cache[2]
        out: dict[str, dict[str, float]] = {}
        last: dict[str, float] = {}
        try:
            self._prepare()
            with self._telling(), self._open() as database:
                found = database.execute(
                    "SELECT version, predicted, actual, COUNT(*), SUM(labelled_at - made_at), MAX(made_at) "
                    "FROM prediction WHERE made_at >= ? AND actual IS NOT NULL GROUP BY version, predicted, actual",
                    (now - days * 86_400,),
                ).fetchall()
        except FeedbackError:
            found = []
        for version, predicted, actual, number, delay, newest in found:
            cells = out.setdefault(version, dict.fromkeys(CELLS, 0.0))
            cells[("t" if predicted == actual else "f") + "np"[predicted]] = number
            cells["delay"] += delay
            last[version] = max(newest, last.get(version, newest))
        for cells in out.values():
            cells["delay"] /= cells["tn"] + cells["fp"] + cells["fn"] + cells["tp"]
        out = {version: out[version] for version in sorted(out, key=lambda each: -last[each])}
        self._cache = (now, days, out)
        return out

    def close(self) -> None:
        """Write what is waiting and end."""
        self._waiting.put(None)
        self._thread.join(timeout=10)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each use: short, and free of the threads' and forks' traps."""
        database = sqlite3.connect(self._path, timeout=5)
        try:
            with database:
                database.execute("PRAGMA synchronous=NORMAL")
                yield database
        finally:
            database.close()

    def _write_all(self) -> None:
        pruned = 0.0
        ended = False
        while not ended:
            rows = list(self._waiting.get() or ())
            ended = not rows
            time.sleep(0 if ended else FLUSH_SECONDS)
            while not self._waiting.empty():
                more = self._waiting.get()
                ended = ended or more is None
                rows.extend(more or ())
            try:
                self._prepare()
                self._insert(rows)
                if self._clock() - pruned > PRUNE_SECONDS:
                    pruned = self._clock()
                    self._prune()
            except FeedbackError:
                self._on_lost(len(rows))

    def _insert(self, rows: list[Prediction]) -> None:
        with self._telling(), self._open() as database:
            # A client that repeats a request with the same id keeps its label.
            database.executemany(
                "INSERT INTO prediction (request_id, instance, made_at, version, predicted) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET made_at = excluded.made_at, version = excluded.version, "
                "predicted = excluded.predicted",
                [(row.request_id, row.instance, row.made_at, row.version, row.predicted) for row in rows],
            )
        self.last_error = None

    def _prune(self) -> None:
        with self._telling(), self._open() as database:
            database.execute("DELETE FROM prediction WHERE made_at < ?", (self._clock() - self._days * 86_400,))
            database.execute(
                "DELETE FROM prediction WHERE made_at < (SELECT made_at FROM prediction ORDER BY made_at DESC "
                "LIMIT 1 OFFSET ?)",
                (self._rows,),
            )
