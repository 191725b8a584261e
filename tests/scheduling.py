"""Which tests share a process where several share the run: those of one costly server, else those of one file.

A scheduler of our own, for xdist's `loadgroup` silently loses its groups under pytest 9.2 (pytest-xdist issue 1386).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # xdist marks no types

SERVER = "elasticsearch"
SERVER_FIXTURES = {"elasticsearch_home", "real_elasticsearch"}
SERVER_FILES = (
    "tests/benchmarks/",
    "tests/console/test_real_elasticsearch.py",
    "tests/contract/",
    "tests/elasticsearch/",
)
STACK_FILES = (  # what tests/stack/conftest.py starts for all of them
    "tests/stack/test_documented_commands.py",
    "tests/stack/test_end_to_end.py",
    "tests/stack/test_local_restore.py",
)
SERVER_TESTS = (
    "test_a_real_elasticsearch_is_set_up",
    "test_the_exporter_exposes_what_is_asked_of_elasticsearch",
)


def group(nodeid: str) -> str:
    """Return the name of the group of a test, from nothing but its id: the scheduling process collects no tests."""
    file, _, name = nodeid.partition("::")
    function, _, parameters = name.partition("[")
    if file.startswith(SERVER_FILES) or function in SERVER_TESTS or parameters.startswith(("real]", "real-")):
        return SERVER
    if file in STACK_FILES:
        return "stack"
    return "browser" if file.startswith("tests/browser/") else file  # one stack with traffic for all of its files


def rooms_together(items: list[pytest.Item]) -> None:
    """Put a room's files one after the other, so that what they share ends with them; rooms stay as chance put them."""
    rooms: dict[Path, int] = {}
    for item in items:
        rooms.setdefault(item.path.parent, len(rooms))
    items.sort(key=lambda item: rooms[item.path.parent])


def check(items: list[pytest.Item]) -> None:
    """Refuse a run in which a second process would start the real Elasticsearch.

    Raises:
        pytest.UsageError: a test asks for that server and is not in its group.
    """
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())) and group(item.nodeid) not in (SERVER, "browser"):
            raise pytest.UsageError(f"{item.nodeid} needs the real Elasticsearch: name it in tests/scheduling.py")


class ByWork(LoadScopeScheduling):  # type: ignore[misc]  # for the same reason
    """xdist's scheduler of whole groups, with the groups from here."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
