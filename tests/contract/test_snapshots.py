"""Snapshots: the same calls have the same replies, and what comes back is what was there."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from compose.provision.elasticsearch import REPOSITORY as BACKUPS
from compose.stack.backup import Places, backup, read_manifest
from compose.stack.remote import SERVERS, Addresses, Servers
from compose.stack.restore import restore
from compose.stack.supervisor import StackError
from tests.contract.comparison import differences
from tests.contract.server import Reply, Request, Server
from tests.elasticsearch.embedded import EmbeddedStore

REPOSITORY = "contract-repository"
CREATE = f"/_snapshot/{REPOSITORY}/first?wait_for_completion=true"


def _empty(server: Server) -> None:
    server.call("DELETE", f"/_snapshot/{REPOSITORY}/*")
    server.call("DELETE", f"/_snapshot/{REPOSITORY}")
    for name in ("contract-kept-1", "contract-kept-2", "contract-back-1", "contract-back-2"):
        server.call("DELETE", f"/{name}")


@pytest.fixture
def servers(embedded: Server, real: Server) -> Iterator[tuple[Server, Server]]:
    """Both servers with two small indices and an empty repository."""
    for server in (embedded, real):
        _empty(server)
        server.ok("PUT", f"/_snapshot/{REPOSITORY}", {"type": "fs", "settings": {"location": "contract"}})
        lines: list[Any] = []
        for number in range(30):
            lines += [{"index": {"_index": f"contract-kept-{number % 2 + 1}", "_id": str(number)}}]
            lines += [{"n": number, "level": "INFO", "message": f"line {number}", "tags": ["a", "b"]}]
        server.ok("POST", "/_bulk?refresh=true", lines)
    yield embedded, real
    for server in (embedded, real):
        _empty(server)


def _put(path: str, body: Any = None) -> Request:
    return Request("", body, path, "PUT")


def _get(path: str) -> Request:
    return Request("", None, path, "GET")


def _sorted(reply: Reply) -> Reply:
    """Sort the names of a snapshot's indices: in Elasticsearch they are a set."""
    if isinstance(reply.body, dict):
        for snapshot in [reply.body.get("snapshot"), *reply.body.get("snapshots", [])]:
            if isinstance(snapshot, dict):
                snapshot["indices"] = sorted(snapshot["indices"])
    return reply


KEPT = {"indices": "contract-kept-*", "include_global_state": False}
RENAMED = {"indices": "contract-kept-*", "rename_pattern": "kept-(.+)", "rename_replacement": "back-$1"}
RESTORE = f"/_snapshot/{REPOSITORY}/first/_restore?wait_for_completion=true"

