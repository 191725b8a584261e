"""The quick way for a bulk request of new documents: where it is taken, it does and answers what the other way does."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose.store import creations
from compose.store.bulk import Action, Creations, read_bulk, read_creations
from compose.store.duplicates import colons
from compose.store.engine import Engine
from compose.store.errors import StoreError
from compose.store.idfilter import IdFilter
from compose.store.rest import documents
from compose.store.rest.request import Request
from compose.store.search import search
from compose.store.settings import StoreSettings
from compose.store.timestamps import read_timestamps
from compose.store.translog import batches

MAPPING = {
    "dynamic": "true",
    "properties": {
        "@timestamp": {"type": "date"},
        "level": {"type": "keyword"},
        "status": {"type": "short"},
        "message": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 60}}},
    },
}
OTHER = {"properties": {"@timestamp": {"type": "date"}, "level": {"type": "keyword"}, "status": {"type": "keyword"}}}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def test_many_dates_are_read_as_each_alone() -> None:
    """Dates before and after 1970, of leap years and of each length, have the milliseconds that Python gives them."""
    days = ["0001-01-01", "1600-02-29", "1900-02-28", "1969-12-31", "2000-02-29", "2026-11-26", "9999-12-31"]
    for fraction in ("", ".001", ".999", ".000001", ".123456", ".999999"):
        texts = [f"{day}T{time}{fraction}Z" for day in days for time in ("00:00:00", "23:59:59", "07:08:09")]
        moments = [(dt.datetime.fromisoformat(text) - EPOCH) // dt.timedelta(milliseconds=1) for text in texts]
        assert read_timestamps(texts) == moments


@settings(deadline=None)
@given(st.datetimes(), st.datetimes())
def test_any_two_dates_are_read_as_each_alone(first: dt.datetime, second: dt.datetime) -> None:
    """Any date is read as Python reads it."""
    texts = [f"{moment:%Y}".rjust(4, "0") + f"{moment:-%m-%dT%H:%M:%S.%fZ}" for moment in (first, second)]
    expected = [(dt.datetime.fromisoformat(text) - EPOCH) // dt.timedelta(milliseconds=1) for text in texts]
    assert read_timestamps(texts) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "0000-01-01T00:00:00Z",
        "2026-01-01 00:00:00Z", "2026-01-01T00:00:00z", "2026-01-01T00:00:0٣Z", "2026/01/01T00:00:00Z",
        "1900-02-29T00:00:00Z", "2026-01-01T00:00:00,123Z", "2026-01-01T00:00:0:Z", None, "", "now",
    ],
)  # fmt: skip
def test_what_is_no_such_date_is_left_to_the_other_way(text: str | None) -> None:
    """A day, a time or a form that there is not makes all of them be read one by one."""
    assert read_timestamps([text]) is None
    assert read_timestamps(["2026-01-01T00:00:00Z", text]) is None
    assert read_timestamps(["2026-01-01T00:00:00.000Z", text]) is None


HEADS = [
    b'{"create":{"_index":"logs","_id":"a"}}', b'{"create": {"_id": "b", "_index": "logs"}}', b'{"create":{"_id":"c"}}',
    b'{"index":{"_index":"logs","_id":"d"}}', b'{"index":{}}', b'{"create":{"_id":"e","_id":"f"}}',
    b'{"create":{"_id" :"g","_id":"h"}}', b'{"create":{"_id":"i\\":"}}', b'{"delete":{"_index":"logs","_id":"a"}}',
    b'{"create":{"_id":"j"}},{"create":{"_id":"k"}}', b'{"create":{"_id":"l', b'"}}', b'{"create":{"_id":"m"}', b"",
    b'"_index":"n"}}', b'{"create":{"_id":7}}', b'{"create":{"_id":null}}', b'{"create":null}', b"[]", b"]",
    b'{"create":{"_id":"","_index":"logs"}}', b'{"create":{"_id":"o","_index":""}}', b' {"create":{"_id":"p"}}',
    b'{"create":{"_id":"q"},"index":{"_id":"r"}}', b'{"create":{"_id":"s"}}\r', b'{"create":{"_id":"t","routing":"u"}}',
    b'{"create":{"_id":"v"}}],[{"create":{"_id":"w"}}', b'{"create":{"_id":"\\ud83d\\ude00"}}', b"\xff",
]  # fmt: skip


def one_by_one(body: bytes, default: str | None) -> list[Action] | None:
    """Return the actions of a body; None where it is refused."""
    try:
        return list(read_bulk(body, default))
    except StoreError:
        return None


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(HEADS), st.sampled_from([b"{}", b'{"a":1}', b"", *HEADS])), max_size=4),
    st.sampled_from([b"\n", b"", b"\n\n"]),
    st.sampled_from([None, "fallback"]),
)
def test_a_body_read_at_once_has_the_actions_of_its_lines(
    pairs: list[tuple[bytes, bytes]], end: bytes, default: str | None
) -> None:
    """Whatever a body is put together from: where it is read at once, its actions are those read line by line."""
    body = b"\n".join(line for pair in pairs for line in pair) + end
    found = read_creations(body, default)
    if found is not None:
        assert found.actions() == one_by_one(body, default)


def test_bodies_of_shipper_and_client_are_read_at_once() -> None:
    """The forms that our shipper and the official client send are read at once, with and without an index."""
    for head in HEADS[:3]:
        assert read_creations((head + b'\n{"a":1}\n') * 2, "logs") is not None
    assert read_creations(HEADS[3] + b"\n{}\n", None) is not None
    assert read_creations(HEADS[2] + b"\n{}\n", None) is None


def test_colons_are_counted_behind_quotes() -> None:
    """A colon behind white space makes the count useless; one within a string only makes it larger."""
    assert colons(b'{"a":1,"b":"c:d"}') == 2
    assert colons(b'{"a":"\\":"}') == 2
    assert colons(b'{"a":1,"a" :1}') is None
    assert colons(b"") == 0


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=3), max_size=9), max_size=6))
def test_the_filter_knows_all_that_was_added(groups: list[list[str]]) -> None:
    """No id that was added is called new, whatever came with it."""
    known = IdFilter()
    for group in groups:
        positions = known.positions(group)
        known.add(group, positions)
        assert known.possible(group, positions) == group
    for group in groups:
        assert known.possible(group) == group


def test_the_filter_grows_and_seldom_errs() -> None:
    """Over several layers, of ten thousand ids that were not added hardly one is called possible."""
    known = IdFilter()
    for start in range(0, 40_000, 2_000):
        known.add([f"there-{number}" for number in range(start, start + 2_000)])
    assert len(known.possible([f"there-{number}" for number in range(40_000)])) == 40_000
    assert len(known.possible([f"absent-{number}" for number in range(10_000)])) <= 5


def lines(*pairs: tuple[dict[str, Any], str | dict[str, Any]]) -> bytes:
    """Return a bulk body; a document may be given as text."""
    made = []
    for action, document in pairs:
        made += [
            msgspec.json.encode(action),
            document.encode() if isinstance(document, str) else msgspec.json.encode(document),
        ]
    return b"\n".join(made) + b"\n"


def entry(name: str, document: str | dict[str, Any], *, verb: str = "create", index: str = "logs") -> Any:
    """Return one action with its document."""
    return {verb: {"_index": index, "_id": name}}, document


def plain(number: int, **more: Any) -> dict[str, Any]:
    """Return a document as the mapping has it."""
    return {
        "@timestamp": f"2026-11-26T10:00:{number % 60:02d}.123456Z", "level": "INFO", "status": 200 + number,
        "message": f"served: number {number}", **more,
    }  # fmt: skip


USUAL = [lines(*(entry(f"u{number}", plain(number)) for number in range(50)))]
BODIES: dict[str, list[bytes]] = {
    "usual": USUAL,
    "index": [lines(*(entry(f"i{number}", plain(number), verb="index") for number in range(5)))],
    "sent again": USUAL * 2,
    "one known": [*USUAL, lines(*(entry(f"u{number}", plain(number)) for number in range(49, 60)))],
    "twice in one": [lines(entry("a", plain(1)), entry("b", plain(2)), entry("a", plain(3)))],
    "two indices": [lines(*(entry(f"t{n}", plain(n), index=f"logs{n % 2 * 2 or ''}") for n in range(6)))],
    "two kinds": [lines(entry("a", plain(1)), entry("b", {"status": "x", "level": "y"}, index="other"))],
    "same id in two": [lines(entry("a", plain(1)), entry("a", plain(2), index="logs2"))],
    "new index": [lines(entry("a", plain(1), index="fresh"), entry("b", plain(2)))],
    "new field": [lines(entry("a", plain(1, extra=1)), entry("b", plain(2)), entry("c", plain(3, extra="x")))],
    "misfit": [lines(entry("a", plain(1)), entry("b", plain(2, status="no number")), entry("c", plain(3)))],
    "array": [lines(entry("a", plain(1, level=["INFO", "WARNING"])), entry("b", plain(2)))],
    "ignored": [lines(entry("a", plain(1, message="x" * 100)), entry("b", plain(2)))],
    "null": [lines(entry("a", plain(1, level=None)), entry("b", {}))],
    "dates": [lines(entry("a", plain(1)), entry("b", {"@timestamp": "2026-11-26T10:00:00Z"}), entry("c", {}))],
    "bad date": [lines(entry("a", plain(1)), entry("b", {"@timestamp": "2026-02-30T10:00:00.123456Z"}))],
    "name twice": [lines(entry("a", plain(1)), entry("b", '{"level":"a","level":"b"}'))],
    "name twice, spaced": [lines(entry("a", '{"level" :"a","level":"b"}'), entry("b", '{"level" :"a"}'))],
    "quotes": [lines(entry('q":1', plain(1)), entry("b", plain(2)))],
    "texts": [lines(entry('q"\\', plain(1, message='say "no" \\')), entry("ü→😀", plain(2, message="größer")))],
    "looks like a name": [lines(entry("a", plain(1, message='"x":1')), entry("b", plain(2, message="so :")))],
    "no JSON": [lines(entry("a", plain(1)), entry("b", '{"level":'), entry("c", '"text"'))],
    "looks like a commit": [lines(entry("a", '{"commit":1,"count":1,"crc":1}'), entry("b", '{"block":1,"n":1}'))],
    "long id": [lines(entry("x" * 500, plain(1)))],
    "too long id": [lines(entry("x" * 513, plain(1)))],
    "deleted": [*USUAL, b'{"delete":{"_index":"logs","_id":"u1"}}\n', lines(entry("u1", {}), entry("z", plain(2)))],
}  # fmt: skip


def opened(folder: Path) -> Engine:
    """Return a store whose loader waits until it is asked."""
    return Engine(StoreSettings(dir=folder, refresh_seconds=3600))


def indices(engine: Engine) -> None:
    """Make the indices that the bodies write to."""
    for name, mapping in (("logs", MAPPING), ("logs2", MAPPING), ("other", OTHER)):
        with engine.lock:
            engine.create_index(name, {}, mapping)


def send(engine: Engine, body: bytes) -> Any:
    """Return the reply to a bulk request without what is never the same."""
    try:
        reply = documents.bulk(engine, Request("POST", "/_bulk", {}, body))
    except StoreError as error:
        return error.body()
    value = msgspec.json.decode(msgspec.json.encode(reply.value))
    del value["took"]
    text = msgspec.json.encode(value).decode()
    for index in engine.indices.values():
        text = text.replace(index.uuid, "UUID")
    return msgspec.json.decode(text)


def held(engine: Engine) -> dict[str, Any]:
    """Return all documents with what their columns say."""
    engine.refresh()
    columns = {
        "docvalue_fields": ["@timestamp", "level", "status", "message.keyword"],
        "aggs": {"levels": {"terms": {"field": "level"}}, "words": {"filter": {"match": {"message": "served"}}}},
    }
    found = {}
    for name, index in sorted(engine.indices.items()):
        body = {"size": 1000, "sort": ["_doc"], "version": True, "seq_no_primary_term": True}
        reply = search(engine, [index], body | (columns if name != "fresh" else {}))
        found[name] = (reply["hits"], reply.get("aggregations"), engine.count_of(index))
    return found


@pytest.fixture
def replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[bytes]], tuple[Any, Any, list[bool]]]:
    """Return a function: what each way answers and holds, also after a crash, and where the quick one was taken."""

    def run(bodies: list[bytes]) -> tuple[Any, Any, list[bool]]:
        taken: list[bool] = []

        def watched(engine: Engine, batch: Creations) -> Any:
            items = creations.create(engine, batch)
            taken.append(items is not None)
            return items

        results = []
        for name, way in (("quick", watched), ("slow", lambda _engine, _batch: None)):
            monkeypatch.setattr(documents, "create", way)
            engine = opened(tmp_path / name)
            try:
                indices(engine)
                answers = [send(engine, body) for body in bodies]
                shutil.copytree(
                    tmp_path / name, tmp_path / f"{name}-copy"
                )  # what a crash would leave, none of it loaded
                results.append([answers, held(engine)])
            finally:
                engine.stop()
            again = opened(tmp_path / f"{name}-copy")
            try:
                assert held(again) == results[-1][1]
            finally:
                again.stop()
        return results[0], results[1], taken

    return run


# Where the quick way is to be taken, and where not; elsewhere either is right.
TAKEN = {
    "usual": [True], "index": [True], "two indices": [True], "two kinds": [True], "same id in two": [True],
    "texts": [True], "null": [True], "looks like a name": [True], "long id": [False], "sent again": [True, False],
    "one known": [True, False], "deleted": [True, False], "twice in one": [False], "misfit": [False],
    "name twice": [False], "new index": [False],
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_both_ways_answer_and_hold_the_same(name: str, replies: Callable[[list[bytes]], Any]) -> None:
    """Answers, documents, columns and counts are the same, whichever way was taken, and the same after a crash."""
    quick, slow, taken = replies(BODIES[name])
    assert quick == slow
    assert taken == TAKEN.get(name, taken)


def test_half_a_block_counts_as_nothing(tmp_path: Path) -> None:
    """Cut anywhere, a translog has the batches before and nothing of the one that was cut."""
    engine = opened(tmp_path / "store")
    try:
        indices(engine)
        (path,) = (tmp_path / "store" / "translog").iterdir()
        before = path.stat().st_size
        send(engine, lines(entry("a", plain(1)), entry("b", plain(2))))
        data = path.read_bytes()
    finally:
        engine.stop()
    cut = tmp_path / "cut.ndjson"
    whole = list(batches(path))
    assert len(whole[-1][1]) == 2
    for end in range(before, len(data)):
        cut.write_bytes(data[:end])
        assert list(batches(cut)) == whole[:-1]
    for place in range(before, len(data), 7):
        cut.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert list(batches(cut))[: len(whole) - 1] == whole[:-1]
        assert list(batches(cut)) != whole
