"""Single documents and bulk requests."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from compose.store.bulk import Action, read_bulk, read_creations
from compose.store.catalogue import Index
from compose.store.creations import create
from compose.store.engine import Engine
from compose.store.errors import IndexNotFoundError, StoreError, UnsupportedError, illegal_argument
from compose.store.rest.request import PLACE, WRITE, Reply, Request, check_write
from compose.store.source_filter import check, filtered
from compose.store.writing import Writer


def bulk(engine: Engine, request: Request) -> Reply:
    """Do a bulk request."""
    request.allow(*WRITE, "require_alias", "list_executed_pipelines")
    check_write(request.parameters)
    if request.flag("require_alias"):
        raise UnsupportedError("require_alias")
    started = time.monotonic()
    default, refresh = request.variables.get("index"), _refresh(request)
    batch = None if refresh else read_creations(request.body, default)
    if batch is not None and (items := create(engine, batch)) is not None:
        return Reply({"errors": isinstance(items, list), "took": _since(started), "items": items})
    actions = list(read_bulk(request.body, default)) if batch is None else batch.actions()
    nameless = [number for number, action in enumerate(actions, 1) if not action.index]
    if nameless:
        problems = "".join(f" {number}: index is missing;" for number in range(1, len(nameless) + 1))
        raise StoreError(400, "action_request_validation_exception", f"Validation Failed:{problems}")
    answers = Writer(engine).apply(actions, refresh=refresh)
    return Reply(
        {
            "errors": any(answer.__class__ is dict and "error" in answer for _, answer in answers),
            "took": _since(started),
            "items": [{verb: answer} for verb, answer in answers],
        }
    )


def _since(moment: float) -> int:
    return int((time.monotonic() - moment) * 1000)


def _refresh(request: Request) -> bool:
    value = request.parameters.get("refresh", "false")
    if value not in ("", "true", "false", "wait_for"):
        raise StoreError(400, "illegal_argument_exception", f"Unknown value for refresh: [{value}].")
    return value != "false"


def write_document(engine: Engine, request: Request) -> Reply:
    """Index or create one document."""
    request.allow(*WRITE, "op_type", "if_seq_no", "if_primary_term", "require_alias")
    check_write(request.parameters)
    kind = request.parameters.get("op_type", "index")
    if kind not in ("create", "index"):
        raise illegal_argument(f"opType must be 'create' or 'index', found: [{kind}]")
    if request.flag("require_alias"):
        raise UnsupportedError("require_alias")
    _check_term(request)
    creates = "_create" in request.path.split("/") or kind == "create"
    if not request.body.strip():
        raise StoreError(400, "parse_exception", "request body is required")
    action = Action(
        "create" if creates else "index", request.variables["index"], request.variables.get("id"),
        request.body.strip().replace(b"\r", b" "), request.whole("if_seq_no"),
    )  # fmt: skip
    return _single(engine, action, _refresh(request))


def _check_term(request: Request) -> None:
    """Refuse a sequence number without its primary term, which is always 1, and a term without a number."""
    number, term = request.whole("if_seq_no"), request.whole("if_primary_term")
    if (number is None) != (term is None):
        raise StoreError(
            400, "action_request_validation_exception",
            f"Validation Failed: 1: if_seq_no is [{number}], and if_primary_term is [{term}]: both or none;",
        )  # fmt: skip
    if term not in (None, 1):
        raise StoreError(
            409, "version_conflict_engine_exception",
            f"version conflict, required primary term [{term}]. current document has primary term [1]",
        )  # fmt: skip


def delete_document(engine: Engine, request: Request) -> Reply:
    """Delete one document."""
    request.allow(*WRITE, "if_seq_no", "if_primary_term")
    check_write(request.parameters)
    _check_term(request)
    action = Action("delete", request.variables["index"], request.variables["id"], b"", request.whole("if_seq_no"))
    return _single(engine, action, _refresh(request))


def _single(engine: Engine, action: Action, refresh: bool) -> Reply:
    ((_, found),) = Writer(engine).apply([action], refresh=refresh)
    answer: dict[str, Any] = msgspec.to_builtins(found)
    code = answer.pop("status")
    if "error" in answer:
        error = answer["error"]
        root_cause = [{key: value for key, value in error.items() if key != "caused_by"}]
        return Reply({"error": {"root_cause": root_cause, **error}, "status": code}, code)
    return Reply(answer, code)


def get_document(engine: Engine, request: Request) -> Reply:
    """Return one document, loaded or not."""
    request.allow(*PLACE, "realtime", "refresh", "_source", "_source_includes", "_source_excludes")
    request.flag("refresh")
    index = engine.require(request.variables["index"])
    bare = "_source" in request.path.split("/")
    if bare and request.parameters.get("_source") == "false":
        raise StoreError(
            400, "action_request_validation_exception", "Validation Failed: 1: fetching source can not be disabled;"
        )
    found = _document(engine, index, request.variables["id"], source_option(request))
    if bare:
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
    request.allow(*PLACE, "realtime", "refresh", "_source", "_source_includes", "_source_excludes")
    request.flag("refresh")
    documents = []
    for index, name, chosen in _wanted(request):
        try:
            documents.append(_document(engine, engine.require(index), name, chosen))
        except IndexNotFoundError as error:
            documents.append({"_index": index, "_id": name, "error": error.body()["error"]})
    return Reply({"docs": documents})


def _wanted(request: Request) -> list[tuple[str, str, Any]]:
    """Return index, id and wanted fields of each document that a request names.

    Raises:
        StoreError: it is not as it should be; all that lacks something is named.
    """
    body = request.json(required=True)
    unknown = sorted(body.keys() - {"ids", "docs"})
    if unknown:
        raise StoreError(400, "parsing_exception", f"failed to parse multi get request. unknown field [{unknown[0]}]")
    ids, entries = body.get("ids", []), body.get("docs", [])
    if not isinstance(ids, list) or not all(isinstance(name, str | int | float) for name in ids):
        raise illegal_argument("ids array element should only contain ids")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise illegal_argument("docs array element should include an object")
    wanted, problems = [], []
    for number, entry in enumerate([*({"_id": name} for name in ids), *entries]):
        for key in entry:
            if key in ("routing", "stored_fields", "version", "version_type"):
                raise UnsupportedError(f"[{key}] of _mget")
            if key not in ("_id", "_index", "_source"):
                raise StoreError(400, "parse_exception", f"failed to parse multi get request. unknown field [{key}]")
        index, name = entry.get("_index", request.variables.get("index")), entry.get("_id")
        if not index or not isinstance(index, str):
            problems.append(f"index is missing for doc {number};")
        if name is None:
            problems.append(f"id is missing for doc {number};")
        chosen = entry.get("_source", source_option(request))
        check(chosen)
        wanted.append((str(index), str(name), chosen))
    if problems or not wanted:
        said = " ".join(f"{place}: {text}" for place, text in enumerate(problems or ["no documents to get;"], 1))
        raise StoreError(400, "action_request_validation_exception", f"Validation Failed: {said}")
    return wanted


def source_option(request: Request) -> Any:
    """Return which fields of a source the URL asks for."""
    includes, excludes = request.parameters.get("_source_includes"), request.parameters.get("_source_excludes")
    if includes or excludes:
        return {
            "includes": includes.split(",") if includes else [],
            "excludes": excludes.split(",") if excludes else [],
        }
    value = request.parameters.get("_source")
    return True if value in (None, "true", "") else False if value == "false" else str(value).split(",")
