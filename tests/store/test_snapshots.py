"""Snapshots on the disk: shared files, damage, what a broken restore leaves, and a store rebuilt from them."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from compose.store.bulk import Action
from compose.store.engine import BACKUP, Engine
from compose.store.errors import StoreError
from compose.store.repository import Snapshot
from compose.store.rest.request import Request
from compose.store.rest.router import dispatch
from compose.store.search import count, search
from compose.store.settings import StoreSettings
from compose.store.snapshots import Snapshots
from compose.store.writing import Writer


def opened(folder: Path, **settings: Any) -> Engine:
    """Open the store in a folder."""
    return Engine(StoreSettings(dir=folder, **settings))


def write(engine: Engine, index: str, numbers: range, *, noise: int = 0) -> None:
    """Write one document for each number, with so many bytes that nothing can compress."""
    chance = random.Random(7)
    actions = [
        Action("index", index, f"id-{n}", msgspec.json.encode(
            {"n": n, "level": "INFO", "message": f"line {n} {chance.randbytes(noise).hex()}".rstrip()}))
        for n in numbers
    ]  # fmt: skip
    assert all("error" not in msgspec.to_builtins(answer) for _, answer in Writer(engine).apply(actions))


def snapshot(engine: Engine, name: str) -> Snapshot:
    """Make a snapshot of everything."""
    snapshots = Snapshots(engine)
    return snapshots.make(BACKUP, snapshots.begin(BACKUP, name, list(engine.indices.values()), whole=True))


def restore(engine: Engine, name: str, **body: Any) -> None:
    """Restore a snapshot."""
    snapshots = Snapshots(engine)
    found, plan = snapshots.plan(BACKUP, name, body)
    snapshots.restore(BACKUP, found, plan)


def files(folder: Path) -> set[str]:
    """Return the files with documents in the guide's repository."""
    return {path.name for path in (folder / "snapshots" / BACKUP).glob("documents-*.parquet")}


def numbers(engine: Engine, index: str) -> list[int]:
    """Return the values of n that an index has."""
    engine.refresh()
    hits = search(engine, engine.resolve(index), {"size": 1000, "sort": ["n"]})["hits"]["hits"]
    return [msgspec.json.decode(hit["_source"])["n"] for hit in hits]


def test_an_unchanged_index_shares_its_file(tmp_path: Path) -> None:
    """Only what changed is written again; deleting a snapshot removes only what no other has."""
    engine = opened(tmp_path)
    try:
        write(engine, "logs-1", range(50))
        write(engine, "logs-2", range(50))
        snapshot(engine, "first")
        before = files(tmp_path)
        write(engine, "logs-2", range(50, 60))
        second = snapshot(engine, "second")
        assert len(files(tmp_path)) == 3
        assert second.indices["logs-1"].file in before
        Snapshots(engine).delete(BACKUP, Snapshots(engine).named(BACKUP, "first"))
        assert files(tmp_path) == {kept.file for kept in second.indices.values()}
        engine.delete_indices(engine.resolve("logs-*"))
        restore(engine, "second")
        assert numbers(engine, "logs-2") == list(range(60))
    finally:
        engine.stop()


def test_a_damaged_file_is_not_restored(tmp_path: Path) -> None:
    """One wrong byte in a file stops the restore before anything is written, and the file is named."""
    engine = opened(tmp_path)
    try:
        write(engine, "logs", range(50))
        kept = snapshot(engine, "first").indices["logs"].file
        path = tmp_path / "snapshots" / BACKUP / kept
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        engine.delete_indices(engine.resolve("logs"))
        with pytest.raises(StoreError, match=kept):
            restore(engine, "first")
        assert engine.resolve("*") == []
    finally:
        engine.stop()


