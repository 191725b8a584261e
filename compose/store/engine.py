"""The store itself: takes changes, makes them durable, loads them into the table, hands out what is there.

A change is checked under one lock, appended to the translog, and answered when the fsync that covers it is done. The
loader moves what waits into the table, a batch per transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import duckdb
import msgspec

from compose.store import catalogue as catalogue_module
from compose.store.catalogue import Index, Options, check_name, new_uuid
from compose.store.disk import Disk
from compose.store.errors import IndexNotFoundError, StoreError, WritesBlockedError
from compose.store.recovery import decode_line, open_table, operation_of
from compose.store.settings import StoreSettings
from compose.store.table import Batch, Operation
from compose.store.templates import planned
from compose.store.translog import Translog, TranslogError

log = logging.getLogger(__name__)

_LOAD_DOCUMENTS = 20_000  # the loader does not wait longer once so many documents are pending


class Waiting(msgspec.Struct):
    """What waits for the loader."""

    operations: list[Operation] = []
    dropped: list[int] = []
    catalogue: dict[str, Any] = {}
    bytes: int = 0


class Engine:
    """One store in one folder.

    Arguments:
        settings: how it runs.
        clock: milliseconds since 1970.

    Attributes:
        indices: by name.
        values: the rest of the catalogue: `template/…`, `component/…`, `policy/…`, `repository/…`.
        lock: held by whoever changes anything.
        last_error: what went wrong last, in words, or None.
    """

    def __init__(
        self, settings: StoreSettings, *, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.lock = threading.RLock()
        self.indices: dict[str, Index] = {}
        self.values: dict[str, Any] = {}
        self.started_at = clock()
        self.loads = 0
        settings.dir.mkdir(parents=True, exist_ok=True)
        self.table, self.last_error = open_table(settings, clock)
        self.translog = Translog(settings.dir / "translog")
        self.tombstones: dict[tuple[int, str], tuple[int, float]] = {}  # version and moment of what was deleted
        self.ended_scrolls: dict[str, None] = {}
        self.pending: dict[tuple[int, str], Operation] = {}
        self._waiting = Waiting()
        self._loading = Waiting()
        self._changed = threading.Condition(self.lock)
        self._loaded = threading.Condition()
        self._urgent = False
        self._stopping = False
        self._disk = Disk(settings)
        self._counts: dict[int, int] = {}
        self._next_number = 1
        self.orphans = 0
        self._recover()
        if self.orphans:
            log.error("documents of the translog have no index any more", extra={"documents": self.orphans})
        self._loader = threading.Thread(target=self._load_for_ever, name="loader", daemon=True)
        self._loader.start()

    # -- recovery ------------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        for key, value in self.table.catalogue().items():
            self._put(key, value)
        self._counts = self.table.counts()
        self.sequence = self.translog.replay(self.table.loaded, self._replay)
        self.sequence = max(self.sequence, self.table.loaded)
        if self._waiting.operations or self._waiting.catalogue or self._waiting.dropped:
            log.info("replayed the translog", extra={"operations": len(self._waiting.operations)})
            self._load_once()

    def _replay(self, raw: bytes) -> None:
        line = decode_line(raw)
        self.sequence = line.n
        if line.n <= self.table.loaded:
            return  # this replay stopped in the middle of a batch before
        if line.k:
            value = msgspec.json.decode(line.b) if bytes(line.b) else None
            self._put(line.k, value)
            self._waiting.catalogue[line.k] = value
        elif line.drop:
            self._waiting.dropped.append(line.x)
            self._counts.pop(line.x, None)
        else:
            mapping = next((index.mapping for index in self.indices.values() if index.number == line.x), None)
            if mapping is None:
                self.orphans += 1  # the translog no longer has the beginning of its index
                return
            self._queue(operation_of(line, mapping))
            if len(self._waiting.operations) >= _LOAD_DOCUMENTS:
                # Never in the middle of a batch's catalogue: its values come first, and are in `_waiting` already.
                self._load_once()

    def _put(self, key: str, value: Any) -> None:
        group, _, name = key.partition("/")
        if group == "index":
            if value is None:
                self.indices.pop(name, None)
            else:
                index = Index.from_value(value)
                self.indices[name] = index
                self._next_number = max(self._next_number, index.number + 1)
        elif group == "next":
            self._next_number = max(self._next_number, value)
        elif value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value

    # -- writing -------------------------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Refuse a write while the store is read-only, the disk nearly full, or too much waits.

        Raises:
            WritesBlockedError: with the reason.
        """
        if self.settings.read_only:
            raise WritesBlockedError(
                "blocked by: [FORBIDDEN/6/cluster read-only (api)]; the embedded store runs with STORE_READ_ONLY",
                status=403,
            )
        self._disk.check()
        if self._waiting.bytes > self.settings.max_pending:
            self._hurry()
            deadline = time.monotonic() + self.settings.request_seconds
            while self._waiting.bytes > self.settings.max_pending:
                if time.monotonic() > deadline:
                    raise WritesBlockedError(
                        f"{self._waiting.bytes} bytes wait to be loaded, more than STORE_MAX_PENDING; "
                        f"last error: {self.last_error}",
                        kind="es_rejected_execution_exception",
                    )
                with self._loaded:
                    self._loaded.wait(0.1)

    def commit(self, lines: list[bytes], operations: list[Operation], changes: dict[str, Any], drop: list[int]) -> int:
        """Append a batch, whose lines were made by this engine, and queue it; the caller holds the lock.

        Returns:
            The position to hand to `durable`.

        Raises:
            WritesBlockedError: it could not be written; nothing of it remains.
        """
        try:
            position = self.translog.append(lines, self.sequence)
        except (OSError, TranslogError) as error:
            self.last_error = f"translog: {error}"
            log.exception("a batch could not be appended to the translog")
            self._disk.forget()
            raise WritesBlockedError(
                f"blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark]; {error}"
            ) from error
        for key, value in changes.items():
            self._put(key, value)
            self._waiting.catalogue[key] = value
        for number in drop:
            self._waiting.dropped.append(number)
            self._counts.pop(number, None)
            for pending in [known for known in self.pending if known[0] == number]:
                del self.pending[pending]
        for operation in operations:
            self._queue(operation)
        self._changed.notify_all()
        return position

    def _queue(self, operation: Operation) -> None:
        self._waiting.operations.append(operation)
        self._waiting.bytes += len(operation.source or b"") * 3  # the source, its values and their objects, roughly
        self.pending[operation.number, operation.id] = operation
        if operation.source is None:
            self._counts[operation.number] = self._counts.get(operation.number, 0) - 1
        elif not operation.replaces:
            self._counts[operation.number] = self._counts.get(operation.number, 0) + 1

    def durable(self, position: int) -> None:
        """Return when a batch is on the disk.

        Raises:
            WritesBlockedError: it cannot be made durable.
        """
        try:
            self.translog.sync(position)
        except TranslogError as error:
            self.last_error = str(error)
            raise WritesBlockedError(str(error), kind="translog_exception", status=503) from error

    def next_sequence(self) -> int:
        """Return the next sequence number; the caller holds the lock."""
        self.sequence += 1
        return self.sequence

    def value_line(self, key: str, value: Any) -> bytes:
        """Return the translog's line for a value of the catalogue; None removes it."""
        body = b"" if value is None else b',"b":' + msgspec.json.encode(value)
        return b'{"n":%d,"k":%s%s}\n' % (self.next_sequence(), msgspec.json.encode(key), body)

    def put(self, changes: dict[str, Any], drop: Iterable[int] = ()) -> None:
        """Change the catalogue, and drop the documents of indices; return when it is durable."""
        with self.lock:
            self.check_writable()
            dropped = list(drop)
            before = self.sequence
            lines = [self.value_line(key, value) for key, value in changes.items()]
            lines += [b'{"n":%d,"x":%d,"drop":true}\n' % (self.next_sequence(), number) for number in dropped]
            try:
                position = self.commit(lines, [], changes, dropped)
            except StoreError:
                self.sequence = before
                raise
        self.durable(position)

    def group(self, name: str) -> dict[str, Any]:
        """Return name → value of one group of the catalogue: template, component, policy, repository."""
        start = name + "/"
        return {key[len(start) :]: value for key, value in self.values.items() if key.startswith(start)}

    def resolve(self, expression: str, options: Options | None = None) -> list[Index]:
        """Return the indices that an expression means."""
        return catalogue_module.resolve(expression, self.indices, self.clock(), options or Options())

    def plan_index(
        self, name: str, settings: dict[str, str] | None = None, mapping: dict[str, Any] | None = None
    ) -> Index:
        """Return an index that would be made now, from its template and what is given; the caller holds the lock.

        Raises:
            StoreError: the name or the settings are not valid, or there is one already.
        """
        check_name(name)
        if name in self.indices:
            raise StoreError(
                400,
                "resource_already_exists_exception",
                f"index [{name}/{self.indices[name].uuid}] already exists",
                index_uuid=self.indices[name].uuid,
                index=name,
            )
        flat, base_mapping = planned(name, settings or {}, self.group("template"), self.group("component"))
        index = Index(name, self._next_number, new_uuid(), self.clock(), flat, base_mapping)
        if mapping:
            index.mapping = index.mapping.merged(mapping)
        return index

    def create_index(
        self, name: str, settings: dict[str, str] | None = None, mapping: dict[str, Any] | None = None
    ) -> Index:
        """Make an index; return when it is durable."""
        with self.lock:
            index = self.plan_index(name, settings, mapping)
            self.put({f"index/{name}": index.value(), "next/number": index.number + 1})
        return index

    def delete_indices(self, indices: list[Index]) -> None:
        """Delete indices with their documents; return when it is durable."""
        if indices:
            with self.lock:
                self.put({f"index/{index.name}": None for index in indices}, [index.number for index in indices])

    def count_of(self, index: Index) -> int:
        """Return how many documents an index has, those that wait included."""
        return self._counts.get(index.number, 0)

    def documents(self) -> int:
        """Return how many documents there are."""
        with self.lock:
            return sum(self.count_of(index) for index in self.indices.values())

    def _hurry(self) -> None:
        with self._changed:
            self._urgent = True
            self._changed.notify_all()

    def refresh(self) -> None:
        """Return when all that was written before is visible to searches.

        Raises:
            StoreError: the loader could not do it in time.
        """
        with self.lock:
            target = self.sequence
            if not (
                self._waiting.operations or self._waiting.dropped or self._loading.operations or self._loading.dropped
            ):
                return
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
                while not (self._waiting.operations or self._waiting.catalogue or self._waiting.dropped):
                    if self._stopping:
                        return
                    self._urgent = False
                    self._changed.wait()
                deadline = time.monotonic() + max(self.settings.refresh_seconds, pause)
                while not self._stopping and (left := deadline - time.monotonic()) > 0:
                    if not pause and (self._urgent or len(self._waiting.operations) >= _LOAD_DOCUMENTS):
                        break
                    self._changed.wait(left)
                self._urgent = False
            try:
                self._load_once()
                self.translog.rotate(self.table.loaded, self.settings.translog_retention)
                pause = 0.0
            except (duckdb.Error, OSError) as error:
                self.last_error = f"loader: {error}"
                log.exception("documents could not be loaded; they stay in the translog and are tried again")
                if self._stopping:
                    return
                if isinstance(error, duckdb.FatalException | duckdb.InternalException):
                    self._reopen()
                pause = min(max(1.0, pause * 2), 30.0)

    def _load_once(self) -> None:
        with self.lock:
            work, target = self._waiting, self.sequence
            self._waiting, self._loading = Waiting([], [], {}), work
        try:
            self.table.load(Batch(work.operations, work.dropped, work.catalogue, target))
        except BaseException:
            with self.lock:  # back to the front of the queue
                later = self._waiting
                self._waiting = Waiting(
                    work.operations + later.operations,
                    work.dropped + later.dropped,
                    {**work.catalogue, **later.catalogue},
                    work.bytes + later.bytes,
                )
                self._loading = Waiting([], [], {})
            raise
        with self.lock:
            pending = self.pending
            for operation in work.operations:
                key = (operation.number, operation.id)
                if pending.get(key) is operation:
                    del pending[key]
            self._loading = Waiting([], [], {})
            self.loads += 1
        with self._loaded:
            self._loaded.notify_all()

    def _reopen(self) -> None:
        """Open the database again after an error that makes DuckDB refuse all further work."""
        log.warning("the database is opened again")
        try:
            self.table.close()
        except duckdb.Error as error:
            log.warning("closing the database failed", extra={"reason": str(error)})
        try:
            self.table, damage = open_table(self.settings, self.clock)
            self.last_error = damage or self.last_error
        except duckdb.Error as error:
            self.last_error = f"database: {error}"
            log.exception("the database cannot be opened again")

    def stop(self) -> None:
        """Load what waits, make everything durable, close the files."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._loader.join()
        try:
            self.translog.close()
        except TranslogError:
            log.exception("the translog could not be made durable at the end")
        self.table.close()

    def require(self, name: str) -> Index:
        """Return an index by its name.

        Raises:
            IndexNotFoundError: there is none.
        """
        if name not in self.indices:
            raise IndexNotFoundError(name)
        return self.indices[name]

    def waiting(self) -> int:
        """Return how many changes the loader has still to load."""
        return len(self._waiting.operations)
