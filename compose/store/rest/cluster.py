"""The cluster itself, and the lists for people."""

from __future__ import annotations

from compose.store.dates import format_date
from compose.store.engine import Engine
from compose.store.rest.request import Reply, Request
from compose.store.rest.targets import indices_of
from compose.store.search import count

_INDEX_COLUMNS = ("health", "status", "index", "uuid", "pri", "rep", "docs.count", "docs.deleted", "store.size",
                  "pri.store.size", "dataset.size")  # fmt: skip


def root(_engine: Engine, _request: Request) -> Reply:
    """Say who answers."""
    return Reply(
        {
            "name": "embedded",
            "cluster_name": "embedded",
            "cluster_uuid": _engine.values["cluster/uuid"],
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


def health(engine: Engine, request: Request) -> Reply:
    """Say how the store is: yellow while replicas are asked for that a single node cannot have."""
    request.allow("wait_for_status", "level", "wait_for_no_relocating_shards", "wait_for_nodes")
    indices = indices_of(engine, request)
    missing = sum(index.copies() - 1 for index in indices)
    share = 100.0 * len(indices) / (len(indices) + missing) if indices else 100.0
    return Reply(
        {
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
    )


def status(engine: Engine, _request: Request) -> Reply:
    """Say what only the embedded store has to say."""
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
    request.allow("v", "h", "s", "bytes", "health", "pri", "include_unloaded_segments")
    sizes = engine.table.sizes()
    rows = [
        {
            "health": "yellow" if index.copies() > 1 else "green",
            "status": "open",
            "index": index.name,
            "uuid": index.uuid,
            "pri": "1",
            "rep": str(index.copies() - 1),
            "docs.count": str(engine.count_of(index)),
            "docs.deleted": "0",
            "store.size": _size(sizes.get(index.number, 0), request),
            "pri.store.size": _size(sizes.get(index.number, 0), request),
            "dataset.size": _size(sizes.get(index.number, 0), request),
        }
        for index in indices_of(engine, request)
    ]
    return cat(rows, request, _INDEX_COLUMNS)


def cat_health(engine: Engine, request: Request) -> Reply:
    """Show the health on one line."""
    request.allow("v", "h", "s", "ts")
    value = health(engine, Request("GET", "/", {}, b"")).value
    row = {"epoch": str(engine.clock() // 1000), "cluster": "embedded", "status": value["status"], "node.total": "1",
           "node.data": "1", "shards": str(value["active_shards"]),
           "pri": str(value["active_primary_shards"])}  # fmt: skip
    return cat([row], request, ())


def cat_count(engine: Engine, request: Request) -> Reply:
    """Count documents."""
    request.allow("v", "h", "s")
    return cat(
        [{"epoch": str(engine.clock() // 1000), "count": str(count(engine, indices_of(engine, request), None))}],
        request,
        (),
    )


def _size(value: int, request: Request) -> str:
    if "bytes" in request.parameters:
        return str(value)
    amount = float(value)
    for unit in ("b", "kb", "mb"):
        if amount < 1024:
            return f"{amount:.1f}{unit}".replace(".0b", "b")
        amount /= 1024
    return f"{amount:.1f}gb"


def cat(rows: list[dict[str, str]], request: Request, heads: tuple[str, ...]) -> Reply:
    """Show rows as columns of text, or as JSON.

    Args:
        rows: what to show.
        request: with `v`, `h`, `s` and `format`.
        heads: the columns where there are no rows.
    """
    chosen = request.parameters["h"].split(",") if "h" in request.parameters else None
    if "s" in request.parameters:
        name, _, direction = request.parameters["s"].partition(":")
        rows = sorted(rows, key=lambda row: row.get(name, ""), reverse=direction == "desc")
    picked = [{name: row.get(name, "") for name in chosen or row} for row in rows]
    if request.parameters.get("format") == "json":
        return Reply(picked)
    lines = [list(row.values()) for row in picked]
    if request.flag("v"):
        lines.insert(0, chosen or list(rows[0] if rows else heads))
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)] if lines else []
    shown = [" ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return Reply(text="".join(line + "\n" for line in shown))
