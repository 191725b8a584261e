"""Mappings: which fields an index has, of which types; merged, checked and compiled for reading documents.

A field's values lie in a typed column that is named by its kind and path, so the same path may have different types in
different indices without meeting. Types and parameters:
https://www.elastic.co/guide/en/elasticsearch/reference/8.19/mapping.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from compose.store.dates import DEFAULT_FORMAT
from compose.store.errors import StoreError, illegal_argument
from compose.store.mapping_checks import KINDS, check
from compose.store.patterns import fits_any

if TYPE_CHECKING:
    from compose.store.layout import Layout

DYNAMIC_DATE_FORMATS = ["strict_date_optional_time", "yyyy/MM/dd HH:mm:ss||yyyy/MM/dd||epoch_millis"]
# Parameters of a field that cannot change, and what they are where they are not given.
_FIXED = {"index": True, "doc_values": True, "store": False, "format": DEFAULT_FORMAT, "null_value": None}


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
        index, doc_values: as in the mapping; without both a field can only be asked for by `exists`.
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
    index: bool = True
    doc_values: bool = True

    @property
    def key(self) -> str:
        """Name of the column."""
        return f"{self.kind}:{self.path}"

    @property
    def searchable(self) -> bool:
        """Whether a query may ask for its values."""
        return self.index or self.doc_values

    @property
    def aggregatable(self) -> bool:
        """Whether it may be sorted by and aggregated."""
        return self.doc_values


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
        date_formats: what a text is tried as, where it might be a date.
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
        self.date_formats: list[str] = source.get("dynamic_date_formats", DYNAMIC_DATE_FORMATS)
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
            index=_flag(definition.get("index", "true")) == "true",
            doc_values=kind != "text" and _flag(definition.get("doc_values", "true")) == "true",
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
            return any(re.fullmatch(pattern, text, re.ASCII) for pattern in listed)
        return fits_any(listed, text)

    wanted = template.get("match_mapping_type", "*")
    if "*" not in wanted and matched not in ([wanted] if isinstance(wanted, str) else wanted):
        return False
    unwanted = template.get("unmatch_mapping_type", [])
    if matched in ([unwanted] if isinstance(unwanted, str) else unwanted):
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


def merge(base: dict[str, Any], addition: dict[str, Any], *, template: bool = False) -> dict[str, Any]:
    """Merge one checked mapping into another.

    Args:
        base, addition: the mappings.
        template: whether both are of templates, where a field that comes later stands for an earlier one, as if that
            had not been; an index has values already, so there its field must stay as it is in what matters to them.

    Raises:
        StoreError: a field would change its type, or what cannot change.
    """
    result = {**base, **{key: value for key, value in addition.items() if key != "properties"}}
    if "dynamic_templates" in addition and "dynamic_templates" in base:
        named = {next(iter(entry)): entry for entry in [*base["dynamic_templates"], *addition["dynamic_templates"]]}
        result["dynamic_templates"] = list(named.values())
    if "properties" in base or "properties" in addition:
        result["properties"] = _merge_properties(
            base.get("properties", {}), addition.get("properties", {}), "", template=template
        )
    return result


def _merge_properties(base: dict[str, Any], addition: dict[str, Any], prefix: str, *, template: bool) -> dict[str, Any]:
    result = dict(base)
    for name, definition in addition.items():
        path = prefix + name
        old, new = base.get(name, definition).get("type", "object"), definition.get("type", "object")
        if name not in base or (template and not old == new == "object"):
            result[name] = definition
            continue
        _check_update(path, base[name], definition)
        # What an object does not say stays as it is; a field is as it is given, but keeps its sub-fields.
        merged = {**base[name], **definition} if new == "object" else dict(definition)
        for group in ("properties", "fields"):
            if group in base[name] or group in definition:
                merged[group] = _merge_properties(
                    base[name].get(group, {}), definition.get(group, {}), path + ".", template=template
                )
        result[name] = merged
    return dict(sorted(result.items()))


def _check_update(path: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to change what the values that an index has already depend on.

    Raises:
        StoreError: naming it.
    """
    before, after = old.get("type", "object"), new.get("type", "object")
    if before != after and "object" in (before, after):
        kind = "a non object mapping" if before == "object" else "a non-object mapping"
        raise illegal_argument(f"can't merge {kind} [{path}] with an object mapping")
    if before != after:
        raise illegal_argument(f"mapper [{path}] cannot be changed from type [{before}] to [{after}]")
    if before == "object":
        if _flag(old.get("enabled", "true")) != _flag(new.get("enabled", old.get("enabled", "true"))):
            raise StoreError(
                500, "mapper_exception", f"the [enabled] parameter can't be updated for the object mapping [{path}]"
            )
        return
    for name, default in _FIXED.items():
        was, becomes = old.get(name, default), new.get(name, default)
        if _flag(was) != _flag(becomes):
            raise illegal_argument(
                f"Mapper for [{path}] conflicts with existing mapper:\n\tCannot update parameter [{name}] from "
                f"[{was}] to [{becomes}]"
            )
