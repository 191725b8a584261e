"""The index in memory changes no answer: searches find with it what they find in the table alone."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose.store import postings
from compose.store.bulk import Action
from compose.store.conditions import Condition, Fields, in_indices, term_of
from compose.store.engine import Engine
from compose.store.postings import Postings, View
from compose.store.query import parse
from compose.store.search import count, search
from compose.store.settings import StoreSettings
from compose.store.sql import compile_query
from compose.store.writing import Writer
from tests.rounds import rounds

MAPPING: dict[str, Any] = {
    "properties": {
        "at": {"type": "date"},
        "level": {"type": "keyword"},
        "code": {"type": "integer"},
        "message": {"type": "text"},
        "flag": {"type": "boolean"},
    }
}
BASE = 1_792_454_400_000  # milliseconds since 1970; small numbers would be years
INDICES = ("logs-1", "logs-2", "logs-3")
QUERIES: list[dict[str, Any]] = [
    {"match": {"level": "ERROR"}},
    {"query_string": {"query": "level:INFO"}},
    {"term": {"code": 2}},
    {"bool": {"filter": [{"term": {"level": "ERROR"}}]}},
    {"match": {"message": "deadline"}},
    {"match": {"message": "Late deadline"}},
    {"match_phrase": {"message": "late deadline"}},
    {"term": {"level": "absent"}},
    {"term": {"nowhere": "absent"}},
    {"match_all": {}},
]
PAGES: list[dict[str, Any]] = [
    {},
    {"size": 2, "from": 1, "sort": [{"at": "desc"}]},
    {"size": 1, "sort": [{"at": "asc"}]},
    {"size": 3, "sort": [{"at": {"order": "asc", "missing": "_first"}}]},
    {"size": 2, "sort": [{"at": "desc"}, {"code": "asc"}]},
    {"size": 40},
    {"size": 4, "from": 2, "sort": [{"at": {"order": "asc", "format": "epoch_millis"}}], "track_total_hits": False},
    {"size": 0, "track_total_hits": 1},
    {"size": 1, "post_filter": {"term": {"level": "INFO"}}},
    {"size": 2, "sort": [{"at": "desc"}], "search_after": [BASE + 4_000]},
]
HISTOGRAMS: list[dict[str, Any]] = [
    {"date_histogram": {"field": "at", "fixed_interval": interval, **more}, "aggs": {"by": {"terms": terms}}}
    for terms in ({"field": "level"}, {"field": "code", "size": 1}, {"field": "flag"})
    for interval, more in (("5s", {}), ("1ms", {"min_doc_count": 1}), ("7s", {"offset": "-3s"}))
]
TERMS: list[dict[str, Any]] = [
    {"terms": {"field": field, **more}, **below}
    for field in ("level", "code", "flag")
    for more in ({}, {"size": 1, "order": {"_count": "asc"}}, {"order": [{"_count": "desc"}, {"_key": "desc"}]})
    for below in ({}, {"aggs": {"n": {"avg": {"field": "code"}}}})
]
BODIES = [
    *[{"size": 0, "aggs": {"t": body}} for body in TERMS],
    *[{"query": query, **page} for number, query in enumerate(QUERIES) for page in PAGES[number % 2 :: 2]],
    *[{"size": 1, "query": QUERIES[place], "aggs": {"h": body}} for body in HISTOGRAMS for place in (-1, 0)],
]

documents = st.fixed_dictionaries(
    {},
    optional={
        "at": st.integers(-12, 12).map(lambda moment: BASE + moment // 3 * 3_000 + moment % 3),
        "level": st.sampled_from(["INFO", "WARNING", "ERROR"]),
        "code": st.integers(0, 3),
        "flag": st.booleans(),
        "message": st.lists(st.sampled_from(["late", "deadline", "deadlines", "0.5", "x"]), max_size=4).map(" ".join),
    },
)
changes = st.lists(
    st.tuples(
        st.sampled_from(["index", "index", "index", "delete"]),
        st.sampled_from(INDICES),
        st.integers(0, 12).map(str),
        documents,
    ),
    max_size=40,
)


@contextmanager
def store() -> Iterator[Engine]:
    """Run a store of its own, with empty indices."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(msgspec.structs.replace(StoreSettings(), dir=Path(folder) / "store"))
        try:
            for name in INDICES:
                engine.create_index(name, {}, MAPPING)
            yield engine
        finally:
            engine.stop()


