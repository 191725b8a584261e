"""Indices, their mappings and settings."""

from __future__ import annotations

from typing import Any

from compose.store.catalogue import check_settings
from compose.store.engine import Engine
from compose.store.errors import IndexNotFoundError, StoreError, UnsupportedError
from compose.store.mapping import check
from compose.store.rest.request import Reply, Request
from compose.store.rest.targets import ACKNOWLEDGED, indices_of


def create_index(engine: Engine, request: Request) -> Reply:
    """Make an index."""
    request.allow()
    body = request.json()
    for key in body:
        if key not in ("settings", "mappings", "aliases"):
            raise StoreError(400, "parse_exception", f"unknown key [{key}] for create index")
    if body.get("aliases"):
        raise UnsupportedError("aliases")
    name = request.variables["index"]
    engine.create_index(name, check_settings(body.get("settings", {})), check(body.get("mappings", {})))
    return Reply({"acknowledged": True, "shards_acknowledged": True, "index": name})


def get_index(engine: Engine, request: Request) -> Reply:
    """Show indices with mappings and settings."""
    request.allow("include_defaults", "flat_settings", "features")
    shown = {
        index.name: {"aliases": {}, "mappings": index.mapping.source, "settings": index.shown_settings()}
        for index in indices_of(engine, request)
    }
    return Reply(shown)


def index_exists(engine: Engine, request: Request) -> Reply:
    """Say by the status whether there is such an index."""
    try:
        return Reply(None, 200 if indices_of(engine, request) or "*" in request.variables["index"] else 404)
    except IndexNotFoundError:
        return Reply(None, 404)


def delete_index(engine: Engine, request: Request) -> Reply:
    """Delete indices; wildcards are refused as Elasticsearch refuses them."""
    request.allow()
    name = request.variables["index"]
    if "*" in name or name == "_all":
        raise StoreError(400, "illegal_argument_exception", "Wildcard expressions or all indices are not allowed")
    engine.delete_indices(indices_of(engine, request))
    return Reply(ACKNOWLEDGED)


def get_mapping(engine: Engine, request: Request) -> Reply:
    """Show mappings."""
    return Reply({index.name: {"mappings": index.mapping.source} for index in indices_of(engine, request)})


def put_mapping(engine: Engine, request: Request) -> Reply:
    """Add fields to indices."""
    request.allow("write_index_only")
    body = request.json(required=True)
    with engine.lock:
        changes = {}
        for index in indices_of(engine, request):
            changes[f"index/{index.name}"] = {**index.value(), "mapping": index.mapping.merged(body).source}
        engine.put(changes)
    return Reply(ACKNOWLEDGED)


def get_settings(engine: Engine, request: Request) -> Reply:
    """Show settings."""
    return Reply({index.name: {"settings": index.shown_settings()} for index in indices_of(engine, request)})


def put_settings(engine: Engine, request: Request) -> Reply:
    """Change settings of indices."""
    body = request.json(required=True)
    flat = check_settings(body.get("settings", body))
    with engine.lock:
        changes = {}
        for index in indices_of(engine, request):
            merged = {key: value for key, value in {**index.settings, **flat}.items() if value != "null"}
            changes[f"index/{index.name}"] = {**index.value(), "settings": merged}
        engine.put(changes)
    return Reply(ACKNOWLEDGED)


def field_caps(engine: Engine, request: Request) -> Reply:
    """Say which fields the indices have, and what can be done with each."""
    request.allow("fields", "include_unmapped", "filters", "types", "include_empty_fields")
    import fnmatch

    body = request.json()
    given = request.parameters.get("fields", body.get("fields", "*"))
    patterns = given.split(",") if isinstance(given, str) else given
    indices = indices_of(engine, request)
    found: dict[str, dict[str, Any]] = {}
    where: dict[str, dict[str, list[str]]] = {}
    for index in indices:
        types = {name: (field.type, field.kind != "text") for name, field in index.mapping.fields.items()}
        types |= {name: ("object", False) for name in index.mapping.objects if name}
        for name, (kind, aggregatable) in types.items():
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                able = {
                    "type": kind,
                    "metadata_field": False,
                    "searchable": kind != "object",
                    "aggregatable": aggregatable,
                }
                found.setdefault(name, {})[kind] = able
                where.setdefault(name, {}).setdefault(kind, []).append(index.name)
    for name, kinds in found.items():
        for kind, able in kinds.items() if len(kinds) > 1 else ():
            able["indices"] = where[name][kind]
    return Reply({"indices": [index.name for index in indices], "fields": found})


def refresh(engine: Engine, request: Request) -> Reply:
    """Make all that was written visible."""
    request.allow("force", "wait_if_ongoing", "flush", "max_num_segments", "only_expunge_deletes")
    indices = indices_of(engine, request)
    engine.refresh()
    return Reply(
        {"_shards": {"total": sum(index.copies() for index in indices), "successful": len(indices), "failed": 0}}
    )
