"""Kibana's saved objects as NDJSON, and the alert rule's and connector's bodies, from the visualisations' definitions.

Stamped with old type versions: Kibana 8 and 9 both migrate them up, and refuse stamps newer than themselves.
"""

from __future__ import annotations

import json
from typing import Any

from compose.provision.visualisations import (
    DASHBOARD_ID,
    DASHBOARD_TITLE,
    DATA_VIEW,
    ERROR_BURST,
    ERROR_SEARCH,
    INDEX_PATTERN,
    VISUALISATIONS,
    Column,
    SavedSearch,
    Visualisation,
)

CORE_VERSION = "8.8.0"
TYPE_VERSIONS = {"index-pattern": "8.0.0", "lens": "8.9.0", "search": "8.0.0", "dashboard": "8.9.0"}
LENS_TYPES = {"bar_stacked": "lnsXY", "line": "lnsXY", "table": "lnsDatatable", "metric": "lnsMetric"}
LAYER = "lines"
CONNECTOR_ID = "ml-pipeline-server-log"
BOTH = {"x": True, "yLeft": True, "yRight": True}


def saved_objects() -> list[dict[str, Any]]:
    """Return data view, visualisations, saved search and dashboard in the order of the file."""
    return [_data_view(), *(_lens(each) for each in VISUALISATIONS), _search(), _dashboard()]


def ndjson() -> str:
    """Return the file that Kibana imports: one object a line."""
    return "".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in saved_objects())


def rule_body() -> dict[str, Any]:
    """Return the body of POST /api/alerting/rule/{id}: more than 5 ERROR lines in 5 minutes.

    `excludeHitsFromPreviousRun` is false: with Kibana's default each error counts in one run only, and a rolling
    window that is looked at every minute would miss one error a minute.
    """
    message = "{{context.title}}: {{context.value}} ERROR lines, {{context.conditions}}"
    return {
        "name": ERROR_BURST.name,
        "consumer": "alerts",
        "rule_type_id": ".es-query",
        "enabled": True,
        "tags": ["ml-pipeline"],
        "schedule": {"interval": ERROR_BURST.interval},
        "actions": [
            {
                "group": group,
                "id": CONNECTOR_ID,
                "params": {"level": level, "message": text},
                "frequency": {"summary": False, "notify_when": "onActionGroupChange", "throttle": None},
            }
            for group, level, text in (
                ("query matched", "error", message),
                ("recovered", "info", "{{rule.name}}: recovered"),
            )
        ],
        "params": {
            "searchType": "esQuery",
            "index": [INDEX_PATTERN],
            "timeField": DATA_VIEW.time_field,
            "esQuery": json.dumps({"query": ERROR_BURST.query}),
            "size": 100,
            "aggType": "count",
            "groupBy": "all",
            "timeWindowSize": ERROR_BURST.window_minutes,
            "timeWindowUnit": "m",
            "threshold": [ERROR_BURST.threshold],
            "thresholdComparator": ">",
            "excludeHitsFromPreviousRun": False,
        },
    }


def connector_body() -> dict[str, Any]:
    """Return the body of POST /api/actions/connector/{id}: Kibana's own log, which the free licence has."""
    return {"name": "ML pipeline: server log", "connector_type_id": ".server-log", "config": {}, "secrets": {}}


def _object(kind: str, key: str, attributes: dict[str, Any], references: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "type": kind,
        "id": key,
        "coreMigrationVersion": CORE_VERSION,
        "typeMigrationVersion": TYPE_VERSIONS[kind],
        "managed": False,
        "references": references,
        "attributes": attributes,
    }


def _data_view_reference(name: str) -> dict[str, str]:
    return {"type": "index-pattern", "id": DATA_VIEW.id, "name": name}


def _data_view() -> dict[str, Any]:
    empty_maps = dict.fromkeys(("fieldAttrs", "fieldFormatMap", "runtimeFieldMap", "typeMeta"), "{}")
    return _object(
        "index-pattern",
        DATA_VIEW.id,
        {
            "title": DATA_VIEW.title,
            "name": DATA_VIEW.name,
            "timeFieldName": DATA_VIEW.time_field,
            "allowNoIndex": True,
            "fields": "[]",
            "sourceFilters": "[]",
            **empty_maps,
        },
        [],
    )


def _lens(vis: Visualisation) -> dict[str, Any]:
    layer = {
        "columnOrder": [column.key for column in vis.columns],
        "columns": {column.key: _column(column) for column in vis.columns},
        "incompleteColumns": {},
        "ignoreGlobalFilters": False,
        "sampling": 1,
    }
    return _object(
        "lens",
        vis.id,
        {
            "title": vis.title,
            "description": vis.description,
            "visualizationType": LENS_TYPES[vis.kind],
            "state": {
                "query": {"language": "kuery", "query": vis.kql},
                "filters": [],
                "internalReferences": [],
                "adHocDataViews": {},
                "datasourceStates": {"formBased": {"layers": {LAYER: layer}}},
                "visualization": _visualization(vis),
            },
        },
        [_data_view_reference(f"indexpattern-datasource-layer-{LAYER}")],
    )


