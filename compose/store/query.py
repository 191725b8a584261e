"""Queries as a tree of our own: read from the body of a search, every key that is not known refused by its name.

Elasticsearch's names and meanings: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/query-dsl.html.
Scores are not computed, so `boost` is taken and has no effect.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from compose.store.errors import StoreError, UnsupportedError, illegal_argument, parsing
from compose.store.tree import (
    All,
    AnyField,
    Bool,
    Exists,
    Ids,
    Match,
    Node,
    Nothing,
    Pattern,
    Phrase,
    QueryString,
    Range,
    Term,
    Terms,
)

_COMMON = {"boost", "_name"}


def parse(body: Any) -> Node:
    """Read a query.

    Raises:
        StoreError: it is no query, or one that is not supported.
    """
    if not isinstance(body, dict):
        raise parsing(
            "Unknown key for a START_ARRAY in [query]."
            if isinstance(body, list)
            else "[_na] query malformed, must start with start_object",
            line=1,
            col=1,
        )
    if not body:
        raise illegal_argument("query malformed, empty clause found")
    if len(body) > 1:
        raise parsing(
            f"[{next(iter(body))}] malformed query, expected [END_OBJECT] but found [FIELD_NAME]", line=1, col=1
        )
    name, content = next(iter(body.items()))
    reader = _READERS.get(name)
    if reader is None:
        if name in _ELASTIC:
            raise UnsupportedError(f"the query [{name}]")
        raise parsing(
            f"unknown query [{name}]",
            line=1,
            col=1,
        )
    if not isinstance(content, dict):
        raise parsing(f"[{name}] query malformed, no start_object after query name", line=1, col=1)
    if "_name" in content:
        raise UnsupportedError("[_name] of a query")
    node: Node = reader(content)
    return node


_ELASTIC = {
    "boosting", "dis_max", "function_score", "fuzzy", "regexp", "nested", "has_child", "has_parent", "parent_id",
    "geo_bounding_box", "geo_distance", "geo_shape", "geo_polygon", "more_like_this", "percolate", "knn",
    "rank_feature", "script",
    "script_score", "wrapper", "pinned", "distance_feature", "terms_set", "intervals", "span_term",
    "span_near", "span_or",
    "combined_fields", "match_bool_prefix", "common", "rule", "semantic", "sparse_vector", "text_expansion",
    "weighted_tokens", "shape",
}  # fmt: skip


def _check(
    name: str, content: dict[str, Any], allowed: AbstractSet[str], unsupported: AbstractSet[str] = frozenset()
) -> None:
    for key in content:
        if key in unsupported:
            raise UnsupportedError(f"[{key}] of the query [{name}]")
        if key not in allowed and key not in _COMMON and name == "bool":
            raise StoreError(400, "x_content_parse_exception", f"[1:1] [bool] unknown field [{key}]")
        if key not in allowed and key not in _COMMON:
            raise parsing(f"[{name}] query does not support [{key}]", line=1, col=1)


def _one_field(name: str, content: dict[str, Any], short: str) -> tuple[str, dict[str, Any]]:
    """Return the field and its parameters; a plain value stands for `{short: value}`."""
    fields = [key for key in content if key not in _COMMON]
    if len(fields) != 1:
        if not fields:
            raise illegal_argument(f"field name is null or empty in [{name}]")
        raise parsing(
            f"[{name}] query doesn't support multiple fields, found [{fields[0]}] and [{fields[1]}]", line=1, col=1
        )
    value = content[fields[0]]
    if isinstance(value, dict):
        return fields[0], value
    if isinstance(value, list):
        raise parsing(f"[{name}] query does not support array of values", line=1, col=1)
    return fields[0], {short: value}


def _all(content: dict[str, Any]) -> Node:
    _check("match_all", content, set())
    return All()


def _none(content: dict[str, Any]) -> Node:
    _check("match_none", content, set())
    return Nothing()


def _term(content: dict[str, Any]) -> Node:
    field, options = _one_field("term", content, "value")
    _check("term", options, {"value", "case_insensitive"})
    if options.get("value") is None:
        raise illegal_argument("value cannot be null")
    return Term(field, options["value"], bool(options.get("case_insensitive")))


def _terms(content: dict[str, Any]) -> Node:
    fields = [key for key in content if key not in _COMMON]
    if len(fields) != 1:
        raise parsing("[terms] query requires exactly one field" if not fields else
                      "[terms] query does not support multiple fields", line=1, col=1)  # fmt: skip
    values = content[fields[0]]
    if isinstance(values, dict):
        raise UnsupportedError("terms lookup")
    if not isinstance(values, list):
        raise parsing(f"[terms] query does not support [{fields[0]}]", line=1, col=1)
    if any(value is None for value in values):
        raise illegal_argument("No value specified for terms query")
    if len(values) > 65_536:
        raise illegal_argument(
            f"The number of terms [{len(values)}] used in the Terms Query request has exceeded the allowed maximum of "
            "[65536]. This maximum can be set by changing the [index.max_terms_count] index level setting."
        )
    return Terms(fields[0], tuple(values))


def _operator(options: dict[str, Any], name: str = "operator") -> bool:
    value = str(options.get(name, "or")).lower()
    if value not in ("or", "and"):
        raise illegal_argument(f"operator needs to be either AND or OR, but not [{options[name]}]")
    return value == "and"


_TEXT_UNSUPPORTED = {"fuzziness", "analyzer", "max_expansions", "fuzzy_rewrite", "cutoff_frequency",
                     "auto_generate_synonyms_phrase_query", "tie_breaker"}  # fmt: skip


def _unsupported_unless_default(options: dict[str, Any]) -> set[str]:
    harmless = {"fuzzy_transpositions", "prefix_length"}
    return _TEXT_UNSUPPORTED - {key for key in options if key == "analyzer" and options[key] == "standard"} - harmless


def _match(content: dict[str, Any]) -> Node:
    field, options = _one_field("match", content, "query")
    _check(
        "match",
        options,
        {
            "query",
            "operator",
            "minimum_should_match",
            "lenient",
            "zero_terms_query",
            "analyzer",
            "prefix_length",
            "fuzzy_transpositions",
        },
        _unsupported_unless_default(options),
    )
    if options.get("query") is None:
        raise illegal_argument(
            "No text specified for text query" if "query" not in options else "[match] requires query value"
        )
    return Match(
        field, options["query"], _operator(options), options.get("minimum_should_match"), bool(options.get("lenient")),
        _wordless(options),
    )  # fmt: skip


def _wordless(options: dict[str, Any]) -> bool:
    """Return whether a text without words finds everything, by `zero_terms_query`."""
    value = str(options.get("zero_terms_query", "none")).lower()
    if value not in ("none", "all"):
        raise illegal_argument(f"Unsupported zero_terms_query value [{value}]")
    return value == "all"


def _phrase(name: str, *, prefix: bool) -> Any:
    def read(content: dict[str, Any]) -> Node:
        field, options = _one_field(name, content, "query")
        slop = options.get("slop", 0)
        if not isinstance(slop, int) or slop < 0:
            raise illegal_argument("No negative slop allowed.")
        if slop and prefix:
            raise UnsupportedError(f"[slop] of the query [{name}]")
        _check(name, options, {"query", "slop", "analyzer", "zero_terms_query", "max_expansions"}, {"analyzer"})
        if options.get("query") is None:
            raise illegal_argument(f"[{name}] requires query value")
        return Phrase(field, options["query"], prefix, slop=slop, wordless=_wordless(options))

    return read


def _multi_match(content: dict[str, Any]) -> Node:
    _check(
        "multi_match",
        content,
        {"query", "fields", "type", "operator", "minimum_should_match", "lenient", "tie_breaker", "prefix_length"},
        _unsupported_unless_default(content) - {"tie_breaker"},
    )
    kind = content.get("type", "best_fields")
    if kind not in ("best_fields", "most_fields", "phrase", "phrase_prefix"):
        raise UnsupportedError(f"multi_match of type [{kind}]")
    if content.get("query") is None:
        raise parsing("No text specified for multi_match query")
    fields = content.get("fields", [])
    names = tuple(field.partition("^")[0] for field in ([fields] if isinstance(fields, str) else fields))
    return AnyField(
        names, content["query"], kind, _operator(content), content.get("minimum_should_match"),
        bool(content.get("lenient", not names)),
    )  # fmt: skip


def _range(content: dict[str, Any]) -> Node:
    field, options = _one_field("range", content, "")
    _check(
        "range",
        options,
        {"gte", "gt", "lte", "lt", "from", "to", "include_lower", "include_upper", "format", "time_zone", "relation"},
    )
    bounds = {key: options.get(key) for key in ("gte", "gt", "lte", "lt")}
    if "from" in options:
        bounds["gte" if options.get("include_lower", True) else "gt"] = options["from"]
    if "to" in options:
        bounds["lte" if options.get("include_upper", True) else "lt"] = options["to"]
    return Range(
        field,
        bounds["gte"],
        bounds["gt"],
        bounds["lte"],
        bounds["lt"],
        format=options.get("format"),
        zone=options.get("time_zone"),
    )


def _exists(content: dict[str, Any]) -> Node:
    _check("exists", content, {"field"})
    if not content.get("field"):
        raise parsing("[exists] must be provided with a [field]", line=1, col=1)
    return Exists(content["field"])


def _ids(content: dict[str, Any]) -> Node:
    _check("ids", content, {"values"})
    values = content.get("values", [])
    return Ids(tuple(str(value) for value in (values if isinstance(values, list) else [values])))


def _pattern(name: str, *, prefix: bool) -> Any:
    def read(content: dict[str, Any]) -> Node:
        field, options = _one_field(name, content, "value")
        _check(name, options, {"value", "wildcard", "case_insensitive", "rewrite"})
        value = options.get("value", options.get("wildcard"))
        if value is None:
            raise illegal_argument("value cannot be null")
        return Pattern(field, str(value), prefix, bool(options.get("case_insensitive")))

    return read


def _bool(content: dict[str, Any]) -> Node:
    _check("bool", content, {"must", "filter", "should", "must_not", "minimum_should_match", "adjust_pure_negative"})

    def clauses(name: str) -> tuple[Node, ...]:
        given = content.get(name, [])
        return tuple(parse(clause) for clause in (given if isinstance(given, list) else [given]))

    must = clauses("must") + clauses("filter")
    return Bool(must, clauses("should"), clauses("must_not"), content.get("minimum_should_match"))


def _constant_score(content: dict[str, Any]) -> Node:
    _check("constant_score", content, {"filter"})
    if "filter" not in content:
        raise parsing("[constant_score] requires a 'filter' element", line=1, col=1)
    return parse(content["filter"])


def _query_string(name: str) -> Any:
    def read(content: dict[str, Any]) -> Node:
        harmless = {"allow_leading_wildcard", "analyze_wildcard", "lenient", "time_zone", "escape",
                    "auto_generate_synonyms_phrase_query", "enable_position_increments", "flags"}  # fmt: skip
        _check(
            name,
            content,
            {"query", "default_field", "fields", "default_operator", *harmless},
            {"analyzer", "fuzziness", "minimum_should_match", "phrase_slop", "quote_analyzer", "quote_field_suffix",
             "fuzzy_max_expansions", "fuzzy_prefix_length", "rewrite", "type", "tie_breaker", "fuzzy_transpositions"},
        )  # fmt: skip
        if content.get("query") is None:
            raise parsing(f"[{name}] must be provided with a [query]", line=1, col=1)
        if content.get("flags", "ALL") != "ALL":
            raise UnsupportedError("[flags] of the query [simple_query_string]")
        fields = content.get("fields") or ([content["default_field"]] if content.get("default_field") else [])
        return QueryString(
            str(content["query"]),
            tuple(field.partition("^")[0] for field in fields),
            _operator(content, "default_operator"),
            name == "simple_query_string",
            content.get("lenient"),
            content.get("time_zone"),
        )

    return read


_READERS: dict[str, Any] = {
    "match_all": _all, "match_none": _none, "term": _term, "terms": _terms, "match": _match,
    "match_phrase": _phrase("match_phrase", prefix=False),
    "match_phrase_prefix": _phrase("match_phrase_prefix", prefix=True), "multi_match": _multi_match, "range": _range,
    "exists": _exists, "ids": _ids, "prefix": _pattern("prefix", prefix=True),
    "wildcard": _pattern("wildcard", prefix=False),
    "bool": _bool, "constant_score": _constant_score, "query_string": _query_string("query_string"),
    "simple_query_string": _query_string("simple_query_string"),
}  # fmt: skip


def at_least(wanted: str | int | None, count: int, default: int) -> int:
    """Return how many of `count` optional clauses must match, by `minimum_should_match`.

    Raises:
        StoreError: it cannot be read.
    """
    if wanted is None:
        return default
    text = str(wanted).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1])
            value = int(count * share / 100) if share >= 0 else count - int(count * -share / 100)
        else:
            value = int(text)
            if value < 0:
                value = count + value
    except ValueError:
        raise UnsupportedError(f"minimum_should_match [{text}]") from None
    return max(0, value)
