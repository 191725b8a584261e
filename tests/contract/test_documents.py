"""Writing: the same bulk bodies and documents have the same replies, and leave the same documents behind."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract.comparison import differences
from tests.contract.dataset import index_body
from tests.contract.server import Request, Server

INDEX = "contract-written"
TIME = "2026-11-19T00:00:00Z"


def _bulk(*lines: Any, name: str = "", path: str = f"/{INDEX}/_bulk?refresh=true") -> Request:
    return Request(name, list(lines), path)


def _get(path: str) -> Request:
    return Request("", None, path, "GET")


EVERYTHING = Request("", {"sort": ["n"], "size": 100}, f"/{INDEX}/_search")
ONE = {"@timestamp": TIME, "n": 1}
TWO = {"@timestamp": TIME, "n": 2, "level": "INFO"}

SCENARIOS: dict[str, list[Request]] = {
    "create twice": [
        _bulk({"create": {"_id": "a"}}, ONE, {"create": {"_id": "a"}}, TWO),
        _bulk({"create": {"_id": "a"}}, TWO, {"create": {"_id": "b"}}, TWO),
        EVERYTHING,
    ],
    "index, update of a whole, delete": [
        _bulk({"index": {"_id": "a"}}, ONE, {"index": {"_id": "a"}}, TWO, {"index": {"_id": "b"}}, ONE),
        _bulk({"delete": {"_id": "b"}}, {"delete": {"_id": "nobody"}}, {"create": {"_id": "b"}}, TWO | {"n": 3}),
        EVERYTHING,
    ],
    "errors by item": [
        _bulk(
            {"create": {"_id": "bad"}},
            {"@timestamp": "yesterday", "n": 1},
            {"create": {"_id": "good"}},
            ONE,
            {"create": {"_id": "scalar"}},
            {"@timestamp": TIME, "n": 2, "labels": "text"},
            {"create": {"_id": "object"}},
            {"@timestamp": TIME, "n": 3, "labels": {"a": 1}},
        ),
        EVERYTHING,
    ],
    "ignored values": [
        _bulk({"create": {"_id": "a"}}, ONE | {"status": "OK", "confidence": "x", "host": "h" * 300}),
        EVERYTHING,
        Request("", {"query": {"exists": {"field": "_ignored"}}, "sort": ["n"]}, f"/{INDEX}/_search"),
    ],
    "dynamic fields": [
        _bulk(
            {"create": {"_id": "a"}}, ONE | {"s": "x", "i": 1, "f": 1.5, "b": True, "o": {"p": {"q": "r"}}, "l": [1, 2]}
        ),
        _get(f"/{INDEX}/_mapping"),
        _bulk({"create": {"_id": "b"}}, TWO | {"i": "not a number", "o": {"p": 3}}),
        EVERYTHING,
    ],
    "documents one by one": [
        Request("", ONE, f"/{INDEX}/_create/a?refresh=true", "PUT"),
        Request("", ONE, f"/{INDEX}/_create/a", "PUT"),
        Request("", TWO, f"/{INDEX}/_doc/a?refresh=true", "PUT"),
        Request("", TWO | {"n": 4}, f"/{INDEX}/_doc/b?op_type=create&refresh=true", "PUT"),
        _get(f"/{INDEX}/_doc/a"),
        Request("", None, f"/{INDEX}/_doc/a", "HEAD"),
        Request("", None, f"/{INDEX}/_doc/b?refresh=true", "DELETE"),
        Request("", None, f"/{INDEX}/_doc/b", "DELETE"),
        Request("", "[1]", f"/{INDEX}/_doc/c", "PUT"),
        Request("", "{", f"/{INDEX}/_doc/c", "PUT"),
        EVERYTHING,
    ],
    "seen at once by id": [
        _bulk({"create": {"_id": "a"}}, ONE, path=f"/{INDEX}/_bulk"),
        _get(f"/{INDEX}/_doc/a"),
        Request("", None, f"/{INDEX}/_refresh"),
        EVERYTHING,
    ],
    "malformed bulks": [
        _bulk({"upsert": {"_id": "a"}}, ONE),
        _bulk({"create": {"_id": "a", "_colour": "red"}}, ONE),
        _bulk("not json\n", ONE),
        _bulk({"create": {}}),
        Request("", [json.dumps({"create": {}}) + "\n" + json.dumps(ONE)], f"/{INDEX}/_bulk"),
        Request("", [""], f"/{INDEX}/_bulk"),
        _bulk({"create": {"_id": "x" * 513}}, ONE),
        _bulk({"create": {"_id": ""}}, ONE),
        _bulk({"create": {"_index": "Capital"}}, ONE, {"create": {"_id": "ok"}}, ONE, path="/_bulk?refresh=true"),
        EVERYTHING,
    ],
    "names twice": [
        Request("", '{"n": 1, "n": 2}', f"/{INDEX}/_doc/a?refresh=true", "PUT"),
        Request("", '{"labels": {"x": 1, "x": 1}}', f"/{INDEX}/_create/b", "PUT"),
        _bulk(
            {"create": {"_id": "c"}},
            '{"@timestamp": "2026-11-19T00:00:00Z", "level": "INFO", "level": "INFO"}\n',
            {"create": {"_id": "d"}},
            '{"@timestamp":"2026-11-19T00:00:00Z","level":"INFO","l\\u0065vel":"INFO"}\n',
            {"create": {"_id": "e"}},
            '{"@timestamp" : "2026-11-19T00:00:00Z", "message": "said \\"level\\": twice, \\"level\\": good"}\n',
            {"create": {"_id": "f"}},
            '{"@timestamp": "2026-11-19T00:00:00Z", "error": null, "labels": [{"x": 1}, {"x": 2, "x": 3}]}\n',
            {"create": {"_id": "g"}},
            '{"@timestamp": "2026-11-19T00:00:00Z", "n": 5, "o.x": 1, "o": {"x": 2}, "error": null}\n',
        ),
        _bulk('{"create": {"_id": "h", "_id": "i"}}\n', ONE),
        Request("", '{"size": 1, "size": 2}', f"/{INDEX}/_search"),
        Request("", '{"query": {"term": {"n": 1, "n": 2}}}', f"/{INDEX}/_search"),
        EVERYTHING,
    ],
    "index by itself": [
        _bulk(
            {"create": {"_index": INDEX, "_id": "a"}}, ONE, {"create": {"_id": "b"}}, ONE, path="/_bulk?refresh=true"
        ),
        _bulk({"create": {"_id": "deleted"}}, ONE),
        Request("", None, f"/{INDEX}", "HEAD"),
        Request("", None, f"/{INDEX}", "DELETE"),
        Request("", None, f"/{INDEX}", "HEAD"),
        Request("", None, f"/{INDEX}/_count", "GET"),
    ],
    "values": [
        _bulk(
            {"create": {"_id": "a"}},
            ONE | {"prediction": "1", "status": 200.7, "confidence": "0.5", "level": 7, "error": True},
        ),
        _bulk({"create": {"_id": "b"}}, TWO | {"prediction": 2147483648, "duration": 1e39, "level": None}),
        Request(
            "",
            {
                "size": 0,
                "aggs": {
                    "p": {"terms": {"field": "prediction"}},
                    "s": {"terms": {"field": "status"}},
                    "l": {"terms": {"field": "level"}},
                    "e": {"terms": {"field": "error"}},
                },
            },
            f"/{INDEX}/_search",
        ),
        EVERYTHING,
    ],
}


@pytest.fixture
def written(real: Server, embedded: Server) -> Iterator[tuple[Server, Server]]:
    """Both servers with an empty index of our mapping."""
    for server in (real, embedded):
        server.call("DELETE", f"/{INDEX}")
        server.ok("PUT", f"/{INDEX}", index_body())
    yield real, embedded
    for server in (real, embedded):
        server.call("DELETE", f"/{INDEX}")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_same_writing(written: tuple[Server, Server], scenario: str) -> None:
    """A row of requests has the same replies, each of them."""
    real, embedded = written
    found = []
    for step, request in enumerate(SCENARIOS[scenario]):
        more = differences(request, real.send(request), embedded.send(request))
        found += [f"step {step}, {request.method} {request.path}: {each}" for each in more]
    assert not found, "\n".join(found[:12])


def test_body_beyond_100_mb_is_refused(server: Server) -> None:
    """A body said to be longer than 100 MB is refused with 413 before it is sent."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.netloc, timeout=30)
    connection.putrequest("POST", "/_bulk")
    connection.putheader("content-type", "application/x-ndjson")
    connection.putheader("content-length", str(100 * 1024 * 1024 + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
