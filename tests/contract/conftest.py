"""Fixtures of the contract tests: both servers, each with the same documents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract import dataset
from tests.contract.server import Server


def _loaded(kind: str, url: str) -> Iterator[Server]:
    server = Server(kind, url)
    dataset.unload(server)
    dataset.load(server)
    yield server
    dataset.unload(server)
    server.close()


@pytest.fixture(scope="session")
def real(real_elasticsearch: str) -> Iterator[Server]:
    """The real Elasticsearch with the data set."""
    yield from _loaded("real", real_elasticsearch)


@pytest.fixture(scope="session")
def embedded(embedded_store: str) -> Iterator[Server]:
    """The embedded store with the data set."""
    yield from _loaded("embedded", embedded_store)


@pytest.fixture(params=["embedded", "real"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two servers in turn."""
    chosen: Server = request.getfixturevalue(request.param)
    return chosen
