"""What the store finds when it starts again: its documents, its catalogue, a damaged database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from compose.store.bulk import Action
from compose.store.engine import Engine
from compose.store.errors import WritesBlockedError
from compose.store.search import count, search
from compose.store.settings import StoreSettings
from compose.store.writing import Writer


def opened(folder: Path, **settings: Any) -> Engine:
    """Open the store in a folder."""
    return Engine(StoreSettings(dir=folder, **settings))


def written(engine: Engine, number: int, verb: str = "create") -> list[int]:
    """Write so many documents; return their statuses."""
    actions = [
        Action(verb, "logs", f"id-{n}", msgspec.json.encode({"level": "INFO", "n": n, "tags": ["a", "b"][: n % 3]}))
        for n in range(number)
    ]
    return [msgspec.to_builtins(answer)["status"] for _, answer in Writer(engine).apply(actions)]


def test_documents_and_mapping_are_there_after_a_restart(tmp_path: Path) -> None:
    """A restart changes neither the documents nor the fields."""
    engine = opened(tmp_path)
    assert written(engine, 50) == [201] * 50
    engine.stop()
    engine = opened(tmp_path)
    try:
        assert count(engine, engine.resolve("logs"), {"term": {"tags": "b"}}) == 16
        assert written(engine, 50) == [409] * 50
        assert search(engine, engine.resolve("logs"), {"size": 0})["hits"]["total"]["value"] == 50
    finally:
        engine.stop()


def test_a_damaged_database_is_set_aside_and_rebuilt(tmp_path: Path) -> None:
    """A database that cannot be opened is kept under another name, said, and rebuilt from the translog."""
    engine = opened(tmp_path)
    written(engine, 50)
    engine.stop()
    (tmp_path / "documents.duckdb").write_bytes(b"not a database" * 1000)
    engine = opened(tmp_path)
    try:
        assert count(engine, engine.resolve("logs"), None) == 50
        assert "damaged" in str(engine.last_error)
        assert list(tmp_path.glob("documents.damaged-*.duckdb"))
    finally:
        engine.stop()


def test_an_unfinished_batch_is_cut_off(tmp_path: Path) -> None:
    """What a crash left half-written at the end of the translog was never answered and is not there."""
    engine = opened(tmp_path)
    written(engine, 5)
    engine.stop()
    newest = max((tmp_path / "translog").iterdir())
    with newest.open("ab") as file:
        file.write(b'{"n":99,"x":1,"d":"torn","v":1,"s":{"level":"IN')
    engine = opened(tmp_path)
    try:
        assert count(engine, engine.resolve("logs"), None) == 5
        assert Writer(engine).read(engine.require("logs"), ["torn"]) == {}
    finally:
        engine.stop()


def test_a_full_disk_refuses_writes_and_reads_go_on(tmp_path: Path) -> None:
    """Below the reserve every write is a 429 that says why, and searches answer."""
    engine = opened(tmp_path)
    written(engine, 5)
    engine.stop()
    engine = opened(tmp_path, disk_reserve=2**62)
    try:
        assert set(written(engine, 3, "index")) == {429}
        assert count(engine, engine.resolve("logs"), None) == 5
        with pytest.raises(WritesBlockedError, match="STORE_DISK_RESERVE"):
            engine.create_index("other")
    finally:
        engine.stop()


def test_a_failing_fsync_is_no_acknowledgement(tmp_path: Path) -> None:
    """When the fsync fails nothing is acknowledged, then or later."""
    engine = opened(tmp_path)
    try:

        def fail(_handle: int) -> None:
            raise OSError(5, "Input/output error")

        engine.translog._fsync = fail
        action = Action("create", "logs", "x", b'{"a":1}')
        with pytest.raises(WritesBlockedError, match="fsync"):
            Writer(engine).apply([action])
        with pytest.raises(WritesBlockedError, match="fsync"):
            Writer(engine).apply([action])  # not even as a 409: the first copy may not be on the disk
    finally:
        engine.stop()


def test_a_read_only_store_refuses_writes(tmp_path: Path) -> None:
    """STORE_READ_ONLY answers 403 to a write."""
    engine = opened(tmp_path, read_only=True)
    try:
        assert written(engine, 1) == [403]
    finally:
        engine.stop()
