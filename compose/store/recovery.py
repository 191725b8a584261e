"""What a start finds: the database, set aside and rebuilt where it is damaged, and the translog's lines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from compose.store.catalogue import Index
from compose.store.document import Prepared, prepare
from compose.store.errors import StoreError
from compose.store.layout import layout_of
from compose.store.mapping import Mapping
from compose.store.repository import Repository, Snapshot, candidates
from compose.store.rows import Operation
from compose.store.settings import StoreSettings
from compose.store.table import Batch, Table
from compose.store.translog import sync_directory

log = logging.getLogger(__name__)

CLUSTER_FILE = "cluster-uuid"  # beside the database: which snapshots are this store's
_ROWS = 10_000


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
    if source is not None:
        layout = layout_of(mapping)
        record = layout.read(source)
        if record is not None:
            return Operation(line.n, line.x, line.d, line.v, line.r, source, {}, {}, [], layout, record)
    prepared = prepare(msgspec.json.decode(source), mapping) if source is not None else Prepared({}, {}, [], {})
    return Operation(line.n, line.x, line.d, line.v, line.r, source, prepared.values, prepared.lists, prepared.ignored)


def open_table(settings: StoreSettings, clock: Callable[[], int], *, damaged: str = "") -> tuple[Table, str | None]:
    """Open the database; set a damaged one aside and begin again from the newest snapshot.

    Args:
        settings: where, and its memory and threads.
        clock: milliseconds since 1970.
        damaged: how a damage showed itself while the store ran; empty at a start.

    Returns:
        The table, and what is to be said of a damage. What the snapshot does not have is still to be replayed.
    """
    path = settings.dir / "documents.duckdb"
    if not damaged:
        try:
            return _table(path, settings), None
        except duckdb.Error as error:
            # A block with a wrong checksum is a plain duckdb.Error.
            kinds = (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException)
            known = isinstance(error, kinds) or "orrupt" in str(error)
            # A full disk is no damage: setting the database aside would help nobody.
            if not known or not path.exists() or "Conflicting lock" in str(error) or "No space left" in str(error):
                raise
            damaged = str(error)
    # Nothing is deleted: what the database held and the translog no longer has may still be got out of it.
    aside = path.with_name(f"documents.damaged-{clock()}.duckdb")
    path.rename(aside)
    wal = path.with_name(path.name + ".wal")
    if wal.exists():
        wal.rename(aside.with_name(aside.name + ".wal"))
    log.error("the database is damaged; it is set aside", extra={"file": str(aside), "reason": damaged})
    source = _from_snapshot(path, settings)
    note = f"the database was damaged, is set aside as {aside.name}, and was rebuilt from {source}the translog"
    log.warning(note)
    return _table(path, settings), note


def _table(path: Path, settings: StoreSettings) -> Table:
    return Table(path, memory_limit=settings.memory_limit, threads=settings.threads, exports=settings.repositories)


def _from_snapshot(path: Path, settings: StoreSettings) -> str:
    """Build the database from the newest snapshot whose files are sound; return what was used, in words."""
    try:
        cluster = (settings.dir / CLUSTER_FILE).read_text().strip()
    except FileNotFoundError:
        cluster = None
    for place, snapshot in candidates(settings.repositories, cluster):
        unfinished = path.with_name("documents.rebuilding.duckdb")
        for left in (unfinished, unfinished.with_name(unfinished.name + ".wal")):
            left.unlink(missing_ok=True)
        table = _table(unfinished, settings)
        try:
            _fill(table, place, snapshot)
        except (StoreError, duckdb.Error, OSError) as error:
            log.error("a snapshot cannot be used", extra={"snapshot": snapshot.name, "reason": str(error)})  # noqa: TRY400
            continue
        finally:
            table.close()
        unfinished.rename(path)
        sync_directory(path.parent)
        return f"the snapshot {snapshot.name} in {place.folder} and "
    return ""


def _fill(table: Table, place: Repository, snapshot: Snapshot) -> None:
    values: dict[str, Any] = dict(snapshot.catalogue)
    last = 0
    for name, kept in snapshot.indices.items():
        index = Index.from_value(kept.value)
        values[f"index/{name}"] = kept.value
        last = max(last, index.number)
        with table.reading() as cursor:
            for rows in cursor.exported(place.check(kept), _ROWS):
                lines = [
                    Line(row.sequence, index.number, row.id, row.version, s=msgspec.Raw(row.source)) for row in rows
                ]
                table.load(Batch([operation_of(line, index.mapping) for line in lines], [], {}, 0))
    table.load(Batch([], [], {**values, "next/number": last + 1}, snapshot.sequence))


def keep_cluster(folder: Path, uuid: str) -> None:
    """Leave the store's uuid beside the database, for the day on which that is damaged."""
    path = folder / CLUSTER_FILE
    if not path.exists() or path.read_text().strip() != uuid:
        path.write_text(f"{uuid}\n")
