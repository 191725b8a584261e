"""What Elasticsearch refuses the embedded store refuses as well: nothing is taken and then silently left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.server import Request, Server

INDEX = "refusals-1"
_NESTED = {"type": "keyword", "fields": {"a": {"type": "keyword", "fields": {"b": {"type": "keyword"}}}}}


def _field(**definition: Any) -> dict[str, Any]:
    return {"mappings": {"properties": {"f": {"type": "keyword"} | definition}}}


def _template(**template: Any) -> dict[str, Any]:
    return {"mappings": {"dynamic_templates": [{"a": template}]}}


def _policy(name: str, **phase: Any) -> dict[str, Any]:
    return {"policy": {"phases": {name: phase}}}


MAPPINGS: dict[str, Any] = {
    "a type that is a list": _field(type=["x"]),
    "ignore_above as a word": _field(ignore_above="x"),
    "ignore_above below zero": _field(ignore_above=-1),
    "ignore_above with a fraction": _field(ignore_above=1.5),
    "index: yes": _field(index="yes"),
    "an object as multi-field": _field(fields={"a": {"type": "object"}}),
    "a multi-field of a multi-field": _field(**_NESTED),
    "meta as a text": _field(meta="x"),
    "an unknown date format": _field(type="date", format="yyyy||nope"),
    "an empty date format": _field(type="date", format=""),
    "null_value of a number": _field(type="long", null_value="x"),
    "null_value of a boolean": _field(type="boolean", null_value="x"),
    "dynamic of an object": _field(type="object", dynamic="foo"),
    "enabled of an object": _field(type="object", enabled="x"),
    "dynamic templates as an object": {"mappings": {"dynamic_templates": {"x": 1}}},
    "a dynamic template as a text": {"mappings": {"dynamic_templates": ["x"]}},
    "a dynamic template without a mapping": _template(match="*"),
    "a dynamic template for an unknown type": _template(match_mapping_type="foo", mapping={}),
    "a dynamic template with a broken pattern": _template(match="(", match_pattern="regex", mapping={}),
    "a dynamic template with a pattern of Python's": _template(match="(?P<n>a)", match_pattern="regex", mapping={}),
    "a dynamic template with a count of Python's": _template(match="x{,3}", match_pattern="regex", mapping={}),
    "a field of no type": {"mappings": {"properties": {"f": {}}}},
    "a dynamic template with an unknown syntax": _template(match="x", match_pattern="foo", mapping={}),
    "a dynamic template with an unknown option": _template(match="x", foo=1, mapping={}),
    "a dynamic template of an unknown type": _template(match="*", mapping={"type": "nope"}),
    "an unknown dynamic date format": {"mappings": {"dynamic_date_formats": ["nope"]}},
    "date_detection: x": {"mappings": {"date_detection": "x"}},
    "_meta as a number": {"mappings": {"_meta": 5}},
}
UPDATES: dict[str, Any] = {
    "no settings": ("_settings", {}),
    "the number of shards": ("_settings", {"index.number_of_shards": 3}),
    "the codec": ("_settings", {"index.codec": "best_compression"}),
    "an origination date as a word": ("_settings", {"index.lifecycle.origination_date": "abc"}),
    "a block that is maybe": ("_settings", {"index.blocks.write": "maybe"}),
    "a refresh interval as a colour": ("_settings", {"index.refresh_interval": "purple"}),
    "an expansion of replicas": ("_settings", {"index.auto_expand_replicas": "zz"}),
    "index of a field": ("_mapping", {"properties": {"n": {"type": "long", "index": False}}}),
    "format of a field": ("_mapping", {"properties": {"day": {"type": "date", "format": "epoch_millis"}}}),
    "null_value of a field": ("_mapping", {"properties": {"n": {"type": "long", "null_value": 5}}}),
}
TEMPLATES: dict[str, Any] = {
    "priority as a word": {"index_patterns": ["refusals-t*"], "priority": "x"},
    "version as a word": {"index_patterns": ["refusals-t*"], "version": "x"},
    "_meta as a word": {"index_patterns": ["refusals-t*"], "_meta": "x"},
    "template as a list": {"index_patterns": ["refusals-t*"], "template": []},
    "a mapping that is none": {"index_patterns": ["refusals-t*"], "template": _field(ignore_above="x")},
}
POLICIES: dict[str, Any] = {
    "a phase without actions": _policy("delete", min_age="1d"),
    "readonly without a rollover": _policy("hot", actions={"readonly": {}}),
    "forcemerge in cold": _policy("cold", actions={"forcemerge": {"max_num_segments": 1}}),
    "readonly in delete": _policy("delete", actions={"readonly": {}}),
    "a flag of delete as a number": _policy("delete", actions={"delete": {"delete_searchable_snapshot": 1}}),
    "a phase as a list": {"policy": {"phases": {"hot": []}}},
    "actions as null": _policy("hot", actions=None),
    "an unknown member": _policy("hot", foo=1),
    "an unknown member beside the policy": {**_policy("hot", actions={}), "foo": 1},
    "delete as a list": _policy("delete", actions={"delete": []}),
    "a priority as a word": _policy("hot", actions={"set_priority": {"priority": "x"}}),
    "forcemerge without segments": _policy("warm", actions={"forcemerge": {}}),
    "delete before warm": {
        "policy": {"phases": {"warm": {"min_age": "10d", "actions": {}},
                              "delete": {"min_age": "1d", "actions": {"delete": {}}}}}
    },
}  # fmt: skip
QUERIES: dict[str, Any] = {
    "a field that is neither indexed nor has doc values": {"term": {"dark": 1}},
    "a number with an underscore": {"term": {"n": "1_0"}},
    "a list for a text": {"match": {"text": {"query": ["a"]}}},
    "ids as a number": {"ids": {"values": 5}},
    "ids of lists": {"ids": {"values": [[1]]}},
    "exists of a list": {"exists": {"field": ["n"]}},
    "fields as a text": {"query_string": {"query": "a", "fields": "n"}},
    "flags of query_string": {"query_string": {"query": "a", "flags": "ALL"}},
    "slop: true": {"match_phrase": {"text": {"query": "a b", "slop": True}}},
    "a boost below zero": {"match_all": {"boost": -1}},
    "case_insensitive: maybe": {"term": {"key": {"value": "x", "case_insensitive": "maybe"}}},
}
SORTS: dict[str, Any] = {
    "a number without doc values": ["bare"],
    "a text": ["text"],
    "a list in the list": [[]],
    "a number in the list": [5],
    "an order as a number": [{"n": {"order": 1}}],
    "no order": [{"n": {"order": None}}],
    "null for the options": [{"n": None}],
    "an unknown option": [{"n": {"foo": 1}}],
    "an unknown mode": [{"n": {"mode": "foo"}}],
    "a mode that adds up texts": [{"key": {"mode": "avg"}}],
    "an option of the score": [{"_score": {"missing": "_first"}}],
    "missing: _foo": [{"n": {"missing": "_foo"}}],
    "a format of a number": [{"n": {"format": "x"}}],
    "unmapped_type: foo": [{"nowhere": {"unmapped_type": "foo"}}],
    "a document's id": ["_id"],
    "its source": ["_source"],
}
AFTERS: dict[str, Any] = {
    "a word for a number": ("n", ["x"]),
    "null for a number": ("n", [None]),
    "true for a number": ("n", [True]),
    "a list": ("n", [[1]]),
    "an object": ("n", [{}]),
    "no list": ("n", 1),
    "too many values": ("n", [1, 2]),
    "a word for a date": ("day", ["x"]),
    "true for a date": ("day", [True]),
    "a word for an arrival": ("_doc", ["x"]),
    "a list for a keyword": ("key", [[]]),
}
BODIES: dict[str, Any] = {
    "doc values of a field without them": {"docvalue_fields": ["bare"]},
    "doc values of a text": {"docvalue_fields": ["text"]},
    "doc values of the id": {"docvalue_fields": ["_id"]},
    "a terms aggregation of a field without doc values": {"aggs": {"a": {"terms": {"field": "bare"}}}},
    "a terms aggregation of the id": {"aggs": {"a": {"terms": {"field": "_id"}}}},
    "the largest index": {"aggs": {"a": {"max": {"field": "_index"}}}},
    "an aggregation without a name": {"aggs": {"": {"max": {"field": "n"}}}},
    "an aggregation's name with a bracket": {"aggs": {"a[0]": {"max": {"field": "n"}}}},
    "aggregations as a list": {"aggs": [{"a": {"max": {"field": "n"}}}]},
    "no filters": {"aggs": {"a": {"filters": {"filters": {}}}}},
    "no ranges": {"aggs": {"a": {"range": {"field": "n"}}}},
    "a broken expression of terms": {"aggs": {"a": {"terms": {"field": "key", "include": "("}}}},
    "a missing number as a word": {"aggs": {"a": {"avg": {"field": "n", "missing": "x"}}}},
    "version: x": {"version": "x"},
    "a total as a word": {"track_total_hits": "x"},
    "a format of a number": {"fields": [{"field": "n", "format": "000"}]},
    "an unknown key of _source": {"_source": {"foo": 1}},
}
# A parameter that another route takes, or a value that it cannot have.
PARAMETERS: dict[str, Any] = {
    **{f"{path}?routing=a": ("GET", f"/{path}?routing=a", None)
       for path in ("refusals-1", "refusals-1/_mapping", "_cat/indices", "_cluster/health", "_index_template")},
    "a read that waits for copies": ("GET", "/refusals-1/_doc/1?wait_for_active_shards=1", None),
    "a search that does": ("GET", "/refusals-1/_search?wait_for_active_shards=1", None),
    "a write of any index": ("PUT", "/refusals-1/_doc/1?ignore_unavailable=true", {"n": 1}),
    "a write with a preference": ("PUT", "/refusals-1/_doc/1?preference=x", {"n": 1}),
    "copies that are no number": ("PUT", "/refusals-1/_doc/1?wait_for_active_shards=foo", {"n": 1}),
    "fewer copies than none": ("POST", "/refusals-1/_bulk?wait_for_active_shards=-1", [{"index": {}}, {"n": 1}]),
    "a time without a unit": ("PUT", "/refusals-1/_doc/1?timeout=5", {"n": 1}),
    "an empty time": ("DELETE", "/refusals-1/_doc/none?timeout=", None),
    "refresh=1": ("PUT", "/refusals-1/_doc/1?refresh=1", {"n": 1}),
    "a read with refresh=wait_for": ("GET", "/refusals-1/_doc/1?refresh=wait_for", None),
    "pretty=foo": ("GET", "/refusals-1/_search?pretty=foo", None),
    "a template that fits no wildcard": ("GET", "/_index_template/refusals-no*", None),
    "a component that fits none": ("GET", "/_component_template/refusals-no*", None),
    "two templates": ("GET", "/_index_template/a,b", None),
}  # fmt: skip
CALLS: dict[str, Any] = {
    "a health that is none": ("GET", "/_cluster/health?wait_for_status=purple", None),
    "more nodes than there are": ("GET", "/_cluster/health?wait_for_nodes=%3E%3D3&timeout=1ms", None),
    "an unknown level": ("GET", "/_cluster/health?level=foo", None),
    "an unknown sort key": ("GET", "/_cat/indices?s=nope", None),
    "a parameter of the root": ("GET", "/?foo=1", None),
    "a wildcard of settings that fits nothing": ("PUT", "/refusals-no*/_settings", {"index.priority": 1}),
    "expand_wildcards=foo": ("GET", "/refusals-*/_search?expand_wildcards=foo", None),
    "expand_wildcards=none": ("GET", "/refusals-*/_search?expand_wildcards=none", None),
    "search_type=foo": ("GET", "/refusals-*/_search?search_type=foo", None),
    "a scroll with from": ("POST", "/refusals-1/_search?scroll=1m&from=3", {}),
    "a scroll of nothing": ("POST", "/refusals-1/_search?scroll=1m&size=0", {}),
    "a scroll without a total": ("POST", "/refusals-1/_search?scroll=1m&track_total_hits=false", {}),
    "a scroll for no time": ("POST", "/refusals-1/_search?scroll=xx", {}),
    "a scroll for a month": ("POST", "/refusals-1/_search?scroll=30d", {}),
    "false to count": ("POST", "/refusals-1/_count", {"query": False}),
    "an empty query to count": ("POST", "/refusals-1/_count", {"query": {}}),
    "no fields": ("GET", "/refusals-1/_field_caps", None),
    "an unknown member of _field_caps": ("POST", "/refusals-1/_field_caps", {"fields": ["n"], "foo": 1}),
    "an unknown operation": ("PUT", "/refusals-1/_doc/1?op_type=foo", {"n": 1}),
    "a number without its term": ("PUT", "/refusals-1/_doc/1?if_seq_no=3", {"n": 1}),
    "no source of _source": ("GET", "/refusals-1/_source/1?_source=false", None),
    "_mget without an id": ("POST", "/refusals-1/_mget", {"docs": [{"_source": True}]}),
    "_mget of a text": ("POST", "/refusals-1/_mget", {"docs": ["1"]}),
    "_mget without an index": ("POST", "/_mget", {"ids": ["1"]}),
    "_mget with an unknown member": ("POST", "/refusals-1/_mget", {"docs": [{"_id": "1", "foo": 1}]}),
    "_mget of null": ("POST", "/refusals-1/_mget", {"ids": [None]}),
    "_msearch with an unknown option": ("POST", "/_msearch", [{"index": INDEX, "foo": 1}, {}]),
    "_msearch with a broken header": ("POST", "/_msearch", ["{bad\n", {}]),
    "_msearch with a broken body": ("POST", "/_msearch", [{"index": INDEX}, "{bad\n"]),
    "a template that must be new": ("PUT", "/_component_template/refusals?create=true", {"template": {}}),
    "a simulation of nothing": ("POST", "/_index_template/_simulate", None),
    "a template to delete that is not there": ("DELETE", "/_index_template/refusals-no*", None),
    "a policy to delete that is not there": ("DELETE", "/_ilm/policy/refusals-no*", None),
}


@pytest.fixture(scope="module")
def both(real: Server, embedded: Server) -> Iterator[tuple[Server, Server]]:
    """Both servers with one index and one component template."""
    fields = {
        "n": {"type": "long"}, "bare": {"type": "long", "doc_values": False},
        "dark": {"type": "long", "index": False, "doc_values": False},
        "key": {"type": "keyword"}, "text": {"type": "text"}, "day": {"type": "date"},
    }  # fmt: skip
    for server in (real, embedded):
        server.ok("PUT", f"/{INDEX}", {"mappings": {"properties": fields}})
        server.ok("PUT", f"/{INDEX}/_doc/1?refresh=true", {"n": 1, "bare": 1, "dark": 1, "key": "x", "text": "a b"})
        server.ok("PUT", "/_component_template/refusals", {"template": {}})
    yield real, embedded
    for server in (real, embedded):
        server.ok("DELETE", f"/{INDEX}")
        server.ok("DELETE", "/_component_template/refusals")


REQUESTS = [
    *(Request(name, body, "/refusals-2", "PUT") for name, body in MAPPINGS.items()),
    *(Request(name, body, f"/{INDEX}/{path}", "PUT") for name, (path, body) in UPDATES.items()),
    *(Request(name, body, "/_index_template/refusals", "PUT") for name, body in TEMPLATES.items()),
    *(Request(name, body, "/_ilm/policy/refusals", "PUT") for name, body in POLICIES.items()),
    *(Request(name, {"query": body}, f"/{INDEX}/_search") for name, body in QUERIES.items()),
    *(Request(name, {"sort": body}, f"/{INDEX}/_search") for name, body in SORTS.items()),
    *(
        Request(f"after: {name}", {"sort": [key], "search_after": body}, f"/{INDEX}/_search")
        for name, (key, body) in AFTERS.items()
    ),
    *(Request(name, body, f"/{INDEX}/_search") for name, body in BODIES.items()),
    *(Request(name, body, path, method) for name, (method, path, body) in (CALLS | PARAMETERS).items()),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.name)
def test_both_refuse(request_: Request, both: tuple[Server, Server]) -> None:
    """A request that Elasticsearch refuses has the same status here."""
    expected, found = (server.send(request_) for server in both)
    assert expected.status >= 400, f"Elasticsearch takes it: {expected.body}"
    assert found.status == expected.status, found.body


OF_MANY_TYPES: list[dict[str, Any]] = [
    {"x": [1, 1.5]}, {"x": ["a", "2026-11-24"]}, {"x": ["2026-11-24", 5]}, {"x": [True, 1]}, {"x": ["5", 1]},
    {"x": [None, 1, "a"]}, {"x": [[1], ["a"]]}, {"x": [1, {"k": 1}]}, {"x": [{"k": 1}, 1]},
    {"x": [{"k": 1}, {"k": "a"}]}, {"o": [None]}, {"o": [1]}, {"o": [{"k": 1}, 2]}, {"n.x": 1},
    {"n.x": None}, {"n": {"x": 1}},
    {"x": ["a", "b"]}, {"x": [None]}, {"x": []}, {"x": None}, {" ": 1}, {"": 1}, {".x": 1}, {"x..y": 1},
]  # fmt: skip


@pytest.mark.parametrize("dynamic", ["true", "false", "strict"])
def test_values_of_many_types_are_taken_alike(dynamic: str, both: tuple[Server, Server]) -> None:
    """Values of one document that do not agree about a new field are refused for the same reason."""
    properties = {"n": {"type": "long"}, "o": {"properties": {"k": {"type": "long"}}}}
    for document in OF_MANY_TYPES:
        answers = []
        for server in both:
            server.ok("PUT", "/refusals-5", {"mappings": {"dynamic": dynamic, "properties": properties}})
            answer = server.call("PUT", "/refusals-5/_doc/1", document)
            server.ok("DELETE", "/refusals-5")
            answers.append((answer.status, answer.body["error"]["type"] if answer.status >= 400 else ""))
        assert answers[1] == answers[0], document


def _number(text: str) -> Request:
    return Request(text, f'{{"n": {text}}}', f"/{INDEX}/_doc/number", "PUT")


NUMBERS = ['"1_000"', '" 12 "', '"1e3"', '"1.9"', '"12L"', '"1d"', '"0x1F"', '"NaN"', "1e30", "true", '""']


@pytest.mark.parametrize("text", NUMBERS)
def test_the_same_texts_are_numbers(text: str, both: tuple[Server, Server]) -> None:
    """What a field of numbers takes and refuses is the same."""
    expected, found = (server.send(_number(text)) for server in both)
    assert (expected.status < 300) == (found.status < 300), (expected.body, found.body)


@pytest.mark.parametrize("text", ['"2026"', '"2026/11/24"', '"2026-11-24"', '"20261124"', '"12.5"', '"2026/11"', '"x"'])
@pytest.mark.parametrize("formats", [None, ["yyyy/MM"]])
def test_the_same_texts_are_dates(text: str, formats: list[str] | None, both: tuple[Server, Server]) -> None:
    """A new field gets the same mapping, also with `dynamic_date_formats`."""
    mappings = []
    for server in both:
        server.ok("PUT", "/refusals-3", {"mappings": {"dynamic_date_formats": formats} if formats else {}})
        server.ok("PUT", "/refusals-3/_doc/1", f'{{"new": {text}}}')
        fields = server.ok("GET", "/refusals-3/_mapping")["refusals-3"]["mappings"]["properties"]
        fields["new"].pop("locale", None)  # Elasticsearch shows it for a date with an own format, and it is empty
        mappings.append(fields)
        server.ok("DELETE", "/refusals-3")
    assert mappings[1] == mappings[0]


FIELDS = [
    ({"type": "keyword"}, {"type": "long"}),
    ({"type": "keyword", "ignore_above": 5}, {"type": "keyword"}),
    ({"type": "text", "fields": {"k": {"type": "keyword"}}}, {"type": "text"}),
    ({"properties": {"x": {"type": "keyword"}}}, {"properties": {"y": {"type": "long"}}}),
    ({"properties": {"x": {"type": "keyword"}}}, {"type": "keyword"}),
]


@pytest.mark.parametrize(("first", "then"), FIELDS)
def test_templates_are_composed_alike(first: dict[str, Any], then: dict[str, Any], both: tuple[Server, Server]) -> None:
    """A field of a later part of a template stands for an earlier one's, whole."""
    simulated = []
    for server in both:
        server.ok("PUT", "/_component_template/refusals", {"template": {"mappings": {"properties": {"f": first}}}})
        body = {"index_patterns": ["refusals-s*"], "composed_of": ["refusals"], "priority": 4711,
                "template": {"mappings": {"properties": {"f": then}}}}  # fmt: skip
        simulated.append(server.ok("POST", "/_index_template/_simulate", body)["template"]["mappings"])
    assert simulated[1] == simulated[0]


