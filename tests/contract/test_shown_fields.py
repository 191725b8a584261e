"""What of a document a search shows: parts of the source, values of fields, and where a page goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.comparison import differences
from tests.contract.server import Request, Server

INDEX = "shown-1"
TYPES = {"n": "long", "small": "short", "f": "float", "half": "half_float", "double": "double", "d": "date",
         "b": "boolean"}  # fmt: skip
PROPERTIES: dict[str, Any] = {
    **{name: {"type": kind} for name, kind in TYPES.items()},
    "key": {"type": "keyword", "ignore_above": 5, "null_value": "NIL"},
    "o": {"properties": {"x": {"type": "long"}, "y": {"type": "keyword"}}},
    "text": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
}
DOCUMENTS: list[dict[str, Any]] = [
    {"n": [3, "1", 3, 2.7], "f": [0.1, 0.123456789012, "7.5", 7], "half": 0.1, "double": "1e3", "small": 1,
     "key": ["b", "a", "b", None, "toolongx"], "text": ["a", "b"], "b": [True, "false", ""],
     "d": ["2026-01-02", "2026-01-01T10:00:00.123Z", 1767225600000],
     "o": [{"x": 1, "y": "p"}, {"x": 2}, {"y": "q", "z": [{"w": 1}]}]},
    {"n": "x", "key": 5, "text": 7, "d": "bad", "o": {"x": None, "y": None}, "o.x": 5, "e": [], "e2": {}, "e3": [{}],
     "e4": [[{"a": 1}], [{"b": 2}]]},
    {"key": True, "n": 9, "small": 7, "a": {"b": {"c": 1, "d": 2}, "bx": 3}, "ab": 4, "a.b": {"q": 1},
     "deep": {"s": [[{"x": 1}]], "t": {"u": {"x": 1}}}, "empty": {"e": {}, "f": [], "h": [{}]}},
]  # fmt: skip
SOURCES: list[Any] = [
    True, False, "o.x", "o", "o.*", "*.x", "*", "a.b", "a.*", "a.b.*", "e4.a", "e*", "o.z.w", "*b", "", "?", [], "**.x",
    "deep.*x", ["o.x", "a.b.c"], ["a.b.c", "a.b.q"], "empty.e", "*.h", {}, {"includes": []}, {"include": ["o"]},
    {"includes": "o"}, *({"excludes": [text]} for text in
                         ("o.z.w", "o.*", "a.b", "e4.a", "*.x", "a.b.c", "*x", "empty.*", "*.e", "e2.x", "deep.s.x",
                          "deep.t.u.x", "**.x", "*.*.x", "nothing")),
    {"includes": ["o"], "excludes": ["o.x"]}, {"includes": ["o.x"], "excludes": ["o"]},
    {"includes": ["*.y"], "excludes": ["*.x"]}, {"includes": ["o", "deep.t"], "excludes": ["deep.t.u"]},
]  # fmt: skip
NAMES: list[Any] = [*TYPES, "key", "text.raw", "o.x", "o.*", "?", "o", "nowhere", "n*",
                    {"field": "d", "format": "yyyy"}, {"field": "d", "format": "epoch_millis"}]  # fmt: skip
AFTERS: list[Any] = [0, 1, "1", 1.5, "true", "2026-01-01", "Infinity", "-Infinity", "9223372036854775807",
                     -9223372036854775808, "a", ""]  # fmt: skip


@pytest.fixture(scope="module")
def both(real: Server, embedded: Server) -> Iterator[tuple[Server, Server]]:
    """Both servers with the same documents."""
    body = {"mappings": {"properties": PROPERTIES}, "settings": {"index.mapping.ignore_malformed": True}}
    for server in (real, embedded):
        server.ok("PUT", f"/{INDEX}", body)
        for number, document in enumerate(DOCUMENTS):
            server.ok("PUT", f"/{INDEX}/_doc/{number}", document)
        server.ok("POST", f"/{INDEX}/_refresh")
    yield real, embedded
    for server in (real, embedded):
        server.ok("DELETE", f"/{INDEX}")


def compared(body: dict[str, Any], both: tuple[Server, Server]) -> list[str]:
    """Return the differences between the servers' answers, which must be answers."""
    request = Request("", body, f"/{INDEX}/_search")
    expected, found = (server.send(request) for server in both)
    assert expected.status == 200, expected.body
    return differences(request, expected, found)


@pytest.mark.parametrize("chosen", SOURCES, ids=str)
def test_the_same_part_of_the_source(chosen: Any, both: tuple[Server, Server]) -> None:
    """`_source` takes names, wildcards, inclusions and exclusions, through objects, lists and names with dots."""
    assert not compared({"sort": ["n"], "_source": chosen}, both)


@pytest.mark.parametrize(
    ("option", "name"),
    [*(("fields", name) for name in [*NAMES, "text"]), *(("docvalue_fields", name) for name in NAMES)],
    ids=str,
)
def test_the_same_values(option: str, name: Any, both: tuple[Server, Server]) -> None:
    """A field's values are those that its mapping takes, in the order of the source or of the doc values."""
    assert not compared({"sort": ["n"], "_source": False, option: [name]}, both)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("missing", ["_first", "_last"])
@pytest.mark.parametrize("field", [*TYPES, "key", "text.raw"])
def test_a_page_goes_on_at_the_same_place(field: str, missing: str, order: str, both: tuple[Server, Server]) -> None:
    """What stands for no value is only that where the order puts it; a text that looks like it is a value."""
    key = {field: {"order": order, "missing": missing}}
    for value in AFTERS:
        body = {"sort": [key, {"small": {"missing": "_last"}}], "search_after": [value, 3], "_source": False}
        request = Request("", body, f"/{INDEX}/_search")
        expected, found = (server.send(request) for server in both)
        assert expected.status == found.status, (value, expected.body, found.body)
        if expected.status == 200:
            assert not differences(request, expected, found), value
