"""Snapshot repositories and their snapshots."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import duckdb

from compose.store.catalogue import Options, expand_date_name
from compose.store.dates import format_date
from compose.store.engine import Engine
from compose.store.errors import StoreError, UnsupportedError, illegal_argument
from compose.store.patterns import fits_any
from compose.store.repository import Repository, Snapshot, location
from compose.store.rest.cat import PARAMETERS, Column, cat
from compose.store.rest.request import LOCAL, WAIT, Reply, Request
from compose.store.rest.targets import ACKNOWLEDGED
from compose.store.snapshots import Snapshots, names_of

log = logging.getLogger(__name__)
_SETTINGS = {"location", "compress", "max_snapshot_bytes_per_sec", "max_restore_bytes_per_sec", "chunk_size",
             "max_number_of_snapshots", "readonly"}  # fmt: skip
_COLUMNS = (
    Column("id", "unique snapshot", ("snapshot",)),
    Column("repository", "repository name", ("re", "repo")),
    Column("status", "snapshot status", ("s",)),
    Column("start_epoch", "start time in seconds since 1970-01-01 00:00:00", ("ste", "startEpoch"), "number"),
    Column("start_time", "start time in HH:MM:SS", ("sti", "startTime")),
    Column("end_epoch", "end time in seconds since 1970-01-01 00:00:00", ("ete", "endEpoch"), "number"),
    Column("end_time", "end time in HH:MM:SS", ("eti", "endTime")),
    Column("duration", "duration", ("dur",), "number"),
    Column("indices", "number of indices", ("i",), "number"),
    Column("successful_shards", "number of successful shards", ("ss",), "number"),
    Column("failed_shards", "number of failed shards", ("fs",), "number"),
    Column("total_shards", "number of total shards", ("ts",), "number"),
)


def get_repositories(engine: Engine, request: Request) -> Reply:
    """Show repositories."""
    request.allow(*LOCAL)
    known = engine.group("repository")
    wanted = request.variables.get("repository", "_all")
    if wanted in ("_all", "*"):
        return Reply(dict(sorted(known.items())))
    for name in wanted.split(","):
        if "*" not in name:
            Snapshots(engine).repository(name)
    return Reply({name: known[name] for name in sorted(known) if fits_any(wanted.split(","), name)})


def put_repository(engine: Engine, request: Request) -> Reply:
    """Register a repository: a folder inside the one that the store allows."""
    request.allow(*WAIT, "verify")
    name = request.variables["repository"]
    body = request.json(required=True)
    kind, settings = body.get("type"), body.get("settings", {})
    if kind != "fs":
        raise _repository_error(name, f"repository type [{kind}] does not exist")
    if not isinstance(settings, dict) or not settings.get("location"):
        raise _repository_error(name, "missing location")
    for key in settings:
        if key not in _SETTINGS:
            raise UnsupportedError(f"the repository setting [{key}]")
    folder = location(engine.settings.repositories, name, str(settings["location"]))
    if request.flag("verify", default=True):
        _verify(name, Repository(folder))
    engine.put(
        {f"repository/{name}": {"type": "fs", "settings": {key: _text(value) for key, value in settings.items()}}}
    )
    return Reply(ACKNOWLEDGED)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _repository_error(name: str, reason: str) -> StoreError:
    return StoreError(500, "repository_exception", f"[{name}] {reason}")


def _verify(name: str, repository: Repository) -> None:
    try:
        with repository.writing():
            probe = repository.folder / "verify.unfinished"
            probe.write_bytes(b"1")
            probe.unlink()
    except OSError as error:
        raise StoreError(
            500, "repository_verification_exception", f"[{name}] path {repository.folder} is not accessible: {error}"
        ) from error


def verify_repository(engine: Engine, request: Request) -> Reply:
    """Say whether a repository's folder can be written."""
    request.allow(*WAIT)
    name = request.variables["repository"]
    _verify(name, Snapshots(engine).repository(name))
    return Reply({"nodes": {engine.values["cluster/uuid"]: {"name": "embedded"}}})


def delete_repository(engine: Engine, request: Request) -> Reply:
    """Forget a repository; its files stay."""
    request.allow(*WAIT)
    name = request.variables["repository"]
    Snapshots(engine).repository(name)
    engine.put({f"repository/{name}": None})
    return Reply(ACKNOWLEDGED)


def create_snapshot(engine: Engine, request: Request) -> Reply:
    """Make a snapshot, in the background unless `wait_for_completion` is asked for."""
    request.allow("master_timeout", "wait_for_completion")
    repository, name = request.variables["repository"], expand_date_name(request.variables["snapshot"], engine.clock())
    body = request.json()
    for key in body:
        if key not in ("indices", "ignore_unavailable", "include_global_state", "metadata", "partial", "feature_states",
                       "expand_wildcards"):  # fmt: skip
            raise illegal_argument(f"Unknown parameter {key}")
    snapshots = Snapshots(engine)
    snapshots.repository(repository)
    expression = ",".join(names_of(body, "indices", "_all"))
    if not isinstance(body.get("metadata", {}), dict | None):
        raise illegal_argument("malformed metadata, should be an object")
    indices = engine.resolve(
        expression, Options(ignore_unavailable=_flag(body, "ignore_unavailable", default=False), hidden=True)
    )
    snapshot = snapshots.begin(
        repository, name, indices, whole=expression in ("", "_all", "*"),
        include_global_state=_flag(body, "include_global_state", default=True), metadata=body.get("metadata"),
    )  # fmt: skip
    if request.flag("wait_for_completion"):
        return Reply({"snapshot": shown(repository, snapshots.make(repository, snapshot))})
    _in_background(lambda: snapshots.make(repository, snapshot))
    return Reply({"accepted": True})


