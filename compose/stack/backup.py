"""`backup`: dashboards, Elasticsearch, metrics, model and feedback in one folder, with a manifest of hashes.

The folder gets its name last: what bears a date without `.partial` is whole.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from compose.provision.elasticsearch import PATTERN, REPOSITORY
from compose.stack.failure import explain
from compose.stack.remote import Server, Servers, wait_until
from compose.stack.supervisor import StackError

Say = Callable[[str], None]
MANIFEST = "manifest.json"
FORMAT = 1  # of the manifest and the folder; raised where an older `restore` could not read them
NAME_FORMAT = "%Y%m%dT%H%M%SZ"
UNFINISHED = ".partial"
SERVER = {"metrics": "prometheus", "dashboards": "grafana", "logs": "elasticsearch"}  # part → who has it; else the app
_NAME = re.compile(r"\d{8}T\d{6}Z")
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
        format: FORMAT of who made it.
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
    format: int = 1


class Absent(str):
    """Why a part is left out that the stack does not have, or has nothing of yet: no fault."""

    __slots__ = ()


def backup(servers: Servers, places: Places, target: Path, say: Say, *, now: dt.datetime, keep: int | None) -> Path:
    """Write one backup.

    Args:
        servers: the running stack.
        places: folders that no server hands out.
        target: folder of all backups; made if absent.
        now: instant of the backup, names it.
        keep: how many whole backups to keep: older ones that hold no more than this one, and unfinished ones, are
            removed with their snapshots; None keeps all.

    Returns:
        The backup's folder.

    Raises:
        StackError: a server refused or did not answer, or the disk did, and what was written so far stays as
            `.partial`; or a part is not in it although its server is there.
    """
    with _alone(target):
        return _backup(servers, places, target, say, now, keep)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the folder of all backups: two at once would take one another's for unfinished."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        handle = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StackError(f"{target} cannot be made ({error.strerror}); give another folder with --to") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StackError(f"another backup into {target} is under way; wait until it is done") from None
    finally:
        os.close(handle)


def _backup(servers: Servers, places: Places, target: Path, say: Say, now: dt.datetime, keep: int | None) -> Path:
    name = now.astimezone(dt.UTC).strftime(NAME_FORMAT)
    room = target / f"{name}{UNFINISHED}"
    if unfinished := _unfinished(target):
        advice = "" if keep else "; --keep removes such, or remove it yourself"
        say(f"{unfinished[-1]} was stopped or failed, and is no backup{advice}")
    try:
        room.mkdir()
    except OSError as error:
        raise StackError(f"{room} cannot be made ({error.strerror}); give another folder with --to") from None
    left_out: dict[str, str] = {}
    parts: list[str] = []
    lost: list[str] = []
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
                left_out[part] = str(why)
                if not isinstance(why, Absent) and servers.has(SERVER.get(part, "app")):
                    lost.append(part)
                say(f"      left out: {why}")
                continue
            parts.append(part)
            say(f"      {_size(room)} so far")
        if "logs" in parts:
            snapshot, store = f"snapshot_{name.lower()}", store_kind(servers["elasticsearch"])
        if not parts:
            shutil.rmtree(room)
            raise StackError("there is nothing to save here, for the reasons above: is it the right STACK_DIR?")
        manifest = Manifest(
            name=name, made_at=now, snapshot=snapshot, indices=indices, dashboards=dashboards, parts=parts,
            left_out=left_out, files=[digest(room, path) for path in _files(room)], store=store, format=FORMAT,
        )  # fmt: skip
        (room / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        _flush(room)
        done = room.rename(target / name)
        _flush_one(target)
    except OSError as error:
        raise StackError(
            f"the backup failed: {explain(error)}; mend that, or give another folder with --to; what was written stays "
            f"in {room}"
        ) from None
    except sqlite3.Error as error:
        raise StackError(
            f"the labels in {places.feedback} cannot be copied to {room}: {error}; what was written stays there"
        ) from None
    say(f"done: {done.absolute()}, {len(manifest.files)} files, {_size(done)}; in it: {', '.join(parts)}")
    if lost:
        raise StackError(f"{done} is without {', '.join(lost)}, for the reason above; older backups are kept")
    if keep is not None:
        _remove_older(servers, target, manifest, keep, say)
    return done


def _flush(room: Path) -> None:
    """Wait until the disk has a folder: what bears its name after a power cut is whole."""
    for path in [*room.rglob("*"), room]:
        _flush_one(path)


def _flush_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_manifest(folder: Path) -> Manifest:
    """Read a backup's manifest and compare every file with its hash.

    Raises:
        StackError: there is none, a newer version made it, or a file is missing, altered or was added.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
        if (made := msgspec.json.decode(text, type=_Made).format) > FORMAT:
            raise StackError(f"{folder} has format {made}, and this version reads up to {FORMAT}: take a newer one")
        manifest = msgspec.json.decode(text, type=Manifest)
    except OSError as error:
        raise StackError(f"{folder} is no backup: {MANIFEST} cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise StackError(f"{folder / MANIFEST} is damaged: {error}; take another backup") from None
    if link := next((path for path in sorted(folder.rglob("*")) if path.is_symlink()), None):
        raise StackError(f"{link} is a symbolic link: no backup holds one, it was added")
    wanted = {file.path: file for file in manifest.files}
    found = {str(path.relative_to(folder)): path for path in _files(folder) if path != folder / MANIFEST}
    if strange := sorted(wanted.keys() ^ found.keys()):
        raise StackError(f"{folder} is not what its manifest says: {strange[0]} is missing or was added")
    for name in sorted(wanted):
        if digest(folder, folder / name) != wanted[name]:
            raise StackError(
                f"{folder / name} was altered since the backup: its SHA-256 is another; take another backup"
            )
    return manifest


class _Made(msgspec.Struct, frozen=True):
    """What tells of every manifest whether it can be read."""

    format: int = 1


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
    if places.models is None or not places.models.parent.is_dir():
        return f"{places.models} is not there" if places.models else "its folder was not given (--models)"
    if not (active := places.models / "active.json").exists():
        return Absent(f"no model in {places.models}")
    # Read before its model is copied: another one may be trained meanwhile.
    text = active.read_bytes()
    shutil.copytree(places.models, to, ignore=shutil.ignore_patterns("*.tmp", ".*"))
    (to / active.name).write_bytes(text)
    with suppress(ValueError, KeyError, TypeError):
        version = json.loads(text)["version"]
        if not (to / version).is_dir():
            raise StackError(
                f"the active model {version} is not in {places.models}, or was removed while it was copied: run the "
                "backup again; `ml-app models` lists what is there"
            )
    return None


def _feedback(places: Places, to: Path) -> str | None:
    if places.feedback is None or not places.feedback.parent.is_dir():
        return f"{places.feedback} is not there" if places.feedback else "its file was not given (--feedback)"
    if not places.feedback.exists():
        return Absent(f"no label yet in {places.feedback}")
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
        return Absent("this stack has no Prometheus")
    if places.prometheus is None:
        return "Prometheus's data folder was not given (--prometheus-data)"
    made = servers["prometheus"].json("POST", "/api/v1/admin/tsdb/snapshot")["data"]["name"]
    source = places.prometheus / "snapshots" / made
    if not source.is_dir():
        raise StackError(
            f"Prometheus made the snapshot {made}, and {source} is not there: is {places.prometheus} its data folder?"
        )
    try:
        shutil.copytree(source, to)
    finally:
        shutil.rmtree(source, ignore_errors=True)
    return None


def _dashboards(servers: Servers, to: Path, found: dict[str, str]) -> str | None:
    if not servers.has("grafana"):
        return Absent("this stack has no Grafana")
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
        return Absent("this stack has no Elasticsearch")
    elastic = servers["elasticsearch"]
    known = elastic.json("GET", f"/_snapshot/{REPOSITORY}", allowed=(404,))
    if known is None:
        return f"the snapshot repository {REPOSITORY!r} is not registered; run `ml-stack setup --snapshots FOLDER`"
    folder = places.repository or Path(known[REPOSITORY]["settings"]["location"])
    # Counted before the snapshot, so that it holds at least these; what the lifecycle deletes meanwhile is not in it.
    rows = elastic.json("GET", f"/_cat/indices/{PATTERN}", params={"format": "json"})
    counts = {row["index"]: int(row["docs.count"] or 0) for row in rows}
    path = f"/_snapshot/{REPOSITORY}/snapshot_{name.lower()}"
    elastic.json("PUT", path, json={"indices": PATTERN, "include_global_state": False, "ignore_unavailable": True})

    def ended() -> bool:
        state = elastic.json("GET", path)["snapshots"][0]
        if state["state"] in ("FAILED", "PARTIAL", "INCOMPATIBLE"):
            raise StackError(f"elasticsearch: the snapshot ended as {state['state']}: {state.get('failures')}")
        return bool(state["state"] == "SUCCESS")

    wait_until(ended, f"{path} is complete", SNAPSHOT_SECONDS)
    held = set(elastic.json("GET", path)["snapshots"][0]["indices"])
    indices |= {index: count for index, count in counts.items() if index in held}
    # Looked for only now: a repository's folder may be made by its first snapshot.
    if not folder.is_dir():
        elastic.json("DELETE", path, allowed=(404,))
        return f"the repository's folder {folder} is not mounted here (--repository)"
    shutil.copytree(folder, to)
    return None


def backups(target: Path) -> list[Path]:
    """Return the whole backups, oldest first; what else lies in the folder is none of ours."""
    found = (path.parent for path in target.glob(f"*/{MANIFEST}"))
    return sorted(path for path in found if _NAME.fullmatch(path.name))


def _unfinished(target: Path) -> list[Path]:
    found = (path for path in target.glob(f"*{UNFINISHED}") if path.is_dir())
    return sorted(path for path in found if _NAME.fullmatch(path.name.removesuffix(UNFINISHED)))


def _remove_older(servers: Servers, target: Path, newest: Manifest, keep: int, say: Say) -> None:
    for folder in [*_unfinished(target), *backups(target)[:-keep]]:
        name = folder.name.removesuffix(UNFINISHED)
        if folder.name == name:
            try:
                held = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest).parts
            except (OSError, msgspec.DecodeError):
                say(f"kept the older {name}: its {MANIFEST} cannot be read, look at it")
                continue
            if more := sorted(set(held) - set(newest.parts)):
                say(f"kept the older {name}: it holds {', '.join(more)}, which the newest does not")
                continue
        if servers.has("elasticsearch"):
            path = f"/_snapshot/{REPOSITORY}/snapshot_{name.lower()}"
            servers["elasticsearch"].json("DELETE", path, allowed=(404,))
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise StackError(f"the backup is whole, and {folder} cannot be removed: {explain(error)}") from None
        say(f"removed the older {folder.name}")