@pytest.mark.parametrize("then", [{"type": "keyword"}, {"type": "keyword", "ignore_above": 7}])
def test_a_field_is_put_alike(then: dict[str, Any], both: tuple[Server, Server]) -> None:
    """What a new definition of a field leaves out is the default again."""
    mappings = []
    for server in both:
        server.ok("PUT", "/refusals-4", {"mappings": {"properties": {"f": {"type": "keyword", "ignore_above": 5}}}})
        server.ok("PUT", "/refusals-4/_mapping", {"properties": {"f": then}})
        mappings.append(server.ok("GET", "/refusals-4/_mapping"))
        server.ok("DELETE", "/refusals-4")
    assert mappings[1] == mappings[0]


LISTS = ["v&s=docs.count:desc&h=index,docs.count", "s=rep,docs.count:desc&h=i,dc", "h=docs*,index", "v&h=rep,i",
         "health=green&h=index", "h=index,rep&format=json", "h=index&expand_wildcards=open",
         "h=index&expand_wildcards=all", "h=index"]  # fmt: skip


def test_lists_are_the_same(both: tuple[Server, Server]) -> None:
    """Columns by their short names and wildcards, order by several numbers, filters and hidden indices."""
    for server in both:
        for name, replicas, hidden, documents in (("a", 0, False, 2), ("b", 1, False, 12), ("c", 1, True, 3)):
            settings = {"number_of_replicas": replicas, "hidden": hidden}
            server.ok("PUT", f"/refusals-list-{name}", {"settings": settings})
            for number in range(documents):
                server.ok("PUT", f"/refusals-list-{name}/_doc/{number}", {"n": number})
        server.ok("POST", "/refusals-list-*/_refresh?expand_wildcards=all")
    for options in LISTS:
        expected, found = (server.ok("GET", f"/_cat/indices/refusals-list-*?{options}") for server in both)
        if ":desc" not in options and isinstance(found, str):  # without it the order is nobody's promise
            expected, found = sorted(expected.split("\n")), sorted(found.split("\n"))
        elif isinstance(found, list):
            expected.sort(key=lambda row: row["index"])
        assert found == expected, options
    for server in both:
        counts = server.ok("POST", "/refusals-list-*/_count")["count"]
        assert counts == 14, server.kind
        for name in "abc":
            server.ok("DELETE", f"/refusals-list-{name}")


def test_an_empty_header_is_one(both: tuple[Server, Server]) -> None:
    """In _msearch an empty line is a header without options, not nothing."""
    lines: list[Any] = ["\n", {"size": 0, "query": {"ids": {"values": ["no"]}}}, {"index": INDEX}, {"size": 1}]
    for server in both:
        answers = server.ok("POST", "/_msearch?rest_total_hits_as_int=true", lines)["responses"]
        assert answers[0]["hits"]["total"] == 0, server.kind
        assert len(answers[1]["hits"]["hits"]) == 1, server.kind
