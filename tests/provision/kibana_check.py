"""Checks in Kibana's NDJSON what an import does not: references, layers, accessors, fields of the index template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from compose.provision.kibana import CORE_VERSION, TYPE_VERSIONS
from tests.provision.kql import KqlError, to_dsl

DASHBOARD_KEYS = frozenset(
    [
        "title",
        "description",
        "kibanaSavedObjectMeta",
        "timeRestore",
        "timeFrom",
        "timeTo",
        "refreshInterval",
        "controlGroupInput",
        "panelsJSON",
        "optionsJSON",
        "hits",
        "version",
    ]
)
# attributes that are JSON inside a string, per type
TEXTS = {
    "index-pattern": ("fields", "fieldAttrs", "fieldFormatMap", "runtimeFieldMap", "sourceFilters", "typeMeta"),
    "dashboard": ("panelsJSON", "optionsJSON"),
}
RECORDS = "___records___"
BUCKETED = {"date_histogram": True, "terms": True, "count": False, "average": False, "last_value": False, "max": False}
NUMBERS = frozenset({"byte", "short", "integer", "long", "float", "double", "half_float", "scaled_float"})
AGGREGATABLE = NUMBERS | {"keyword", "date", "boolean", "ip"}
FITTING = {
    "date_histogram": frozenset({"date"}),
    "terms": AGGREGATABLE,
    "average": NUMBERS,
    "last_value": AGGREGATABLE,
    "max": NUMBERS | {"date"},
}
GRID_WIDTH = 48

Fields = dict[str, str]


def template_fields(mappings: dict[str, Any]) -> Fields:
    """Return type by field, sub-fields included, of a component template's body."""
    types: Fields = {}
    for name, mapping in mappings["template"]["mappings"]["properties"].items():
        types[name] = mapping["type"]
        types |= {f"{name}.{sub}": inner["type"] for sub, inner in mapping.get("fields", {}).items()}
    return types


def complaints(ndjson: str, fields: Fields) -> list[str]:
    """Return what is wrong, each with its object; empty when all is right.

    Args:
        ndjson: the file.
        fields: type by field of the index template.
    """
    objects: list[dict[str, Any]] = []
    found: list[str] = []
    for number, line in enumerate(ndjson.splitlines(), start=1):
        try:
            each = json.loads(line)
        except ValueError as error:
            found.append(f"line {number}: not JSON: {error}")
            continue
        objects.append(each)
    keys = [(each.get("type"), each.get("id")) for each in objects]
    found += [f"{kind} {key}: is there twice" for kind, key in sorted({key for key in keys if keys.count(key) > 1})]
    for each in objects:
        found += [f"{each.get('type')} {each.get('id')}: {text}" for text in _object(each, set(keys), fields)]
    return found


def _object(each: dict[str, Any], keys: set[tuple[Any, Any]], fields: Fields) -> Iterator[str]:
    kind, attributes = each.get("type"), each.get("attributes", {})
    if kind not in TYPE_VERSIONS:
        yield f"type is none of {', '.join(TYPE_VERSIONS)}"
        return
    if (each.get("coreMigrationVersion"), each.get("typeMigrationVersion")) != (CORE_VERSION, TYPE_VERSIONS[kind]):
        yield f"stamps are not {CORE_VERSION} and {TYPE_VERSIONS[kind]}"
    if each.get("managed") is not False:
        yield "managed is not false: people could not edit it"
    if not attributes.get("title"):
        yield "has no title"
    parsed: dict[str, Any] = {}
    for name in TEXTS.get(kind, ()):
        try:
            parsed[name] = json.loads(attributes[name])
        except (KeyError, TypeError, ValueError):
            yield f"{name} is not JSON in a string"
    names = [reference["name"] for reference in each.get("references", [])]
    yield from (f"reference name {name} is there twice" for name in {name for name in names if names.count(name) > 1})
    for reference in each.get("references", []):
        if (reference["type"], reference["id"]) not in keys:
            yield f"reference {reference['name']} points to {reference['type']} {reference['id']}, which is not there"
    match kind:
        case "lens":
            yield from _lens(attributes, set(names), fields)
        case "search":
            yield from _search(attributes, set(names), fields)
        case "dashboard":
            yield from _dashboard(attributes, parsed, each.get("references", []))
        case "index-pattern":
            if names:
                yield "a data view needs no references"
            if fields.get(attributes.get("timeFieldName", "")) != "date":
                yield f"time field {attributes.get('timeFieldName')} is no date in the index template"


