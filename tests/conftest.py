"""Fixtures that several rooms' tests share: the real Elasticsearch and the embedded store, one of each a session."""

from __future__ import annotations

import importlib.util
import os
import ssl
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from elasticsearch import Elasticsearch

from tests import scheduling
from tests.elasticsearch.distribution import FetchError, prepare
from tests.elasticsearch.embedded import EmbeddedStore
from tests.elasticsearch.node import QUICK_START, Node
from tests.optional import lacking, need
from tests.rounds import rounds

hypothesis.settings.register_profile("rounds", max_examples=rounds(100))  # of tests that say no number of their own
hypothesis.settings.load_profile("rounds")
SERVER_VARIABLE = "ELASTICSEARCH_URL"
LONG_FILES = ("stack", "shipper", "provision", "faults")  # rooms with files that take half a minute and more


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, begin with what takes longest: one process would end alone."""
    scheduling.check(items)
    scheduling.rooms_together(items)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(
            key=lambda item: (
                scheduling.group(item.nodeid) != scheduling.SERVER,
                item.path.parent.name not in LONG_FILES,
            )
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> scheduling.ByWork | None:
    """Keep in one process the tests that share work: each process would start servers of its own."""
    return scheduling.ByWork(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.fixture(scope="session", autouse=True)
def authorities_are_read_once() -> Iterator[None]:
    """Let httpx read the list of public authorities once: it would for each request, which costs 29 ms of CPU time."""
    public = httpx.create_ssl_context()

    def make(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        ours = verify is True and cert is None and trust_env
        return public if ours else httpx.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", make)
        yield


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
def java_options() -> tuple[str, ...]:
    """What the Java machine of the real Elasticsearch is told; benchmarks tell it nothing."""
    return QUICK_START


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
        options: tuple[str, ...] = request.getfixturevalue("java_options")
        node = Node(home, need("java", apt="default-jdk-headless"), room, jvm=options)
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