def write(engine: Engine, listed: list[tuple[str, str, str, dict[str, Any]]]) -> None:
    """Make changes that a search sees when this returns."""
    actions = [
        Action(verb, index, name, msgspec.json.encode(source) if verb == "index" else b"")
        for verb, index, name, source in listed
    ]
    Writer(engine).apply(actions, refresh=True)


def answers(engine: Engine) -> list[Any]:
    """Return the answers to all searches, without the time that they took."""
    found = [search(engine, engine.resolve("logs-*"), body) for body in BODIES]
    counts = [count(engine, engine.resolve("logs-*"), query) for query in QUERIES]
    return [*[{**answer, "took": 0} for answer in found], *counts]


def table_alone(engine: Engine) -> list[Any]:
    """Return the same, found without the index in memory."""
    with patch.object(Postings, "piece", return_value=None):
        return answers(engine)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pieces at once, not only of indices that have been quiet for a while."""
    monkeypatch.setattr(postings, "QUIET", -1.0)


def view(engine: Engine) -> tuple[View, Fields]:
    """Return what is known now."""
    indices = engine.resolve("logs-*")
    return engine.postings.view(engine.table, indices), Fields(indices, engine.table.columns, 0)


def asked(fields: Fields, query: dict[str, Any]) -> Condition:
    """Return what a query means."""
    return compile_query(parse(query), fields)


@settings(max_examples=rounds(10), deadline=None)
@given(before=changes, after=changes)
def test_answers_are_those_of_the_table(before: list[Any], after: list[Any]) -> None:
    """Hits, totals and buckets are equal: with no piece, with all, and with pieces of what a load has changed since."""
    with patch.object(postings, "QUIET", -1.0), patch.object(postings, "GAIN", 0), store() as engine:
        for listed in (before, after):
            write(engine, listed)
            assert answers(engine) == table_alone(engine)
            engine.postings.settled()
            assert answers(engine) == table_alone(engine)


@pytest.mark.usefixtures("quick")
def test_a_load_ends_what_was_known_of_its_index_alone() -> None:
    """After a change, its index is looked up in the table, and the others are not; then it is known again."""
    with store() as engine:
        write(engine, [("index", name, "1", {"level": "ERROR", "at": 5, "message": "late"}) for name in INDICES])
        for query, kind in (({"term": {"level": "ERROR"}}, "terms"), ({"match": {"message": "late"}}, "words")):
            found, fields = view(engine)
            term = term_of(asked(fields, query))
            assert term is not None
            assert term.kind == kind
            assert found.total(asked(fields, query)) == (0, engine.resolve("logs-*"))
            engine.postings.settled()
            assert found.total(asked(fields, query)) == (3, [])
            assert found.holds()
        write(engine, [("delete", "logs-2", "1", {})])
        assert not found.holds()
        found, fields = view(engine)
        query = {"term": {"level": "ERROR"}}
        assert found.total(asked(fields, query)) == (2, [engine.require("logs-2")])
        engine.postings.settled()
        assert found.total(asked(fields, query)) == (2, [])


@pytest.mark.usefixtures("quick")
def test_hits_are_bounded_by_the_moment_of_the_last_of_them() -> None:
    """The newest, the oldest and the first that came are told by a bound; not those of too many ties."""
    with store() as engine:
        write(engine, [("index", INDICES[n % 3], str(n), {"level": "ERROR", "at": n}) for n in range(9)])
        found, fields = view(engine)
        errors = asked(fields, {"term": {"level": "ERROR"}})
        date = fields.columns.single["date:at"]
        assert found.outermost(errors, date, 2, newest=True) is None
        assert found.earliest(errors, 4) is None
        engine.postings.settled()
        assert found.outermost(errors, date, 2, newest=True) == (f"({date} >= 7)", [])
        assert found.outermost(errors, date, 3, newest=False) == (f"({date} <= 2)", [])
        assert found.outermost(errors, date, 10, newest=True) is None
        first = [int(hit["_seq_no"]) for hit in
                 search(engine, found._indices, {"seq_no_primary_term": True})["hits"]["hits"]]  # fmt: skip
        assert found.earliest(errors, 4) == (f"(sequence <= {first[3]})", [])
        with patch.object(postings, "MAX_TIES", 0):
            write(engine, [("index", INDICES[0], str(n), {"level": "ERROR", "at": 8}) for n in range(9)])
            found, fields = view(engine)
            found.outermost(errors, date, 2, newest=True)
            engine.postings.settled()
            assert found.outermost(errors, date, 2, newest=True) is None


@pytest.mark.usefixtures("quick")
def test_hits_are_looked_for_among_the_newest_first() -> None:
    """A guess by the dates finds enough or is given up; it is not made where it would look through too many."""
    with store() as engine:
        write(engine, [("index", INDICES[n % 3], str(n), {"code": n, "at": BASE + n}) for n in range(480)])
        found, fields = view(engine)
        date = fields.columns.single["date:at"]
        assert found.near(date, 2, 0.25, newest=True) is None
        engine.postings.settled()
        assert found.near(date, 2, 0.25, newest=True) is not None
        assert found.near(date, 10, 0.25, newest=True) is None
        assert found.near(date, 2, 0.0, newest=True) is None
        for wanted in (479, 478, 3):
            body = {"query": {"range": {"code": {"lte": wanted}}}, "sort": [{"at": "desc"}], "size": 2}
            hits = search(engine, engine.resolve("logs-*"), body)["hits"]["hits"]
            assert [int(hit["_id"]) for hit in hits] == [wanted, wanted - 1]


def test_an_index_that_is_written_gets_no_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has been quiet for a while, each search looks it up."""
    monkeypatch.setattr(postings, "QUIET", math.inf)
    with store() as engine:
        write(engine, [("index", name, "1", {"level": "ERROR"}) for name in INDICES])
        answers(engine)
        engine.postings.settled()
        assert not engine.postings._pieces


