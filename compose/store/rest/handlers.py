"""What each route does: documents, searches, indices, templates, policies, the cluster."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from compose.store.catalogue import Index, Options, check_settings, nested
from compose.store.engine import Engine
from compose.store.errors import IndexNotFoundError, StoreError, UnsupportedError
from compose.store.mapping import check
from compose.store.rest.request import Reply, Request
from compose.store.search import count, filtered, search
from compose.store.templates import check_component, check_conflict, check_template, compose, overlapping, winner
from compose.store.writing import Action, Writer, read_bulk

ACKNOWLEDGED = {"acknowledged": True}


def _indices(engine: Engine, request: Request) -> list[Index]:
    options = Options(request.flag("ignore_unavailable"), request.flag("allow_no_indices", default=True))
    return engine.resolve(request.variables.get("index", ""), options)


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
    indices = _indices(engine, request)
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
    return Reply(engine.status())


def bulk(engine: Engine, request: Request) -> Reply:
    """Do a bulk request."""
    request.allow("refresh", "require_alias", "_source", "list_executed_pipelines")
    started = time.monotonic()
    actions = list(read_bulk(request.body, request.variables.get("index")))
    nameless = [number for number, action in enumerate(actions, 1) if not action.index]
    if nameless:
        problems = "".join(f" {number}: index is missing;" for number in range(1, len(nameless) + 1))
        raise StoreError(400, "action_request_validation_exception", f"Validation Failed:{problems}")
    answers = Writer(engine).apply(actions, refresh=_refresh(request))
    return Reply(
        {
            "errors": any("error" in answer for _, answer in answers),
            "took": int((time.monotonic() - started) * 1000),
            "items": [{verb: answer} for verb, answer in answers],
        }
    )


def _refresh(request: Request) -> bool:
    value = request.parameters.get("refresh", "false")
    if value not in ("", "true", "false", "wait_for"):
        raise StoreError(400, "illegal_argument_exception", f"Unknown value for refresh: [{value}].")
    return value != "false"


def write_document(engine: Engine, request: Request) -> Reply:
    """Index or create one document."""
    request.allow("refresh", "op_type", "if_seq_no", "if_primary_term", "require_alias")
    creates = "_create" in request.path.split("/") or request.parameters.get("op_type") == "create"
    if not request.body.strip():
        raise StoreError(400, "parse_exception", "request body is required")
    action = Action(
        "create" if creates else "index", request.variables["index"], request.variables.get("id"),
        request.body.strip().replace(b"\r", b" "), request.whole("if_seq_no"),
    )  # fmt: skip
    return _single(engine, action, _refresh(request))


def delete_document(engine: Engine, request: Request) -> Reply:
    """Delete one document."""
    request.allow("refresh", "if_seq_no", "if_primary_term")
    action = Action("delete", request.variables["index"], request.variables["id"], b"", request.whole("if_seq_no"))
    return _single(engine, action, _refresh(request))


def _single(engine: Engine, action: Action, refresh: bool) -> Reply:
    ((_, answer),) = Writer(engine).apply([action], refresh=refresh)
    code = answer.pop("status")
    if "error" in answer:
        error = answer["error"]
        root_cause = [{key: value for key, value in error.items() if key != "caused_by"}]
        return Reply({"error": {"root_cause": root_cause, **error}, "status": code}, code)
    return Reply(answer, code)


def get_document(engine: Engine, request: Request) -> Reply:
    """Return one document, loaded or not."""
    request.allow("realtime", "refresh", "_source", "_source_includes", "_source_excludes")
    index = engine.require(request.variables["index"])
    found = _document(engine, index, request.variables["id"], _source_option(request))
    if "_source" in request.path.split("/"):
        if not found["found"]:
            raise StoreError(404, "resource_not_found_exception", f"Document not found [{index.name}]/[{found['_id']}]")
        return Reply(found["_source"])
    return Reply(found, 200 if found["found"] else 404)


def _document(engine: Engine, index: Index, name: str, chosen: Any) -> dict[str, Any]:
    row = Writer(engine).read(index, [name]).get(name)
    if row is None:
        return {"_index": index.name, "_id": name, "found": False}
    version, sequence, source = row
    found = {
        "_index": index.name,
        "_id": name,
        "_version": version,
        "_seq_no": sequence,
        "_primary_term": 1,
        "found": True,
    }
    shown = filtered(source, chosen)
    if shown is not None:
        found["_source"] = shown
    return found


def multi_get(engine: Engine, request: Request) -> Reply:
    """Return documents by their ids."""
    request.allow("realtime", "refresh", "_source", "_source_includes", "_source_excludes")
    body = request.json(required=True)
    default = request.variables.get("index")
    wanted = [{"_id": name} for name in body.get("ids", [])] + body.get("docs", [])
    if not wanted:
        raise StoreError(400, "action_request_validation_exception", "Validation Failed: 1: no documents to get;")
    documents = []
    for entry in wanted:
        name = entry.get("_index", default)
        try:
            documents.append(
                _document(
                    engine, engine.require(name or ""), str(entry["_id"]), entry.get("_source", _source_option(request))
                )
            )
        except IndexNotFoundError as error:
            documents.append({"_index": name, "_id": entry["_id"], "error": error.body()["error"]})
    return Reply({"docs": documents})


def _source_option(request: Request) -> Any:
    includes, excludes = request.parameters.get("_source_includes"), request.parameters.get("_source_excludes")
    if includes or excludes:
        return {
            "includes": includes.split(",") if includes else [],
            "excludes": excludes.split(",") if excludes else [],
        }
    value = request.parameters.get("_source")
    return True if value in (None, "true", "") else False if value == "false" else str(value).split(",")


def search_indices(engine: Engine, request: Request) -> Reply:
    """Search, by body or by the query string."""
    request.allow("q", "sort", "size", "from", "_source", "_source_includes", "_source_excludes", "track_total_hits",
                  "default_operator", "df", "lenient", "version", "seq_no_primary_term", "analyze_wildcard", "scroll",
                  "allow_partial_search_results", "track_scores")  # fmt: skip
    body = request.json()
    if "q" in request.parameters:
        body["query"] = _uri_query(request)
    for name in ("size", "from"):
        if name in request.parameters:
            body[name] = request.whole(name)
    if "sort" in request.parameters:
        parts = [part.partition(":") for part in request.parameters["sort"].split(",")]
        body["sort"] = [{name: {"order": direction}} if direction else name for name, _, direction in parts]
    if any(name.startswith("_source") for name in request.parameters):
        body["_source"] = _source_option(request)
    if "track_total_hits" in request.parameters:
        text = request.parameters["track_total_hits"]
        body["track_total_hits"] = (
            text in ("", "true") if text in ("", "true", "false") else request.whole("track_total_hits")
        )
    for name in ("version", "seq_no_primary_term"):
        if name in request.parameters:
            body[name] = request.flag(name)
    indices = _indices(engine, request)
    if "scroll" in request.parameters:
        return Reply(_scroll(engine, indices, body, None))
    return Reply(search(engine, indices, body))


# A scroll is its own position: which indices, which request, behind which document; so nothing is held in memory and a
# restart does not end it. Documents written after it began are kept out by their sequence number.
_SCROLL_SIZE = 10_000


def _scroll(engine: Engine, indices: list[Index], body: dict[str, Any], state: dict[str, Any] | None) -> dict[str, Any]:
    import base64

    if state is None:
        sort = body.get("sort", [])
        sort = [sort] if not isinstance(sort, list) else sort
        if sort in ([], ["_doc"]):
            sort = []
        engine.refresh()
        state = {
            "i": [index.name for index in indices],
            "b": {**body, "sort": [*sort, "_shard_doc"]},
            "t": engine.sequence,
            "a": None,
        }
    request = dict(state["b"])
    request.setdefault("track_total_hits", True)
    if state["a"] is not None:
        request["search_after"] = state["a"]
        request.pop("aggs", None)
        request.pop("aggregations", None)
    known = [engine.indices[name] for name in state["i"] if name in engine.indices]
    # The total must not shrink from page to page: it is counted without search_after.
    result = search(engine, known, request, ("(sequence <= ?)", [state["t"]]))
    hits = result["hits"]["hits"]
    if hits:
        state = {**state, "a": hits[-1]["sort"]}
    for hit in hits:
        hit["sort"] = hit["sort"][:-1]
        if not hit["sort"]:
            hit["sort"] = [state["t"]]
    result["_scroll_id"] = base64.urlsafe_b64encode(msgspec.json.encode(state)).decode()
    return result


def scroll(engine: Engine, request: Request) -> Reply:
    """Return the next page of a scroll."""
    import base64
    import binascii

    request.allow("scroll", "scroll_id")
    body = request.json()
    name = body.get("scroll_id", request.parameters.get("scroll_id", ""))
    try:
        state = msgspec.json.decode(base64.urlsafe_b64decode(name))
        parts = {key: state[key] for key in ("i", "b", "t", "a")}
    except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise StoreError(400, "illegal_argument_exception", "Cannot parse scroll id") from None
    return Reply(_scroll(engine, [], {}, parts))


def clear_scroll(_engine: Engine, _request: Request) -> Reply:
    """End a scroll; nothing was held for it."""
    return Reply({"succeeded": True, "num_freed": 1})


def _uri_query(request: Request) -> dict[str, Any]:
    options: dict[str, Any] = {"query": request.parameters["q"]}
    if "df" in request.parameters:
        options["default_field"] = request.parameters["df"]
    if "default_operator" in request.parameters:
        options["default_operator"] = request.parameters["default_operator"]
    if "lenient" in request.parameters:
        options["lenient"] = request.flag("lenient")
    return {"query_string": options}


def count_documents(engine: Engine, request: Request) -> Reply:
    """Count what a query finds."""
    request.allow("q", "df", "default_operator", "lenient", "analyze_wildcard")
    body = request.json()
    for key in body:
        if key != "query":
            raise StoreError(400, "parsing_exception", f"request does not support [{key}]", line=1, col=1)
    query = _uri_query(request) if "q" in request.parameters else body.get("query")
    indices = _indices(engine, request)
    shards = {"total": len(indices), "successful": len(indices), "skipped": 0, "failed": 0}
    return Reply({"count": count(engine, indices, query), "_shards": shards})


def multi_search(engine: Engine, request: Request) -> Reply:
    """Do several searches."""
    lines = [line for line in request.body.split(b"\n") if line.strip()]
    if not lines or len(lines) % 2:
        raise StoreError(400, "illegal_argument_exception", "a header and a body are needed for each search")
    responses = []
    for head, body in zip(lines[::2], lines[1::2], strict=True):
        options = msgspec.json.decode(head)
        name = options.get("index", request.variables.get("index", ""))
        one = Request("POST", request.path, {}, body, {"index": ",".join(name) if isinstance(name, list) else name})
        try:
            responses.append({**search(engine, _indices(engine, one), one.json()), "status": 200})
        except StoreError as error:
            responses.append(error.body())
    return Reply({"took": sum(entry.get("took", 0) for entry in responses), "responses": responses})


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
        for index in _indices(engine, request)
    }
    return Reply(shown)


def index_exists(engine: Engine, request: Request) -> Reply:
    """Say by the status whether there is such an index."""
    try:
        return Reply(None, 200 if _indices(engine, request) or "*" in request.variables["index"] else 404)
    except IndexNotFoundError:
        return Reply(None, 404)


def delete_index(engine: Engine, request: Request) -> Reply:
    """Delete indices; wildcards are refused as Elasticsearch refuses them."""
    request.allow()
    name = request.variables["index"]
    if "*" in name or name == "_all":
        raise StoreError(400, "illegal_argument_exception", "Wildcard expressions or all indices are not allowed")
    engine.delete_indices(_indices(engine, request))
    return Reply(ACKNOWLEDGED)


def get_mapping(engine: Engine, request: Request) -> Reply:
    """Show mappings."""
    return Reply({index.name: {"mappings": index.mapping.source} for index in _indices(engine, request)})


def put_mapping(engine: Engine, request: Request) -> Reply:
    """Add fields to indices."""
    request.allow("write_index_only")
    body = request.json(required=True)
    with engine.lock:
        changes = {}
        for index in _indices(engine, request):
            changes[f"index/{index.name}"] = {**index.value(), "mapping": index.mapping.merged(body).source}
        engine.put(changes)
    return Reply(ACKNOWLEDGED)


def get_settings(engine: Engine, request: Request) -> Reply:
    """Show settings."""
    return Reply({index.name: {"settings": index.shown_settings()} for index in _indices(engine, request)})


def put_settings(engine: Engine, request: Request) -> Reply:
    """Change settings of indices."""
    body = request.json(required=True)
    flat = check_settings(body.get("settings", body))
    with engine.lock:
        changes = {}
        for index in _indices(engine, request):
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
    indices = _indices(engine, request)
    found: dict[str, dict[str, Any]] = {}
    for index in indices:
        for name, field in index.mapping.fields.items():
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                able = {
                    "type": field.type,
                    "metadata_field": False,
                    "searchable": True,
                    "aggregatable": field.kind != "text",
                }
                found.setdefault(name, {})[field.type] = able
    return Reply({"indices": [index.name for index in indices], "fields": found})


def refresh(engine: Engine, request: Request) -> Reply:
    """Make all that was written visible."""
    request.allow("force", "wait_if_ongoing", "flush", "max_num_segments", "only_expunge_deletes")
    indices = _indices(engine, request)
    engine.refresh()
    return Reply(
        {"_shards": {"total": sum(index.copies() for index in indices), "successful": len(indices), "failed": 0}}
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
        for index in _indices(engine, request)
    ]
    return _cat(rows, request)


def cat_health(engine: Engine, request: Request) -> Reply:
    """Show the health on one line."""
    request.allow("v", "h", "s", "ts")
    value = health(engine, Request("GET", "/", {}, b"")).value
    row = {"epoch": str(engine.clock() // 1000), "cluster": "embedded", "status": value["status"], "node.total": "1",
           "node.data": "1", "shards": str(value["active_shards"]),
           "pri": str(value["active_primary_shards"])}  # fmt: skip
    return _cat([row], request)


def cat_count(engine: Engine, request: Request) -> Reply:
    """Count documents."""
    request.allow("v", "h", "s")
    return _cat(
        [{"epoch": str(engine.clock() // 1000), "count": str(count(engine, _indices(engine, request), None))}], request
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


def _cat(rows: list[dict[str, str]], request: Request) -> Reply:
    chosen = request.parameters["h"].split(",") if "h" in request.parameters else None
    if "s" in request.parameters:
        name, _, direction = request.parameters["s"].partition(":")
        rows = sorted(rows, key=lambda row: row.get(name, ""), reverse=direction == "desc")
    picked = [{name: row.get(name, "") for name in chosen or row} for row in rows]
    if request.parameters.get("format") == "json":
        return Reply(picked)
    lines = [list(row.values()) for row in picked]
    if request.flag("v"):
        lines.insert(
            0,
            chosen or list(rows[0])
            if rows
            else chosen
            or [
                "health",
                "status",
                "index",
                "uuid",
                "pri",
                "rep",
                "docs.count",
                "docs.deleted",
                "store.size",
                "pri.store.size",
                "dataset.size",
            ],
        )
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)] if lines else []
    shown = [" ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return Reply(text="".join(line + "\n" for line in shown))


def put_index_template(engine: Engine, request: Request) -> Reply:
    """Keep an index template."""
    request.allow("create", "cause")
    name = request.variables["name"]
    body = check_template(request.json(required=True))
    with engine.lock:
        check_conflict(name, body, engine.group("template"))
        compose(body, engine.group("component"))
        engine.put({f"template/{name}": body})
    return Reply(ACKNOWLEDGED)


def put_component(engine: Engine, request: Request) -> Reply:
    """Keep a component template."""
    request.allow("create", "cause")
    engine.put({f"component/{request.variables['name']}": check_component(request.json(required=True))})
    return Reply(ACKNOWLEDGED)


def _named(engine: Engine, group: str, request: Request, missing: str) -> dict[str, Any]:
    import fnmatch

    wanted = request.variables.get("name", "*")
    found = {
        name: value
        for name, value in sorted(engine.group(group).items())
        if any(fnmatch.fnmatchcase(name, part) for part in wanted.split(","))
    }
    if not found and "*" not in wanted:
        raise StoreError(
            404,
            "resource_not_found_exception",
            f"{missing} [{wanted}] not found" if group != "policy" else f"Lifecycle policy not found: {wanted}",
        )
    return found


def get_index_template(engine: Engine, request: Request) -> Reply:
    """Show index templates."""
    found = _named(engine, "template", request, "index template matching")
    return Reply({"index_templates": [{"name": name, "index_template": value} for name, value in found.items()]})


def get_component(engine: Engine, request: Request) -> Reply:
    """Show component templates."""
    found = _named(engine, "component", request, "component template matching")
    return Reply(
        {"component_templates": [{"name": name, "component_template": value} for name, value in found.items()]}
    )


def exists_template(engine: Engine, request: Request) -> Reply:
    """Say by the status whether there is such a template."""
    group = "component" if "_component_template" in request.path else "template"
    return Reply(None, 200 if request.variables["name"] in engine.group(group) else 404)


def delete_index_template(engine: Engine, request: Request) -> Reply:
    """Forget index templates."""
    engine.put({f"template/{name}": None for name in _named(engine, "template", request, "index_template")})
    return Reply(ACKNOWLEDGED)


def delete_component(engine: Engine, request: Request) -> Reply:
    """Forget component templates that no index template uses."""
    found = _named(engine, "component", request, "component template")
    for template, body in engine.group("template").items():
        used = set(body["composed_of"]) & found.keys()
        if used:
            raise StoreError(
                400,
                "illegal_argument_exception",
                f"component templates [{','.join(sorted(used))}] cannot be removed as they are still in "
                f"use by index templates [{template}]",
            )
    engine.put({f"component/{name}": None for name in found})
    return Reply(ACKNOWLEDGED)


def simulate_index(engine: Engine, request: Request) -> Reply:
    """Show what an index of this name would get."""
    templates = engine.group("template")
    chosen = winner(request.variables["name"], templates)
    if chosen is None:
        return Reply({})
    return _simulated(engine, chosen, templates[chosen])


def simulate(engine: Engine, request: Request) -> Reply:
    """Show what a template, kept or given, would give to an index."""
    name = request.variables.get("name", "")
    body = request.json()
    if body:
        return _simulated(engine, name, check_template(body))
    return _simulated(engine, name, _named(engine, "template", request, "unable to simulate template")[name])


def _simulated(engine: Engine, name: str, template: dict[str, Any]) -> Reply:
    settings, mappings = compose(template, engine.group("component"))
    settings["index.routing.allocation.include._tier_preference"] = "data_content"
    others = overlapping(name, template, engine.group("template"))
    return Reply(
        {"template": {"settings": nested(settings), "mappings": mappings, "aliases": {}}, "overlapping": others}
    )


def put_policy(engine: Engine, request: Request) -> Reply:
    """Keep a lifecycle policy."""
    from compose.store.lifecycle import check_policy

    name = request.variables["name"]
    known = engine.group("policy").get(name, {"version": 0})
    policy = check_policy(request.json(required=True))
    engine.put({f"policy/{name}": {"version": known["version"] + 1, "modified": engine.clock(), "policy": policy}})
    return Reply(ACKNOWLEDGED)


def get_policy(engine: Engine, request: Request) -> Reply:
    """Show lifecycle policies and who uses them."""
    from compose.store.dates import format_date

    shown = {}
    for name, value in _named(engine, "policy", request, "").items():
        using = [index.name for index in engine.indices.values() if index.settings.get("index.lifecycle.name") == name]
        shown[name] = {
            "version": value["version"],
            "modified_date": format_date(value["modified"]),
            "policy": value["policy"],
            "in_use_by": {"indices": sorted(using), "data_streams": [], "composable_templates": []},
        }
    return Reply(shown)


def delete_policy(engine: Engine, request: Request) -> Reply:
    """Forget a lifecycle policy that no index uses."""
    name = next(iter(_named(engine, "policy", request, "")))
    using = [index.name for index in engine.indices.values() if index.settings.get("index.lifecycle.name") == name]
    if using:
        raise StoreError(
            400,
            "illegal_argument_exception",
            f"Cannot delete policy [{name}]. It is in use by one or more indices: [{', '.join(sorted(using))}]",
        )
    engine.put({f"policy/{name}": None})
    return Reply(ACKNOWLEDGED)


def explain_lifecycle(engine: Engine, request: Request) -> Reply:
    """Say in which phase each index is."""
    from compose.store.lifecycle import explain

    now = engine.clock()
    policies = engine.group("policy")
    return Reply({"indices": {index.name: explain(index, policies, now) for index in _indices(engine, request)}})
