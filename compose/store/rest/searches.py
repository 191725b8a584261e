"""Searches, scrolls and counts."""

from __future__ import annotations

from typing import Any

from compose.store.engine import Engine
from compose.store.errors import StoreError, illegal_argument
from compose.store.rest.documents import source_option
from compose.store.rest.request import PLACE, SEARCH, WHICH, Reply, Request, check_values
from compose.store.rest.scroll import begin
from compose.store.rest.shape import with_total
from compose.store.rest.targets import indices_of
from compose.store.search import count, search


def search_indices(engine: Engine, request: Request) -> Reply:
    """Search, by body or by the query string."""
    request.allow(*SEARCH, "timeout", "preference", "batched_reduce_size", "request_cache", "q", "sort", "size", "from",
                  "_source", "_source_includes", "_source_excludes", "track_total_hits",
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
        return Reply(begin(engine, indices, body, request.parameters["scroll"]))
    return Reply(search(engine, indices, body))


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
    request.allow(*WHICH, *PLACE, "q", "df", "default_operator", "lenient", "analyze_wildcard")
    body = request.json()
    for key in body:
        if key != "query":
            raise StoreError(400, "parsing_exception", f"request does not support [{key}]", line=1, col=1)
    query = _uri_query(request) if "q" in request.parameters else body.get("query")
    if query == {}:
        raise illegal_argument("query malformed, empty clause found")
    indices = indices_of(engine, request)
    shards = {"total": len(indices), "successful": len(indices), "skipped": 0, "failed": 0}
    return Reply({"count": count(engine, indices, query), "_shards": shards})


_HEADER = {"index", "indices", "ignore_unavailable", "allow_no_indices", "expand_wildcards", "preference",
           "search_type", "request_cache", "allow_partial_search_results", "ccs_minimize_roundtrips"}  # fmt: skip


def _header(request: Request, line: bytes) -> dict[str, str]:
    """Return the options of one search of many, as a URL would have them; an empty line has none."""
    given = Request("POST", request.path, {}, line).json()
    options = {"index": request.variables.get("index", "")}
    for key, value in given.items():
        if key not in _HEADER:
            raise illegal_argument(f"key [{key}] is not supported in the metadata section")
        name = "index" if key == "indices" else key
        options[name] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if isinstance(value, bool):
            options[name] = str(value).lower()
    check_values(options)
    return options


def multi_search(engine: Engine, request: Request) -> Reply:
    """Do several searches."""
    request.allow(*SEARCH, "max_concurrent_searches", "include_named_queries_score")
    lines = request.body.removesuffix(b"\n").split(b"\n")
    if not request.body.strip():
        raise StoreError(400, "parse_exception", "request body is required")
    if len(lines) % 2:
        raise illegal_argument(
            "The msearch request must be a header and a body for each search, and end with a newline"
        )
    wanted = [(_header(request, head), body) for head, body in zip(lines[::2], lines[1::2], strict=True)]
    responses: list[dict[str, Any]] = []
    for options, body in wanted:
        one = Request("POST", request.path, options, body, {"index": options.pop("index")})
        content = one.json()  # a body that is no JSON fails the whole request
        content["typed_keys"] = request.flag("typed_keys")
        try:
            found = with_total(search(engine, indices_of(engine, one), content), request)
            responses.append({**found, "status": 200})
        except StoreError as error:
            responses.append(error.body())
    return Reply({"took": sum(entry.get("took", 0) for entry in responses), "responses": responses})
