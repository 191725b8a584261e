"""The DuckDB database: one row per document, typed columns per field, the catalogue, how far it is loaded.

Only the loader writes, one transaction per batch, which also stores the last sequence number: what is in the
database and what is still to be replayed can never overlap. Column names are numbers given by
the `columns` table, so no text of a user ever becomes part of a statement.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np

from compose.store.export import Reading
from compose.store.layout import Layout
from compose.store.rows import TYPES, Columns, Operation, add_records, add_values, objects

# An id is as good as random: it is written and found quicker as it is. Zstandard for the sources would save a quarter
# of the file, and cost half a millisecond for the hits of each search.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    sequence BIGINT NOT NULL, number INTEGER NOT NULL, id VARCHAR NOT NULL USING COMPRESSION uncompressed,
    version BIGINT NOT NULL, ignored VARCHAR, source VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS columns (name VARCHAR NOT NULL, key VARCHAR NOT NULL, many BOOLEAN NOT NULL);
CREATE TABLE IF NOT EXISTS catalogue (key VARCHAR NOT NULL, value VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS state (loaded BIGINT NOT NULL, format INTEGER NOT NULL);
"""
FORMAT = 1
_CLOSING_SECONDS = 60.0  # that closing waits for the statements of other threads
# A batch of whole row groups is compressed once and never touched again; half a second of a busy shipper fills one.
ROW_GROUP = 20_480


class Batch(msgspec.Struct):
    """What one load changes.

    Attributes:
        operations: changes of documents, by rising sequence number.
        dropped: numbers of indices whose documents go.
        catalogue: key → value, or None where it goes.
        sequence: last sequence number that is covered.
    """

    operations: list[Operation]
    dropped: list[int]
    catalogue: dict[str, Any]
    sequence: int


