"""Fixtures that several rooms' tests share: the real Elasticsearch and the embedded store, one of each a session."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from tests.elasticsearch.distribution import FetchError, prepare
from tests.elasticsearch.node import Node
from tests.optional import lacking, need

SERVER_VARIABLE = "ELASTICSEARCH_URL"


@pytest.fixture(scope="session")
def elasticsearch_home() -> Path:
    """The unpacked distribution with the lab plugin; the test is skipped where Java or Maven is absent."""
    java = need("java", apt="default-jdk-headless")
    maven = need("mvn", apt="maven")
    try:
        return prepare(java, maven)
    except FetchError as error:
        lacking("Elasticsearch's distribution", f"it comes through Maven: {str(error).splitlines()[0]}")
        raise


@pytest.fixture(scope="session")
def real_elasticsearch(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a real Elasticsearch: ELASTICSEARCH_URL, or one of our own that ends with the session."""
    if given := os.environ.get(SERVER_VARIABLE):
        yield given.rstrip("/")
        return
    home: Path = request.getfixturevalue("elasticsearch_home")
    with tempfile.TemporaryDirectory(prefix="ml-pipeline-elasticsearch-") as folder:
        room = Path(folder)
        room.chmod(0o755)  # the server may run as another user
        node = Node(home, need("java", apt="default-jdk-headless"), room)
        try:
            yield node.url
        finally:
            node.stop()


@pytest.fixture(scope="session")
def real_client(real_elasticsearch: str) -> Iterator[Elasticsearch]:
    """The official client, on the real Elasticsearch."""
    with Elasticsearch(real_elasticsearch, request_timeout=60) as client:
        yield client
