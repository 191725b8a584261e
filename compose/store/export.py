"""What a snapshot reads from the table and writes to files, in one transaction, and what it reads back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec

# A row group is held in memory before it is written: with the widest log lines some tens of MiB.
_EXPORT = """
COPY (SELECT sequence, id, version, source FROM documents WHERE number = ?) TO ?
(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 8192)
"""


class View(msgspec.Struct):
    """The table at one moment, but for the documents.

    Attributes:
        loaded: last sequence number in it.
        catalogue: key → value.
        fingerprints: number of an index → how many documents it has, and a text that changes with any of them.
    """

    loaded: int
    catalogue: dict[str, Any]
    fingerprints: dict[int, tuple[int, str]]


class Row(msgspec.Struct, gc=False):
    """One document of a file."""

    sequence: int
    id: str
    version: int
    source: bytes


class Reading:
    """One transaction that only reads.

    Args:
        cursor: of the table, in a transaction.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def view(self) -> View:
        """Return all but the documents."""
        state = self._cursor.execute("SELECT loaded FROM state").fetchone()
        rows = self._cursor.execute("SELECT key, value FROM catalogue").fetchall()
        marks = self._cursor.execute(
            "SELECT number, count(*), max(sequence), bit_xor(hash(id, version, sequence, source)) FROM documents "
            "GROUP BY number"
        ).fetchall()
        return View(
            state[0] if state else 0,
            {key: msgspec.json.decode(value) for key, value in rows},
            {number: (count, f"{count}-{last}-{mark:x}") for number, count, last, mark in marks},
        )

    def export(self, number: int, path: Path) -> None:
        """Write the documents of an index to a file.

        Raises:
            duckdb.Error: the file could not be written.
        """
        self._cursor.execute(_EXPORT, [number, str(path)])

    def exported(self, path: Path, size: int) -> Iterator[list[Row]]:
        """Return the documents of a file, so many at a time.

        Raises:
            duckdb.Error: the file cannot be read.
        """
        found = self._cursor.execute("SELECT sequence, id, version, source FROM read_parquet(?)", [str(path)])
        while rows := found.fetchmany(size):
            yield [Row(sequence, name, version, source.encode()) for sequence, name, version, source in rows]
