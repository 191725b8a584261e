"""Searches, scrolls and counts."""

from __future__ import annotations

from typing import Any

import msgspec

from compose.store.catalogue import Index, new_uuid
from compose.store.engine import Engine
from compose.store.errors import StoreError
from compose.store.rest.documents import source_option
from compose.store.rest.request import Reply, Request
from compose.store.rest.targets import indices_of
from compose.store.search import count, search

ENDED_SCROLLS = 10_000  # so many are known as ended; an id is a state of its own, nothing else is kept


def search_indices(engine: Engine, request: Request) -> Reply:
    """Search, by body or by the query string."""
    request.allow("q", "sort", "size", "from", "_source", "_source_includes", "_source_excludes", "track_total_hits",
                  "default_operator", "df", "lenient", "version", "seq_no_primary_term", "analyze_wildcard", "scroll",
                  "allow_partial_search_results", "track_scores", "typed_keys")  # fmt: skip
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
        body["_source"] = source_option(request)
    if "track_total_hits" in request.parameters:
        text = request.parameters["track_total_hits"]
        body["track_total_hits"] = (
            text in ("", "true") if text in ("", "true", "false") else request.whole("track_total_hits")
        )
    for name in ("version", "seq_no_primary_term", "typed_keys"):
        if name in request.parameters:
            body[name] = request.flag(name)
    indices = indices_of(engine, request)
    if "scroll" in request.parameters:
        return Reply(_scroll(engine, indices, body, None))
    return Reply(search(engine, indices, body))


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
            "k": new_uuid(),
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
        parts = {key: state[key] for key in ("i", "b", "t", "a", "k")}
    except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise StoreError(400, "illegal_argument_exception", "Cannot parse scroll id") from None
    if parts["k"] in engine.ended_scrolls:
        raise StoreError(404, "search_context_missing_exception", f"No search context found for id [{parts['k']}]")
    return Reply(_scroll(engine, [], {}, parts))


def clear_scroll(engine: Engine, request: Request) -> Reply:
    """End scrolls: they cannot be read on."""
    import base64

    request.allow()
    given = request.json().get("scroll_id", [])
    freed = 0
    for name in [given] if isinstance(given, str) else given:
        try:
            key = str(msgspec.json.decode(base64.urlsafe_b64decode(name))["k"])
        except (ValueError, msgspec.DecodeError, KeyError, TypeError):
            raise StoreError(400, "illegal_argument_exception", "Cannot parse scroll id") from None
        freed += key not in engine.ended_scrolls
        engine.ended_scrolls[key] = None
        while len(engine.ended_scrolls) > ENDED_SCROLLS:
            del engine.ended_scrolls[next(iter(engine.ended_scrolls))]
    return Reply({"succeeded": True, "num_freed": freed}, 200 if freed else 404)


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
    indices = indices_of(engine, request)
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
            responses.append({**search(engine, indices_of(engine, one), one.json()), "status": 200})
        except StoreError as error:
            responses.append(error.body())
    return Reply({"took": sum(entry.get("took", 0) for entry in responses), "responses": responses})
