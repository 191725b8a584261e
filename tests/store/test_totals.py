"""The total is counted beside the hits, by another connection: it must be of the same moment as they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from compose.store.bulk import Action
from compose.store.conditions import TRUE
from compose.store.engine import Engine
from compose.store.search import search
from compose.store.settings import StoreSettings
from compose.store.totals import Totals
from compose.store.writing import Writer

BODY: dict[str, Any] = {
    "size": 1,
    "track_total_hits": True,
    "sort": [{"place": "desc"}],
    "aggs": {"count": {"value_count": {"field": "place"}}},
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return a store of its own."""
    found = Engine(msgspec.structs.replace(StoreSettings(), dir=tmp_path / "store"))
    yield found
    found.stop()


def write(engine: Engine, first: int, count: int) -> None:
    """Write documents that a search sees when this returns."""
    numbers = range(first, first + count)
    actions = [Action("create", "numbers", str(number), b'{"place":%d}' % number) for number in numbers]
    Writer(engine).apply(actions, refresh=True)


@pytest.mark.parametrize("aggregations", [True, False])
def test_all_of_a_search_is_of_one_moment(engine: Engine, *, aggregations: bool) -> None:
    """While documents are loaded, each search's total, newest hit and count agree, in a transaction or without."""
    body = {name: value for name, value in BODY.items() if aggregations or name != "aggs"}
    write(engine, 0, 1)
    stopped = threading.Event()

    def work() -> None:
        place = 1
        while not stopped.is_set():
            write(engine, place, 3)
            place += 3

    writer = threading.Thread(target=work)
    writer.start()
    try:
        seen = set[int]()
        while len(seen) < 40:
            answer = search(engine, engine.resolve("numbers"), body)
            total = answer["hits"]["total"]["value"]
            assert not aggregations or answer["aggregations"]["count"]["value"] == total
            assert answer["hits"]["hits"][0]["sort"] == [total - 1]
            seen.add(total)
    finally:
        stopped.set()
        writer.join()


def test_a_count_of_another_moment_does_not_hold(engine: Engine) -> None:
    """A total that was counted before a load is not taken for that of a search which may have read after it."""
    write(engine, 0, 2)
    still, moved = (engine.totals.begin(engine.table, TRUE, True, 60) for _ in range(2))
    assert still() == (True, {"value": 2, "relation": "eq"})
    write(engine, 2, 5)
    assert moved()[0] is False


def test_a_search_does_not_wait_where_all_threads_count(engine: Engine) -> None:
    """A count that no thread has begun is taken back; the search counts by itself."""
    write(engine, 0, 2)
    busy = threading.Event()
    for _ in range(engine.settings.threads):
        engine.totals._pool.submit(busy.wait)
    try:
        assert engine.totals.begin(engine.table, TRUE, True, 60)() == (False, None)
        answer = search(engine, engine.resolve("numbers"), {})
        assert answer["hits"]["total"] == {"value": 2, "relation": "eq"}
    finally:
        busy.set()


def test_a_count_that_takes_too_long_ends_the_search(engine: Engine) -> None:
    """The other connection is interrupted at the deadline as well."""
    write(engine, 0, 2)
    totals = Totals(engine.deadlines, 1)
    endless = "(SELECT count(*) FROM range(100000000000) AS a(x) WHERE x % 7 = 3) > 0"
    ended = totals.begin(engine.table, (endless, []), True, 0.2)
    try:
        while not totals._pool._work_queue.empty():
            threading.Event().wait(0.01)
        with pytest.raises(duckdb.InterruptException):
            ended()
    finally:
        totals.stop()
