"""Strategies for hypothesis: queries and aggregations over the fixed data set, of every kind that the store knows."""

# ruff: noqa: E501 - lists of samples read best unbroken

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

KEYWORDS = {
    "level": ["INFO", "WARNING", "ERROR", "info", "NONE"],
    "host": ["node-0", "node-1", "node-2", "Node-0", "node 0", ""],
    "model_version": ["2026.11.1", "2026.11.2", "x"],
    "tags": ["blue", "green", "red"],
    "labels.team": ["a", "b", "A"],
    "endpoint": ["/predict", "/"],
}
NUMBERS: dict[str, list[float]] = {
    "status": [-1, 0, 200, 400, 413, 422, 499.5, 500, 32767],
    "prediction": [0, 1, 2, 0.5],
    "confidence": [0, 0.1, 0.5, 0.75, 0.9, 1],
    "duration": [0, 0.005, 0.01, 0.02, 5],
    "instance": [-1, 0, 7, 25, 2147483647],
    "big": [-5, 0, 9007199254740992, 9007199254740993],
    "ratio": [-1.5, 0, 0.25, 0.3],
}
WORDS = [
    "quick",
    "FOX",
    "dog",
    "errno",
    "prediction",
    "служба",
    "слово",
    "a.b.c",
    "don't",
    "foo_bar",
    "3.14",
    "nothing",
]
DATES = [
    "2026-11-18T22:30:00Z", "2026-11-19", "2026-11-19T06:00:00.5Z", "2026-11-20T03:00:00+02:00", "2026-11-21",
    "2026-11-19||/d", "2026-11-19T11:11:11Z||+7h/h", "2026-11-20||-36h", "2026-11-20||/w", "now", "now-1y/M", 1795100000000,
]  # fmt: skip
ZONES = ["+02:00", "-05:30", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]
FIELDS = [*KEYWORDS, *NUMBERS, "@timestamp", "message", "error", "flag", "nowhere"]

Query = dict[str, Any]


