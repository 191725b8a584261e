"""Whether a mapping is one: types, parameters and their values, dynamic templates.

Types and parameters: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/mapping.html
"""

from __future__ import annotations

import copy
import re
from typing import Any

from compose.store.dates import check_formats
from compose.store.errors import StoreError, UnsupportedError

# Elasticsearch's type → kind of column.
KINDS = {
    "keyword": "keyword", "text": "text", "long": "long", "integer": "long", "short": "long", "byte": "long",
    "double": "double", "float": "float", "half_float": "float", "boolean": "boolean", "date": "date",
}  # fmt: skip
RANGES = {"long": 63, "integer": 31, "short": 15, "byte": 7}

_PARAMETERS = {
    "keyword": {"ignore_above", "null_value", "fields", "index", "doc_values", "store", "norms",
    "eager_global_ordinals",
                "split_queries_on_whitespace", "index_options", "similarity", "copy_to", "meta"},
    "text": {"fields", "index", "store", "norms", "analyzer", "search_analyzer", "search_quote_analyzer", "fielddata",
             "index_options", "similarity", "position_increment_gap", "index_prefixes", "index_phrases",
             "copy_to", "meta",
             "term_vector", "eager_global_ordinals"},
    "number": {"ignore_malformed", "coerce", "null_value", "fields", "index", "doc_values", "store", "copy_to", "meta",
               "time_series_metric", "time_series_dimension"},
    "boolean": {"ignore_malformed", "null_value", "fields", "index", "doc_values", "store", "copy_to", "meta"},
    "date": {"ignore_malformed", "null_value", "format", "locale", "fields", "index", "doc_values", "store", "copy_to",
             "meta"},
    "object": {"dynamic", "enabled", "properties", "subobjects"},
}  # fmt: skip
_ROOT = {"dynamic", "date_detection", "numeric_detection", "dynamic_date_formats", "dynamic_templates", "properties",
         "_meta", "_source", "_data_stream_timestamp"}  # fmt: skip
_ELASTIC_TYPES = {
    "ip", "geo_point", "geo_shape", "nested", "flattened", "date_nanos", "scaled_float", "unsigned_long",
    "binary", "alias",
    "integer_range", "long_range", "float_range", "double_range", "date_range", "ip_range", "completion", "join",
    "search_as_you_type", "token_count", "dense_vector", "sparse_vector", "wildcard", "constant_keyword", "version",
    "match_only_text", "histogram", "percolator", "rank_feature", "rank_features", "semantic_text", "shape", "point",
    "annotated_text", "murmur3", "aggregate_metric_double", "passthrough", "counted_keyword",
}  # fmt: skip
_FLAGS = {"index", "doc_values", "store", "norms", "ignore_malformed", "coerce", "eager_global_ordinals", "enabled",
          "split_queries_on_whitespace", "fielddata", "index_phrases", "date_detection",
          "numeric_detection"}  # fmt: skip
# What Elasticsearch would do something about, and the store would not: only the value that asks for nothing is taken.
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "analyzer": ("standard", "default"), "search_analyzer": ("standard", "default"), "copy_to": ([],),
    "split_queries_on_whitespace": ("false",), "fielddata": ("false",), "subobjects": ("true",),
}  # fmt: skip
# What Java's expressions read otherwise than Python's, or only one of them reads.
_JAVA_ALONE = re.compile(r"\[[^\]]*\[|&&|\(\?(?!:|=|!|i\)|<[=!]|>)|\{,|\\[pPQEhHvVRXGkKuxcNeZzA]")
_MATCHED = {"object", "string", "long", "double", "boolean", "date", "binary", "*"}
_TEMPLATE = {"match", "unmatch", "path_match", "path_unmatch", "match_pattern", "match_mapping_type",
             "unmatch_mapping_type", "mapping"}  # fmt: skip


def _flag(value: Any) -> str:
    return str(value).lower()


