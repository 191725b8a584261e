"""Indices, their mappings and settings."""

from __future__ import annotations

from typing import Any

from compose.store.catalogue import Index
from compose.store.engine import Engine
from compose.store.errors import IndexNotFoundError, StoreError, UnsupportedError
from compose.store.index_settings import check_change, check_settings, flatten
from compose.store.mapping_checks import check
from compose.store.patterns import fits_any
from compose.store.rest.request import LOCAL, WAIT, WHICH, Reply, Request, check_write
from compose.store.rest.targets import ACKNOWLEDGED, indices_of


def create_index(engine: Engine, request: Request) -> Reply:
    """Make an index."""
    request.allow(*WAIT, "wait_for_active_shards")
    check_write(request.parameters)
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
    request.allow(*WHICH, *LOCAL, "flat_settings")
    shown = {
        index.name: {"aliases": {}, "mappings": index.mapping.source, "settings": _settings(index, request)}
        for index in indices_of(engine, request)
    }
    return Reply(shown)


def index_exists(engine: Engine, request: Request) -> Reply:
    """Say by the status whether there is such an index."""
    request.allow(*WHICH, *LOCAL)
    try:
        return Reply(None, 200 if indices_of(engine, request) or "*" in request.variables["index"] else 404)
    except IndexNotFoundError:
        return Reply(None, 404)


def delete_index(engine: Engine, request: Request) -> Reply:
    """Delete indices; wildcards are refused as Elasticsearch refuses them."""
    request.allow(*WHICH, *WAIT)
    name = request.variables["index"]
    if "*" in name or name == "_all":
        raise StoreError(400, "illegal_argument_exception", "Wildcard expressions or all indices are not allowed")
    engine.delete_indices(indices_of(engine, request))
    return Reply(ACKNOWLEDGED)


def get_mapping(engine: Engine, request: Request) -> Reply:
    """Show mappings."""
    request.allow(*WHICH, *LOCAL)
    return Reply({index.name: {"mappings": index.mapping.source} for index in indices_of(engine, request)})


def put_mapping(engine: Engine, request: Request) -> Reply:
    """Add fields to indices."""
    request.allow(*WHICH, *WAIT, "write_index_only")
    body = request.json(required=True)
    with engine.lock:
        changes = {}
        for index in indices_of(engine, request, allow_no_indices=False):
            changes[f"index/{index.name}"] = {**index.value(), "mapping": index.mapping.merged(body).source}
        engine.put(changes)
    return Reply(ACKNOWLEDGED)


def get_settings(engine: Engine, request: Request) -> Reply:
    """Show settings."""
    request.allow(*WHICH, *LOCAL, "flat_settings")
    return Reply({index.name: {"settings": _settings(index, request)} for index in indices_of(engine, request)})


def _settings(index: Index, request: Request) -> dict[str, Any]:
    shown = index.shown_settings()
    return flatten(shown) if request.flag("flat_settings") else shown


def put_settings(engine: Engine, request: Request) -> Reply:
    """Change settings of indices."""
    request.allow(*WHICH, *WAIT, "preserve_existing")
    body = request.json(required=True)
    flat = check_settings(body.get("settings", body))
    check_change(flat)
    keep = request.flag("preserve_existing")
    with engine.lock:
        changes = {}
        for index in indices_of(engine, request, allow_no_indices=False):
            new = {**flat, **index.settings} if keep else {**index.settings, **flat}
            merged = {key: value for key, value in new.items() if value != "null"}
            changes[f"index/{index.name}"] = {**index.value(), "settings": merged}
        engine.put(changes)
    return Reply(ACKNOWLEDGED)


def field_caps(engine: Engine, request: Request) -> Reply:
    """Say which fields the indices have, and what can be done with each."""
    request.allow(*WHICH, "fields", "include_unmapped", "include_empty_fields", "filters")
    body = request.json()
    for name in body:
        if name != "fields":
            raise UnsupportedError(f"[{name}] of _field_caps")
    if request.parameters.get("filters", "-metadata") != "-metadata":  # none are shown anyway
        raise UnsupportedError(f"filters={request.parameters['filters']}")
    for name, only in (("include_unmapped", False), ("include_empty_fields", True)):
        if request.flag(name, default=only) is not only:
            raise UnsupportedError(f"{name}={str(not only).lower()}")
    given = request.parameters.get("fields", body.get("fields"))
    patterns = given.split(",") if isinstance(given, str) else given
    if not patterns or not isinstance(patterns, list) or not all(isinstance(name, str) for name in patterns):
        raise StoreError(400, "action_request_validation_exception", "Validation Failed: 1: no fields specified;")
    indices = indices_of(engine, request)
    found: dict[str, dict[str, list[tuple[Index, bool, bool]]]] = {}
    for index in indices:
        types = {name: (each.type, each.searchable, each.aggregatable) for name, each in index.mapping.fields.items()}
        types |= {name: ("object", False, False) for name in index.mapping.objects if name}
        for name, (kind, searchable, aggregatable) in types.items():
            if fits_any(patterns, name):
                found.setdefault(name, {}).setdefault(kind, []).append((index, searchable, aggregatable))
    return Reply(
        {"indices": [index.name for index in indices], "fields": {name: _caps(kinds) for name, kinds in found.items()}}
    )


def _caps(kinds: dict[str, list[tuple[Index, bool, bool]]]) -> dict[str, Any]:
    """Return what can be done with a field, by its type: what can be done in all indices that have it so."""
    shown: dict[str, Any] = {}
    for kind, owners in kinds.items():
        able: dict[str, Any] = {"type": kind, "metadata_field": False}
        for place, name in ((1, "searchable"), (2, "aggregatable")):
            unable = [owner[0].name for owner in owners if not owner[place]]
            able[name] = not unable
            if 0 < len(unable) < len(owners):
                able[f"non_{name}_indices"] = unable
        if len(kinds) > 1:
            able["indices"] = [owner[0].name for owner in owners]
        shown[kind] = able
    return shown


def refresh(engine: Engine, request: Request) -> Reply:
    """Make all that was written visible."""
    request.allow(*WHICH, "force", "wait_if_ongoing", "flush", "max_num_segments", "only_expunge_deletes")
    indices = indices_of(engine, request)
    engine.refresh()
    return Reply(
        {"_shards": {"total": sum(index.copies() for index in indices), "successful": len(indices), "failed": 0}}
    )
