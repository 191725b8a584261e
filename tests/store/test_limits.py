"""Requests that are too large, too slow or too much for the memory: refused with the reason, and the store goes on."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import msgspec
import psutil
import pytest

from compose.store.bulk import Action
from compose.store.deadline import Deadlines
from compose.store.engine import Engine
from compose.store.errors import StoreError
from compose.store.search import count, search
from compose.store.settings import StoreSettings
from compose.store.writing import Writer
from tests.elasticsearch.embedded import EmbeddedStore

NDJSON = {"content-type": "application/x-ndjson"}
MIB = 2**20


def bodies(documents: int, *, size: int = 2000) -> Iterator[bytes]:
    """Yield bulk bodies of documents that nothing can compress: a name, a number and a text of their own each."""
    chance = random.Random(3)
    for start in range(0, documents, size):
        lines = []
        for number in range(start, min(start + size, documents)):
            document = {"name": chance.randbytes(50).hex(), "n": number, "x": chance.random(), "level": "INFO"}
            lines += [b'{"create":{"_index":"many","_id":"%d"}}' % number, msgspec.json.encode(document)]
        yield b"\n".join(lines) + b"\n"


def fill(client: httpx.Client, documents: int) -> None:
    """Write so many documents and make them visible."""
    properties = {"name": {"type": "keyword"}, "n": {"type": "long"}, "x": {"type": "double"}}
    client.put("/many", json={"mappings": {"properties": properties}}).raise_for_status()
    for body in bodies(documents):
        answer = client.post("/_bulk", content=body, headers=NDJSON).raise_for_status()
        assert answer.json()["errors"] is False
    client.post("/many/_refresh").raise_for_status()


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[httpx.Client]:
    """A store that takes bodies of 100,000 bytes at most."""
    store = EmbeddedStore(tmp_path, STORE_MAX_BODY="100000")
    with httpx.Client(base_url=store.url, timeout=120) as client:
        yield client
    store.stop()


def bulk_of(length: int) -> bytes:
    """Return a bulk body of so many bytes with one document."""
    head = b'{"index":{"_index":"sized","_id":"1"}}\n{"blob":"'
    return head + b"x" * (length - len(head) - 3) + b'"}\n'


def test_a_body_beyond_the_limit_is_refused(limited: httpx.Client) -> None:
    """A body over the limit is 413 with the setting's name, said, in pieces or packed; one at the limit is taken."""
    whole, larger = bulk_of(100_000), bulk_of(100_001)
    assert len(whole) == 100_000
    pieces = iter([larger[:60_000], larger[60_000:]])
    packed = {**NDJSON, "content-encoding": "gzip"}
    refused = [
        limited.post("/_bulk", content=larger, headers=NDJSON),
        limited.post("/_bulk", content=pieces, headers=NDJSON),
        limited.post("/_bulk", content=gzip.compress(larger), headers=packed),
    ]
    for answer in refused:
        assert answer.status_code == 413
        assert "connection" not in answer.headers, "the body was read away: the next request may use the connection"
        assert answer.json()["error"]["type"] == "content_too_long_exception"
        assert "STORE_MAX_BODY" in answer.json()["error"]["reason"]
    assert limited.head("/sized").status_code == 404, "nothing of a refused body is done"
    for content, headers in ((whole, NDJSON), (iter([whole[:50], whole[50:]]), NDJSON), (gzip.compress(whole), packed)):
        answer = limited.post("/_bulk", content=content, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["errors"] is False


def asked_on(link: http.client.HTTPConnection, length: int, headers: dict[str, str]) -> tuple[int, str | None]:
    """Send a bulk body of so many bytes; return the reply's status and what it says of the connection."""
    link.request("POST", "/_bulk", bulk_of(length), {**NDJSON, **headers})
    reply = link.getresponse()
    reply.read()
    return reply.status, reply.getheader("connection")


@pytest.mark.parametrize("length", [100_001, 5_000_000])
def test_a_refused_body_leaves_the_connection_usable(limited: httpx.Client, length: int) -> None:
    """After 413 the next request on the same connection is answered, every time: the client never meets a reset."""
    for _ in range(20):
        with contextlib.closing(http.client.HTTPConnection(limited.base_url.netloc.decode(), timeout=60)) as link:
            assert asked_on(link, length, {}) == (413, None)
            assert asked_on(link, 100_000, {}) == (200, None)


def test_who_expects_to_be_told_to_go_on_is_refused_at_once(limited: httpx.Client) -> None:
    """With `Expect: 100-continue` nothing of a too large body is waited for, and the reply says that it closes."""
    with contextlib.closing(http.client.HTTPConnection(limited.base_url.netloc.decode(), timeout=60)) as link:
        link.putrequest("POST", "/_bulk")
        for name, value in {**NDJSON, "content-length": "200000", "expect": "100-continue"}.items():
            link.putheader(name, value)
        link.endheaders()
        reply = link.getresponse()
        assert (reply.status, reply.getheader("connection")) == (413, "close")


def test_a_reply_beyond_the_limit_is_refused(limited: httpx.Client) -> None:
    """Hits with more bytes than a body may have are 429, saying so; fewer of them are given."""
    for number in range(4):
        body = bulk_of(30_000).replace(b'"_id":"1"', b'"_id":"%d"' % number)
        limited.post("/_bulk", content=body, headers=NDJSON).raise_for_status()
    limited.post("/sized/_refresh").raise_for_status()
    answer = limited.post("/sized/_search", json={"size": 4})
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "circuit_breaking_exception"
    assert len(limited.post("/sized/_search", json={"size": 3}).json()["hits"]["hits"]) == 3


def written(folder: Path, documents: int) -> None:
    """Fill a store in this process and stop it."""
    engine = Engine(StoreSettings(dir=folder))
    actions = [Action("create", "many", str(n), b'{"n":%d,"text":"word %d"}' % (n, n)) for n in range(documents)]
    Writer(engine).apply(actions)
    engine.refresh()
    engine.stop()


def test_a_search_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    """A search is stopped at its limit and says which; the same thread's next one is answered."""
    written(tmp_path, 30_000)
    engine = Engine(StoreSettings(dir=tmp_path, request_seconds=0.000001))
    try:
        heavy: dict[str, Any] = {
            "size": 0,
            "query": {"wildcard": {"text": {"value": "*o*r*d*"}}},
            "aggs": {"n": {"percentiles": {"field": "n"}}, "t": {"cardinality": {"field": "text.keyword"}}},
        }
        with pytest.raises(StoreError) as stopped:
            search(engine, engine.resolve("many"), heavy)
        assert stopped.value.status == 503
        assert "STORE_REQUEST_SECONDS" in stopped.value.reason
        engine.settings = msgspec.structs.replace(engine.settings, request_seconds=60)
        assert search(engine, engine.resolve("many"), heavy)["hits"]["total"]["value"] == 10_000
        assert count(engine, engine.resolve("many"), None) == 30_000
    finally:
        engine.stop()


def test_an_interruption_between_two_statements_is_not_lost() -> None:
    """A connection is interrupted again until its work ends; another one that has time is left alone."""
    deadlines = Deadlines()
    slow = "SELECT sum(a.range * b.range) FROM range(100000) a, range(100000) b"
    with duckdb.connect() as first, duckdb.connect() as second:
        with deadlines.within(second, 60), deadlines.within(first, 0.05):
            threading.Event().wait(0.3)  # the first interruptions meet no statement
            with pytest.raises(duckdb.InterruptException):
                first.execute(slow)
            assert second.execute("SELECT sum(range) FROM range(1000)").fetchone() == (499500,)
        assert first.execute("SELECT 42").fetchone() == (42,)
    deadlines.stop()
    assert deadlines._thread is not None
    assert not deadlines._thread.is_alive()


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Large aggregations and deep pages either fit into the limit or say that they do not; the process stays small."""
    store = EmbeddedStore(tmp_path, STORE_MEMORY_LIMIT=str(48 * MIB), STORE_THREADS="1")
    try:
        with httpx.Client(base_url=store.url, timeout=300) as client:
            fill(client, 60_000)
            (process,) = store.processes()
            before, most, ended = process.memory_info().rss, [0], threading.Event()

            def watch(process: psutil.Process = process) -> None:
                while not ended.wait(0.01):
                    most[0] = max(most[0], process.memory_info().rss)

            watcher = threading.Thread(target=watch)
            watcher.start()
            try:
                answers = [
                    client.post("/many/_search", json=body)
                    for body in (
                        {"size": 0, "aggs": {"c": {"cardinality": {"field": "name"}}}},
                        {"size": 0, "aggs": {"p": {"percentiles": {"field": "x"}}}},
                        {"size": 0, "aggs": {"t": {"terms": {"field": "name", "size": 65_536}}}},
                        {"size": 0, "aggs": {"t": {"terms": {"field": "name", "size": 10_000, "order": {"a": "desc"}},
                                                   "aggs": {"a": {"avg": {"field": "x"}}}}}},
                        {"size": 10_000, "sort": [{"name": "desc"}]},
                        {"size": 1, "from": 9_999, "sort": [{"name": "desc"}, {"x": "asc"}]},
                        {"size": 0, "aggs": {"h": {"histogram": {"field": "n", "interval": 500},
                                                   "aggs": {"t": {"terms": {"field": "name"}}}}}},
                    )
                ]  # fmt: skip
            finally:
                ended.set()
                watcher.join()
            kinds = {
                (each.status_code, each.json()["error"]["type"] if each.status_code != 200 else "") for each in answers
            }
            assert kinds <= {
                (200, ""), (429, "circuit_breaking_exception"), (400, "too_many_buckets_exception"),
                (400, "illegal_argument_exception"),
            }  # fmt: skip
            assert (200, "") in kinds
            assert most[0] < before + 400 * MIB, f"{before / MIB:.0f} MiB before, {most[0] / MIB:.0f} MiB at most"
            assert client.get("/many/_count").json()["count"] == 60_000
    finally:
        store.stop()


def test_more_memory_than_the_limit_is_said(tmp_path: Path) -> None:
    """A statement that cannot be done within STORE_MEMORY_LIMIT is 429 with its name, and the next one is answered."""
    store = EmbeddedStore(tmp_path, STORE_MEMORY_LIMIT=str(64 * MIB), STORE_THREADS="1")
    try:
        with httpx.Client(base_url=store.url, timeout=300) as client:
            fill(client, 20_000)
        store.stop()
        store = EmbeddedStore(tmp_path, STORE_MEMORY_LIMIT=str(2 * MIB), STORE_THREADS="1")
        with httpx.Client(base_url=store.url, timeout=300) as client:
            body = {"size": 0, "aggs": {"c": {"cardinality": {"field": "name"}}}}
            answer = client.post("/many/_search", json=body)
            assert answer.status_code == 429, answer.text
            assert answer.json()["error"]["type"] == "circuit_breaking_exception"
            assert "STORE_MEMORY_LIMIT" in answer.json()["error"]["reason"]
            assert client.get("/").status_code == 200
            assert client.get("/many/_doc/7").json()["found"] is True
    finally:
        store.stop()
