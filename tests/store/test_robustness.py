"""No request makes the store fail: whatever stands where in a body, the answer is a result or a refusal."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from compose.store.engine import Engine
from compose.store.rest.request import Request
from compose.store.rest.router import dispatch
from compose.store.settings import StoreSettings
from tests.rounds import rounds

FIELDS: dict[str, Any] = {
    "@timestamp": {"type": "date"}, "level": {"type": "keyword"}, "n": {"type": "long"}, "f": {"type": "float"},
    "b": {"type": "boolean"}, "text": {"type": "text", "fields": {"raw": {"type": "keyword", "ignore_above": 9}}},
}  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "@timestamp": "2026-11-24T10:00:00Z", "level": "INFO", "n": 3, "f": [0.5, 1], "b": True, "text": "quick fox",
    "o": {"p": [{"q": 1}]},
}  # fmt: skip
QUERIES: list[dict[str, Any]] = [
    {"match_all": {}}, {"match": {"text": {"query": "a b", "operator": "and", "minimum_should_match": "50%"}}},
    {"match_phrase": {"text": {"query": "a b", "slop": 1}}}, {"match_phrase_prefix": {"text": "a b"}},
    {"multi_match": {"query": "a", "fields": ["text", "level^2"], "type": "phrase"}},
    {"term": {"level": {"value": "INFO", "case_insensitive": True}}}, {"terms": {"n": [1, 2], "boost": 1}},
    {"range": {"@timestamp": {"gte": "now-1d/d", "lt": "2026", "time_zone": "+02:00", "format": "yyyy"}}},
    {"range": {"n": {"gt": 1, "lte": 5}}}, {"exists": {"field": "o.p.q"}}, {"ids": {"values": ["1"]}},
    {"prefix": {"level": {"value": "IN"}}}, {"wildcard": {"level": {"value": "I*", "case_insensitive": True}}},
    {"bool": {"must": [{"term": {"n": 1}}], "must_not": {"term": {"n": 2}}, "should": [], "filter": [],
              "minimum_should_match": 1}},
    {"constant_score": {"filter": {"term": {"b": True}}, "boost": 2}},
    {"query_string": {"query": "level:INFO AND n:[1 TO 3]", "default_field": "text", "default_operator": "AND"}},
    {"simple_query_string": {"query": "quick +fox", "fields": ["text"]}},
]  # fmt: skip
AGGREGATIONS: list[dict[str, Any]] = [
    {"terms": {"field": "level", "size": 3, "order": [{"_count": "asc"}, {"_key": "desc"}], "min_doc_count": 0,
               "missing": "x", "include": "I.*", "exclude": ["a"]}},
    {"date_histogram": {"field": "@timestamp", "calendar_interval": "day", "time_zone": "Europe/Berlin",
                        "format": "yyyy-MM-dd", "min_doc_count": 0, "offset": "+1h",
                        "extended_bounds": {"min": "2026-11-01", "max": "2026-11-03"}}},
    {"date_histogram": {"field": "@timestamp", "fixed_interval": "12h", "keyed": True, "missing": "2026-01-01"}},
    {"histogram": {"field": "n", "interval": 2, "offset": 1, "extended_bounds": {"min": 0, "max": 4}}},
    {"range": {"field": "n", "ranges": [{"to": 2}, {"from": 2, "key": "x"}], "keyed": True}},
    {"filter": {"term": {"n": 1}}}, {"filters": {"filters": {"a": {"match_all": {}}}, "other_bucket_key": "o"}},
    {"missing": {"field": "n"}}, {"avg": {"field": "n", "missing": 0}}, {"stats": {"field": "f"}},
    {"percentiles": {"field": "f", "percents": [1, 50], "keyed": False}}, {"cardinality": {"field": "level"}},
    {"top_hits": {"size": 1, "from": 0, "sort": [{"n": "desc"}], "_source": ["n"], "version": True}},
]  # fmt: skip
SEARCH: dict[str, Any] = {
    "size": 2, "from": 0, "sort": [{"n": {"order": "asc", "missing": "_last"}}, "level"], "track_total_hits": 5,
    "_source": {"includes": ["n*"], "excludes": ["o"]}, "fields": [{"field": "@timestamp", "format": "yyyy"}],
    "docvalue_fields": ["n"], "post_filter": {"term": {"n": 1}}, "version": True, "search_after": [1, "a"],
    "timeout": "1s", "explain": False,
}  # fmt: skip
TEMPLATE: dict[str, Any] = {
    "index_patterns": ["robust-t*"], "priority": 5, "version": 1, "_meta": {"a": 1}, "composed_of": ["c"],
    "ignore_missing_component_templates": ["c"], "template": {"settings": {"index": {"number_of_replicas": 0}},
                                                              "mappings": {"properties": FIELDS}},
}  # fmt: skip
MAPPINGS: dict[str, Any] = {
    "dynamic": "true", "date_detection": True, "dynamic_date_formats": ["yyyy/MM"], "_meta": {"a": 1},
    "properties": {"o": {"type": "object", "dynamic": "strict", "properties": FIELDS},
                   "d": {"type": "date", "format": "yyyy||epoch_millis", "null_value": "2026",
                         "ignore_malformed": True}},
    "dynamic_templates": [{"a": {"match": "x_*", "match_mapping_type": "string", "match_pattern": "simple",
                                 "path_match": ["a.*"], "mapping": {"type": "keyword"}}}],
}  # fmt: skip
PHASES: dict[str, Any] = {
    "hot": {"min_age": "0ms", "actions": {"set_priority": {"priority": 100}}},
    "warm": {"min_age": "2d", "actions": {"forcemerge": {"max_num_segments": 1}, "readonly": {}}},
    "delete": {"min_age": "90d", "actions": {"delete": {"delete_searchable_snapshot": True}}},
}
BODIES: list[tuple[str, str, Any]] = [
    ("POST", "/robust/_search", SEARCH),
    *(("POST", "/robust/_search", {"query": query}) for query in QUERIES),
    *(("POST", "/robust/_search", {"size": 0, "aggs": {"a": {**each, "aggs": {"b": {"sum": {"field": "n"}}}}}})
      for each in AGGREGATIONS[:8]),
    *(("POST", "/robust/_search", {"size": 0, "aggs": {"a": each}}) for each in AGGREGATIONS[8:]),
    ("POST", "/robust/_count", {"query": QUERIES[0]}), ("POST", "/robust/_mget", {"ids": ["1"]}),
    ("POST", "/_mget", {"docs": [{"_index": "robust", "_id": "1", "_source": ["n"]}]}),
    ("PUT", "/robust/_doc/1", DOCUMENT), ("PUT", "/robust-new", {"settings": {"index": {"number_of_replicas": 0}},
                                                                  "mappings": MAPPINGS, "aliases": {}}),
    ("PUT", "/robust/_mapping", {"properties": {"new": {"type": "keyword", "ignore_above": 5}}}),
    ("PUT", "/robust/_settings", {"index": {"priority": 5, "refresh_interval": "1s"}}),
    ("PUT", "/_index_template/robust", TEMPLATE), ("POST", "/_index_template/_simulate", TEMPLATE),
    ("PUT", "/_component_template/robust", {"template": TEMPLATE["template"], "version": 2, "_meta": {}}),
    ("PUT", "/_ilm/policy/robust", {"policy": {"phases": PHASES, "_meta": {"a": 1}}}),
    ("POST", "/robust/_field_caps", {"fields": ["*"]}), ("POST", "/_search/scroll", {"scroll_id": "x", "scroll": "1m"}),
    ("DELETE", "/_search/scroll", {"scroll_id": ["x"]}),
    ("PUT", "/_snapshot/robust", {"type": "fs", "settings": {"location": "robust"}}),
    ("PUT", "/_snapshot/backup/robust", {"indices": "robust*", "metadata": {"a": 1}, "ignore_unavailable": True,
                                         "include_global_state": False}),
    ("POST", "/_snapshot/backup/none/_restore", {"indices": ["robust"], "rename_pattern": "(.+)",
                                                 "rename_replacement": "x-$1", "include_global_state": False}),
]  # fmt: skip
LINES: list[Any] = [{"index": {"_index": "robust", "_id": "1"}}, DOCUMENT, {"create": {"_index": "robust"}}, {"n": 1},
                    {"delete": {"_index": "robust", "_id": "2", "if_seq_no": 1, "if_primary_term": 1}}]  # fmt: skip
SEARCHES: list[Any] = [{"index": "robust", "ignore_unavailable": True}, SEARCH, {}, {"query": QUERIES[0]}]
VALUES: list[Any] = [
    None, True, False, 0, -1, 5, 1.5, 10**30, 1e300, "", "x", "*", "2026-11-24", "now/d", "5d", "1e400", "\u0000",
    "\ud7ff",
    [], {}, [None], [[]], ["x"], [1], [{}], {"x": 1}, {"x": None}, {"": 1}, "x" * 600,
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a body, the body itself included."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def changed(body: Any, chance: random.Random) -> Any:
    """Return a body with one value replaced, left out or wrapped, or one name replaced."""
    result = copy.deepcopy(body)
    path = chance.choice(list(places(body)))
    if not path:
        return chance.choice(VALUES)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    kind, last = chance.randrange(8), path[-1]
    if kind == 0:
        del inner[last]
    elif kind == 1:
        inner[last] = [inner[last]]
    elif kind == 2:
        inner[last] = {"x": inner[last]}
    elif kind == 3 and isinstance(inner, dict):
        inner[chance.choice(["", "x", "type", "_id", "query"])] = inner.pop(last)
    else:
        inner[last] = chance.choice(VALUES)
    return result


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A store with one index of three documents."""
    store = Engine(StoreSettings(dir=tmp_path_factory.mktemp("robustness")))
    store.create_index("robust", {}, {"properties": FIELDS})
    for number in range(3):
        reply = dispatch(store, Request("PUT", f"/robust/_doc/{number}", {}, msgspec.json.encode(DOCUMENT)))
        assert reply.status == 201
    store.refresh()
    yield store
    store.stop()


