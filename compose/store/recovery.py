"""What a start finds: the database, set aside where it is damaged, and the translog's lines."""

from __future__ import annotations

import logging
from collections.abc import Callable

import duckdb
import msgspec

from compose.store.document import prepare
from compose.store.mapping import Mapping
from compose.store.settings import StoreSettings
from compose.store.table import Operation, Table

log = logging.getLogger(__name__)


class Line(msgspec.Struct):
    """One line of the translog: a document (x, d, v, r, s), a value of the catalogue (k, b), or a dropped index."""

    n: int
    x: int = 0
    d: str = ""
    v: int = 0
    r: bool = False
    s: msgspec.Raw = msgspec.Raw()
    k: str = ""
    b: msgspec.Raw = msgspec.Raw()
    drop: bool = False


decode_line = msgspec.json.Decoder(Line).decode


def operation_of(line: Line, mapping: Mapping) -> Operation:
    """Return the document of a line as it is loaded into the table."""
    source = bytes(line.s) or None
    prepared = prepare(msgspec.json.decode(source), mapping) if source is not None else None
    return Operation(
        sequence=line.n,
        number=line.x,
        id=line.d,
        version=line.v,
        replaces=line.r,
        source=source,
        values=prepared.values if prepared else {},
        lists=prepared.lists if prepared else {},
        ignored=prepared.ignored if prepared else [],
    )


def open_table(settings: StoreSettings, clock: Callable[[], int]) -> tuple[Table, str | None]:
    """Open the database; set a damaged one aside.

    Arguments:
        settings: where, and its memory and threads.
        clock: milliseconds since 1970.

    Returns:
        The table, and what is to be said of a damage.
    """
    path = settings.dir / "documents.duckdb"
    try:
        return Table(path, memory_limit=settings.memory_limit, threads=settings.threads), None
    except (
        duckdb.IOException,
        duckdb.SerializationException,
        duckdb.InternalException,
        duckdb.FatalException,
    ) as error:
        if not path.exists() or "Conflicting lock" in str(error):
            raise
        # Nothing is deleted: what the database held and the translog no longer has may still be got out of it.
        aside = path.with_name(f"documents.damaged-{clock()}.duckdb")
        path.rename(aside)
        wal = path.with_name(path.name + ".wal")
        if wal.exists():
            wal.rename(aside.with_name(aside.name + ".wal"))
        log.exception(
            "the database is damaged; it is set aside and rebuilt from the translog", extra={"file": str(aside)}
        )
        note = (
            f"the database was damaged, is set aside as {aside.name}, "
            "and was rebuilt from the translog as far as it goes"
        )
        return Table(path, memory_limit=settings.memory_limit, threads=settings.threads), note