SCENARIOS: dict[str, list[Request]] = {
    "made, shown, deleted": [
        _put(CREATE, KEPT | {"metadata": {"by": "a test"}}),
        _get(f"/_snapshot/{REPOSITORY}/first"),
        _get(f"/_snapshot/{REPOSITORY}/fir*?verbose=false"),
        _get(f"/_snapshot/{REPOSITORY}/_all"),
        Request("", None, f"/_snapshot/{REPOSITORY}/first", "DELETE"),
        _get(f"/_snapshot/{REPOSITORY}/first"),
        _get(f"/_snapshot/{REPOSITORY}/_all"),
        Request("", None, f"/_snapshot/{REPOSITORY}/first", "DELETE"),
    ],
    "restored under other names": [
        _put(CREATE, KEPT),
        Request("", RENAMED, RESTORE),
        Request("", {"sort": ["n"], "size": 50, "version": True}, "/contract-back-*/_search"),
        _get("/contract-back-1/_mapping"),
        Request("", {"aggs": {"t": {"terms": {"field": "tags.keyword"}}}, "size": 0}, "/contract-back-*/_search"),
        Request("", {"query": {"match": {"message": "LINE 7"}}, "sort": ["n"]}, "/contract-back-*/_search"),
    ],
    "restored after a loss": [
        _put(CREATE, KEPT),
        Request("", None, "/contract-kept-1", "DELETE"),
        Request("", {"indices": "contract-kept-1"}, RESTORE),
        Request("", {"sort": ["n"], "size": 50}, "/contract-kept-*/_search"),
    ],
    "refused": [
        _put(CREATE, KEPT),
        _put(CREATE, KEPT),
        _put(f"/_snapshot/{REPOSITORY}/Upper"),
        _put(f"/_snapshot/{REPOSITORY}/none", {"indices": "contract-kept-1,no-such"}),
        _put("/_snapshot/no-such/first"),
        Request("", KEPT, RESTORE),
        Request("", {"indices": "no-such"}, RESTORE),
        Request("", {"what": 1}, RESTORE),
        Request("", None, f"/_snapshot/{REPOSITORY}/no-such/_restore"),
        _get("/_snapshot/no-such"),
        _get(f"/_snapshot/{REPOSITORY}/no-such"),
        _get(f"/_snapshot/{REPOSITORY}/no-such?ignore_unavailable=true"),
        Request("", None, "/_snapshot/no-such", "DELETE"),
    ],
    "repositories": [
        _get(f"/_snapshot/{REPOSITORY}"),
        _put("/_snapshot/contract-evil", {"type": "fs", "settings": {"location": "/etc"}}),
        _put("/_snapshot/contract-evil", {"type": "fs", "settings": {"location": "../outside"}}),
        _put("/_snapshot/contract-evil", {"type": "fs"}),
        _put("/_snapshot/contract-evil", {"type": "no-such"}),
        _get("/_snapshot/contract-evil"),
    ],
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_same_replies(scenario: str, servers: tuple[Server, Server]) -> None:
    """Each call's reply is the same on both servers."""
    embedded, real = servers
    for step, request in enumerate(SCENARIOS[scenario]):
        found = differences(request, _sorted(real.send(request)), _sorted(embedded.send(request)))
        assert not found, f"step {step}, {request.method} {request.path}: {found}"


def test_the_client_goes_round(server: Server, servers: tuple[Server, Server]) -> None:
    """The official client registers, makes in the background, waits, restores and deletes."""
    assert servers
    with Elasticsearch(server.url, request_timeout=60) as client:
        assert client.snapshot.verify_repository(name=REPOSITORY)["nodes"]
        answer = client.snapshot.create(repository=REPOSITORY, snapshot="second", indices="contract-kept-*")
        assert answer["accepted"] is True
        while (found := client.snapshot.get(repository=REPOSITORY, snapshot="second")["snapshots"][0])["state"] == (
            "IN_PROGRESS"
        ):
            assert found["snapshot"] == "second"
        assert found["state"] == "SUCCESS"
        client.indices.delete(index="contract-kept-1")
        client.snapshot.restore(
            repository=REPOSITORY, snapshot="second", indices="contract-kept-1", wait_for_completion=True
        )
        assert client.count(index="contract-kept-1")["count"] == 15
        listed = client.cat.snapshots(repository=REPOSITORY, format="json")
        assert [row["id"] for row in listed.body] == ["second"]  # type: ignore[index]  # rows of JSON
        client.snapshot.delete(repository=REPOSITORY, snapshot="second")
        client.snapshot.delete_repository(name=REPOSITORY)


def test_the_guides_snapshot_works_as_printed(embedded: Server) -> None:
    """`PUT /_snapshot/backup/snapshot_YYYYMMDD` is accepted by a store that was never told of a repository."""
    name = "snapshot_20261125"
    assert embedded.ok("PUT", f"/_snapshot/backup/{name}") == {"accepted": True}
    while embedded.ok("GET", f"/_snapshot/backup/{name}")["snapshots"][0]["state"] == "IN_PROGRESS":
        pass
    assert embedded.ok("GET", f"/_snapshot/backup/{name}")["snapshots"][0]["state"] == "SUCCESS"
    embedded.ok("DELETE", f"/_snapshot/backup/{name}")


def test_a_link_does_not_lead_out(embedded: Server, tmp_path: Path) -> None:
    """A symbolic link inside the one place is followed before it is judged."""
    root = Path(embedded.ok("GET", "/_embedded/status")["repositories"])
    link = root / "contract-link"
    root.mkdir(exist_ok=True)
    link.symlink_to(tmp_path)
    try:
        body = {"type": "fs", "settings": {"location": "contract-link"}}
        reply = embedded.call("PUT", "/_snapshot/contract-evil", body)
        assert (reply.status, reply.body["error"]["type"]) == (500, "repository_exception")
        assert not list(tmp_path.iterdir())
    finally:
        link.unlink()
        shutil.rmtree(root / "contract", ignore_errors=True)


def test_an_embedded_stores_backup_is_not_for_an_elasticsearch(real_elasticsearch: str, tmp_path: Path) -> None:
    """A real Elasticsearch is asked first: refused with a way out, before anything is put back."""
    labels = tmp_path / "own" / "feedback.sqlite"  # none yet, which is no fault
    own = Places(models=tmp_path / "own", feedback=labels, repository=tmp_path / "data" / "snapshots" / "kept")
    fresh = Places(models=tmp_path / "fresh")
    (tmp_path / "own" / "v1").mkdir(parents=True)
    (tmp_path / "own" / "active.json").write_text('{"version": "v1"}')
    others = frozenset(SERVERS) - {"elasticsearch"}
    store = EmbeddedStore(tmp_path)
    try:
        with Servers(Addresses(elasticsearch=store.url, without=others)) as servers:
            repository = {"type": "fs", "settings": {"location": "kept"}}
            servers["elasticsearch"].json("PUT", f"/_snapshot/{BACKUPS}", json=repository)
            made = backup(
                servers, own, tmp_path / "backups", lambda _line: None, now=dt.datetime.now(dt.UTC), keep=None
            )
    finally:
        store.stop()
    manifest = read_manifest(made)
    assert (manifest.store, manifest.parts) == ("embedded", ["model", "logs"])
    with (
        Servers(Addresses(elasticsearch=real_elasticsearch, without=others)) as servers,
        pytest.raises(StackError, match=r"an Elasticsearch cannot read: .*ml-stack migrate"),
    ):
        restore(servers, fresh, made, lambda _line: None)
    assert not (tmp_path / "fresh").exists()
    with Servers(Addresses(without=frozenset(SERVERS))) as servers:
        done = restore(servers, fresh, made, lambda _line: None)
    assert done == ["model"], "all the rest can be put back: what was given a place here"
