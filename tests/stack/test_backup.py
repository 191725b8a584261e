"""Backup and restore without Docker: dashboards by Grafana's API as documented, files, hashes, refusals."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from compose.stack.backup import MANIFEST, Places, backup, backups, read_manifest
from compose.stack.remote import Addresses, Servers
from compose.stack.restore import restore
from compose.stack.supervisor import StackError

NOW = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)
TOKEN = "token"
ALONE = frozenset({"prometheus", "alertmanager", "kibana"})


def quiet(_line: str) -> None:
    """Say nothing."""


class Grafana:
    """The part of Grafana's HTTP API that a backup uses, as its documentation describes it; and no other server."""

    def __init__(self, boards: dict[str, dict[str, Any]], *, provisioned: frozenset[str] = frozenset()) -> None:
        self.boards, self.provisioned, self.refused = boards, provisioned, 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        path = request.url.path
        if request.url.port != 3000:
            if path == "/_snapshot/backup":
                return httpx.Response(404, json={"error": {"reason": "[backup] missing"}})
            raise httpx.ConnectError("connection refused", request=request)
        if request.headers.get("Authorization") != "Bearer token":
            self.refused += 1
            return httpx.Response(401, json={"message": "Invalid API key"})
        if path == "/api/search":
            page, limit = int(request.url.params["page"]), int(request.url.params["limit"])
            listed = [{"uid": uid, "title": board["title"]} for uid, board in sorted(self.boards.items())]
            return httpx.Response(200, json=listed[(page - 1) * limit : page * limit])
        if path.startswith("/api/dashboards/uid/"):
            uid = path.rpartition("/")[2]
            meta = {"provisioned": uid in self.provisioned, "folderUid": "operations"}
            return httpx.Response(200, json={"dashboard": self.boards[uid], "meta": meta})
        body = json.loads(request.content)
        board = body["dashboard"]
        if board["uid"] in self.boards and not body["overwrite"]:
            return httpx.Response(412, json={"message": "The dashboard has been changed by someone else"})
        self.boards[board["uid"]] = board | {"id": 99, "version": 1}
        return httpx.Response(200, json={"uid": board["uid"], "status": "success"})


def servers(handler: Callable[[httpx.Request], httpx.Response], *, token: str = TOKEN) -> Servers:
    """Return the servers of a stack of which Grafana alone answers."""
    return Servers(Addresses(grafana_token=token, without=ALONE), transport=httpx.MockTransport(handler))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A model and a database of labels that is being written."""
    models = tmp_path / "app" / "models"
    (models / "v1").mkdir(parents=True)
    (models / "active.json").write_text('{"version": "v1"}')
    (models / "v1" / "manifest.json").write_text("{}")
    feedback = tmp_path / "app" / "feedback.sqlite"
    with closing(sqlite3.connect(feedback)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE prediction (request_id TEXT)")
        database.execute("INSERT INTO prediction VALUES ('a')")
        database.commit()
    return Places(models=models, feedback=feedback)


def board(uid: str) -> dict[str, Any]:
    """Return a small dashboard."""
    return {"uid": uid, "id": 7, "version": 3, "title": f"Board {uid}", "panels": []}


def test_every_dashboard_is_saved_by_its_uid_and_put_back_where_it_was_lost(places: Places, tmp_path: Path) -> None:
    """Provisioned ones come from their files; the others are written back whole, into their folder."""
    full = Grafana({uid: board(uid) for uid in ("a", "b", "c")}, provisioned=frozenset({"c"}))
    with servers(full) as stack:
        done = backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)
    manifest = read_manifest(done)
    assert manifest.dashboards == {"a": "Board a", "b": "Board b", "c": "Board c"}
    assert manifest.parts == ["model", "feedback", "dashboards"]
    assert "not registered" in manifest.left_out["logs"]

    empty = Grafana({})
    fresh = Places(models=tmp_path / "new" / "models", feedback=tmp_path / "new" / "feedback.sqlite")
    (tmp_path / "new").mkdir()
    with servers(empty) as stack:
        assert restore(stack, fresh, done, quiet) == ["model", "feedback", "dashboards"]
    assert {uid: each["title"] for uid, each in empty.boards.items()} == {"a": "Board a", "b": "Board b"}
    assert fresh.models is not None
    assert (fresh.models / "v1" / "manifest.json").exists()
    assert fresh.feedback is not None
    with closing(sqlite3.connect(fresh.feedback)) as database:
        assert database.execute("SELECT request_id FROM prediction").fetchall() == [("a",)]


def test_nothing_is_written_over(places: Places, tmp_path: Path) -> None:
    """A model that is there, and a dashboard that is there, end the restore with a sentence."""
    grafana = Grafana({"a": board("a")})
    with servers(grafana) as stack:
        done = backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)
        with pytest.raises(StackError, match="is not empty"):
            restore(stack, places, done, quiet)
        with pytest.raises(StackError, match="412"):
            restore(stack, Places(), done, quiet)


def test_a_part_that_has_no_place_is_an_error_and_one_without_its_server_is_not(places: Places, tmp_path: Path) -> None:
    """Nobody takes a restore for whole that lacks a part; what was left out by --without is meant."""
    grafana = Grafana({"a": board("a")})
    with servers(grafana) as stack:
        done = backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)
        grafana.boards.clear()
        with pytest.raises(
            StackError, match="not put back: model, feedback, for the reason above; put back: dashboards"
        ):
            restore(stack, Places(), done, quiet)
    there = Places(models=tmp_path / "new" / "models", feedback=tmp_path / "new" / "feedback.sqlite")
    (tmp_path / "new").mkdir()
    alone = Addresses(without=ALONE | {"grafana"})
    with Servers(alone, transport=httpx.MockTransport(grafana)) as stack:
        assert restore(stack, there, done, quiet) == ["model", "feedback"]


@pytest.mark.parametrize("harm", ["altered", "missing", "added", "no manifest"])
def test_a_damaged_backup_is_refused_before_anything_is_done(places: Places, tmp_path: Path, harm: str) -> None:
    """Each file is compared with the manifest first."""
    with servers(Grafana({})) as stack:
        done = backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)
        victim = done / "model" / "active.json"
        if harm == "altered":
            victim.write_text('{"version": "v2"}')
        elif harm == "missing":
            victim.unlink()
        elif harm == "added":
            (done / "model" / "more").write_text("x")
        else:
            (done / MANIFEST).unlink()
        target = Places(models=tmp_path / "fresh" / "models")
        with pytest.raises(StackError):
            restore(stack, target, done, quiet)
    assert not (tmp_path / "fresh").exists()


def test_only_the_newest_are_kept(places: Places, tmp_path: Path) -> None:
    """`--keep 2` leaves two; a backup that did not end is not counted and not taken for whole."""
    target = tmp_path / "backups"
    (target / "20200101T000000Z.partial").mkdir(parents=True)
    with servers(Grafana({})) as stack:
        for day in range(4):
            backup(stack, places, target, quiet, now=NOW + dt.timedelta(days=day), keep=2)
    assert [path.name for path in backups(target)] == ["20261127T120000Z", "20261128T120000Z"]
    assert (target / "20200101T000000Z.partial").exists()


def test_a_wrong_token_is_said(places: Places, tmp_path: Path) -> None:
    """Grafana's refusal is the message, and no half backup passes for a whole one."""
    with servers(Grafana({}), token="old") as stack, pytest.raises(StackError, match=r"grafana: GET /api/search.*401"):
        backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)
    assert backups(tmp_path / "backups") == []
