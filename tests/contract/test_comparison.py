"""The judge itself: the comparison sees what differs, and the catalogue is answered by Elasticsearch as it claims."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.contract.aggregations import AGGREGATIONS
from tests.contract.comparison import differences
from tests.contract.queries import ERRORS, PAGES, QUERIES
from tests.contract.server import Reply, Request, Server

BODY: dict[str, Any] = {
    "took": 3,
    "_shards": {"total": 2, "successful": 2, "skipped": 0, "failed": 0},
    "hits": {
        "total": {"value": 2, "relation": "eq"},
        "max_score": None,
        "hits": [
            {"_index": "a", "_id": "1", "_score": None, "_source": {"x": 1}, "sort": [5]},
            {"_index": "a", "_id": "2", "_score": None, "_source": {"x": 1.5}, "sort": [6]},
        ],
    },
    "aggregations": {"a": {"value": 0.1}, "pct": {"values": {"50.0": 10.0}}},
}


def found(change: Any, *, status: int = 200, unordered: bool = False) -> list[str]:
    """Return the differences between BODY and a copy that `change` altered."""
    altered = copy.deepcopy(BODY)
    change(altered)
    return differences(Request("", unordered=unordered), Reply(200, BODY, {}), Reply(status, altered, {}))


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(took=9),
        lambda body: body["_shards"].update(skipped=1),
        lambda body: body["aggregations"]["a"].update(value=0.1 + 1e-14),
        lambda body: body["aggregations"]["pct"]["values"].update({"50.0": 10.1}),
    ],
)
def test_allowed_differences_pass(change: Any) -> None:
    """A difference of the list is none."""
    assert found(change) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["hits"]["hits"].reverse(),
        lambda body: body["hits"]["hits"].pop(),
        lambda body: body["hits"]["total"].update(value=3),
        lambda body: body["hits"].pop("max_score"),
        lambda body: body["hits"].update(max_score=1.0),
        lambda body: body["hits"]["hits"][0]["_source"].update(x=True),
        lambda body: body["hits"]["hits"][0]["_source"].update(x="1"),
        lambda body: body["hits"]["hits"][0].update(_ignored=["x"]),
        lambda body: body["aggregations"]["a"].update(value=0.1000001),
        lambda body: body["aggregations"]["pct"]["values"].update({"50.0": 10.5}),
        lambda body: body.update(timed_out=False),
    ],
)
def test_other_differences_are_seen(change: Any) -> None:
    """Anything else is said, with its place."""
    assert found(change)


def test_status_is_compared() -> None:
    """Another HTTP status is a difference, whatever the body."""
    assert "status" in found(lambda body: None, status=201)[0]


def test_order_may_be_nobodys_promise() -> None:
    """Without a sort, hits are compared by their id."""
    assert found(lambda body: body["hits"]["hits"].reverse(), unordered=True) == []


@pytest.mark.parametrize(("requests", "fails"), [(QUERIES + PAGES + AGGREGATIONS, False), (ERRORS, True)])
def test_catalogue_is_right(requests: list[Request], fails: bool, real: Server) -> None:
    """Elasticsearch takes what the catalogue calls right, without failed shards, and refuses what it calls wrong."""
    for request in requests:
        reply = real.send(request)
        assert (reply.status >= 400) is fails, f"{request.name}: {reply.status} {reply.body}"
        if isinstance(reply.body, dict) and "_shards" in reply.body:
            assert reply.body["_shards"].get("failed") == 0, f"{request.name}: {reply.body['_shards']}"


def test_catalogue_finds_something(real: Server) -> None:
    """Most queries of the catalogue have hits, and not all documents: an answer of nothing would not pass for right."""
    totals = [real.send(request).body["hits"]["total"]["value"] for request in QUERIES]
    assert sum(0 < total < 300 for total in totals) > 0.7 * len(totals)