@pytest.mark.parametrize("part", range(4))
def test_no_body_makes_it_fail(engine: Engine, part: int) -> None:
    """Bodies of every route with one or two values changed are answered without a 5xx."""
    chance = random.Random(part)
    for _ in range(rounds(800)):
        method, path, body = chance.choice(BODIES)
        for _ in range(chance.choice([1, 1, 2])):
            body = changed(body, chance)
        request = Request(method, path, {}, msgspec.json.encode(body))
        reply = dispatch(engine, request)
        if path.endswith("/robust") or "robust-new" in path:
            dispatch(engine, Request("DELETE", "/robust-new", {}, b""))
        assert reply.status < 500 or reply.value["error"]["type"] in EXPECTED, (method, path, body, reply.value)


# What Elasticsearch answers with a 500 as well.
EXPECTED = {
    "mapper_exception",
    "repository_exception",
    "repository_verification_exception",
    "snapshot_restore_exception",
}


@pytest.mark.parametrize(("path", "lines"), [("/robust/_bulk", LINES), ("/_bulk", LINES), ("/_msearch", SEARCHES)])
def test_no_line_makes_it_fail(engine: Engine, path: str, lines: list[Any]) -> None:
    """Lines of _bulk and _msearch with a value changed are answered without a 5xx, in the answer and in each item."""
    chance = random.Random(len(path))
    for _ in range(rounds(400)):
        body = [changed(line, chance) if chance.random() < 0.4 else line for line in lines]
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in body)
        reply = dispatch(engine, Request("POST", path, {}, text))
        assert reply.status < 500, (body, reply.value)
        answer = msgspec.json.decode(msgspec.json.encode(reply.value))
        for item in answer.get("items", []) + answer.get("responses", []):
            status = item["status"] if "status" in item else next(iter(item.values()))["status"]
            assert status < 500, (body, item)


