"""Which handler serves a request, and every error in Elasticsearch's shape."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from urllib.parse import quote, unquote

import duckdb

from compose.store.engine import Engine
from compose.store.errors import StoreError
from compose.store.rest import cluster, documents, indices, metrics, scroll, searches, snapshots, templates
from compose.store.rest.request import Reply, Request
from compose.store.rest.shape import shaped

log = logging.getLogger(__name__)
Handler = Callable[[Engine, Request], Reply]

_ROUTES: list[tuple[str, str, Handler]] = [
    ("GET HEAD", "/", cluster.root),
    ("GET", "/_cluster/health", cluster.health),
    ("GET", "/_cluster/health/{index}", cluster.health),
    ("GET", "/_embedded/status", cluster.status),
    ("GET", "/_embedded/metrics", metrics.metrics),
    ("GET", "/_cat/indices", cluster.cat_indices),
    ("GET", "/_cat/indices/{index}", cluster.cat_indices),
    ("GET", "/_cat/health", cluster.cat_health),
    ("GET", "/_cat/count", cluster.cat_count),
    ("GET", "/_cat/count/{index}", cluster.cat_count),
    ("POST PUT", "/_bulk", documents.bulk),
    ("POST PUT", "/{index}/_bulk", documents.bulk),
    ("GET POST", "/_search/scroll", scroll.scroll),
    ("DELETE", "/_search/scroll", scroll.clear_scroll),
    ("GET POST", "/_search", searches.search_indices),
    ("GET POST", "/{index}/_search", searches.search_indices),
    ("GET POST", "/_msearch", searches.multi_search),
    ("GET POST", "/{index}/_msearch", searches.multi_search),
    ("GET POST", "/_count", searches.count_documents),
    ("GET POST", "/{index}/_count", searches.count_documents),
    ("GET POST", "/_mget", documents.multi_get),
    ("GET POST", "/{index}/_mget", documents.multi_get),
    ("GET POST", "/_refresh", indices.refresh),
    ("GET POST", "/{index}/_refresh", indices.refresh),
    ("POST", "/{index}/_flush", indices.refresh),
    ("POST", "/{index}/_forcemerge", indices.refresh),
    ("GET POST", "/_field_caps", indices.field_caps),
    ("GET POST", "/{index}/_field_caps", indices.field_caps),
    ("GET", "/_mapping", indices.get_mapping),
    ("GET", "/{index}/_mapping", indices.get_mapping),
    ("PUT POST", "/{index}/_mapping", indices.put_mapping),
    ("GET", "/_settings", indices.get_settings),
    ("GET", "/{index}/_settings", indices.get_settings),
    ("PUT", "/{index}/_settings", indices.put_settings),
    ("GET", "/{index}/_ilm/explain", templates.explain_lifecycle),
    ("GET", "/_index_template", templates.get_index_template),
    ("POST", "/_index_template/_simulate_index/{name}", templates.simulate_index),
    ("POST", "/_index_template/_simulate", templates.simulate),
    ("POST", "/_index_template/_simulate/{name}", templates.simulate),
    ("GET", "/_index_template/{name}", templates.get_index_template),
    ("HEAD", "/_index_template/{name}", templates.exists_template),
    ("PUT POST", "/_index_template/{name}", templates.put_index_template),
    ("DELETE", "/_index_template/{name}", templates.delete_index_template),
    ("GET", "/_component_template", templates.get_component),
    ("GET", "/_component_template/{name}", templates.get_component),
    ("HEAD", "/_component_template/{name}", templates.exists_template),
    ("PUT POST", "/_component_template/{name}", templates.put_component),
    ("DELETE", "/_component_template/{name}", templates.delete_component),
    ("GET", "/_snapshot", snapshots.get_repositories),
    ("GET", "/_snapshot/{repository}", snapshots.get_repositories),
    ("PUT POST", "/_snapshot/{repository}", snapshots.put_repository),
    ("DELETE", "/_snapshot/{repository}", snapshots.delete_repository),
    ("POST", "/_snapshot/{repository}/_verify", snapshots.verify_repository),
    ("GET", "/_snapshot/{repository}/{snapshot}", snapshots.get_snapshots),
    ("PUT POST", "/_snapshot/{repository}/{snapshot}", snapshots.create_snapshot),
    ("DELETE", "/_snapshot/{repository}/{snapshot}", snapshots.delete_snapshots),
    ("POST", "/_snapshot/{repository}/{snapshot}/_restore", snapshots.restore_snapshot),
    ("GET", "/_cat/snapshots/{repository}", snapshots.cat_snapshots),
    ("GET", "/_ilm/policy", templates.get_policy),
    ("GET", "/_ilm/policy/{name}", templates.get_policy),
    ("PUT", "/_ilm/policy/{name}", templates.put_policy),
    ("DELETE", "/_ilm/policy/{name}", templates.delete_policy),
    ("GET HEAD", "/{index}/_doc/{id}", documents.get_document),
    ("GET HEAD", "/{index}/_source/{id}", documents.get_document),
    ("PUT POST", "/{index}/_doc/{id}", documents.write_document),
    ("PUT POST", "/{index}/_create/{id}", documents.write_document),
    ("POST", "/{index}/_doc", documents.write_document),
    ("DELETE", "/{index}/_doc/{id}", documents.delete_document),
    ("PUT", "/{index}", indices.create_index),
    ("GET", "/{index}", indices.get_index),
    ("HEAD", "/{index}", indices.index_exists),
    ("DELETE", "/{index}", indices.delete_index),
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


def _check_state(engine: Engine) -> None:
    if engine.rebuilding:
        text = "the database was damaged and is being rebuilt; see the log"
        raise StoreError(503, "unavailable_shards_exception", text)


def dispatch(engine: Engine, request: Request) -> Reply:
    """Serve one request; never raises."""
    # A name such as <logs-{now/d}> has slashes of its own, inside the angle brackets.
    path = re.sub(r"<[^>]*>", lambda name: quote(name[0], safe=""), request.path)
    parts = path.strip("/").split("/")
    try:
        _check_state(engine)
        allowed: list[str] = []
        for methods, pattern, handler in _TABLE:
            variables = _matched(pattern, parts)
            if variables is None:
                continue
            if request.method in methods:
                request.variables = variables
                return shaped(handler(engine, request), request)
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
        if len(parts) == 2 and not parts[0].startswith("_") and request.method == "GET":
            # Elasticsearch takes it for POST /{index}/{type}, which is left over from earlier versions.
            text = f"Incorrect HTTP method for uri [{request.path}] and method [GET], allowed: [POST]"
            return Reply({"error": text, "status": 405}, 405)
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
    except duckdb.Error as error:
        log.exception("the database failed", extra={"method": request.method, "path": request.path})
        engine.last_error = f"{request.method} {request.path}: {error}"
        engine.report(error)
        return Reply(StoreError(503, "unavailable_shards_exception", f"the database failed: {error}").body(), 503)
    except Exception as error:
        # The last line of defence: the client gets an error, the log its stack.
        log.exception("a request failed", extra={"method": request.method, "path": request.path})
        engine.last_error = f"{request.method} {request.path}: {type(error).__name__}"
        failed = StoreError(500, "exception", f"the embedded store failed: {type(error).__name__}; see its log")
        return Reply(failed.body(), 500)