def _malformed(reason: str) -> StoreError:
    return StoreError(
        400,
        "mapper_parsing_exception",
        f"Failed to parse mapping: {reason}",
        cause={"type": "mapper_parsing_exception", "reason": reason},
    )


def check(body: Any) -> dict[str, Any]:
    """Return a mapping as given, after checking each type, parameter and value.

    Raises:
        StoreError: it is not valid, or asks for what is not supported.
    """
    if not isinstance(body, dict):
        raise _malformed("Expected map for property [mappings]")
    for name, value in body.items():
        if name == "_source" and isinstance(value, dict) and not value.keys() - {"enabled"}:
            if _flag(value.get("enabled", "true")) == "false":
                raise UnsupportedError("_source.enabled: false")
        elif name in ("runtime", "_routing", "_source", "subobjects"):
            raise UnsupportedError(f"[{name}] in a mapping")
        elif name not in _ROOT:
            raise _malformed(f"Root mapping definition has unsupported parameters:  [{name} : {value}]")
        elif name == "_meta" and not isinstance(value, dict):
            raise _malformed("[_meta] must be an object")
        else:
            _check_value(name, value, "_doc")
    _check_dynamic(body, "_doc")
    formats = body.get("dynamic_date_formats", [])
    if not isinstance(formats, list):
        raise _malformed("[dynamic_date_formats] must be an array of formats")
    for each in formats:
        _check_format(each, "dynamic_date_formats")
    _check_templates(body.get("dynamic_templates", []))
    _check_properties(body.get("properties", {}), "")
    result = copy.deepcopy(body)
    if "dynamic" in result:
        result["dynamic"] = _flag(result["dynamic"])
    return result


def _check_dynamic(definition: dict[str, Any], path: str) -> None:
    value = _flag(definition.get("dynamic", "true"))
    if value == "runtime":
        raise UnsupportedError(f"dynamic: runtime of [{path}]")
    if value not in ("true", "false", "strict"):
        raise _malformed(f"Could not convert [dynamic] of [{path}] to boolean")


def _check_format(value: Any, path: str) -> None:
    if not isinstance(value, str) or not value:
        raise _malformed(f"Error parsing [format] on field [{path}]: No date pattern provided")
    try:
        check_formats(value)
    except StoreError as error:
        raise _malformed(f"Error parsing [format] on field [{path}]: {error.reason}") from None


def _check_value(name: str, value: Any, path: str) -> None:
    """Refuse a value that a parameter cannot have, or that asks for what the store does not do."""
    if name in _FLAGS and _flag(value) not in ("true", "false"):
        raise _malformed(
            f"Failed to parse value [{value}] of [{name}] on [{path}] as only [true] or [false] are allowed."
        )
    if name == "ignore_above" and not re.fullmatch(r"\d{1,10}", str(value)):
        raise _malformed(f"[ignore_above] of [{path}] must be a positive integer, got [{value}]")
    if name == "format":
        _check_format(value, path)
    if name == "meta" and not isinstance(value, dict):
        raise _malformed(f"[meta] must be an object, got [{value}] for field [{path}]")
    if name in _WITHOUT_EFFECT and value not in _WITHOUT_EFFECT[name] and _flag(value) not in _WITHOUT_EFFECT[name]:
        raise UnsupportedError(f"[{name}] of field [{path}]")


def _check_null(kind: str, value: Any, path: str) -> None:
    """Refuse a `null_value` that the field could not have."""
    if kind == "boolean" and _flag(value) not in ("true", "false"):
        raise _malformed(f"[null_value] of [{path}]: only true or false are allowed, not [{value}]")
    if kind in RANGES or kind in ("double", "float", "half_float"):
        try:
            float(value)
        except (ValueError, TypeError):
            raise _malformed(f'[null_value] of [{path}]: For input string: "{value}"') from None


