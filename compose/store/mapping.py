"""Mappings: which fields an index has, of which types; merged, checked and compiled for reading documents.

A field's values lie in a typed column that is named by its kind and path, so the same path may have different types in
different indices without meeting. Types and parameters:
https://www.elastic.co/guide/en/elasticsearch/reference/8.19/mapping.html
"""

from __future__ import annotations

import copy
import fnmatch
import re
from typing import TYPE_CHECKING, Any

import msgspec

from compose.store.dates import DEFAULT_FORMAT
from compose.store.errors import StoreError, UnsupportedError, illegal_argument

if TYPE_CHECKING:
    from compose.store.layout import Layout

# Elasticsearch's type → kind of column.
KINDS = {
    "keyword": "keyword", "text": "text", "long": "long", "integer": "long", "short": "long", "byte": "long",
    "double": "double", "float": "float", "half_float": "float", "boolean": "boolean", "date": "date",
}  # fmt: skip
RANGES = {"long": 63, "integer": 31, "short": 15, "byte": 7}

_PARAMETERS = {
    "keyword": {"ignore_above", "null_value", "fields", "index", "doc_values", "store", "norms",
    "eager_global_ordinals",
                "split_queries_on_whitespace", "index_options", "similarity", "copy_to", "boost", "meta"},
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


class Field(msgspec.Struct, frozen=True):
    """One field that has values.

    Attributes:
        path: full name, such as `message.keyword`.
        type: Elasticsearch's type.
        kind: kind of its column.
        parent: the path in the document that it takes its values from.
        ignore_above: longer strings are not indexed; in characters.
        ignore_malformed: values that do not fit are left out, not refused.
        coerce: numbers in strings, and whole parts of fractions, are taken.
        format: of dates.
        null_value: stands for an explicit null.
        indexed: False where `index` and `doc_values` are both off: not searchable.
    """

    path: str
    type: str
    kind: str
    parent: str
    ignore_above: int = 2**31 - 1
    ignore_malformed: bool = False
    coerce: bool = True
    format: str = DEFAULT_FORMAT
    null_value: Any = None
    indexed: bool = True

    @property
    def key(self) -> str:
        """Name of the column."""
        return f"{self.kind}:{self.path}"


class Mapping:
    """The mapping of one index, compiled.

    Args:
        source: the mapping as Elasticsearch would return it.
        ignore_malformed, coerce: defaults of the index.
        limit: how many fields there may be.
        ignore_beyond_limit: further dynamic fields are left out, not refused.

    Attributes:
        fields: by full path, with sub-fields.
        by_parent: by path in the document, the fields that take values from there.
        objects: paths of objects → their `dynamic`; the root is the empty path.
        disabled: paths of objects that are kept but not read.
        layout: the quick way to read documents, once it was asked for.
    """

    def __init__(
        self,
        source: dict[str, Any],
        *,
        ignore_malformed: bool = False,
        coerce: bool = True,
        limit: int = 1000,
        ignore_beyond_limit: bool = False,
    ) -> None:
        self.source = source
        self.ignore_malformed = ignore_malformed
        self.coerce = coerce
        self.limit = limit
        self.ignore_beyond_limit = ignore_beyond_limit
        self.fields: dict[str, Field] = {}
        self.by_parent: dict[str, list[Field]] = {}
        self.objects: dict[str, str] = {"": _flag(source.get("dynamic", "true"))}
        self.disabled: set[str] = set()
        self.layout: Layout | None = None
        self.date_detection = _flag(source.get("date_detection", "true")) == "true"
        self.numeric_detection = _flag(source.get("numeric_detection", "false")) == "true"
        self._compile(source.get("properties", {}), "", self.objects[""])
        self.size = len(self.fields) + len(self.objects) - 1 + len(self.disabled)

    def _compile(self, properties: dict[str, Any], prefix: str, dynamic: str) -> None:
        for name, definition in properties.items():
            path = prefix + name
            if "type" not in definition or definition["type"] == "object":
                if _flag(definition.get("enabled", "true")) == "false":
                    self.disabled.add(path)
                    continue
                own = _flag(definition.get("dynamic", dynamic))
                self.objects[path] = own
                self._compile(definition.get("properties", {}), path + ".", own)
                continue
            self._field(path, path, definition)
            for sub, sub_definition in definition.get("fields", {}).items():
                self._field(f"{path}.{sub}", path, sub_definition)

    def _field(self, path: str, parent: str, definition: dict[str, Any]) -> None:
        kind = KINDS[definition["type"]]
        field = Field(
            path=path,
            type=definition["type"],
            kind=kind,
            parent=parent,
            ignore_above=int(definition.get("ignore_above", 2**31 - 1)),
            ignore_malformed=_flag(definition.get("ignore_malformed", self.ignore_malformed)) == "true",
            coerce=_flag(definition.get("coerce", self.coerce)) == "true",
            format=definition.get("format", DEFAULT_FORMAT),
            null_value=definition.get("null_value"),
            indexed=_flag(definition.get("index", "true")) == "true"
            or _flag(definition.get("doc_values", "true")) == "true",
        )
        self.fields[path] = field
        self.by_parent.setdefault(parent, []).append(field)

    def merged(self, addition: dict[str, Any]) -> Mapping:
        """Return this mapping with another merged into it.

        Raises:
            StoreError: a field would change its type, or the addition is no mapping.
        """
        checked = check(addition)
        result = merge(self.source, checked)
        new = Mapping(
            result,
            ignore_malformed=self.ignore_malformed,
            coerce=self.coerce,
            limit=self.limit,
            ignore_beyond_limit=self.ignore_beyond_limit,
        )
        if new.size > new.limit and new.size > self.size:
            raise illegal_argument(f"Limit of total fields [{new.limit}] has been exceeded")
        return new

    def extended(self, added: dict[str, dict[str, Any]]) -> Mapping:
        """Return this mapping with dynamic fields added, given by path."""
        tree: dict[str, Any] = {}
        for path, definition in added.items():
            *parents, name = path.split(".")
            level = tree
            for parent in parents:
                level = level.setdefault("properties", {}).setdefault(parent, {})
            known = level.setdefault("properties", {}).setdefault(name, {})
            known.update(definition)
        return self.merged(tree)

    def dynamic_definition(self, path: str, matched: str, value_type: str) -> dict[str, Any] | None:
        """Return what the dynamic templates say about a new field, or None.

        Args:
            path: full path.
            matched: type of the JSON value: string, long, double, boolean, date, object.
            value_type: the type it would get without a template.
        """
        name = path.rpartition(".")[2]
        for entry in self.source.get("dynamic_templates", []):
            template = next(iter(entry.values()))
            if _template_fits(template, path, name, matched):
                text = msgspec.json.encode(template.get("mapping", {})).decode()
                filled = text.replace("{name}", name).replace("{dynamic_type}", value_type)
                definition: dict[str, Any] = msgspec.json.decode(filled)
                definition.setdefault("type", value_type)
                return definition
        return None


def _template_fits(template: dict[str, Any], path: str, name: str, matched: str) -> bool:
    def fits(patterns: Any, text: str) -> bool:
        listed = [patterns] if isinstance(patterns, str) else patterns
        if template.get("match_pattern") == "regex":
            return any(re.fullmatch(pattern, text) for pattern in listed)
        return any(fnmatch.fnmatchcase(text, pattern) for pattern in listed)

    wanted = template.get("match_mapping_type", "*")
    if "*" not in wanted and matched not in ([wanted] if isinstance(wanted, str) else wanted):
        return False
    if "match" in template and not fits(template["match"], name):
        return False
    if "unmatch" in template and fits(template["unmatch"], name):
        return False
    if "path_match" in template and not fits(template["path_match"], path):
        return False
    return not ("path_unmatch" in template and fits(template["path_unmatch"], path))


def _flag(value: Any) -> str:
    return str(value).lower()


def _malformed(reason: str) -> StoreError:
    return StoreError(
        400,
        "mapper_parsing_exception",
        f"Failed to parse mapping: {reason}",
        cause={"type": "mapper_parsing_exception", "reason": reason},
    )


def check(body: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping as given, after checking each type and parameter.

    Raises:
        StoreError: a type or a parameter does not exist or is not supported.
    """
    if not isinstance(body, dict):
        raise _malformed("Expected map for property [mappings]")
    for name, value in body.items():
        if name == "_source" and isinstance(value, dict) and not value.keys() - {"enabled"}:
            if _flag(value.get("enabled", "true")) == "false":
                raise UnsupportedError("_source.enabled: false")
        elif name in ("runtime", "_routing", "_source"):
            raise UnsupportedError(f"[{name}] in a mapping")
        elif name not in _ROOT:
            raise _malformed(f"Root mapping definition has unsupported parameters:  [{name} : {value}]")
    if _flag(body.get("dynamic", "true")) not in ("true", "false", "strict"):
        raise UnsupportedError(f"dynamic: {body['dynamic']}")
    _check_properties(body.get("properties", {}), "")
    result = copy.deepcopy(body)
    if "dynamic" in result:
        result["dynamic"] = _flag(result["dynamic"])
    return result


def _check_properties(properties: Any, prefix: str) -> None:
    if not isinstance(properties, dict):
        raise _malformed(f"Expected map for property [properties] on field [{prefix.rstrip('.')}]")
    for name, definition in properties.items():
        path = prefix + name
        if not isinstance(definition, dict):
            raise _malformed(f"Expected map for property [fields] on field [{path}] but got a class java.lang.String")
        kind = definition.get("type", "object")
        if kind == "object":
            allowed = _PARAMETERS["object"] | {"type"}
            _check_properties(definition.get("properties", {}), path + ".")
        elif kind in KINDS:
            family = "number" if kind in RANGES or kind in ("double", "float", "half_float") else kind
            allowed = _PARAMETERS[family] | {"type"}
            if not isinstance(definition.get("fields", {}), dict):
                raise _malformed(f"Expected map for property [fields] on field [{path}]")
            _check_properties(definition.get("fields", {}), path + ".")
        elif kind in _ELASTIC_TYPES:
            raise UnsupportedError(f"field type [{kind}] of field [{path}]")
        else:
            raise _malformed(f"No handler for type [{kind}] declared on field [{name}]")
        unknown = sorted(definition.keys() - allowed)
        if unknown:
            raise _malformed(f"unknown parameter [{unknown[0]}] on mapper [{name}] of type [{kind}]")
        for parameter in ("copy_to", "analyzer", "search_analyzer"):
            if parameter in definition and definition[parameter] not in ("standard", "default"):
                raise UnsupportedError(f"[{parameter}] of field [{path}]")


def merge(base: dict[str, Any], addition: dict[str, Any]) -> dict[str, Any]:
    """Merge one checked mapping into another.

    Raises:
        StoreError: a field would change its type.
    """
    result = {**base, **{key: value for key, value in addition.items() if key != "properties"}}
    if "dynamic_templates" in addition and "dynamic_templates" in base:
        named = {next(iter(entry)): entry for entry in [*base["dynamic_templates"], *addition["dynamic_templates"]]}
        result["dynamic_templates"] = list(named.values())
    if "properties" in base or "properties" in addition:
        result["properties"] = _merge_properties(base.get("properties", {}), addition.get("properties", {}), "")
    return result


def _merge_properties(base: dict[str, Any], addition: dict[str, Any], prefix: str) -> dict[str, Any]:
    result = dict(base)
    for name, definition in addition.items():
        path = prefix + name
        if name not in base:
            result[name] = definition
            continue
        old, new = base[name].get("type", "object"), definition.get("type", "object")
        if old != new:
            if "object" in (old, new):
                raise illegal_argument(
                    f"can't merge a non object mapping [{path}] with an object mapping"
                    if old == "object"
                    else f"can't merge a non-object mapping [{path}] with an object mapping"
                )
            raise illegal_argument(f"mapper [{path}] cannot be changed from type [{old}] to [{new}]")
        merged = {**base[name], **definition}
        for group in ("properties", "fields"):
            if group in base[name] or group in definition:
                merged[group] = _merge_properties(base[name].get(group, {}), definition.get(group, {}), path + ".")
        result[name] = merged
    return dict(sorted(result.items()))
