"""`backup`: dashboards, Elasticsearch, metrics, model and feedback in one folder, with a manifest of hashes.

The folder gets its name last: what bears a date without `.partial` is whole.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from compose.provision.elasticsearch import PATTERN, REPOSITORY
from compose.stack.remote import Server, Servers, wait_until
from compose.stack.supervisor import StackError

Say = Callable[[str], None]
MANIFEST = "manifest.json"
NAME_FORMAT = "%Y%m%dT%H%M%SZ"
SNAPSHOT_SECONDS = 3600.0


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Folders of this machine (or mounted into this container) that hold what no server hands out.

    Attributes:
        models: the model service's bundles (APP_MODEL_DIR).
        feedback: its database of labels.
        prometheus: Prometheus's data folder (--storage.tsdb.path).
        repository: the snapshot repository's folder, where it is mounted here under another path than Elasticsearch
            sees; None for the same path.
    """

    models: Path | None = None
    feedback: Path | None = None
    prometheus: Path | None = None
    repository: Path | None = None


class File(msgspec.Struct, frozen=True):
    """One file of a backup: path in it, bytes, SHA-256."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds.

    Attributes:
        name: its folder, and the end of its snapshot's name.
        made_at: when it was begun, RFC 3339 in UTC.
        snapshot: name of the Elasticsearch snapshot, None for none.
        store: who wrote the snapshot, `elasticsearch` or `embedded`; neither reads the other's. None for no snapshot.
        indices: index → number of documents that the snapshot holds at least.
        dashboards: uid → title.
        parts: names of the parts that it holds.
        left_out: part → why it is not in it.
        files: every file but this one.
    """

    name: str
    made_at: dt.datetime
    snapshot: str | None
    indices: dict[str, int]
    dashboards: dict[str, str]
    parts: list[str]
    left_out: dict[str, str]
    files: list[File]
    store: str | None = None