@pytest.mark.parametrize("kind", ["avg", "stats", "percentiles", "cardinality", "value_count"])
@pytest.mark.parametrize(("missing", "number"), [("5d", 5.0), (1e300, 1e300), (True, None), ("word", None)])
def test_a_stand_in_for_a_field_that_no_document_has(
    engine: Engine, kind: str, missing: Any, number: float | None
) -> None:
    """What cannot be counted with is refused, and is one value where values are only counted."""
    body = {"size": 0, "aggs": {"a": {kind: {"field": "nowhere", "missing": missing}}}}
    reply = dispatch(engine, Request("POST", "/robust/_search", {}, msgspec.json.encode(body)))
    if kind in ("cardinality", "value_count"):
        total = reply.value["hits"]["total"]["value"]
        assert reply.value["aggregations"]["a"]["value"] == (1 if kind == "cardinality" else total)
    elif number is None:
        assert (reply.status, reply.value["error"]["type"]) == (400, "illegal_argument_exception")
    elif kind == "avg":
        assert reply.value["aggregations"]["a"]["value"] == number
    else:
        assert reply.status == 200


def test_a_location_that_is_no_path_is_refused(engine: Engine) -> None:
    """A NUL in a repository's location is told by its name."""
    body = msgspec.json.encode({"type": "fs", "settings": {"location": "\0"}})
    reply = dispatch(engine, Request("PUT", "/_snapshot/odd", {}, body))
    assert reply.value["error"]["type"] == "repository_exception"
    assert "[odd] location" in reply.value["error"]["reason"]