def _flag(body: dict[str, Any], name: str, *, default: bool) -> bool:
    value = body.get(name, default)
    if value not in (True, False, "true", "false"):
        raise illegal_argument(f"Failed to parse value [{value}] of [{name}] as only [true] or [false] are allowed.")
    return value in (True, "true")


def _in_background(work: Callable[[], Any]) -> None:
    def run() -> None:
        try:
            work()
        except (StoreError, OSError, duckdb.Error) as error:
            # Its state, `last_error` and the log say more; nobody waits for the answer.
            log.warning("a snapshot or a restore in the background failed", extra={"reason": str(error)})

    threading.Thread(target=run, name="snapshot", daemon=True).start()


def shown(repository: str, snapshot: Snapshot, *, verbose: bool = True) -> dict[str, Any]:
    """Return what a reply says of a snapshot."""
    brief = {
        "snapshot": snapshot.name,
        "uuid": snapshot.uuid,
        "repository": repository,
        "indices": sorted(snapshot.indices),
        "data_streams": [],
        "state": snapshot.state,
    }
    if not verbose:
        return brief
    failed = snapshot.state == "FAILED"
    shards = len(snapshot.indices)
    found = {
        **brief,
        "version": "8.19.0",
        "version_id": 8537000,
        "include_global_state": snapshot.include_global_state,
        "start_time": format_date(snapshot.started),
        "start_time_in_millis": snapshot.started,
        "end_time": format_date(snapshot.ended),
        "end_time_in_millis": snapshot.ended,
        "duration_in_millis": max(0, snapshot.ended - snapshot.started),
        "failures": [{"reason": snapshot.reason}] if failed else [],
        "shards": {"total": shards, "failed": shards if failed else 0,
                   "successful": shards if snapshot.state == "SUCCESS" else 0},
        "feature_states": [],
    }  # fmt: skip
    if snapshot.metadata is not None:
        found["metadata"] = snapshot.metadata
    return found


def get_snapshots(engine: Engine, request: Request) -> Reply:
    """Show snapshots."""
    request.allow("master_timeout", "ignore_unavailable", "verbose", "include_repository", "index_names")
    repository = request.variables["repository"]
    found = Snapshots(engine).named(
        repository, request.variables["snapshot"], ignore_unavailable=request.flag("ignore_unavailable")
    )
    verbose = request.flag("verbose", default=True)
    listed = [shown(repository, snapshot, verbose=verbose) for snapshot in found]
    return Reply({"snapshots": listed, "total": len(listed), "remaining": 0})


def delete_snapshots(engine: Engine, request: Request) -> Reply:
    """Delete snapshots."""
    request.allow("master_timeout", "wait_for_completion")
    repository, snapshots = request.variables["repository"], Snapshots(engine)
    snapshots.delete(repository, snapshots.named(repository, request.variables["snapshot"]))
    return Reply(ACKNOWLEDGED)


def restore_snapshot(engine: Engine, request: Request) -> Reply:
    """Write the indices of a snapshot back, in the background unless `wait_for_completion` is asked for."""
    request.allow("master_timeout", "wait_for_completion")
    repository, name = request.variables["repository"], request.variables["snapshot"]
    snapshots = Snapshots(engine)
    snapshot, plan = snapshots.plan(repository, name, request.json())
    if not request.flag("wait_for_completion"):
        _in_background(lambda: snapshots.restore(repository, snapshot, plan))
        return Reply({"accepted": True})
    snapshots.restore(repository, snapshot, plan)
    total = len(plan.indices)
    shards = {"total": total, "failed": 0, "successful": total}
    return Reply({"snapshot": {"snapshot": name, "indices": sorted(plan.indices), "shards": shards}})


def cat_snapshots(engine: Engine, request: Request) -> Reply:
    """List the snapshots of a repository."""
    request.allow(*PARAMETERS, "master_timeout", "ignore_unavailable")
    repository = request.variables["repository"]
    rows = list[dict[str, str | int]]()
    for snapshot in Snapshots(engine).all(repository):
        total, good = len(snapshot.indices), snapshot.state == "SUCCESS"
        rows.append(
            {
                "id": snapshot.name,
                "repository": repository,
                "status": snapshot.state,
                "start_epoch": snapshot.started // 1000,
                "start_time": format_date(snapshot.started)[11:19],
                "end_epoch": snapshot.ended // 1000,
                "end_time": format_date(snapshot.ended)[11:19],
                "duration": f"{max(0, snapshot.ended - snapshot.started)}ms",
                "indices": total,
                "successful_shards": total if good else 0,
                "failed_shards": total if snapshot.state == "FAILED" else 0,
                "total_shards": total,
            }
        )
    return cat(_COLUMNS, rows, request)
