"""The page's table of operations is true: every route stands in it, and what it calls refused is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compose.store.engine import Engine
from compose.store.rest.request import Request
from compose.store.rest.router import _ROUTES, dispatch
from compose.store.settings import StoreSettings

PAGE = (Path(__file__).parents[2] / "docs" / "embedded-store.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## Operations\n")[2].partition("\n## ")[0]

QUERIES = [
    "fuzzy",
    "regexp",
    "nested",
    "dis_max",
    "boosting",
    "function_score",
    "more_like_this",
    "script",
    "intervals",
]
AGGREGATIONS = ["composite", "date_range", "significant_terms", "extended_stats", "percentile_ranks", "top_metrics",
                "multi_terms", "bucket_script", "cumulative_sum", "derivative"]  # fmt: skip
SEARCHES = ["highlight", "suggest", "collapse", "rescore", "knn", "pit", "slice", "script_fields", "runtime_mappings",
            "stored_fields", "terminate_after", "explain", "profile", "min_score"]  # fmt: skip
ACTIONS = ["rollover", "shrink", "searchable_snapshot", "downsample"]
PATHS = ["POST /logs/_update/1", "POST /logs/_delete_by_query", "POST /logs/_update_by_query", "POST /_reindex",
         "POST /logs/_close", "POST /logs/_open", "POST /_aliases", "GET /_cat/nodes", "GET /_cluster/state",
         "PUT /_template/old", "PUT /_data_stream/logs", "GET /_snapshot/backup/one/_status",
         "PUT /_snapshot/backup/one/_clone/two", "POST /_snapshot/backup/_cleanup"]  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A store with one index."""
    store = Engine(StoreSettings(dir=tmp_path_factory.mktemp("operations")))
    store.create_index("logs", {}, {"properties": {"level": {"type": "keyword"}, "n": {"type": "long"}}})
    yield store
    store.stop()


def ask(engine: Engine, line: str, body: Any = None) -> tuple[int, str]:
    """Return status and body of a request given as `METHOD /path`."""
    method, path = line.split()
    reply = dispatch(engine, Request(method, path, {}, msgspec.json.encode(body) if body is not None else b""))
    return reply.status, msgspec.json.encode(reply.value).decode()


def test_every_route_stands_in_the_table() -> None:
    """Each word of a path that begins with an underscore is named on the page."""
    words = {word for _, path, _ in _ROUTES for word in re.findall(r"_[a-z_]+", path)}
    assert {word for word in words if word not in TABLE and word != "_embedded"} == set()
    assert "_embedded/status" in TABLE


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_refused_by_name(engine: Engine, name: str) -> None:
    """A query of Elasticsearch's that the store does not have is 400 and named, and stands on the page."""
    status, text = ask(engine, "POST /logs/_search", {"query": {name: {"level": {"value": "x"}}}})
    assert status == 400
    assert name in text
    assert name in TABLE


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_an_aggregation_is_refused_by_name(engine: Engine, name: str) -> None:
    """An aggregation of Elasticsearch's that the store does not have is 400 and named."""
    status, text = ask(engine, "POST /logs/_search", {"aggs": {"a": {name: {"field": "n"}}}})
    assert status == 400
    assert name in text


@pytest.mark.parametrize("name", SEARCHES)
def test_an_option_of_a_search_is_refused_by_name(engine: Engine, name: str) -> None:
    """An option of a search that the store does not have is 400 and named, and stands on the page."""
    status, text = ask(engine, "POST /logs/_search", {name: 1})
    assert status == 400
    assert name in text
    assert name in TABLE


@pytest.mark.parametrize("name", ACTIONS)
def test_a_lifecycle_action_is_refused_by_name(engine: Engine, name: str) -> None:
    """A lifecycle action that the store does not have is 400 and named, and stands on the page."""
    body: dict[str, Any] = {"policy": {"phases": {"hot": {"actions": {name: {}}}}}}
    status, text = ask(engine, "PUT /_ilm/policy/p", body)
    assert status == 400
    assert name in text
    assert name in TABLE


@pytest.mark.parametrize("line", PATHS)
def test_a_call_is_refused(engine: Engine, line: str) -> None:
    """A call that the store does not have is 400 and says which one, not 404 or 500."""
    status, text = ask(engine, line, {})
    assert status == 400
    assert line.rpartition("/")[2] in text


def test_the_bulk_action_update_is_refused(engine: Engine) -> None:
    """An update in a bulk request is refused as a whole, before anything of it is done."""
    body = b'{"index":{"_index":"logs","_id":"1"}}\n{"n":1}\n{"update":{"_index":"logs","_id":"1"}}\n{"doc":{}}\n'
    reply = dispatch(engine, Request("POST", "/_bulk", {}, body))
    assert reply.status == 400
    assert "update" in str(reply.value)
    assert ask(engine, "GET /logs/_doc/1")[0] == 404