def usable(engine: Engine, column: str = "") -> list[postings.Piece]:
    """Return the pieces that are of use, of a column or of all."""
    pieces = engine.postings._pieces.items()
    return [piece for name, piece in pieces if piece.usable and name.column.startswith(column)]


@pytest.mark.usefixtures("quick")
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is not made again and again, until what others use has been idle for a while."""
    with store() as engine:
        write(
            engine, [("index", name, str(n), {"level": str(n), "at": BASE + n}) for name in INDICES for n in range(5)]
        )
        monkeypatch.setattr(postings, "MAX_BYTES", 3000)
        assert answers(engine) == table_alone(engine)
        engine.postings.settled()
        before = dict(engine.postings._pieces)
        assert 0 < sum(piece.bytes for piece in usable(engine)) <= 3000
        assert len(usable(engine)) < len(before)
        assert answers(engine) == table_alone(engine)
        engine.postings.settled()
        assert engine.postings._pieces == before
        monkeypatch.setattr(postings, "IDLE", -1.0)
        write(engine, [("index", "logs-1", "new", {"level": "x"})])
        answers(engine)
        engine.postings.settled()
        assert list(engine.postings._pieces) != list(before)
        assert answers(engine) == table_alone(engine)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "limits", [{"MAX_VALUES": {"terms": 4, "times": 4, "words": 4}}, {"MAX_DOCUMENTS": 4}, {"_STATEMENTS": {}}]
)
def test_what_would_be_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any]) -> None:
    """A field with too many values, an index with too many documents, and one that fails: looked up in the table."""
    for name, limit in limits.items():
        failing = dict.fromkeys(postings._STATEMENTS, "SELECT error('too much')")
        monkeypatch.setattr(postings, name, limit or failing)
    with store() as engine:
        write(
            engine, [("index", name, str(n), {"level": str(n), "at": BASE + n}) for name in INDICES for n in range(5)]
        )
        levels = engine.table.columns.single["keyword:level"]
        answers(engine)
        engine.postings.settled()
        assert levels in {name.column for name in engine.postings._pieces}
        assert not usable(engine, levels)
        assert answers(engine) == table_alone(engine)


@pytest.mark.usefixtures("quick")
def test_a_dropped_index_leaves_nothing() -> None:
    """What was known of a deleted index goes with the next piece that is made."""
    with store() as engine:
        write(engine, [("index", name, "1", {"level": "ERROR"}) for name in INDICES])
        answers(engine)
        engine.postings.settled()
        gone = engine.require("logs-1").number
        assert gone in {name.number for name in engine.postings._pieces}
        engine.delete_indices([engine.require("logs-1")])
        engine.refresh()
        write(engine, [("index", "logs-2", "2", {"level": "ERROR"})])
        assert answers(engine) == table_alone(engine)
        engine.postings.settled()
        assert gone not in {name.number for name in engine.postings._pieces}
        assert in_indices(engine.resolve("logs-*")) == (f"(number BETWEEN {gone + 1} AND {gone + 2})", [])
