"""The quick way to read a document finds what the slow way finds, or leaves the document to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from compose.store import writing
from compose.store.bulk import Action
from compose.store.engine import Engine
from compose.store.layout import Layout
from compose.store.settings import StoreSettings
from tests.contract.dataset import documents, index_body


def columns(folder: Path) -> tuple[list[Any], set[int]]:
    """Write the contract's documents; return every column of every document, and the statuses."""
    engine = Engine(StoreSettings(dir=folder))
    try:
        engine.create_index("logs", {}, index_body()["mappings"])
        actions = [Action("create", "logs", name, msgspec.json.encode(source)) for _, name, source in documents()]
        statuses = {msgspec.to_builtins(answer)["status"] for _, answer in writing.Writer(engine).apply(actions)}
        engine.refresh()
        columns = engine.table.columns
        named = sorted({**columns.single, **{f"{key}[]": name for key, name in columns.many.items()}}.items())
        chosen = ", ".join(f'{name} AS "{key}"' for key, name in named)
        found = engine.table.cursor().execute(f"SELECT id, ignored, {chosen} FROM documents ORDER BY id")  # noqa: S608
        names = [entry[0] for entry in found.description or []]
        rows = [{name: value for name, value in zip(names, row, strict=True) if value is not None}
                for row in found.fetchall()]  # fmt: skip
        return rows, statuses
    finally:
        engine.stop()


def test_both_ways_fill_the_same_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every document of the contract, edge cases included, has the same values in both."""
    taken = []
    read = Layout.read

    def counted(layout: Layout, source: bytes) -> Any:
        found = read(layout, source)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(Layout, "read", counted)
    quick = columns(tmp_path / "quick")
    assert sum(taken) > 100
    assert not all(taken)
    monkeypatch.setattr(Layout, "read", lambda _layout, _source: None)
    assert columns(tmp_path / "slow") == quick


@pytest.mark.parametrize(
    "source",
    [
        b'{"status": 70000}',
        b'{"status": "200"}',
        b'{"level": ["a", "b"]}',
        b'{"level": 1}',
        b'{"unknown": 1}',
        b'{"@timestamp": "2026-13-01T00:00:00.000Z"}',
        b'{"@timestamp": 1}',
        b'{"confidence": 1e39}',
        b'{"host": "%s"}' % (b"h" * 2000),
        b"[1]",
        b'{"level": "a"',
    ],
)
def test_what_is_not_usual_is_left_to_the_slow_way(source: bytes) -> None:
    """Another type, too long, too large, several values, or no JSON: the quick way does not read it."""
    from compose.store.layout import layout_of
    from compose.store.mapping import Mapping

    layout = layout_of(Mapping(index_body()["mappings"]))
    usual = b'{"level": "INFO", "status": 200}'
    assert layout.read(source) is None
    assert layout.read_all([usual, source], b"%b\n%b\n" % (usual, source)) is None
    assert layout.read_all([usual, usual], b"%b\n%b\n" % (usual, usual)) == [layout.read(usual)] * 2