class Table:
    """The database file.

    Args:
        path: the file; made when absent.
        memory_limit: bytes that DuckDB may use.
        threads: that it may use.
        exports: the one folder, beside its own files, in which it may read and write.

    Attributes:
        columns: those that there are.
        loaded: last sequence number in it.
        commits: changes before and after each commit of a load, so it is odd during one.
        changes: number of an index → how often loads changed it, and when last, by the monotonic clock; noted before
            the commit.

    Raises:
        duckdb.Error: the file is no database, or damaged.
    """

    def __init__(self, path: Path, *, memory_limit: int, threads: int, exports: Path) -> None:
        self.path = path
        # Only a database that is attached takes a size of its row groups; this thread's `USE` is its own.
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{memory_limit // 1024}KiB",
                "threads": threads,
                "temp_directory": str(path.parent / "temporary"),
                # A checkpoint compresses again what the last one left of a row group: fewer of them, within the memory.
                "checkpoint_threshold": f"{min(64 * 1024, memory_limit // 4096)}KiB",
                "pandas_analyze_sample": 0,  # columns of objects are strings; nothing is guessed from a sample
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            self._connection.execute(f"ATTACH {_quoted(path)} AS store (ROW_GROUP_SIZE {ROW_GROUP})")
            self._connection.execute("USE store")
        except duckdb.Error:
            self._connection.close()
            raise
        self._connection.execute(f"SET allowed_directories = {[str(exports.resolve())]}")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        self._opening, self._closing = threading.Lock(), False
        self._cursors = weakref.WeakSet[duckdb.DuckDBPyConnection]()
        self._local, self._sized = threading.local(), dict[int, tuple[int, int]]()  # documents and bytes, by index
        self._connection.execute(_SCHEMA)
        single, many = dict[str, str](), dict[str, str]()
        for name, key, is_many in self._connection.execute("SELECT name, key, many FROM columns").fetchall():
            (many if is_many else single)[key] = name
        self.columns = Columns(single, many)
        state = self._connection.execute("SELECT loaded, format FROM state").fetchone()
        if state is None:
            self._connection.execute("INSERT INTO state VALUES (0, ?)", [FORMAT])
            state = (0, FORMAT)
        if state[1] != FORMAT:
            raise duckdb.InvalidInputException(f"{path} has format {state[1]}; this program reads format {FORMAT}")
        self.loaded: int = state[0]
        self.commits = 0
        self.changes: dict[int, tuple[int, float]] = {}

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return this thread's own connection for reading."""
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None or self._closing:
            cursor = self._local.cursor = self._another()
        return cursor

    def _another(self) -> duckdb.DuckDBPyConnection:
        with self._opening:
            if self._closing:
                raise duckdb.ConnectionException("the database is being closed")
            cursor = self._connection.cursor()
            self._cursors.add(cursor)
        cursor.execute("USE store")
        return cursor

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Read in one transaction, by a connection of its own, while others go on writing."""
        cursor = self._another()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield Reading(cursor)
        finally:
            cursor.close()

    def catalogue(self) -> dict[str, Any]:
        """Return what is kept beside the documents: indices, templates, policies."""
        rows = self.cursor().execute("SELECT key, value FROM catalogue").fetchall()
        return {key: msgspec.json.decode(value) for key, value in rows}

    def versions(self, number: int, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return id → (version, sequence number) of those ids that the table has in an index."""
        if not ids:
            return {}
        rows = (
            self.cursor()
            .execute(
                "SELECT id, version, sequence FROM documents WHERE number = ? AND id BETWEEN ? AND ? "
                "AND id IN (SELECT unnest(?::VARCHAR[]))",
                [number, min(ids), max(ids), list(ids)],
            )
            .fetchall()
        )
        return {name: (version, sequence) for name, version, sequence in rows}

    def ids(self, number: int) -> Iterator[list[str]]:
        """Return the ids of an index, some thousand at a time."""
        found = self._another().execute("SELECT id FROM documents WHERE number = ?", [number])
        while rows := found.fetchmany(20_000):
            yield [name for (name,) in rows]

    def sources(self, number: int, ids: Sequence[str]) -> dict[str, tuple[int, int, str, str | None]]:
        """Return id → (version, sequence number, source, ignored paths as JSON) of those ids that an index has."""
        rows = (
            self.cursor()
            .execute(
                "SELECT id, version, sequence, source, ignored FROM documents WHERE number = ? AND id BETWEEN ? AND ? "
                "AND id IN (SELECT unnest(?::VARCHAR[]))",
                [number, min(ids), max(ids), list(ids)],
            )
            .fetchall()
        )
        return {row[0]: row[1:5] for row in rows}

    def counts(self) -> dict[int, int]:
        """Return number of an index → how many documents the table has of it."""
        return dict(self.cursor().execute("SELECT number, count(*) FROM documents GROUP BY number").fetchall())

    def sizes(self) -> dict[int, int]:
        """Return number of an index → bytes of its sources, as they were when its documents became more or fewer."""
        counts, known = self.counts(), self._sized
        changed = [number for number, count in counts.items() if known.get(number, (-1, 0))[0] != count]
        sums = "SELECT number, sum(strlen(source)) FROM documents WHERE number IN (SELECT unnest(?)) GROUP BY number"
        found = self.cursor().execute(sums, [changed]).fetchall() if changed else []
        known.update({number: (counts[number], int(size)) for number, size in found})
        return {number: known.get(number, (0, 0))[1] for number in counts}

    def load(self, batch: Batch) -> None:
        """Apply a batch in one transaction.

        Raises:
            duckdb.Error: nothing of it was applied.
        """
        connection = self._connection
        live, gone = _settle(batch)
        connection.execute("BEGIN")
        try:
            for number in batch.dropped:
                connection.execute("DELETE FROM documents WHERE number = ?", [number])
            for number, ids in gone.items():
                connection.execute(
                    "DELETE FROM documents WHERE number = ? AND id BETWEEN ? AND ? "
                    "AND id IN (SELECT unnest(?::VARCHAR[]))",
                    [number, min(ids), max(ids), ids],
                )
            columns = self._with_columns(live)
            if live:
                self._insert(live, columns)
            for key, value in batch.catalogue.items():
                connection.execute("DELETE FROM catalogue WHERE key = ?", [key])
                if value is not None:
                    connection.execute(
                        "INSERT INTO catalogue VALUES (?, ?)", [key, msgspec.json.encode(value).decode()]
                    )
            connection.execute("UPDATE state SET loaded = ?", [batch.sequence])
            self.commits += 1
            self._note({operation.number for operation in batch.operations}.union(batch.dropped))
            try:
                connection.execute("COMMIT")
            finally:
                self.commits += 1
        except duckdb.Error:
            _roll_back(connection)
            raise
        self.columns = columns
        self.loaded = batch.sequence

    def _note(self, numbers: Iterable[int]) -> None:
        moment = time.monotonic()
        for number in numbers:
            self.changes[number] = (self.changes.get(number, (0, 0.0))[0] + 1, moment)

    def _with_columns(self, operations: Iterable[Operation]) -> Columns:
        single, many = dict(self.columns.single), dict(self.columns.many)
        layouts: set[Layout] = set()
        for operation in operations:
            if operation.layout is not None:
                layouts.add(operation.layout)
                continue
            # The two key views are compared in C; a new column is rare.
            for key in operation.values.keys() - single.keys():
                self._add(key, single, len(single) + len(many) + 1, "")
            for key in operation.lists.keys() - many.keys():
                self._add(key, many, len(single) + len(many) + 1, "[]")
        for layout in layouts:
            for column in layout.columns:
                if column.key not in single:
                    self._add(column.key, single, len(single) + len(many) + 1, "")
        return Columns(single, many)

    def _add(self, key: str, known: dict[str, str], number: int, array: str) -> None:
        name, kind = f"c{number}", TYPES[key.partition(":")[0]] + array
        self._connection.execute(f"ALTER TABLE documents ADD COLUMN {name} {kind}")
        self._connection.execute("INSERT INTO columns VALUES (?, ?, ?)", [name, key, bool(array)])
        known[key] = name

    def _insert(self, operations: list[Operation], columns: Columns) -> None:
        groups: dict[Layout | None, list[Operation]] = {}
        for row in operations:
            groups.setdefault(row.layout, []).append(row)
        for layout, rows in groups.items():
            data: dict[str, Any] = {
                "sequence": np.array([row.sequence for row in rows], dtype=np.int64),
                "number": np.array([row.number for row in rows], dtype=np.int32),
                "id": objects([row.id for row in rows]),
                "version": np.array([row.version for row in rows], dtype=np.int64),
                "source": objects([str(row.source, "utf-8") for row in rows if row.source is not None]),
            }
            expressions = dict(zip(data, data, strict=True))
            if layout is None:
                add_values(rows, columns, data, expressions)
            else:
                add_records(rows, layout, columns, data, expressions)
            read = layout is not None and bool(layout.types)
            origin = "(SELECT *, from_json(source, ?) AS members FROM batch)" if read else "batch"
            types = {path: TYPES[kind] for path, kind in layout.types.items()} if layout is not None else {}
            self._connection.register("batch", data)
            try:
                self._connection.execute(
                    f"INSERT INTO documents ({', '.join(expressions)}) SELECT {', '.join(expressions.values())} "  # noqa: S608 - names are our own numbers
                    f"FROM {origin}",
                    [msgspec.json.encode(types).decode()] if read else [],
                )
            finally:
                self._connection.unregister("batch")

    def checkpoint(self) -> None:
        """Write everything into the one file."""
        self._connection.execute("CHECKPOINT")

    def close(self) -> None:
        """Write everything into the one file and close it.

        DuckDB refuses to close while a statement runs, so those of other threads are interrupted, and none begins.

        Raises:
            duckdb.Error: it is not closed, or not all could be written.
        """
        with self._opening:
            self._closing = True
        limit = time.monotonic() + _CLOSING_SECONDS
        while True:
            try:
                return self._connection.close()
            except duckdb.ResourceInUseException:
                if time.monotonic() > limit:
                    raise
            with self._opening:
                for cursor in self._cursors:
                    with suppress(duckdb.ConnectionException):  # it is closed already
                        cursor.interrupt()
            time.sleep(0.01)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.TransactionException:  # the failing statement ended the transaction already
        return


def _settle(batch: Batch) -> tuple[list[Operation], dict[int, list[str]]]:
    """Return the operations that count, one for each document, and the ids to delete first, by index."""
    if not batch.dropped and True not in [row.replaces or row.source is None for row in batch.operations]:
        return batch.operations, {}  # new documents only, so no two are the same
    dropped = set(batch.dropped)
    last: dict[tuple[int, str], Operation] = {}
    gone: dict[tuple[int, str], None] = {}
    for operation in batch.operations:
        if operation.number in dropped:
            continue
        key = (operation.number, operation.id)
        last[key] = operation
        if operation.replaces or operation.source is None:
            gone[key] = None
    by_index: dict[int, list[str]] = {}
    for number, name in gone:
        by_index.setdefault(number, []).append(name)
    live = sorted((row for row in last.values() if row.source is not None), key=lambda row: row.sequence)
    return live, by_index
