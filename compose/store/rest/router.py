"""Which handler serves a request, and every error in Elasticsearch's shape."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import unquote

import duckdb

from compose.store.engine import Engine
from compose.store.errors import StoreError
from compose.store.rest import handlers as h
from compose.store.rest.request import Reply, Request

log = logging.getLogger(__name__)
Handler = Callable[[Engine, Request], Reply]

_ROUTES: list[tuple[str, str, Handler]] = [
    ("GET HEAD", "/", h.root),
    ("GET", "/_cluster/health", h.health),
    ("GET", "/_cluster/health/{index}", h.health),
    ("GET", "/_embedded/status", h.status),
    ("GET", "/_cat/indices", h.cat_indices),
    ("GET", "/_cat/indices/{index}", h.cat_indices),
    ("GET", "/_cat/health", h.cat_health),
    ("GET", "/_cat/count", h.cat_count),
    ("GET", "/_cat/count/{index}", h.cat_count),
    ("POST PUT", "/_bulk", h.bulk),
    ("POST PUT", "/{index}/_bulk", h.bulk),
    ("GET POST", "/_search/scroll", h.scroll),
    ("DELETE", "/_search/scroll", h.clear_scroll),
    ("GET POST", "/_search", h.search_indices),
    ("GET POST", "/{index}/_search", h.search_indices),
    ("GET POST", "/_msearch", h.multi_search),
    ("GET POST", "/{index}/_msearch", h.multi_search),
    ("GET POST", "/_count", h.count_documents),
    ("GET POST", "/{index}/_count", h.count_documents),
    ("GET POST", "/_mget", h.multi_get),
    ("GET POST", "/{index}/_mget", h.multi_get),
    ("GET POST", "/_refresh", h.refresh),
    ("GET POST", "/{index}/_refresh", h.refresh),
    ("POST", "/{index}/_flush", h.refresh),
    ("POST", "/{index}/_forcemerge", h.refresh),
    ("GET POST", "/_field_caps", h.field_caps),
    ("GET POST", "/{index}/_field_caps", h.field_caps),
    ("GET", "/_mapping", h.get_mapping),
    ("GET", "/{index}/_mapping", h.get_mapping),
    ("PUT POST", "/{index}/_mapping", h.put_mapping),
    ("GET", "/_settings", h.get_settings),
    ("GET", "/{index}/_settings", h.get_settings),
    ("PUT", "/{index}/_settings", h.put_settings),
    ("GET", "/{index}/_ilm/explain", h.explain_lifecycle),
    ("GET", "/_index_template", h.get_index_template),
    ("POST", "/_index_template/_simulate_index/{name}", h.simulate_index),
    ("POST", "/_index_template/_simulate", h.simulate),
    ("POST", "/_index_template/_simulate/{name}", h.simulate),
    ("GET", "/_index_template/{name}", h.get_index_template),
    ("HEAD", "/_index_template/{name}", h.exists_template),
    ("PUT POST", "/_index_template/{name}", h.put_index_template),
    ("DELETE", "/_index_template/{name}", h.delete_index_template),
    ("GET", "/_component_template", h.get_component),
    ("GET", "/_component_template/{name}", h.get_component),
    ("HEAD", "/_component_template/{name}", h.exists_template),
    ("PUT POST", "/_component_template/{name}", h.put_component),
    ("DELETE", "/_component_template/{name}", h.delete_component),
    ("GET", "/_ilm/policy", h.get_policy),
    ("GET", "/_ilm/policy/{name}", h.get_policy),
    ("PUT", "/_ilm/policy/{name}", h.put_policy),
    ("DELETE", "/_ilm/policy/{name}", h.delete_policy),
    ("GET HEAD", "/{index}/_doc/{id}", h.get_document),
    ("GET HEAD", "/{index}/_source/{id}", h.get_document),
    ("PUT POST", "/{index}/_doc/{id}", h.write_document),
    ("PUT POST", "/{index}/_create/{id}", h.write_document),
    ("POST", "/{index}/_doc", h.write_document),
    ("DELETE", "/{index}/_doc/{id}", h.delete_document),
    ("PUT", "/{index}", h.create_index),
    ("GET", "/{index}", h.get_index),
    ("HEAD", "/{index}", h.index_exists),
    ("DELETE", "/{index}", h.delete_index),
]
_TABLE = [(methods.split(), path.strip("/").split("/"), handler) for methods, path, handler in _ROUTES]


def _matched(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    found = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("{"):
            name = wanted[1:-1]
            if not part or (name == "index" and part.startswith("_") and part != "_all"):
                return None
            found[name] = unquote(part)
        elif wanted != part:
            return None
    return found


def dispatch(engine: Engine, request: Request) -> Reply:
    """Serve one request; never raises."""
    parts = request.path.strip("/").split("/")
    try:
        allowed: list[str] = []
        for methods, pattern, handler in _TABLE:
            variables = _matched(pattern, parts)
            if variables is None:
                continue
            if request.method in methods:
                request.variables = variables
                return handler(engine, request)
            allowed += methods
        if allowed:
            return Reply(
                {
                    "error": f"Incorrect HTTP method for uri [{request.path}] and method [{request.method}], allowed: "
                    f"[{', '.join(sorted(set(allowed)))}]",
                    "status": 405,
                },
                405,
            )
        unknown = StoreError(
            400,
            "illegal_argument_exception",
            f"no handler found for uri [{request.path}] and method [{request.method}] in the embedded store; "
            "see docs/embedded-store.md",
        )
        return Reply(unknown.body(), 400)
    except StoreError as error:
        return Reply(error.body(), error.status)
    except duckdb.OutOfMemoryException as error:
        wrapped = StoreError(
            429, "circuit_breaking_exception", f"more memory is needed than STORE_MEMORY_LIMIT: {error}"
        )
        return Reply(wrapped.body(), 429)
    except Exception as error:
        # The last line of defence: the client gets an error, the log its stack.
        log.exception("a request failed", extra={"method": request.method, "path": request.path})
        engine.last_error = f"{request.method} {request.path}: {type(error).__name__}"
        failed = StoreError(500, "exception", f"the embedded store failed: {type(error).__name__}; see its log")
        return Reply(failed.body(), 500)
