"""The store itself: takes changes, makes them durable, hands them to the loader, knows what there is.

A change is checked under one lock, appended to the translog, and answered when the fsync that covers it is done. The
loader moves what waits into the table, a batch per transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import duckdb
import msgspec

from compose.store import catalogue as catalogue_module
from compose.store.catalogue import Index, Options, check_name, new_uuid
from compose.store.deadline import Deadlines
from compose.store.disk import Disk
from compose.store.errors import IndexExistsError, IndexNotFoundError, StoreError, WritesBlockedError
from compose.store.idfilter import IdFilter
from compose.store.loader import LOAD_DOCUMENTS, Loader
from compose.store.postings import Postings
from compose.store.recovery import decode_line, keep_cluster, open_table, operation_of
from compose.store.repository import Snapshot
from compose.store.rows import Operation
from compose.store.settings import StoreSettings
from compose.store.table import Table
from compose.store.templates import planned
from compose.store.totals import Totals
from compose.store.translog import Translog, TranslogError

log = logging.getLogger(__name__)

BACKUP = "backup"  # the guide's snapshot repository: it is there from the first start


class Engine:
    """One store in one folder.

    Args:
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
        self.hidden: dict[str, Index] = {}  # what a restore is still writing
        self.started_at = clock()
        settings.dir.mkdir(parents=True, exist_ok=True)
        table, self.last_error = open_table(settings, clock)
        self.translog = Translog(settings.dir / "translog")
        self.loader = Loader(settings, self.lock, table, self.translog, self._reopen)
        self._filters: dict[int, IdFilter] = {}
        self.tombstones: dict[tuple[int, str], tuple[int, float]] = {}  # version and moment of what was deleted
        self.ended_scrolls: dict[str, None] = {}
        self.snapshot_turn = threading.Lock()
        self.unfinished_snapshots: dict[tuple[str, str], Snapshot] = {}  # in progress or failed: repository and name
        self.rebuilding = False
        self.deadlines = Deadlines()
        self.totals = Totals(self.deadlines, settings.threads)
        self.postings = Postings(self.deadlines, settings.request_seconds)
        self._disk = Disk(settings)
        self._counts: dict[int, int] = {}
        self._next_number = 1
        self.orphans = 0
        with self.lock:
            self._recover()
        self.translog.open()
        self.loader.start()
        self._establish()

    @property
    def table(self) -> Table:
        """The database."""
        return self.loader.table

    # -- recovery ------------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        for key, value in self.table.catalogue().items():
            self._put(key, value)
        self._counts = self.table.counts()
        self.sequence = self.table.loaded
        self.sequence = max(self.translog.replay(self.table.loaded, self._replay), self.table.loaded)
        if self.last_error:
            self.last_error += self.translog.gap(self.table.loaded)
        for name in list(self.hidden):  # a restore that did not end
            index = self.hidden.pop(name)
            self.loader.queue([], {f"restoring/{name}": None}, [index.number], self.sequence)
            self._counts.pop(index.number, None)
        if not self.loader.waiting.empty():
            self.loader.waiting.sequence = self.sequence
            log.info("replayed the translog", extra={"operations": len(self.loader.waiting.operations)})
            self.loader.load_once()
        if self.orphans:
            log.error("documents of the translog have no index any more", extra={"documents": self.orphans})

    def _establish(self) -> None:
        """Give a new store its uuid and the guide's snapshot repository."""
        if "cluster/uuid" not in self.values:
            changes = {
                "cluster/uuid": new_uuid(),
                f"repository/{BACKUP}": {"type": "fs", "settings": {"location": BACKUP}},
            }
            with self.lock:
                position = self.commit([self.value_line(key, value) for key, value in changes.items()], [], changes, [])
            self.durable(position)
        keep_cluster(self.settings.dir, self.values["cluster/uuid"])

    def _replay(self, raw: bytes) -> None:
        line = decode_line(raw)
        self.sequence = line.n
        if line.n <= self.table.loaded:
            return  # this replay stopped in the middle of a batch before
        if line.k:
            value = msgspec.json.decode(line.b) if bytes(line.b) else None
            self._put(line.k, value)
            self.loader.queue([], {line.k: value}, [], line.n)
        elif line.drop:
            self._queue([], {}, [line.x], line.n)
        else:
            known = (*self.indices.values(), *self.hidden.values())
            mapping = next((index.mapping for index in known if index.number == line.x), None)
            if mapping is None:
                self.orphans += 1  # the translog no longer has the beginning of its index
                return
            self._queue([operation_of(line, mapping)], {}, [], line.n)
            if len(self.loader.waiting.operations) >= LOAD_DOCUMENTS:
                # Never in the middle of a batch's catalogue: its values come first, and wait already.
                self.loader.load_once()

    def _reopen(self, damaged: str = "") -> None:
        """Open the database again after an error that ends all work with it; rebuild it where it is damaged."""
        log.warning("the database is opened again")
        with self.lock:
            self.rebuilding = True
            self.loader.close()
            self.indices.clear()
            self.hidden.clear()
            self._filters.clear()
            self.loader.table, damage = open_table(self.settings, self.clock, damaged=damaged)
            self.last_error = damage
            self._recover()
            self.rebuilding = False

    def report(self, error: duckdb.Error) -> None:
        """Take note of an error of the database that a reader met; rebuild it where that says it is damaged."""
        text = str(error)
        if "orrupt" not in text and "invalidated" not in text:
            return
        with self.lock:
            if self.rebuilding:
                return
            self.rebuilding = True
        threading.Thread(target=self._rebuild, args=[text], name="rebuild", daemon=True).start()

    def _rebuild(self, damaged: str) -> None:
        try:
            self._reopen(damaged if "orrupt" in damaged else "")
        except (duckdb.Error, OSError) as error:
            self.last_error = f"database: {error}"
            log.exception("the database cannot be rebuilt")

    def _put(self, key: str, value: Any) -> None:
        group, _, name = key.partition("/")
        if group == "index":
            if value is None:
                self.indices.pop(name, None)
            else:
                index = Index.from_value(value)
                self.indices[name] = index
                self._next_number = max(self._next_number, index.number + 1)
        elif group == "restoring":
            if value is None:
                self.hidden.pop(name, None)
            else:
                self.hidden[name] = Index.from_value(value)
                self._next_number = max(self._next_number, self.hidden[name].number + 1)
        elif group == "next":
            self._next_number = max(self._next_number, value)
        elif value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value

    # -- writing -------------------------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Refuse documents while the store is read-only, the disk nearly full, or too much waits.

        The caller does not hold the lock, without which the loader makes no room.

        Raises:
            WritesBlockedError: with the reason.
        """
        self._check_changeable()
        self.loader.make_room()

    def _check_changeable(self) -> None:
        if self.settings.read_only:
            raise WritesBlockedError(
                "blocked by: [FORBIDDEN/6/cluster read-only (api)]; the embedded store runs with STORE_READ_ONLY",
                status=403,
            )
        self.check_room()

    def check_room(self) -> None:
        """Refuse to write any file while the disk is nearly full.

        Raises:
            WritesBlockedError: with the free bytes.
        """
        self._disk.check()

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
        self._queue(operations, changes, drop, self.sequence)
        return position

    def _queue(self, operations: list[Operation], changes: dict[str, Any], dropped: list[int], sequence: int) -> None:
        for number in dropped:
            self._counts.pop(number, None)
            self._filters.pop(number, None)
        # A deletion is of a document that is there, so it replaces one.
        new = Counter([operation.number for operation in operations if not operation.replaces])
        gone = Counter([operation.number for operation in operations if operation.source is None])
        for number in new.keys() | gone.keys():
            self._counts[number] = self._counts.get(number, 0) + new[number] - gone[number]
        self.loader.queue(operations, changes, dropped, sequence)

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

    def id_filter(self, number: int) -> IdFilter:
        """Return the filter of an index's ids, made at the first call; the caller holds the lock."""
        found = self._filters.get(number)
        if found is None:
            found = self._filters[number] = IdFilter()
            for ids in self.table.ids(number):
                found.add(ids)
            found.add(self.loader.pending.ids(number))
        return found

    def next_number(self) -> int:
        """Return the number that the next index gets; the caller holds the lock."""
        return self._next_number

    def value_line(self, key: str, value: Any) -> bytes:
        """Return the translog's line for a value of the catalogue; None removes it."""
        body = b"" if value is None else b',"b":' + msgspec.json.encode(value)
        return b'{"n":%d,"k":%s%s}\n' % (self.next_sequence(), msgspec.json.encode(key), body)

    def put(self, changes: dict[str, Any], drop: Iterable[int] = ()) -> None:
        """Change the catalogue, and drop the documents of indices; return when it is durable."""
        with self.lock:
            self._check_changeable()
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
            raise IndexExistsError(name, self.indices[name].uuid)
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

    def refresh(self) -> None:
        """Return when all that was written before is visible to searches.

        Raises:
            StoreError: the loader could not do it in time.
        """
        self.loader.refresh()

    def stop(self) -> None:
        """Load what waits, make everything durable, close the files."""
        self.loader.stop()
        try:
            self.translog.close()
        except TranslogError:
            log.exception("the translog could not be made durable at the end")
        self.postings.stop()
        self.totals.stop()  # while a count of it may still be ended
        self.deadlines.stop()
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
        return len(self.loader.waiting.operations)
