"""`ml-stack migrate`: from the embedded store into a real Elasticsearch, stopped in the middle and gone on with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from compose.stack import migrate
from compose.stack.migrate import Migration
from compose.stack.supervisor import StackError
from tests.contract.dataset import index_body
from tests.contract.server import Server

NAMES = ("contract-move-1", "contract-move-2")
COUNT = 700


@pytest.fixture
def servers(embedded: Server, real: Server) -> Iterator[tuple[Server, Server]]:
    """The embedded store with two indices, and a real Elasticsearch without them."""
    for server in (embedded, real):
        for name in NAMES:
            server.call("DELETE", f"/{name}")
    for name in NAMES:
        embedded.ok("PUT", f"/{name}", index_body())
    lines: list[Any] = []
    for number in range(COUNT):
        lines += [{"index": {"_index": NAMES[number % 2], "_id": f"id-{number}"}}]
        lines += [{"@timestamp": f"2026-11-24T10:00:00.{number:06d}Z", "level": "INFO", "message": f"line {number}"}]
    embedded.ok("POST", "/_bulk?refresh=true", lines)
    embedded.ok("POST", "/_bulk?refresh=true", lines[:40])  # so that some have the version 2
    yield embedded, real
    for server in (embedded, real):
        for name in NAMES:
            server.call("DELETE", f"/{name}")


def everything(server: Server) -> list[dict[str, Any]]:
    """Return all documents with id, version and source."""
    server.ok("POST", "/contract-move-*/_refresh")
    body = {"size": 2 * COUNT, "sort": ["@timestamp"], "version": True}
    hits = server.ok("POST", "/contract-move-*/_search", body)["hits"]["hits"]
    found = [{key: hit[key] for key in ("_index", "_id", "_version", "_source")} for hit in hits]
    return sorted(found, key=lambda hit: str(hit["_id"]))


def test_it_goes_on_where_it_stopped(
    servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle, it sends only what is left; ids, versions and sources are the same in the end."""
    source, target = servers
    monkeypatch.setattr(migrate, "PAGE", 100)
    seen: list[int] = []

    def stopping(_index: str, done: int, _total: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with httpx.Client(base_url=source.url, timeout=60) as here, httpx.Client(base_url=target.url, timeout=60) as there:
        with pytest.raises(KeyboardInterrupt):
            Migration(here, there, tmp_path).run("contract-move-*", print, stopping)
        assert 0 < len(everything(target)) < COUNT
        outcome = Migration(here, there, tmp_path).run("contract-move-*", print, lambda *_: None)
        assert outcome.complete()
        assert (outcome.copied, outcome.present) == (COUNT - 300, 0)
        assert outcome.counts == dict.fromkeys(NAMES, (COUNT // 2, COUNT // 2))
        assert everything(target) == everything(source)
        for state in tmp_path.iterdir():  # the progress is lost: all is sent again, and nothing doubles
            state.unlink()
        outcome = Migration(here, there, tmp_path).run("contract-move-*", print, lambda *_: None)
        assert (outcome.copied, outcome.present) == (0, COUNT)
        assert everything(target) == everything(source)
        with pytest.raises(StackError, match="the store itself"):
            Migration(here, here, tmp_path).run("contract-move-*", print, lambda *_: None)


def test_the_command_says_what_is_where(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """The command compares the counts, and ends with 1 where the other side cannot be reached."""
    source, target = servers
    environment = {**os.environ, "STACK_DIR": str(tmp_path)}
    command = [
        sys.executable,
        "-P",
        "-m",
        "compose.stack",
        "migrate",
        "--from",
        source.url,
        "--index",
        "contract-move-*",
    ]
    done = subprocess.run(
        [*command, "--to", target.url], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{NAMES[0]}: 350 here, 350 there" in done.stdout
    assert "700 copied, 0 were there, 0 refused" in done.stdout
    done = subprocess.run(
        [*command, "--to", "http://127.0.0.1:9"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "does not answer" in done.stderr


def test_another_elasticsearch_at_the_same_address_gets_everything(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """An index that was deleted over there since is copied again, though the progress says it is done."""
    source, target = servers
    with httpx.Client(base_url=source.url, timeout=60) as here, httpx.Client(base_url=target.url, timeout=60) as there:
        assert Migration(here, there, tmp_path).run("contract-move-*", print, lambda *_: None).complete()
        target.call("DELETE", f"/{NAMES[0]}")
        outcome = Migration(here, there, tmp_path).run("contract-move-*", print, lambda *_: None)
        assert (outcome.complete(), outcome.copied) == (True, COUNT // 2)
        (kept,) = tmp_path.iterdir()
        kept.write_text(kept.read_text().replace(target.ok("GET", "/")["cluster_uuid"], "another-cluster-was-here"))
        outcome = Migration(here, there, tmp_path).run("contract-move-*", print, lambda *_: None)
        assert (outcome.complete(), outcome.copied, outcome.present) == (True, 0, COUNT)
    assert everything(target) == everything(source)


def test_what_the_other_side_refused_is_tried_again(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Documents that an index over there refuses are named; once it is mended, the next run copies them."""
    source, target = servers
    strict = {"mappings": {"dynamic": "strict", "properties": {"@timestamp": {"type": "date"}}}}
    target.ok("PUT", f"/{NAMES[0]}", strict)
    with httpx.Client(base_url=source.url, timeout=60) as here, httpx.Client(base_url=target.url, timeout=60) as there:
        first = Migration(here, there, tmp_path).run(NAMES[0], print, lambda *_: None)
        assert not first.complete()
        assert len(first.refused) == COUNT // 2
        assert "strict" in next(iter(first.refused.values()))
        target.call("DELETE", f"/{NAMES[0]}")
        target.ok("PUT", f"/{NAMES[0]}", {})
        second = Migration(here, there, tmp_path).run(NAMES[0], print, lambda *_: None)
        assert (second.complete(), second.copied) == (True, COUNT // 2)


def test_what_is_no_elasticsearch_is_said(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """A page, or JSON of something else, at the address: a sentence."""
    source, _target = servers
    for content in (b"<html>", b"{}", b"[]"):
        transport = httpx.MockTransport(lambda _request, said=content: httpx.Response(200, content=said))
        with (
            httpx.Client(base_url=source.url, timeout=60) as here,
            httpx.Client(base_url="http://127.0.0.1:9", transport=transport) as there,
            pytest.raises(StackError, match="is no Elasticsearch"),
        ):
            Migration(here, there, tmp_path).run("contract-move-*", print, lambda *_: None)