def _column(column: Column) -> dict[str, Any]:
    base: dict[str, Any] = {"label": column.label, "customLabel": True, "operationType": column.operation}
    field = {"sourceField": column.field or "___records___"}
    number = {"dataType": "number", "isBucketed": False, "scale": "ratio", **field}
    match column.operation:
        case "date_histogram":
            params: dict[str, Any] = {"interval": "auto", "includeEmptyRows": True, "dropPartials": False}
            return {**base, "dataType": "date", "isBucketed": True, "scale": "interval", **field, "params": params}
        case "terms":
            order = {"type": "column", "columnId": column.order_by} if column.order_by else {"type": "alphabetical"}
            params = {
                "size": column.size,
                "orderBy": order,
                "orderDirection": "desc",
                # Documents beyond the newest would share one row, which says nothing.
                "otherBucket": False,
                "missingBucket": False,
                "parentFormat": {"id": "terms"},
                "include": [],
                "exclude": [],
                "includeIsRegex": False,
                "excludeIsRegex": False,
            }
            return {**base, "dataType": "string", "isBucketed": True, "scale": "ordinal", **field, "params": params}
        case "last_value":
            exists = {"language": "kuery", "query": f"{column.field}: *"}
            params = {"sortField": DATA_VIEW.time_field, "showArrayValues": False}
            kind = {"dataType": "string", "isBucketed": False, "scale": "ordinal"}
            return {**base, **kind, **field, "filter": exists, "params": params}
        case "max":
            return {**base, **number, "dataType": "date", "params": {"emptyAsNull": True}}
        case "average":
            return {**base, **number, "params": {"emptyAsNull": True}}
        case "count":
            return {**base, **number, "params": {"emptyAsNull": False}}


def _visualization(vis: Visualisation) -> dict[str, Any]:
    keys = [column.key for column in vis.columns]
    if vis.kind == "metric":
        return {"layerId": LAYER, "layerType": "data", "metricAccessor": keys[0]}
    if vis.kind == "table":
        return {"layerId": LAYER, "layerType": "data", "columns": [{"columnId": key} for key in keys]}
    split = [column.key for column in vis.columns if column.operation == "terms"]
    bucketed = {column.key for column in vis.columns if column.operation in ("terms", "date_histogram")}
    layer: dict[str, Any] = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": vis.kind,
        "xAccessor": keys[0],
        "accessors": [key for key in keys if key not in bucketed],
    }
    if split:
        layer["splitAccessor"] = split[0]
    return {
        "preferredSeriesType": vis.kind,
        "legend": {"isVisible": True, "position": "right"},
        "valueLabels": "hide",
        "fittingFunction": "None",
        "axisTitlesVisibilitySettings": BOTH,
        "tickLabelsVisibilitySettings": BOTH,
        "gridlinesVisibilitySettings": BOTH,
        "labelsOrientation": {"x": 0, "yLeft": 0, "yRight": 0},
        "layers": [layer],
    }


def _search() -> dict[str, Any]:
    reference = "kibanaSavedObjectMeta.searchSourceJSON.index"
    source = {"query": {"language": "kuery", "query": ERROR_SEARCH.kql}, "filter": [], "indexRefName": reference}
    return _object(
        "search",
        ERROR_SEARCH.id,
        {
            "title": ERROR_SEARCH.title,
            "description": ERROR_SEARCH.description,
            "columns": list(ERROR_SEARCH.columns),
            "sort": [[DATA_VIEW.time_field, "desc"]],
            "grid": {},
            "hideChart": False,
            "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)},
        },
        [_data_view_reference(reference)],
    )


def _dashboard() -> dict[str, Any]:
    panels, references = [], []
    parts: tuple[Visualisation | SavedSearch, ...] = (*VISUALISATIONS, ERROR_SEARCH)
    for index, part in enumerate(parts, start=1):
        key = f"p{index}"
        kind = "lens" if isinstance(part, Visualisation) else "search"
        panels.append(
            {
                "type": kind,
                "panelIndex": key,
                "gridData": {"x": part.x, "y": part.y, "w": part.width, "h": part.height, "i": key},
                "embeddableConfig": {"enhancements": {}},
                "panelRefName": f"panel_{key}",
            }
        )
        references.append({"type": kind, "id": part.id, "name": f"{key}:panel_{key}"})
    options = {
        "useMargins": True,
        "syncColors": False,
        "syncCursor": True,
        "syncTooltips": False,
        "hidePanelTitles": False,
    }
    empty = {"query": {"language": "kuery", "query": ""}, "filter": []}
    return _object(
        "dashboard",
        DASHBOARD_ID,
        {
            "title": DASHBOARD_TITLE,
            "description": "The log lines of the ML pipeline.",
            "timeRestore": True,
            "timeFrom": "now-1h",
            "timeTo": "now",
            "refreshInterval": {"pause": False, "value": 30000},
            "panelsJSON": json.dumps(panels),
            "optionsJSON": json.dumps(options),
            "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(empty)},
        },
        references,
    )
