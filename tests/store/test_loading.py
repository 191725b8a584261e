"""What one load takes, what a start reads again, and how texts are searched: each against the plain way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.store.bulk import Action
from compose.store.duplicates import repeated_name
from compose.store.engine import Engine
from compose.store.field_conditions import rare_tail
from compose.store.loader import Waiting, patience
from compose.store.rows import Operation
from compose.store.search import count, search
from compose.store.settings import StoreSettings
from compose.store.table import ROW_GROUP
from compose.store.translog import Translog
from compose.store.words import cut
from compose.store.writing import Writer


def operation(sequence: int) -> Operation:
    """Return a new document of ten bytes."""
    return Operation(sequence, 1, str(sequence), 1, False, b'{"n":1234}', {}, {}, [])


@pytest.mark.parametrize("number", [1, ROW_GROUP - 1, ROW_GROUP, ROW_GROUP + 1, 2 * ROW_GROUP + 7])
def test_whole_row_groups_are_taken_first(number: int) -> None:
    """A load takes whole row groups where there are some; the rest keeps its order, its bytes and its moment."""
    operations = [operation(place) for place in range(1, number + 1)]
    waiting = Waiting(operations, bytes=30 * number, sequence=number + 5, moments=[(1.0, 1), (2.0, number)])
    first, rest = waiting.parted()
    assert [*first.operations, *rest.operations] == operations
    assert first.bytes + rest.bytes == 30 * number
    assert rest.sequence == number + 5
    if rest.operations:
        assert len(first.operations) % ROW_GROUP == 0
        assert first.sequence == first.operations[-1].sequence
        assert rest.moments == [(2.0, len(rest.operations))]
    else:
        assert number % ROW_GROUP == 0 or number < ROW_GROUP
        assert first.sequence == number + 5


def test_a_change_of_the_catalogue_is_loaded_with_all_its_documents() -> None:
    """Nothing is parted where a mapping or an index changes, or documents are dropped."""
    operations = [operation(place) for place in range(ROW_GROUP + 1)]
    for waiting in (Waiting(operations, catalogue={"index/logs": {}}), Waiting(operations, dropped=[1])):
        first, rest = waiting.parted()
        assert first is waiting
        assert rest.empty()


@pytest.mark.parametrize(
    ("refresh", "documents", "expected"),
    [
        (0.5, 1, 0.5), (0.5, ROW_GROUP // 2, 0.5), (0.5, ROW_GROUP // 2 + 1, 1.0), (0.2, ROW_GROUP - 1, 0.4),
        (0.8, ROW_GROUP - 1, 1.0), (1.0, ROW_GROUP - 1, 1.0),
    ],
)  # fmt: skip
def test_a_row_group_that_fills_may_wait_longer(refresh: float, documents: int, expected: float) -> None:
    """Few documents wait as long as is set, more than half a row group twice that, and none longer than a second."""
    assert patience(refresh, documents) == expected


def test_a_start_reads_only_what_is_not_loaded(tmp_path: Path) -> None:
    """Files of the translog that are loaded as a whole are kept and not read; those behind them are."""
    translog = Translog(tmp_path, rotate_bytes=1)
    translog.open()
    for number in range(1, 5):
        translog.append([b'{"n":%d}\n' % number], number)
        translog.rotate(0, 2**30)
    translog.close()
    oldest = tmp_path / "translog-000000000001.ndjson"
    oldest.write_bytes(b"\x00" + oldest.read_bytes()[1:])  # whoever reads it stops at its first line
    seen: list[bytes] = []
    assert Translog(tmp_path).replay(1, seen.append) == 4
    assert seen == [b'{"n":2}\n', b'{"n":3}\n', b'{"n":4}\n']
    seen.clear()
    assert Translog(tmp_path).replay(3, seen.append) == 4
    assert seen == [b'{"n":4}\n']
    seen.clear()
    Translog(tmp_path).replay(0, seen.append)
    assert b'{"n":1}\n' not in seen


@given(st.text(st.sampled_from("aZ09_ .,:;'-\t"), max_size=30))
def test_ascii_is_cut_as_any_other_text(text: str) -> None:
    """The quick way for ASCII finds the words that the general one finds."""
    assert cut(text) == cut(f"{text} é")[:-1]


def test_a_rare_tail_is_an_end_of_the_text() -> None:
    """The first search of a word is for an end of it, from its rarest letter on."""
    assert rare_tail(" deadline ") == "line "
    assert rare_tail(" quick ") == "quick "
    assert rare_tail(" a ") == " a "


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b'{"a": 1, "b": {"a": 2}}', None),
        (b'{"a": 1, "a": 1}', "a"),
        (b'{"a": [{"b": 1}, {"b": 1, "c": 2, "b": 3}]}', "b"),
        (b'{"a": 1, "\\u0061" : 2}', "a"),
        (b"{", None),
    ],
)
def test_a_repeated_name_is_found(text: bytes, name: str | None) -> None:
    """A name that one object has twice is found at any depth, however it is written."""
    assert repeated_name(text) == name


def test_times_before_1970_fall_into_their_intervals(tmp_path: Path) -> None:
    """An interval is floored, not cut towards zero, also with an offset."""
    engine = Engine(StoreSettings(dir=tmp_path))
    try:
        times = [-10_800_001, -10_800_000, -1, 0, 1, 10_799_999, 10_800_000]
        actions = [
            Action("index", "old", str(place), msgspec.json.encode({"at": time, "level": "INFO"}))
            for place, time in enumerate(times)
        ]
        with engine.lock:
            engine.create_index("old", {}, {"properties": {"at": {"type": "date"}, "level": {"type": "keyword"}}})
        Writer(engine).apply(actions)
        engine.refresh()
        for offset in (0, 3600_000, -3600_000):
            options = {"field": "at", "fixed_interval": "3h", "offset": f"{offset // 3600_000}h", "min_doc_count": 1}
            body = {"size": 0, "aggs": {"h": {"date_histogram": options, "aggs": {"l": {"terms": {"field": "level"}}}}}}
            found = search(engine, engine.resolve("old"), body)["aggregations"]["h"]["buckets"]
            expected: dict[int, int] = {}
            for time in times:
                edge = (time - offset) // 10_800_000 * 10_800_000 + offset
                expected[edge] = expected.get(edge, 0) + 1
            assert {bucket["key"]: bucket["doc_count"] for bucket in found} == expected
        assert count(engine, engine.resolve("old"), None) == len(times)
    finally:
        engine.stop()


def test_a_change_of_the_catalogue_does_not_wait_for_the_loader(tmp_path: Path) -> None:
    """While more waits than may, an index is made and deleted; to wait with the lock would keep the loader from it."""
    engine = Engine(StoreSettings(dir=tmp_path, max_pending=0, refresh_seconds=3600, request_seconds=1))
    try:
        Writer(engine).apply([Action("create", "logs", "1", b'{"n":1}')])
        assert engine.waiting()
        engine.create_index("other")
        engine.delete_indices([engine.require("other")])
        engine.refresh()
        assert count(engine, engine.resolve("logs"), None) == 1
    finally:
        engine.stop()