def _check_properties(properties: Any, prefix: str, *, of_field: bool = False) -> None:
    if not isinstance(properties, dict):
        raise _malformed(f"Expected map for property [properties] on field [{prefix.rstrip('.')}]")
    for name, definition in properties.items():
        path = prefix + name
        if not isinstance(definition, dict):
            raise _malformed(f"Expected map for property [fields] on field [{path}] but got a class java.lang.String")
        kind = definition.get("type", "object")
        if of_field and (kind == "object" or "fields" in definition):
            raise _malformed(f"[{path}] is a multi-field: it can be no object and have no multi-fields of its own")
        if "type" not in definition and not definition.keys() & _PARAMETERS["object"]:
            raise _malformed(f"No type specified for field [{path}]")
        if kind == "object":
            allowed = _PARAMETERS["object"] | {"type"}
            _check_dynamic(definition, path)
            _check_properties(definition.get("properties", {}), path + ".")
        elif not isinstance(kind, str):
            raise _malformed(f"The mapper type [{kind}] declared on field [{name}] does not exist")
        elif kind in KINDS:
            family = "number" if kind in RANGES or kind in ("double", "float", "half_float") else kind
            allowed = _PARAMETERS[family] | {"type"}
            if definition.get("null_value") is not None:
                _check_null(kind, definition["null_value"], path)
            _check_properties(definition.get("fields", {}), path + ".", of_field=True)
        elif kind in _ELASTIC_TYPES:
            raise UnsupportedError(f"field type [{kind}] of field [{path}]")
        else:
            raise _malformed(f"No handler for type [{kind}] declared on field [{name}]")
        unknown = sorted(definition.keys() - allowed)
        if unknown:
            raise _malformed(f"unknown parameter [{unknown[0]}] on mapper [{name}] of type [{kind}]")
        for parameter, value in definition.items():
            _check_value(parameter, value, path)


def _check_templates(templates: Any) -> None:
    if not isinstance(templates, list):
        raise _malformed("Dynamic template syntax error. An array of named objects is expected.")
    for entry in templates:
        if not isinstance(entry, dict) or len(entry) != 1:
            raise _malformed("A dynamic template must be defined with a name")
        ((name, template),) = entry.items()
        if not isinstance(template, dict):
            raise _malformed(f"the dynamic template [{name}] is no object")
        if "runtime" in template:
            raise UnsupportedError(f"[runtime] of the dynamic template [{name}]")
        _check_template(name, template)


def _check_template(name: str, template: dict[str, Any]) -> None:
    unknown = sorted(template.keys() - _TEMPLATE)
    if unknown:
        raise _malformed(f"Illegal dynamic template parameter: [{unknown[0]}] of [{name}]")
    mapping = template.get("mapping")
    if not isinstance(mapping, dict):
        raise _malformed(f"template [{name}] must have a mapping")
    for parameter in ("match_mapping_type", "unmatch_mapping_type"):
        for kind in _listed(template.get(parameter, [])):
            if not isinstance(kind, str) or kind not in _MATCHED:
                raise _malformed(f"No field type matched on [{kind}], possible values are {sorted(_MATCHED)}")
    syntax = template.get("match_pattern", "simple")
    if syntax not in ("simple", "regex"):
        raise _malformed(f"No matching pattern matched on [{syntax}]")
    for parameter in ("match", "unmatch", "path_match", "path_unmatch"):
        for pattern in _listed(template.get(parameter, [])):
            if not isinstance(pattern, str):
                raise _malformed(f"[{parameter}] of the dynamic template [{name}] is no text")
            try:
                if syntax == "regex":
                    if _JAVA_ALONE.search(pattern):
                        raise UnsupportedError(f"the expression [{pattern}] of the dynamic template [{name}]")
                    re.compile(pattern, re.ASCII)
            except re.error as error:
                raise _malformed(f"Pattern [{pattern}] of type [regex] is invalid: {error}") from None
    if "{" not in str(mapping.get("type", "{dynamic_type}")):
        _check_properties({name: mapping}, "")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
