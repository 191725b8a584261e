"""The cluster itself, and the lists of indices and counts for people."""

from __future__ import annotations

import re
from typing import Any

from compose.store.catalogue import Index
from compose.store.dates import format_date
from compose.store.engine import Engine
from compose.store.errors import UnsupportedError, illegal_argument
from compose.store.rest.cat import PARAMETERS, Column, cat
from compose.store.rest.request import LOCAL, WAIT, WHICH, Reply, Request
from compose.store.rest.targets import indices_of
from compose.store.search import count

_STATUSES = ("green", "yellow", "red")

_TIMES = (
    Column("epoch", "seconds since 1970-01-01 00:00:00", ("t", "time"), "number"),
    Column("timestamp", "time in HH:MM:SS", ("ts", "hms", "hhmmss")),
)
_HEALTH = (
    Column("cluster", "cluster name", ("cl",)),
    Column("status", "health status", ("st",)),
    Column("node.total", "total number of nodes", ("nt", "nodeTotal"), "number"),
    Column("node.data", "number of nodes that can store data", ("nd", "nodeData"), "number"),
    Column("shards", "total number of shards", ("sh", "shards.total", "shardsTotal"), "number"),
    Column("pri", "number of primary shards", ("p", "shards.primary", "shardsPrimary"), "number"),
    Column("relo", "number of relocating nodes", ("r", "shards.relocating", "shardsRelocating"), "number"),
    Column("init", "number of initializing nodes", ("i", "shards.initializing", "shardsInitializing"), "number"),
    Column("unassign", "number of unassigned shards", ("u", "shards.unassigned", "shardsUnassigned"), "number"),
    Column("unassign.pri", "number of unassigned primary shards",
           ("up", "shards.unassigned.primary", "shardsUnassignedPrimary"), "number"),
    Column("pending_tasks", "number of pending tasks", ("pt", "pendingTasks"), "number"),
    Column("max_task_wait_time", "wait time of longest task pending", ("mtwt", "maxTaskWaitTime"), "number"),
    Column("active_shards_percent", "active number of shards in percent", ("asp", "activeShardsPercent"), "number"),
)  # fmt: skip
_COUNT = (*_TIMES, Column("count", "the document count", ("dc", "docs.count", "docsCount"), "number"))
_INDICES = (
    Column("health", "current health status", ("h",)),
    Column("status", "open/close status", ("s",)),
    Column("index", "index name", ("i", "idx")),
    Column("uuid", "index uuid", ("id",)),
    Column("pri", "number of primary shards", ("p", "shards.primary", "shardsPrimary"), "number"),
    Column("rep", "number of replica shards", ("r", "shards.replica", "shardsReplica"), "number"),
    Column("docs.count", "available docs", ("dc", "docsCount"), "number"),
    Column("docs.deleted", "deleted docs", ("dd", "docsDeleted"), "number"),
    Column("creation.date", "index creation date (millisecond value)", ("cd",), "number", shown=False),
    Column("creation.date.string", "index creation date (as string)", ("cds",), shown=False),
    Column("store.size", "bytes of the sources", ("ss", "storeSize"), "bytes"),
    Column("pri.store.size", "bytes of the sources", (), "bytes"),
    Column("dataset.size", "bytes of the sources", (), "bytes"),
)


def root(engine: Engine, request: Request) -> Reply:
    """Say who answers."""
    request.allow(*WAIT, "expand_wildcards")
    return Reply(
        {
            "name": "embedded",
            "cluster_name": "embedded",
            "cluster_uuid": engine.values["cluster/uuid"],
            "version": {
                "number": "8.19.0",
                "build_flavor": "embedded",
                "build_type": "python",
                "build_hash": "embedded",
                "build_date": "2026-11-24T00:00:00.000Z",
                "build_snapshot": False,
                "lucene_version": "none",
                "minimum_wire_compatibility_version": "7.17.0",
                "minimum_index_compatibility_version": "7.0.0",
            },
            "tagline": "You Know, for Search",
        }
    )


def _health(indices: list[Index]) -> dict[str, Any]:
    """Return how some indices are: yellow while replicas are asked for that a single node cannot have."""
    missing = sum(index.copies() - 1 for index in indices)
    share = 100.0 * len(indices) / (len(indices) + missing) if indices else 100.0
    return {
        "cluster_name": "embedded",
        "status": "yellow" if missing else "green",
        "timed_out": False,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": len(indices),
        "active_shards": len(indices),
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": missing,
        "unassigned_primary_shards": 0,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": share,
    }


def _of_each(indices: list[Index]) -> dict[str, Any]:
    return {
        index.name: {
            "status": "yellow" if index.copies() > 1 else "green",
            "number_of_shards": 1,
            "number_of_replicas": index.copies() - 1,
            "active_primary_shards": 1,
            "active_shards": 1,
            "relocating_shards": 0,
            "initializing_shards": 0,
            "unassigned_shards": index.copies() - 1,
            "unassigned_primary_shards": 0,
        }
        for index in indices
    }