def _lens(attributes: dict[str, Any], names: set[str], fields: Fields) -> Iterator[str]:
    state = attributes["state"]
    layers = state["datasourceStates"]["formBased"]["layers"]
    if names != {f"indexpattern-datasource-layer-{key}" for key in layers}:
        yield f"references {sorted(names)} are not those of the layers {sorted(layers)}"
    yield from _kql(state["query"]["query"], fields)
    for layer in layers.values():
        columns = layer["columns"]
        if sorted(layer["columnOrder"]) != sorted(columns):
            yield f"columnOrder {layer['columnOrder']} is not a permutation of the columns {sorted(columns)}"
        flags = [columns[key]["isBucketed"] for key in layer["columnOrder"] if key in columns]
        if flags != sorted(flags, reverse=True):
            yield "columnOrder has a metric before a bucket"
        for key, column in columns.items():
            yield from (f"column {key}: {text}" for text in _column(column, columns, fields))
    yield from _accessors(attributes["visualizationType"], state["visualization"], layers)


def _column(column: dict[str, Any], columns: dict[str, Any], fields: Fields) -> Iterator[str]:
    operation, field = column["operationType"], column["sourceField"]
    if operation not in BUCKETED:
        yield f"operation {operation} is not known"
        return
    if column["isBucketed"] != BUCKETED[operation]:
        yield f"isBucketed is wrong for {operation}"
    if operation == "count":
        if field != RECORDS:
            yield f"a count's field is {RECORDS}, not {field}"
    elif field not in fields:
        yield f"field {field} is not in the index template"
    elif fields[field] not in FITTING[operation]:
        yield f"{operation} cannot work on {field}, a {fields[field]}"
    if "filter" in column:
        yield from _kql(column["filter"]["query"], fields)
    order = column.get("params", {}).get("orderBy", {})
    if order.get("type") == "column" and columns.get(order.get("columnId"), {"isBucketed": True})["isBucketed"]:
        yield f"is ordered by {order.get('columnId')}, which is no metric of this layer"
    if operation == "last_value" and fields.get(column["params"]["sortField"]) != "date":
        yield "last_value is not sorted by a date"


def _accessors(kind: str, shown: dict[str, Any], layers: dict[str, Any]) -> Iterator[str]:
    wanted = {"lnsXY": "layers", "lnsMetric": "metricAccessor", "lnsDatatable": "columns"}.get(kind)
    if wanted is None or wanted not in shown:
        yield f"{kind} has no {wanted}: it would be empty"
        return
    for part in shown["layers"] if kind == "lnsXY" else [shown]:
        layer = layers.get(part["layerId"])
        if layer is None:
            yield f"shows layer {part['layerId']}, which is not there"
            continue
        used = [
            *(part.get(name) for name in ("xAccessor", "splitAccessor", "metricAccessor") if name in part),
            *part.get("accessors", []),
            *(column["columnId"] for column in part.get("columns", [])),
        ]
        yield from (f"accessor {key} is no column" for key in used if key not in layer["columns"])
        yield from (f"column {key} is shown nowhere" for key in layer["columns"] if key not in used)


def _search(attributes: dict[str, Any], names: set[str], fields: Fields) -> Iterator[str]:
    try:
        source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
    except (KeyError, TypeError, ValueError):
        yield "searchSourceJSON is not JSON in a string"
        return
    if {source.get("indexRefName")} != names:
        yield f"indexRefName {source.get('indexRefName')} is not its reference"
    yield from _kql(source["query"]["query"], fields)
    shown = [*attributes["columns"], *(name for name, _order in attributes["sort"])]
    yield from (f"column {name} is not in the index template" for name in shown if name not in fields)


def _dashboard(attributes: dict[str, Any], parsed: dict[str, Any], references: list[dict[str, str]]) -> Iterator[str]:
    yield from (f"attribute {name} would be refused" for name in attributes.keys() - DASHBOARD_KEYS)
    panels = parsed.get("panelsJSON", [])
    wanted = {f"{panel['panelIndex']}:{panel['panelRefName']}": panel["type"] for panel in panels}
    if wanted != {reference["name"]: reference["type"] for reference in references}:
        yield "panels and references do not belong together"
    places = []
    for panel in panels:
        grid = panel["gridData"]
        if grid["i"] != panel["panelIndex"] or panel["panelRefName"] != f"panel_{grid['i']}":
            yield f"panel {panel['panelIndex']}: i, panelIndex and panelRefName disagree"
        if grid["x"] < 0 or grid["x"] + grid["w"] > GRID_WIDTH:
            yield f"panel {panel['panelIndex']} is wider than the grid"
        places.append((panel["panelIndex"], grid))
    for index, (one, a) in enumerate(places):
        for other, b in places[index + 1 :]:
            beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            if not (beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]):
                yield f"panels {one} and {other} overlap"


def _kql(text: str, fields: Fields) -> Iterator[str]:
    try:
        to_dsl(text, fields)
    except KqlError as error:
        yield str(error)