def _of(table: dict[str, list[Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.sampled_from([(field, value) for field, values in table.items() for value in values])


@st.composite
def _ranges(draw: st.DrawFn) -> Query:
    field = draw(st.sampled_from(["@timestamp", *NUMBERS, "host"]))
    # Elasticsearch reads both bounds as epoch_millis where one is a number: no request has both kinds.
    kind = draw(st.sampled_from([str, int]))
    dates = [value for value in DATES if isinstance(value, kind)]
    values = dates if field == "@timestamp" else [*NUMBERS.get(field, []), *KEYWORDS.get(field, [])]
    bounds: dict[str, Any] = {
        bound: draw(st.sampled_from(values))
        for bound in draw(
            st.sampled_from([["gte"], ["lt"], ["gt", "lte"], ["gte", "lt"], ["gt", "lt"], ["gte", "lte"]])
        )
    }
    if field == "@timestamp" and draw(st.booleans()):
        bounds["time_zone"] = draw(st.sampled_from(ZONES))
    return {"range": {field: bounds}}


@st.composite
def _texts(draw: st.DrawFn) -> Query:
    field = draw(st.sampled_from(["message", "error.text"]))
    words = " ".join(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)))
    kind = draw(st.sampled_from(["match", "and", "match_phrase", "multi_match"]))
    if kind == "match_phrase":
        return {"match_phrase": {field: {"query": words, "slop": draw(st.integers(0, 2))}}}
    if kind == "multi_match":
        return {"multi_match": {"query": words, "fields": ["message", "error.text"]}}
    return {"match": {field: {"query": words, "operator": "and" if kind == "and" else "or"}}}


@st.composite
def _strings(draw: st.DrawFn) -> Query:
    """query_string: clauses joined by operators, within brackets or not."""
    clauses = st.sampled_from([
        "level:ERROR", "level:(INFO OR WARNING)", "host:node-?", "NOT error:*", "_exists_:prediction", "status:[400 TO 422]",
        "confidence:>0.8", "message:quick", 'message:"quick brown"', "duration:{0 TO 0.01]", "prediction:1", "-level:INFO",
        "+status:200", "@timestamp:[2026-11-19 TO 2026-11-20}", "nowhere:x", "message:err*", "tags:green",
    ])  # fmt: skip
    parts = draw(st.lists(clauses, min_size=1, max_size=4))
    text = parts[0]
    for part in parts[1:]:
        text += draw(st.sampled_from([" ", " AND ", " OR "])) + part
    options = {"default_operator": draw(st.sampled_from(["AND", "OR"]))}
    return {"query_string": {"query": f"({text})" if draw(st.booleans()) else text, **options}}


def _leaves() -> st.SearchStrategy[Query]:
    patterns = st.sampled_from(["n*", "node-?", "*0", "N*", "*", "ERR*", "?"])
    return st.one_of(
        st.just({"match_all": {}}),
        _of({**KEYWORDS, **NUMBERS}).map(lambda pair: {"term": {pair[0]: pair[1]}}),
        _of({**KEYWORDS, **NUMBERS}).map(lambda pair: {"match": {pair[0]: pair[1]}}),
        st.sampled_from(list(KEYWORDS)).flatmap(
            lambda field: st.lists(st.sampled_from(KEYWORDS[field])).map(lambda values: {"terms": {field: values}})
        ),
        _ranges(),
        st.sampled_from(FIELDS).map(lambda field: {"exists": {"field": field}}),
        st.tuples(st.sampled_from(["host", "level", "tags"]), st.sampled_from(["n", "no", "N", "INF", "b"])).map(
            lambda pair: {"prefix": {pair[0]: pair[1]}}
        ),
        st.tuples(st.sampled_from(["host", "level"]), patterns, st.booleans()).map(
            lambda triple: {"wildcard": {triple[0]: {"value": triple[1], "case_insensitive": triple[2]}}}
        ),
        _texts(),
        _strings(),
        st.lists(st.integers(0, 320), max_size=5).map(lambda n: {"ids": {"values": [f"doc-{each:04}" for each in n]}}),
    )


@st.composite
def _bools(draw: st.DrawFn, inner: st.SearchStrategy[Query]) -> Query:
    clauses: dict[str, Any] = {}
    for kind in draw(st.lists(st.sampled_from(["must", "filter", "should", "must_not"]), min_size=1, unique=True)):
        clauses[kind] = draw(st.lists(inner, min_size=1, max_size=3))
    if "should" in clauses and draw(st.booleans()):
        clauses["minimum_should_match"] = draw(st.integers(0, 3))
    return {"bool": clauses}


def queries() -> st.SearchStrategy[Query]:
    """Any query: one of the leaves, or bools of them in each other."""
    return st.recursive(_leaves(), _bools, max_leaves=6)


def sorts() -> st.SearchStrategy[list[Any]]:
    """A sort that leaves no ties: request_id is unique."""
    fields = st.sampled_from(["@timestamp", "status", "confidence", "level", "host", "prediction", "duration"])
    key = st.tuples(fields, st.sampled_from(["asc", "desc"]), st.sampled_from(["_first", "_last"])).map(
        lambda triple: {triple[0]: {"order": triple[1], "missing": triple[2]}}
    )
    return st.lists(key, max_size=2).map(lambda keys: [*keys, "request_id"])


def _metrics() -> st.SearchStrategy[Query]:
    numbers = st.sampled_from(["confidence", "duration", "status", "prediction", "instance", "nowhere"])
    kinds = st.sampled_from(["avg", "min", "max", "sum", "stats", "value_count", "cardinality"])
    return st.tuples(kinds, numbers).map(lambda pair: {pair[0]: {"field": pair[1]}})


@st.composite
def _buckets(draw: st.DrawFn) -> Query:
    kind = draw(st.sampled_from(["terms", "date_histogram", "histogram", "range", "filter", "missing"]))
    if kind == "terms":
        field = draw(st.sampled_from(["level", "status", "host", "tags", "prediction", "flag", "labels.team"]))
        order = draw(st.sampled_from([{"_count": "desc"}, {"_key": "asc"}, {"_key": "desc"}]))
        # One order by key for equal counts is the rule; cutting is left to the catalogue.
        return {"terms": {"field": field, "size": 50, "order": order}}
    if kind == "date_histogram":
        step = draw(st.sampled_from([{"fixed_interval": "3h"}, {"fixed_interval": "36h"}, {"calendar_interval": "day"},
                                     {"calendar_interval": "month"}, {"calendar_interval": "hour"}]))  # fmt: skip
        zone = draw(st.sampled_from([{}, *({"time_zone": zone} for zone in ZONES)]))
        return {"date_histogram": {"field": "@timestamp", **step, **zone, "min_doc_count": draw(st.integers(0, 2))}}
    if kind == "histogram":
        field, interval = draw(
            st.sampled_from([("status", 50), ("confidence", 0.1), ("prediction", 1), ("duration", 0.005)])
        )
        return {"histogram": {"field": field, "interval": interval, "min_doc_count": 1}}
    if kind == "range":
        return {"range": {"field": "confidence", "ranges": [{"to": 0.5}, {"from": 0.5, "to": 0.8}, {"from": 0.7}]}}
    if kind == "filter":
        return {"filter": draw(_leaves())}
    return {"missing": {"field": draw(st.sampled_from(FIELDS[:-4]))}}


@st.composite
def _nested(draw: st.DrawFn, inner: st.SearchStrategy[Query]) -> Query:
    return {**draw(_buckets()), "aggs": {f"a{n}": each for n, each in enumerate(draw(st.lists(inner, max_size=2)))}}


def aggregations() -> st.SearchStrategy[Query]:
    """Any aggregation: a metric, or buckets with aggregations in them."""
    return st.recursive(st.one_of(_metrics(), _buckets()), _nested, max_leaves=3)
