"""Templates, the lifecycle policy and what an index takes from them are the same on both servers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.contract.comparison import differences
from tests.contract.server import Request, Server
from tests.elasticsearch import installation

TODAY = f"ml-pipeline-{datetime.now(UTC):%Y.%m.%d}"
DOCUMENT = {"@timestamp": f"{datetime.now(UTC):%Y-%m-%d}T00:00:00Z", "level": "INFO", "status": "odd", "tenant": "a"}


def _get(path: str) -> Request:
    return Request("", None, path, "GET")


def _put(path: str, body: object) -> Request:
    return Request("", body, path, "PUT")


def _clear(server: Server) -> None:
    for index in server.ok("GET", "/ml-pipeline-*?expand_wildcards=all"):
        server.call("DELETE", f"/{index}")
    for path in reversed(installation.bodies()):
        server.call("DELETE", path)


@pytest.fixture
def cleared(real: Server, embedded: Server) -> Iterator[tuple[Server, Server]]:
    """Both servers without our templates, policy and indices."""
    for server in (real, embedded):
        _clear(server)
    yield real, embedded
    for server in (real, embedded):
        _clear(server)


def _same(pair: tuple[Server, Server], requests: list[Request]) -> None:
    real, embedded = pair
    found = []
    for request in requests:
        more = differences(request, real.send(request), embedded.send(request))
        found += [f"{request.method} {request.path}: {each}" for each in more]
    assert not found, "\n".join(found[:12])


def test_same_installation(cleared: tuple[Server, Server]) -> None:
    """Each file of index_templates/ is taken, twice, and a template without its components is refused."""
    files = [_put(path, body) for path, body in installation.bodies().items()]
    _same(cleared, [files[-1], *files, *files])


def test_same_templates_given_back(cleared: tuple[Server, Server]) -> None:
    """What was installed is given back: templates, components, and what an index of a name would become."""
    files = [_put(path, body) for path, body in installation.bodies().items()]
    asked = [
        _get("/_index_template/ml-pipeline"),
        _get("/_component_template/ml-pipeline-mappings"),
        _get("/_component_template/ml-pipeline-settings"),
        _get("/_index_template/no-such"),
        _get("/_ilm/policy/no-such"),
        Request("", None, f"/_index_template/_simulate_index/{TODAY}"),
        Request("", None, "/_index_template/_simulate_index/ml-pipeline-undated"),
    ]
    _same(cleared, [*files, *asked])


def test_same_index_from_the_template(cleared: tuple[Server, Server]) -> None:
    """An index made by its first document has the template's mapping, and a name without a date is refused."""
    files = [_put(path, body) for path, body in installation.bodies().items()]
    written = Request("", [{"create": {"_index": TODAY, "_id": "a"}}, DOCUMENT], "/_bulk?refresh=true")
    undated = Request("", [{"create": {"_index": "ml-pipeline-undated", "_id": "a"}}, DOCUMENT], "/_bulk?refresh=true")
    wrong = Request("", [{"create": {"_index": "ml-pipeline-somewhen", "_id": "a"}}, DOCUMENT], "/_bulk?refresh=true")
    asked = [_get(f"/{TODAY}/_mapping"), _get(f"/{TODAY}/_search"), _get("/ml-pipeline-undated/_search")]
    _same(cleared, [*files, written, undated, wrong, *asked])


def test_policies_hold_the_same_phases(cleared: tuple[Server, Server]) -> None:
    """The policy is given back with its phases, and an index of today is managed by it."""
    for server in cleared:
        for path, body in installation.bodies().items():
            server.ok("PUT", path, body)
        server.ok("POST", "/_bulk?refresh=true", [{"create": {"_index": TODAY, "_id": "a"}}, DOCUMENT])
    held = [server.ok("GET", "/_ilm/policy/ml-pipeline")["ml-pipeline"]["policy"] for server in cleared]
    assert held[0]["phases"] == held[1]["phases"]
    explained = [server.ok("GET", f"/{TODAY}/_ilm/explain")["indices"][TODAY] for server in cleared]
    keys = ("index", "managed", "policy")
    assert [{key: each[key] for key in keys} for each in explained] == [
        {"index": TODAY, "managed": True, "policy": "ml-pipeline"}
    ] * 2