def test_a_restore_that_did_not_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the store ends in the middle of a restore, the next start forgets what was written of it."""
    engine = opened(tmp_path)
    write(engine, "logs", range(50))
    snapshot(engine, "first")
    engine.delete_indices(engine.resolve("logs"))

    class PowerCut(BaseException):
        """The process ends here."""

    def cut(*_arguments: object) -> None:
        engine.settings = msgspec.structs.replace(engine.settings, read_only=True)  # nothing more can be written
        raise PowerCut

    monkeypatch.setattr(Snapshots, "_show", cut)
    with pytest.raises(PowerCut):
        restore(engine, "first")
    assert engine.resolve("*") == []
    engine.stop()
    monkeypatch.undo()
    engine = opened(tmp_path)
    try:
        assert engine.resolve("*") == []
        assert engine.table.counts() == {}
        restore(engine, "first")
        assert numbers(engine, "logs") == list(range(50))
    finally:
        engine.stop()


def test_a_damaged_database_comes_back_from_snapshot_and_translog(tmp_path: Path) -> None:
    """The newest snapshot has what the translog no longer has, the translog what came after it."""
    engine = opened(tmp_path, translog_retention=0)
    engine.translog._rotate_bytes = 1
    write(engine, "logs", range(50))
    engine.refresh()
    snapshot(engine, "first")
    for begin in range(50, 80, 10):
        write(engine, "logs", range(begin, begin + 10))
        engine.refresh()
    engine.loader.settings = msgspec.structs.replace(engine.settings, translog_retention=2**30)
    snapshot(engine, "second")
    write(engine, "logs", range(80, 90))
    write(engine, "other", range(5))
    engine.delete_indices(engine.resolve("other"))
    engine.stop()
    (tmp_path / "documents.duckdb").write_bytes(b"not a database" * 1000)
    engine = opened(tmp_path)
    try:
        assert numbers(engine, "logs") == list(range(90))
        assert "second" in str(engine.last_error)
        assert "missing" not in str(engine.last_error)
        assert len(list(tmp_path.glob("documents.damaged-*.duckdb"))) == 1
        assert [each.name for each in Snapshots(engine).all(BACKUP)] == ["first", "second"]
    finally:
        engine.stop()


def test_what_neither_has_is_said(tmp_path: Path) -> None:
    """Changes that were in the damaged database alone are named by their numbers."""
    engine = opened(tmp_path, translog_retention=0)
    engine.translog._rotate_bytes = 1
    write(engine, "logs", range(10))
    engine.refresh()
    snapshot(engine, "first")
    for begin in range(10, 40, 10):
        write(engine, "logs", range(begin, begin + 10))
        engine.refresh()
    engine.stop()
    (tmp_path / "documents.duckdb").write_bytes(b"not a database" * 1000)
    engine = opened(tmp_path)
    try:
        found = numbers(engine, "logs")
        assert found[:10] == list(range(10))
        assert len(found) < 40
        assert "missing" in str(engine.last_error)
    finally:
        engine.stop()


def test_a_damage_found_by_a_search_is_mended_while_running(tmp_path: Path) -> None:
    """A block that cannot be read while the store runs is said, and the database is rebuilt without a restart."""
    engine = opened(tmp_path)
    write(engine, "logs", range(20_000), noise=100)
    engine.refresh()
    engine.stop()
    path = tmp_path / "documents.duckdb"
    with duckdb.connect(str(path)) as connection:
        # Blocks of the sources alone: all else can be read, so that the store starts.
        blocks = connection.execute(
            "SELECT block_id FROM pragma_storage_info('documents') WHERE persistent GROUP BY block_id "
            "HAVING bool_and(column_name = 'source' AND segment_type = 'VARCHAR')"
        ).fetchall()
    assert blocks
    data = bytearray(path.read_bytes())
    for (block,) in blocks:
        data[3 * 4096 + block * 262_144 + 1000] ^= 0xFF
    path.write_bytes(data)
    engine = opened(tmp_path)
    try:
        assert engine.last_error is None
        search_all = Request("POST", "/logs/_search", {}, b'{"query":{"match":{"message":"line"}},"sort":["n"]}')
        statuses = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and 200 not in statuses:
            statuses.append(dispatch(engine, search_all).status)
        assert statuses[0] == 503
        assert set(statuses) == {503, 200}
        assert count(engine, engine.resolve("logs"), None) == 20_000
        assert "damaged" in str(engine.last_error)
    finally:
        engine.stop()


def many(folder: Path, documents: int) -> None:
    """Write many documents into three indices, snapshot them, delete them, restore them, and compare all."""
    engine = opened(folder)
    properties = {"n": {"type": "long"}, "level": {"type": "keyword"}, "message": {"type": "text"}}
    total = {"size": 0, "aggs": {"n": {"stats": {"field": "n"}}, "l": {"terms": {"field": "level"}}}}

    def seen() -> list[Any]:
        engine.refresh()
        return [search(engine, engine.resolve(f"many-{day}"), total)["aggregations"] for day in range(3)]

    try:
        for day in range(3):
            engine.create_index(f"many-{day}", {}, {"properties": properties})
        for start in range(0, documents, 5000):
            for day in range(3):
                write(engine, f"many-{day}", range(start + day, min(start + 5000, documents), 3), noise=40)
        before = seen()
        assert sum(each["n"]["count"] for each in before) == documents
        assert snapshot(engine, "all").state == "SUCCESS"
        some = [f"id-{number}" for number in range(0, documents, max(1, documents // 100))]
        sources = Writer(engine).read(engine.require("many-0"), some)
        assert sources
        engine.delete_indices(engine.resolve("many-*"))
        assert not engine.resolve("many-*")
        restore(engine, "all", indices="many-*")
        assert seen() == before
        after = Writer(engine).read(engine.require("many-0"), some)
        assert {name: row[2] for name, row in after.items()} == {name: row[2] for name, row in sources.items()}
    finally:
        engine.stop()
    engine = opened(folder)
    try:
        assert seen() == before
    finally:
        engine.stop()


def test_many_documents_come_back(tmp_path: Path) -> None:
    """Thirty thousand documents of three indices are the same after snapshot, delete, restore and a restart."""
    many(tmp_path, 30_000)


@pytest.mark.soak
def test_a_million_documents_come_back(tmp_path: Path) -> None:
    """A million documents of three indices are the same after snapshot, delete, restore and a restart."""
    many(tmp_path, 1_000_000)
