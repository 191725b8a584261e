"""Backup and restore without Docker: dashboards by Grafana's API as documented, files, hashes, refusals."""

from __future__ import annotations

import datetime as dt
import json
import shutil
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
from tests.stack.bad_days import disk

NOW = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)
TOKEN = "token"
ALONE = frozenset({"prometheus", "alertmanager", "kibana", "elasticsearch"})


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
            if uid not in self.boards:
                return httpx.Response(404, json={"message": "Dashboard not found"})
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
    assert "no Elasticsearch" in manifest.left_out["logs"]

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
        assert places.models is not None
        (places.models / "v2").mkdir()
        (places.models / "v2" / "manifest.json").write_text("{}")
        with pytest.raises(StackError, match="is not empty"):
            restore(stack, places, done, quiet)
        grafana.boards["a"] = board("a") | {"title": "mine"}
        with pytest.raises(StackError, match=r"'Board a' is there and is another one"):
            restore(stack, Places(), done, quiet)
    assert grafana.boards["a"]["title"] == "mine"


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
    """`--keep 2` leaves two; what did not end is not counted, not taken for whole, and named or removed."""
    target, said = tmp_path / "backups", list[str]()
    (target / "20200101T000000Z.partial").mkdir(parents=True)
    with servers(Grafana({})) as stack:
        backup(stack, places, target, said.append, now=NOW, keep=None)
        assert (target / "20200101T000000Z.partial").exists()
        assert any("20200101T000000Z.partial was stopped or failed" in line for line in said)
        for day in range(1, 4):
            backup(stack, places, target, quiet, now=NOW + dt.timedelta(days=day), keep=2)
    assert [path.name for path in sorted(target.iterdir())] == ["20261127T120000Z", "20261128T120000Z"]


def test_nothing_else_in_the_folder_is_touched_or_taken_for_a_backup(places: Places, tmp_path: Path) -> None:
    """`--to ~/projects --keep 1`: other people's folders have a manifest.json, too."""
    target = tmp_path / "projects"
    for name in ("web-app", "web-app.partial", "zzz"):
        (target / name).mkdir(parents=True)
        (target / name / MANIFEST).write_text('{"snapshot": "theirs"}')
    with servers(Grafana({})) as stack:
        done = backup(stack, places, target, quiet, now=NOW, keep=1)
    assert backups(target) == [done]
    assert {path.name for path in target.iterdir()} == {done.name, "web-app", "web-app.partial", "zzz"}


def test_what_only_an_older_backup_holds_is_kept(places: Places, tmp_path: Path) -> None:
    """A newer one without the labels does not replace one with them; nor does one that lacks what it should have."""
    target, said = tmp_path / "backups", list[str]()
    with servers(Grafana({})) as stack:
        first = backup(stack, places, target, quiet, now=NOW, keep=1)
        assert places.feedback is not None
        for path in places.feedback.parent.glob("feedback.sqlite*"):
            path.unlink()
        backup(stack, places, target, said.append, now=NOW + dt.timedelta(days=1), keep=1)
        assert said[-1] == f"kept the older {first.name}: it holds feedback, which the newest does not"
        lost = Places(models=places.models, feedback=tmp_path / "nowhere" / "feedback.sqlite")
        with pytest.raises(StackError, match=r"is without feedback, for the reason above; older backups are kept"):
            backup(stack, lost, target, quiet, now=NOW + dt.timedelta(days=2), keep=1)
    assert len(backups(target)) == 3


def test_a_backup_of_nothing_is_none(tmp_path: Path) -> None:
    """A cron job with another STACK_DIR fails, and leaves nothing that passes for a backup."""
    empty = Places(models=tmp_path / "none" / "models", feedback=tmp_path / "none" / "app" / "feedback.sqlite")
    target = tmp_path / "backups"
    alone = Addresses(without=frozenset({*ALONE, "grafana"}))
    with Servers(alone) as stack, pytest.raises(StackError, match=r"nothing to save here.*STACK_DIR"):
        backup(stack, empty, target, quiet, now=NOW, keep=1)
    assert list(target.iterdir()) == []


def test_a_repository_that_is_missing_is_a_fault(places: Places, tmp_path: Path) -> None:
    """Elasticsearch is there and its documents are not saved: the command must not end as if all were well."""
    with (
        Servers(
            Addresses(grafana_token=TOKEN, without=ALONE - {"elasticsearch"}),
            transport=httpx.MockTransport(Grafana({})),
        ) as stack,
        pytest.raises(StackError, match="is without logs"),
    ):
        backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)


def test_two_backups_at_once_do_not_take_one_another_for_unfinished(places: Places, tmp_path: Path) -> None:
    """The second one is told to wait."""
    target = tmp_path / "backups"

    def second(line: str) -> None:
        if line.startswith("[2/"):
            with servers(Grafana({})) as other, pytest.raises(StackError, match=r"another backup into .* is under way"):
                backup(other, places, target, quiet, now=NOW + dt.timedelta(seconds=1), keep=1)

    with servers(Grafana({})) as stack:
        assert backup(stack, places, target, second, now=NOW, keep=1).exists()


