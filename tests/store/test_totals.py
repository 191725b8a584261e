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
from compose.store.deadline import Deadlines
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


def test_total_hits_and_aggregations_are_of_one_moment(engine: Engine) -> None:
    """While documents are loaded, each search's total, newest hit and count agree."""
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
            answer = search(engine, engine.resolve("numbers"), BODY)
            total = answer["hits"]["total"]["value"]
            assert answer["aggregations"]["count"]["value"] == total
            assert answer["hits"]["hits"][0]["sort"] == [total - 1]
            seen.add(total)
    finally:
        stopped.set()
        writer.join()


def test_a_count_of_another_moment_is_repeated(engine: Engine) -> None:
    """A total that was counted before a load is counted again in the search's transaction."""
    write(engine, 0, 2)
    ended = engine.totals.begin(engine.table, TRUE, True)
    engine.totals.begin(engine.table, TRUE, True)(engine.table.cursor())  # by now the first is counted, or soon
    write(engine, 2, 5)
    assert ended(engine.table.cursor()) == {"value": 7, "relation": "eq"}


def test_a_search_counts_by_itself_where_all_threads_count(engine: Engine) -> None:
    """A count that no thread has begun is done by the search, which does not wait for one."""
    write(engine, 0, 2)
    totals = Totals(Deadlines(), 60, 1)
    busy = threading.Event()
    totals._pool.submit(busy.wait)
    try:
        assert totals.begin(engine.table, TRUE, True)(engine.table.cursor()) == {"value": 2, "relation": "eq"}
    finally:
        busy.set()
        totals.stop()


def test_a_count_that_takes_too_long_ends_the_search(engine: Engine) -> None:
    """The other connection is interrupted at the deadline as well."""
    write(engine, 0, 2)
    totals = Totals(engine.deadlines, 0.2, 1)
    endless = "(SELECT count(*) FROM range(100000000000) AS a(x) WHERE x % 7 = 3) > 0"
    ended = totals.begin(engine.table, (endless, []), True)
    try:
        while not totals._pool._work_queue.empty():
            threading.Event().wait(0.01)
        with pytest.raises(duckdb.InterruptException):
            ended(engine.table.cursor())
    finally:
        totals.stop()
