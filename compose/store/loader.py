"""The loader: moves what was written to the translog into the table, a batch per transaction.

What waits is also kept by document, so that a document is read and its version known before it is loaded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import duckdb
import msgspec

from compose.store.errors import StoreError, WritesBlockedError
from compose.store.pending import Pending
from compose.store.rows import Operation
from compose.store.settings import StoreSettings
from compose.store.table import ROW_GROUP, Batch, Table
from compose.store.translog import Translog, TranslogError

log = logging.getLogger(__name__)

LOAD_DOCUMENTS = ROW_GROUP  # the loader does not wait longer once so many documents are pending
MAX_VISIBLE_SECONDS = 1.0  # Elasticsearch's own index.refresh_interval


class Waiting(msgspec.Struct):
    """What waits for the loader, and the last sequence number in it.

    Attributes:
        bytes: of memory, roughly.
        moments: when operations came, by the monotonic clock, and how many there were then.
    """

    operations: list[Operation] = []
    dropped: list[int] = []
    catalogue: dict[str, Any] = {}
    bytes: int = 0
    sequence: int = 0
    moments: list[tuple[float, int]] = []

    def empty(self) -> bool:
        """Return whether there is nothing to load."""
        return not (self.operations or self.dropped or self.catalogue)

    def parted(self) -> tuple[Waiting, Waiting]:
        """Return what fills whole row groups and what came after that; the second is empty where nothing is parted."""
        # Changes of the catalogue stay with all their documents.
        count = 0 if self.dropped or self.catalogue else len(self.operations) // ROW_GROUP * ROW_GROUP
        if count in (0, len(self.operations)):
            return self, Waiting(sequence=self.sequence)
        rest = self.operations[count:]
        size = _size(rest)
        moments = [(moment, total - count) for moment, total in self.moments if total > count]
        first = self.operations[:count]
        return (
            Waiting(first, bytes=self.bytes - size, sequence=first[-1].sequence),
            Waiting(rest, bytes=size, sequence=self.sequence, moments=moments),
        )


def _size(operations: list[Operation]) -> int:
    # The source, its values and their objects.
    return 3 * sum([len(operation.source) for operation in operations if operation.source is not None])


def patience(refresh: float, documents: int) -> float:
    """Return the seconds that the oldest of the documents that wait may wait.

    Twice as long, but no longer than a second, where they are about to fill a row group: one that is loaded in parts is
    written, and compressed, more than once.

    Args:
        refresh: the setting, in seconds.
        documents: how many wait.
    """
    filling = documents > LOAD_DOCUMENTS // 2
    return max(refresh, min(2 * refresh, MAX_VISIBLE_SECONDS)) if filling else refresh


class Loader:
    """Loads into a table.

    Args:
        settings: how long a document may wait, and how much.
        lock: the engine's: held by whoever queues.
        table: to load into.
        translog: whose files may be deleted once they are loaded.
        reopen: puts another table here, after an error that makes DuckDB refuse all further work.

    Attributes:
        table: the database; another one after it had to be opened again.
        pending: the changes of documents that are not in the table yet.
        waiting: what the next load takes.
        loads: how often it has loaded.
        last_error: what went wrong last, in words, or None.
    """

    def __init__(
        self,
        settings: StoreSettings,
        lock: threading.RLock,
        table: Table,
        translog: Translog,
        reopen: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.table = table
        self.pending = Pending()
        self.waiting = Waiting()
        self.loads = 0
        self.last_error: str | None = None
        self._loading = Waiting()
        self._translog = translog
        self._reopen = reopen
        self._lock = lock
        self._changed = threading.Condition(lock)
        self._loaded = threading.Condition()
        self._urgent = False
        self._stopping = False
        self._thread = threading.Thread(target=self._load_for_ever, name="loader", daemon=True)

    def start(self) -> None:
        """Load from now on in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Load what waits and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def queue(
        self, operations: list[Operation], changes: dict[str, Any], dropped: Iterable[int], sequence: int
    ) -> None:
        """Take changes that are in the translog; the caller holds the lock."""
        waiting = self.waiting
        waiting.catalogue.update(changes)
        for number in dropped:
            waiting.dropped.append(number)
            self.pending.drop(number)
        waiting.operations += operations
        self.pending.add(operations)
        waiting.bytes += _size(operations)
        waiting.sequence = sequence
        waiting.moments.append((time.monotonic(), len(waiting.operations)))
        self._changed.notify_all()

    def make_room(self) -> None:
        """Return when no more waits than may wait; the caller does not hold the lock.

        Raises:
            WritesBlockedError: it took too long.
        """
        if self.waiting.bytes <= self.settings.max_pending:
            return
        self._hurry()
        deadline = time.monotonic() + self.settings.request_seconds
        while self.waiting.bytes > self.settings.max_pending:
            if time.monotonic() > deadline:
                raise WritesBlockedError(
                    f"{self.waiting.bytes} bytes wait to be loaded, more than STORE_MAX_PENDING; "
                    f"last error: {self.last_error}",
                    kind="es_rejected_execution_exception",
                )
            with self._loaded:
                self._loaded.wait(0.1)

    def _hurry(self) -> None:
        with self._changed:
            self._urgent = True
            self._changed.notify_all()

    def refresh(self) -> None:
        """Return when all that was queued before is in the table.

        Raises:
            StoreError: it could not be done in time.
        """
        with self._lock:
            if self.waiting.empty() and self._loading.empty():
                return
            target = self._loading.sequence if self.waiting.empty() else self.waiting.sequence
        deadline = time.monotonic() + self.settings.request_seconds
        self._hurry()
        with self._loaded:
            while self.table.loaded < target:
                if self._stopping or time.monotonic() > deadline:
                    raise StoreError(503, "unavailable_shards_exception", f"refresh did not end; {self.last_error}")
                self._loaded.wait(0.05)

    def _load_for_ever(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                while self.waiting.empty():
                    if self._stopping:
                        return
                    self._urgent = False
                    self._changed.wait()
                now = time.monotonic()
                since = now if pause or not self.waiting.moments else self.waiting.moments[0][0]
                while not self._stopping:
                    waits = patience(self.settings.refresh_seconds, len(self.waiting.operations))
                    left = since + max(waits, pause) - time.monotonic()
                    if left <= 0:
                        break
                    if not pause and (self._urgent or len(self.waiting.operations) >= LOAD_DOCUMENTS):
                        break
                    self._changed.wait(left)
                everything, self._urgent = self._urgent or self._stopping, False
            try:
                self.load_once(everything=everything)
                pause = 0.0
            except (duckdb.Error, OSError) as error:
                self.last_error = f"loader: {error}"
                log.exception("documents could not be loaded; they stay in the translog and are tried again")
                if self._stopping:
                    return
                if isinstance(error, duckdb.FatalException | duckdb.InternalException):
                    self._try_to_reopen()
                pause = min(max(1.0, pause * 2), 30.0)
            else:
                self._rotate()

    def _rotate(self) -> None:
        """Begin a new file of the translog and delete old ones, where it is time to; else after the next load."""
        try:
            self._translog.rotate(self.table.loaded, self.settings.translog_retention)
        except (OSError, TranslogError) as error:
            self.last_error = f"translog: {error}"
            log.exception("the translog could not be rotated")

    def load_once(self, *, everything: bool = True) -> None:
        """Load what waits.

        Args:
            everything: also what does not fill a row group of the table, if there are some full ones.

        Raises:
            duckdb.Error: nothing of it was loaded; it waits again.
        """
        with self._lock:
            work, rest = self.waiting, Waiting(sequence=self.waiting.sequence)
            if not everything:
                work, rest = work.parted()
            self.waiting, self._loading = rest, work
        try:
            self.table.load(Batch(work.operations, work.dropped, work.catalogue, work.sequence))
        except BaseException:
            with self._lock:  # back to the front of the queue
                later = self.waiting
                self.waiting = Waiting(
                    work.operations + later.operations,
                    work.dropped + later.dropped,
                    {**work.catalogue, **later.catalogue},
                    work.bytes + later.bytes,
                    max(work.sequence, later.sequence),
                    [(time.monotonic(), len(work.operations) + len(later.operations))],
                )
                self._loading = Waiting()
            raise
        with self._lock:
            self.pending.remove(work.operations)
            self._loading = Waiting()
            self.loads += 1
        with self._loaded:
            self._loaded.notify_all()

    def _try_to_reopen(self) -> None:
        """Open the database again, and again: on a full disk it only opens once there is room."""
        pause = 1.0
        while not self._stopping:
            try:
                self._reopen()
            except (duckdb.Error, OSError) as error:
                self.last_error = f"database: {error}"
                log.exception("the database cannot be opened again; it is tried until it can")
                time.sleep(pause)
                pause = min(pause * 2, 30.0)
            else:
                return

    def close(self) -> None:
        """Close the database and forget what waits: it is all in the translog; the caller holds the lock."""
        try:
            self.table.close()
        except duckdb.Error as error:
            log.warning("closing the database failed", extra={"reason": str(error)})
        self.waiting, self._loading = Waiting(), Waiting()
        self.pending.clear()