def test_a_full_disk_is_said_and_leaves_no_backup(places: Places, tmp_path: Path) -> None:
    """Whichever part is copied when it is full: the file, the reason, no traceback, nothing that passes for whole."""
    assert places.models is not None
    (places.models / "v1" / "model.bin").write_bytes(b"x" * 100_000)
    with disk(tmp_path, "size=64k") as target, servers(Grafana({})) as stack:
        with pytest.raises(
            StackError, match=r"backup failed: .*model.*: No space left on device.*; mend that, or give"
        ):
            backup(stack, places, target, quiet, now=NOW, keep=1)
        shutil.rmtree(places.models)
        with closing(sqlite3.connect(places.feedback or "")) as database:
            database.executemany("INSERT INTO prediction VALUES (?)", [("x" * 1000,)] * 200)
            database.commit()
        with pytest.raises(StackError, match=r"labels in .* cannot be copied to .*: database or disk is full"):
            backup(stack, places, target, quiet, now=NOW + dt.timedelta(days=1), keep=1)
        assert backups(target) == []


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
def test_labels_that_are_no_database_are_said(places: Places, tmp_path: Path, content: bytes) -> None:
    """A file that is no SQLite database ends the backup with its name; an empty one is an empty database."""
    assert places.feedback is not None
    for path in places.feedback.parent.glob("feedback.sqlite*"):
        path.unlink()
    places.feedback.write_bytes(content)
    with servers(Grafana({})) as stack:
        if content:
            with pytest.raises(StackError, match=r"feedback.sqlite cannot be copied .* not a database"):
                backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)
        else:
            assert backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None).exists()


def saved(places: Places, tmp_path: Path) -> Path:
    """Return a backup of model, labels and one dashboard."""
    with servers(Grafana({"a": board("a")})) as stack:
        return backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)


def change(done: Path, **fields: Any) -> None:
    """Write fields into a backup's manifest."""
    file = done / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": 2, "parts": {"of": "another kind"}}, "has format 2, and this version reads up to 1: take a newer"),
        ({"parts": ["model", "traces"]}, "holds traces, which this version does not know: take a newer one"),
        ({"parts": None}, "is damaged: .*parts"),
    ],
)
def test_a_backup_of_a_newer_version_is_refused(
    places: Places, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    """With a sentence, before anything is touched."""
    done = saved(places, tmp_path)
    change(done, **fields)
    with servers(Grafana({})) as stack, pytest.raises(StackError, match=words):
        restore(stack, Places(models=tmp_path / "new" / "models"), done, quiet)
    assert not (tmp_path / "new").exists()


def test_a_link_in_a_backup_is_refused(places: Places, tmp_path: Path) -> None:
    """A foreign backup must not lead the restore to other files of this machine."""
    done = saved(places, tmp_path)
    (done / "model" / "v2").symlink_to(tmp_path)
    with servers(Grafana({})) as stack, pytest.raises(StackError, match="v2 is a symbolic link"):
        restore(stack, Places(models=tmp_path / "new" / "models"), done, quiet)


def test_a_restore_that_was_stopped_is_gone_on_with(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it copies, it leaves nothing under a name that counts; the second run puts the rest back."""
    done, fresh = saved(places, tmp_path), tmp_path / "new"
    there = Places(models=fresh / "models", feedback=fresh / "app" / "feedback.sqlite")
    copy, grafana = shutil.copy, Grafana({})

    def killed(source: Path, target: Path) -> None:
        copy(source, target)
        raise KeyboardInterrupt

    with servers(grafana) as stack:
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "copy", killed)
            with pytest.raises(KeyboardInterrupt):
                restore(stack, there, done, quiet)
        assert (fresh / "models" / "active.json").exists()
        assert not (fresh / "app" / "feedback.sqlite").exists()
        assert restore(stack, there, done, quiet) == ["model", "feedback", "dashboards"]
        assert restore(stack, there, done, quiet) == ["model", "feedback", "dashboards"], "and all is there already"
    assert sorted(path.name for path in (fresh / "app").iterdir()) == ["feedback.sqlite"]


def test_a_disk_that_is_full_while_putting_back_is_said(places: Places, tmp_path: Path) -> None:
    """The part, the file and the reason; half a model never has a model's name."""
    assert places.models is not None
    (places.models / "v1" / "model.bin").write_bytes(b"x" * 100_000)
    done = saved(places, tmp_path)
    with disk(tmp_path, "size=64k") as target, servers(Grafana({})) as stack:
        with pytest.raises(StackError, match=r"model was not put back: .*: No space left on device.*; mend that"):
            restore(stack, Places(models=target / "models"), done, quiet)
        assert not (target / "models").exists()


def test_a_service_that_is_slow_to_answer_runs(places: Places, tmp_path: Path) -> None:
    """Only one that nobody answers for is taken for stopped."""
    done = saved(places, tmp_path)

    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with servers(slow) as stack, pytest.raises(StackError, match="runs: stop it first"):
        restore(stack, Places(models=tmp_path / "new" / "models"), done, quiet)


def test_a_wrong_token_is_said(places: Places, tmp_path: Path) -> None:
    """Grafana's refusal is the message, and no half backup passes for a whole one."""
    with servers(Grafana({}), token="old") as stack, pytest.raises(StackError, match=r"grafana: GET /api/search.*401"):
        backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)
    assert backups(tmp_path / "backups") == []


def test_a_model_that_is_removed_while_it_is_copied_is_no_backup(places: Places, tmp_path: Path) -> None:
    """The active model's folder has to be in it: else the service would not start from what is put back."""
    assert places.models is not None
    shutil.rmtree(places.models / "v1")
    with (
        servers(Grafana({})) as stack,
        pytest.raises(StackError, match=r"the active model v1 is not in .*run the backup"),
    ):
        backup(stack, places, tmp_path / "backups", quiet, now=NOW, keep=None)
    assert backups(tmp_path / "backups") == []


def test_what_belongs_to_a_server_that_is_meant_to_be_absent_is_no_fault(places: Places, tmp_path: Path) -> None:
    """`--without app`: its labels need no place here."""
    alone = Addresses(without=frozenset({*ALONE, "grafana", "app"}))
    with Servers(alone) as stack:
        done = backup(stack, Places(models=places.models), tmp_path / "backups", quiet, now=NOW, keep=None)
    assert read_manifest(done).parts == ["model"]
