"""Queries as a tree of our own: read from the body of a search, every key that is not known refused by its name.

Elasticsearch's names and meanings: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/query-dsl.html.
Scores are not computed, so `boost` is taken and has no effect.
"""

from __future__ import annotations

import re
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
_NESTED = {"must", "filter", "should", "must_not", "fields", "values"}  # what can be more than one value


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
    _check_boost(name, content)
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
    for key, value in content.items():
        if key in unsupported:
            raise UnsupportedError(f"[{key}] of the query [{name}]")
        if key not in allowed and key not in _COMMON and name == "bool":
            raise StoreError(400, "x_content_parse_exception", f"[1:1] [bool] unknown field [{key}]")
        if key not in allowed and key not in _COMMON:
            raise parsing(f"[{name}] query does not support [{key}]", line=1, col=1)
        if isinstance(value, dict | list) and key not in _NESTED:
            raise parsing(f"[{name}] unknown token after [{key}]: one value is wanted", line=1, col=1)
        if key in ("format", "time_zone", "default_field") and not isinstance(value, str | None):
            raise parsing(f"[{name}] failed to parse [{key}]: a text is wanted", line=1, col=1)


def _check_boost(name: str, content: dict[str, Any]) -> None:
    boost = content.get("boost", 1)
    if isinstance(boost, dict):
        return  # it is a field of that name
    try:
        good = float(boost) >= 0
    except (TypeError, ValueError):
        good = False
    if not good:
        raise parsing(f"[{name}] failed to parse field [boost]: [{boost}] is no number from 0 on", line=1, col=1)


def _flag(name: str, options: dict[str, Any], key: str, default: bool = False) -> bool:
    value = options.get(key, default)
    if value not in (True, False, "true", "false"):
        raise illegal_argument(f"[{key}] of [{name}]: only [true] or [false] are allowed, not [{value}]")
    return value in (True, "true")


def _scalar(name: str, options: dict[str, Any], key: str) -> Any:
    value = options.get(key)
    if isinstance(value, dict | list):
        raise parsing(f"[{name}] unknown token after [{key}]: one value is wanted", line=1, col=1)
    return value


def _fields(name: str, given: Any) -> tuple[str, ...]:
    """Return names of fields without their boosts."""
    if not isinstance(given, list) or not all(isinstance(field, str) for field in given):
        raise parsing(f"[{name}] query does not support [fields] that are no list of names", line=1, col=1)
    return tuple(field.partition("^")[0] for field in given)


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
        _check_boost(name, value)
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
    value = _scalar("term", options, "value")
    if value is None:
        raise illegal_argument("value cannot be null")
    return Term(field, value, _flag("term", options, "case_insensitive"))


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
    if any(value is None or isinstance(value, dict | list) for value in values):
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
    if _scalar("match", options, "query") is None:
        raise illegal_argument(
            "No text specified for text query" if "query" not in options else "[match] requires query value"
        )
    return Match(
        field, options["query"], _operator(options), options.get("minimum_should_match"),
        _flag("match", options, "lenient"), _wordless(options),
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
        if isinstance(slop, bool) or not re.fullmatch(r"\d{1,9}", str(slop)):
            raise illegal_argument("No negative slop allowed.")
        slop = int(slop)
        if slop and prefix:
            raise UnsupportedError(f"[slop] of the query [{name}]")
        _check(name, options, {"query", "slop", "analyzer", "zero_terms_query", "max_expansions"}, {"analyzer"})
        if _scalar(name, options, "query") is None:
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
    if _scalar("multi_match", content, "query") is None:
        raise parsing("No text specified for multi_match query")
    fields = content.get("fields", [])
    names = _fields("multi_match", [fields] if isinstance(fields, str) else fields)
    return AnyField(
        names, content["query"], kind, _operator(content), content.get("minimum_should_match"),
        _flag("multi_match", content, "lenient", not names),
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
    if not content.get("field") or not isinstance(content["field"], str):
        raise parsing("[exists] must be provided with a [field]", line=1, col=1)
    if content["field"] in ("_source", "_seq_no", "_version", "_routing"):
        raise UnsupportedError(f"[exists] of [{content['field']}]")
    return All() if content["field"] in ("_id", "_index") else Exists(content["field"])


def _ids(content: dict[str, Any]) -> Node:
    _check("ids", content, {"values"})
    given = content.get("values", [])
    values = given if isinstance(given, list) else [given]
    if not all(isinstance(value, str) for value in values) and not isinstance(given, list):
        raise parsing(f"[ids] values doesn't support values of type: {type(given).__name__}", line=1, col=1)
    if any(value is None or isinstance(value, dict | list) for value in values):
        raise parsing("[ids] failed to parse field [values]", line=1, col=1)
    return Ids(tuple(str(value) for value in values))


def _pattern(name: str, *, prefix: bool) -> Any:
    def read(content: dict[str, Any]) -> Node:
        field, options = _one_field(name, content, "value")
        _check(name, options, {"value", "wildcard", "case_insensitive", "rewrite"})
        value = options.get("value", options.get("wildcard"))
        if value is None or isinstance(value, dict | list):
            raise illegal_argument("value cannot be null, an object or an array")
        return Pattern(field, str(value), prefix, _flag(name, options, "case_insensitive"))

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
        harmless = {"analyze_wildcard", "lenient", "auto_generate_synonyms_phrase_query"}
        simple = name == "simple_query_string"
        own = {"flags"} if simple else {"default_field", "allow_leading_wildcard", "time_zone", "escape",
                                        "enable_position_increments"}  # fmt: skip
        _check(
            name,
            content,
            {"query", "fields", "default_operator", *harmless, *own},
            {"analyzer", "fuzziness", "minimum_should_match", "phrase_slop", "quote_analyzer", "quote_field_suffix",
             "fuzzy_max_expansions", "fuzzy_prefix_length", "rewrite", "type", "tie_breaker", "fuzzy_transpositions"},
        )  # fmt: skip
        if _scalar(name, content, "query") is None:
            raise parsing(f"[{name}] must be provided with a [query]", line=1, col=1)
        if content.get("flags", "ALL") not in ("ALL", -1):
            raise UnsupportedError("[flags] of the query [simple_query_string]")
        for option, only in (("escape", False), ("allow_leading_wildcard", True), ("enable_position_increments", True)):
            if _flag(name, content, option, only) is not only:
                raise UnsupportedError(f"[{option}: {str(not only).lower()}] of the query [{name}]")
        if content.get("default_field") and content.get("fields"):
            raise parsing(f"[{name}] cannot have both [fields] and [default_field]", line=1, col=1)
        fields = content.get("fields") or ([content["default_field"]] if content.get("default_field") else [])
        return QueryString(
            str(content["query"]),
            _fields(name, fields),
            _operator(content, "default_operator"),
            simple,
            _flag(name, content, "lenient") if "lenient" in content else None,
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
