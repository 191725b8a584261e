"""Fixtures that several rooms' tests share: the real Elasticsearch and the embedded store, one of each a session."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from tests.elasticsearch.distribution import FetchError, prepare
from tests.elasticsearch.embedded import EmbeddedStore
from tests.elasticsearch.node import Node
from tests.optional import lacking, need

SERVER_VARIABLE = "ELASTICSEARCH_URL"
SERVER_FIXTURES = {"elasticsearch_home", "real_elasticsearch"}
SERVER_GROUP = "elasticsearch"
LONG_FILES = ("stack", "shipper", "provision", "faults")  # rooms with files that take half a minute and more


def _group(item: pytest.Item) -> str:
    """Return which tests share a process with this one: those that share a costly server, else those of its file."""
    fixtures = set(getattr(item, "fixturenames", ()))
    room, parameters = item.path.parent.name, getattr(item, "callspec", None)
    # A fixture that is asked for by `getfixturevalue` is not among the names: its parameter says it.
    if room == "contract" or fixtures & SERVER_FIXTURES or (parameters and "real" in parameters.params.values()):
        return SERVER_GROUP
    if room == "browser" and "stack" in fixtures:
        return "browser"  # one stack with traffic for all of its files
    return str(item.path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep in one process the tests that share work: each process would start a server of its own."""
    groups = {item: _group(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    if "PYTEST_XDIST_WORKER" in os.environ:  # what takes longest comes first, or one process would end alone
        items.sort(key=lambda item: (groups[item] != SERVER_GROUP, item.path.parent.name not in LONG_FILES))


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


def _refuse_if_used(url: str) -> None:
    """Fail where a server that was handed to us holds what our tests delete."""
    with Elasticsearch(url, request_timeout=60) as client:
        if found := sorted(client.indices.get(index="ml-pipeline-*", expand_wildcards="all").body):
            pytest.fail(
                f"{SERVER_VARIABLE}: {url} holds {', '.join(found[:3])}; the tests would delete it: use another"
            )


@pytest.fixture(scope="session")
def real_elasticsearch(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a real Elasticsearch: ELASTICSEARCH_URL, or one of our own that ends with the session."""
    if given := os.environ.get(SERVER_VARIABLE):
        _refuse_if_used(given)
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


@pytest.fixture(scope="session")
def embedded_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded store, run as users run it, that ends with the session."""
    if importlib.util.find_spec("compose.store.__main__") is None:
        lacking("the embedded store", "compose/store cannot be run yet")
    room = tmp_path_factory.mktemp("store")
    store = EmbeddedStore(room)
    try:
        yield store.url
    finally:
        store.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line for each reason how many tests were left out."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )
    for reason, count in reasons.items():
        terminalreporter.write_line(f"left out {count} tests: {reason}", yellow=True)
