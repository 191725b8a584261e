"""The embedded store answers every request of the catalogue as a real Elasticsearch does, field by field."""

from __future__ import annotations

import pytest

from tests.contract.aggregations import AGGREGATIONS
from tests.contract.comparison import differences
from tests.contract.queries import ERRORS, PAGES, QUERIES
from tests.contract.server import Request, Server


def _cases(requests: list[Request]) -> list[object]:
    return [pytest.param(request, id=request.name) for request in requests]


def _same(request: Request, real: Server, embedded: Server, *, fails: bool) -> None:
    expected = real.send(request)
    assert (expected.status >= 400) is fails, f"the catalogue is wrong: {expected.status} {expected.body}"
    found = differences(request, expected, embedded.send(request))
    assert not found, "\n".join(found[:12])


@pytest.mark.parametrize("request_", _cases([*QUERIES, *PAGES]))
def test_same_hits(request_: Request, real: Server, embedded: Server) -> None:
    """A search finds the same documents, in the same order, with the same totals."""
    _same(request_, real, embedded, fails=False)


@pytest.mark.parametrize("request_", _cases(AGGREGATIONS))
def test_same_aggregations(request_: Request, real: Server, embedded: Server) -> None:
    """An aggregation gives the same buckets and values."""
    _same(request_, real, embedded, fails=False)


@pytest.mark.parametrize("request_", _cases(ERRORS))
def test_same_errors(request_: Request, real: Server, embedded: Server) -> None:
    """A wrong request is refused with the same status and type of error."""
    _same(request_, real, embedded, fails=True)