def backup(servers: Servers, places: Places, target: Path, say: Say, *, now: dt.datetime, keep: int | None) -> Path:
    """Write one backup.

    Args:
        servers: the running stack.
        places: folders that no server hands out.
        target: folder of all backups; made if absent.
        now: instant of the backup, names it.
        keep: how many whole backups to keep, older ones are removed with their snapshots; None keeps all.

    Returns:
        The backup's folder.

    Raises:
        StackError: a server refused or did not answer, or the disk did; what was written so far stays as `.partial`.
    """
    name = now.astimezone(dt.UTC).strftime(NAME_FORMAT)
    room = target / f"{name}.partial"
    try:
        room.mkdir(parents=True)
    except OSError as error:
        raise StackError(f"{room} cannot be made ({error.strerror}); give another folder with --to") from None
    left_out: dict[str, str] = {}
    parts: list[str] = []
    dashboards: dict[str, str] = {}
    snapshot, store, indices = None, None, dict[str, int]()
    steps: list[tuple[str, Callable[[], str | None]]] = [
        ("model", lambda: _models(places, room / "model")),
        ("feedback", lambda: _feedback(places, room / "feedback.sqlite")),
        ("metrics", lambda: _metrics(servers, places, room / "metrics")),
        ("dashboards", lambda: _dashboards(servers, room / "dashboards", dashboards)),
        ("logs", lambda: _logs(servers, places, room / "logs", name, indices)),
    ]
    try:
        for number, (part, step) in enumerate(steps, 1):
            say(f"[{number}/{len(steps)}] {part} …")
            if (why := step()) is not None:
                left_out[part] = why
                say(f"      left out: {why}")
                continue
            parts.append(part)
            say(f"      {_size(room)} so far")
        if "logs" in parts:
            snapshot, store = f"snapshot_{name.lower()}", store_kind(servers["elasticsearch"])
        manifest = Manifest(
            name=name, made_at=now, snapshot=snapshot, indices=indices, dashboards=dashboards, parts=parts,
            left_out=left_out, files=[digest(room, path) for path in _files(room)], store=store,
        )  # fmt: skip
        (room / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        done = room.rename(target / name)
    except OSError as error:
        raise StackError(f"{room}: {error.strerror} ({error.filename}); what was written stays there") from None
    say(f"done: {done.absolute()}, {len(manifest.files)} files, {_size(done)}; in it: {', '.join(parts) or 'nothing'}")
    if keep is not None:
        _remove_older(servers, target, keep, say)
    return done


def read_manifest(folder: Path) -> Manifest:
    """Read a backup's manifest and compare every file with its hash.

    Raises:
        StackError: there is none, or a file is missing, altered or was added.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise StackError(f"{folder} is no backup: {MANIFEST} cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise StackError(f"{folder / MANIFEST} is damaged: {error}") from None
    wanted = {file.path: file for file in manifest.files}
    found = {str(path.relative_to(folder)): path for path in _files(folder) if path != folder / MANIFEST}
    if strange := sorted(wanted.keys() ^ found.keys()):
        raise StackError(f"{folder} is not what its manifest says: {strange[0]} is missing or was added")
    for name in sorted(wanted):
        if digest(folder, folder / name) != wanted[name]:
            raise StackError(f"{folder / name} was altered since the backup: its SHA-256 is another")
    return manifest


def digest(folder: Path, path: Path) -> File:
    """Return a file's entry in the manifest."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return File(path=str(path.relative_to(folder)), size=path.stat().st_size, sha256=found)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _size(folder: Path) -> str:
    total = sum(path.stat().st_size for path in _files(folder))
    return f"{total / 1e6:,.1f} MB"


def _models(places: Places, to: Path) -> str | None:
    if places.models is None or not (places.models / "active.json").exists():
        return f"no model in {places.models}" if places.models else "its folder was not given (--models)"
    shutil.copytree(places.models, to, ignore=shutil.ignore_patterns("*.tmp", ".*"))
    return None


def _feedback(places: Places, to: Path) -> str | None:
    if places.feedback is None or not places.feedback.exists():
        return f"no database {places.feedback}" if places.feedback else "its file was not given (--feedback)"
    # SQLite's own copy: whole even while the service writes.
    with (
        closing(sqlite3.connect(f"file:{places.feedback}?mode=rw", uri=True, timeout=30)) as source,
        closing(sqlite3.connect(to)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
    return None


def _metrics(servers: Servers, places: Places, to: Path) -> str | None:
    if not servers.has("prometheus"):
        return "this stack has no Prometheus"
    if places.prometheus is None:
        return "Prometheus's data folder was not given (--prometheus-data)"
    made = servers["prometheus"].json("POST", "/api/v1/admin/tsdb/snapshot")["data"]["name"]
    source = places.prometheus / "snapshots" / made
    if not source.is_dir():
        raise StackError(
            f"Prometheus made the snapshot {made}, and {source} is not there: is {places.prometheus} its data folder?"
        )
    shutil.copytree(source, to)
    shutil.rmtree(source, ignore_errors=True)
    return None


def _dashboards(servers: Servers, to: Path, found: dict[str, str]) -> str | None:
    if not servers.has("grafana"):
        return "this stack has no Grafana"
    grafana = servers["grafana"]
    to.mkdir()
    page = 1
    while listed := grafana.json("GET", "/api/search", params={"type": "dash-db", "limit": 1000, "page": page}):
        for entry in listed:
            board = grafana.json("GET", f"/api/dashboards/uid/{entry['uid']}")
            (to / f"{entry['uid']}.json").write_text(json.dumps(board, indent=1), encoding="utf-8")
            found[entry["uid"]] = entry["title"]
        page += 1
    return None


def store_kind(elastic: Server) -> str:
    """Return which of the two stores answers: `elasticsearch` or `embedded`."""
    version = elastic.json("GET", "/")["version"]
    return "embedded" if version.get("build_flavor") == "embedded" else "elasticsearch"


def _logs(servers: Servers, places: Places, to: Path, name: str, indices: dict[str, int]) -> str | None:
    if not servers.has("elasticsearch"):
        return "this stack has no Elasticsearch"
    elastic = servers["elasticsearch"]
    known = elastic.json("GET", f"/_snapshot/{REPOSITORY}", allowed=(404,))
    if known is None:
        return f"the snapshot repository {REPOSITORY!r} is not registered; run `ml-stack setup --snapshots FOLDER`"
    folder = places.repository or Path(known[REPOSITORY]["settings"]["location"])
    # Counted before the snapshot: nothing is deleted meanwhile, so it holds at least these.
    for row in elastic.json("GET", f"/_cat/indices/{PATTERN}", params={"format": "json"}):
        indices[row["index"]] = int(row["docs.count"] or 0)
    path = f"/_snapshot/{REPOSITORY}/snapshot_{name.lower()}"
    elastic.json("PUT", path, json={"indices": PATTERN, "include_global_state": False, "ignore_unavailable": True})

    def ended() -> bool:
        state = elastic.json("GET", path)["snapshots"][0]
        if state["state"] in ("FAILED", "PARTIAL", "INCOMPATIBLE"):
            raise StackError(f"elasticsearch: the snapshot ended as {state['state']}: {state.get('failures')}")
        return bool(state["state"] == "SUCCESS")

    wait_until(ended, f"{path} is complete", SNAPSHOT_SECONDS)
    # Looked for only now: a repository's folder may be made by its first snapshot.
    if not folder.is_dir():
        elastic.json("DELETE", path, allowed=(404,))
        return f"the repository's folder {folder} is not mounted here (--repository)"
    shutil.copytree(folder, to)
    return None


def backups(target: Path) -> list[Path]:
    """Return the whole backups, oldest first."""
    return sorted(path.parent for path in target.glob(f"*/{MANIFEST}") if not path.parent.name.endswith(".partial"))


def _remove_older(servers: Servers, target: Path, keep: int, say: Say) -> None:
    for folder in backups(target)[: -keep or None]:
        snapshot: Any = msgspec.json.decode((folder / MANIFEST).read_bytes()).get("snapshot")
        if snapshot:
            servers["elasticsearch"].json("DELETE", f"/_snapshot/{REPOSITORY}/{snapshot}", allowed=(404,))
        shutil.rmtree(folder)
        say(f"removed the older {folder.name}")
