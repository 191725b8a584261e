"""Queries and aggregations that hypothesis makes up have the same answers on both servers."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings

from tests.contract import generated
from tests.contract.comparison import differences
from tests.contract.server import Request, Server
from tests.rounds import rounds

# Each example is two HTTP calls; the same examples every run, so that a red run is red again.
RUN = settings(
    max_examples=rounds(250), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


def _judge(request: Request, real: Server, embedded: Server) -> None:
    expected = real.send(request)
    assert expected.status == 200, f"the strategy is wrong: {request.body} {expected.body}"
    found = differences(request, expected, embedded.send(request))
    assert not found, "\n".join([str(request.body), *found[:12]])


@RUN
@given(query=generated.queries(), sort=generated.sorts())
def test_generated_queries(real: Server, embedded: Server, query: dict[str, Any], sort: list[Any]) -> None:
    """Whatever is asked, the same documents come in the same order."""
    body = {"query": query, "sort": sort, "size": 300, "_source": False, "track_total_hits": True}
    _judge(Request("", body, "/contract-2026*/_search"), real, embedded)


@RUN
@given(query=generated.queries(), aggregation=generated.aggregations())
def test_generated_aggregations(
    real: Server, embedded: Server, query: dict[str, Any], aggregation: dict[str, Any]
) -> None:
    """Whatever is counted, the buckets and values are the same."""
    body = {"query": query, "size": 0, "aggs": {"a": aggregation}, "track_total_hits": True}
    _judge(Request("", body, "/contract-2026*/_search"), real, embedded)


@settings(RUN, max_examples=rounds(60))
@given(query=generated.queries(), aggregation=generated.aggregations())
def test_strategies_are_valid(real: Server, query: dict[str, Any], aggregation: dict[str, Any]) -> None:
    """Elasticsearch takes what the strategies make up: they ask for what it knows."""
    body = {"query": query, "size": 0, "aggs": {"a": aggregation}}
    reply = real.call("POST", "/contract-2026*/_search", body)
    assert reply.status == 200, reply.body
    assert reply.body["_shards"]["failed"] == 0, reply.body["_shards"]