def _wanted_nodes(text: str) -> bool:
    """Return whether the one node is as many as `wait_for_nodes` wants: `1`, `>=1`, `ge(1)`."""
    found = re.fullmatch(r"(>=|<=|>|<)?(\d+)|(ge|le|gt|lt)\((\d+)\)", text)
    if found is None:
        raise illegal_argument(f"Failed to parse value [{text}] of [wait_for_nodes]")
    sign, number = found[1] or found[3] or "", int(found[2] or found[4])
    met = {"": number == 1, ">=": number <= 1, "<=": number >= 1, ">": number < 1, "<": number > 1}
    return met[{"ge": ">=", "le": "<=", "gt": ">", "lt": "<"}.get(sign, sign)]


def _is_as_wanted(value: dict[str, Any], request: Request) -> bool:
    """Return whether the state is what the request waits for.

    Raises:
        StoreError: it waits for what cannot be read.
    """
    status = request.parameters.get("wait_for_status", "red").lower()
    if status not in _STATUSES:
        raise illegal_argument(f"unknown value [{status}] of [wait_for_status]: green, yellow or red")
    shards = request.parameters.get("wait_for_active_shards", "0")
    if shards != "all" and not re.fullmatch(r"\d{1,9}", shards):
        raise illegal_argument(f"cannot parse ActiveShardCount[{shards}]")
    return (
        _STATUSES.index(value["status"]) <= _STATUSES.index(status)
        and (value["unassigned_shards"] == 0 if shards == "all" else value["active_shards"] >= int(shards))
        and _wanted_nodes(request.parameters.get("wait_for_nodes", ">=0"))
    )


def health(engine: Engine, request: Request) -> Reply:
    """Say how the store is, with 408 where that is not what `wait_for_…` wants.

    It answers at once: no node will join, and only a request that changes replicas makes a store green.
    """
    request.allow(*WHICH, *WAIT, "local", "wait_for_status", "level", "wait_for_no_relocating_shards",
                  "wait_for_no_initializing_shards", "wait_for_nodes", "wait_for_events",
                  "wait_for_active_shards")  # fmt: skip
    level = request.parameters.get("level", "cluster")
    if level == "shards":
        raise UnsupportedError("level=shards")
    if level not in ("cluster", "indices"):
        raise illegal_argument(f"level parameter must be one of [cluster] or [indices] or [shards] but was [{level}]")
    indices = indices_of(engine, request, expand="all")
    value = _health(indices)
    value["timed_out"] = not _is_as_wanted(value, request)
    if level == "indices":
        value["indices"] = _of_each(indices)
    return Reply(value, 408 if value["timed_out"] else 200)


def status(engine: Engine, request: Request) -> Reply:
    """Say what only the embedded store has to say."""
    request.allow()
    return Reply(
        {
            "documents": engine.documents(),
            "translog_bytes": engine.translog.bytes_on_disk(),
            "last_error": engine.last_error,
            "started_at": format_date(engine.started_at),
            "indices": len(engine.indices),
            "waiting": engine.waiting(),
            "fsyncs": engine.translog.fsyncs,
            "read_only": engine.settings.read_only,
            "repositories": str(engine.settings.repositories),
        }
    )


def cat_indices(engine: Engine, request: Request) -> Reply:
    """List indices."""
    request.allow(*PARAMETERS, *WHICH, *LOCAL, "bytes", "health", "pri", "include_unloaded_segments")
    wanted = request.parameters.get("health", "").lower()
    if wanted not in ("", *_STATUSES):
        raise illegal_argument(f"unknown value [{wanted}] of [health]: green, yellow or red")
    sizes = engine.table.sizes()
    rows: list[dict[str, str | int]] = [
        {
            "health": "yellow" if index.copies() > 1 else "green",
            "status": "open",
            "index": index.name,
            "uuid": index.uuid,
            "pri": 1,
            "rep": index.copies() - 1,
            "docs.count": engine.count_of(index),
            "docs.deleted": 0,
            "creation.date": index.created,
            "creation.date.string": format_date(index.created),
            **dict.fromkeys(("store.size", "pri.store.size", "dataset.size"), sizes.get(index.number, 0)),
        }
        for index in indices_of(engine, request)
    ]
    return cat(_INDICES, [row for row in rows if wanted in ("", row["health"])], request)


def _now(engine: Engine) -> dict[str, str | int]:
    now = engine.clock()
    return {"epoch": now // 1000, "timestamp": format_date(now)[11:19]}


def cat_health(engine: Engine, request: Request) -> Reply:
    """Show the health on one line."""
    request.allow(*PARAMETERS, "master_timeout", "ts")
    value = _health(list(engine.indices.values()))
    row: dict[str, str | int] = {
        **_now(engine),
        "cluster": value["cluster_name"],
        "status": value["status"],
        "node.total": 1,
        "node.data": 1,
        "shards": value["active_shards"],
        "pri": value["active_primary_shards"],
        "relo": 0,
        "init": 0,
        "unassign": value["unassigned_shards"],
        "unassign.pri": 0,
        "pending_tasks": 0,
        "max_task_wait_time": "-",
        "active_shards_percent": f"{value['active_shards_percent_as_number']:.1f}%",
    }
    return cat((*(_TIMES if request.flag("ts", default=True) else ()), *_HEALTH), [row], request)


def cat_count(engine: Engine, request: Request) -> Reply:
    """Count documents."""
    request.allow(*PARAMETERS)
    return cat(_COUNT, [{**_now(engine), "count": count(engine, indices_of(engine, request), None)}], request)
