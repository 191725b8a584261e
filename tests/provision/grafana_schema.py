"""A JSON schema of the classic dashboard as far as we use it: stricter than Grafana, which drops unknown keys.

Names, types and required keys were read in Grafana's published schemas (grafana/grafana-foundation-sdk, jsonschema/,
Apache-2.0); they are written down here in our own words, for no package carries them.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
SAID: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer", "minimum": 0}


def _one_of(*values: object) -> Schema:
    return {"enum": list(values)}


def _list(item: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": item, "minItems": least}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    """Return an object with just these keys."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": sorted(required),
        "additionalProperties": False,
    }


SOURCE = _object({"type": _one_of("prometheus", "elasticsearch"), "uid": SAID})
PLACE = _object({"x": {**WHOLE, "maximum": 23}, "y": WHOLE, "w": {"type": "integer", "minimum": 1, "maximum": 24},
                 "h": {"type": "integer", "minimum": 1}})  # fmt: skip
LINK = _object(
    {"title": SAID, "type": _one_of("link"), "icon": TEXT, "tooltip": TEXT, "tags": _list(TEXT), "asDropdown": FLAG,
     "targetBlank": FLAG, "includeVars": FLAG, "keepTime": FLAG, "url": {"type": "string", "pattern": "^https?://"}}
)  # fmt: skip
STEP = _object({"color": _one_of("green", "yellow", "red", "blue"), "value": {"type": ["number", "null"]}})
GRAPH = _object(
    {"lineWidth": WHOLE, "fillOpacity": {**WHOLE, "maximum": 100}, "showPoints": _one_of("auto", "never", "always"),
     "thresholdsStyle": _object({"mode": _one_of("off", "line", "dashed", "area", "line+area", "dashed+area")})}
)  # fmt: skip
DEFAULTS = _object(
    {
        "unit": SAID,
        "color": _object({"mode": _one_of("thresholds", "palette-classic", "fixed")}),
        "mappings": {"type": "array", "maxItems": 0},
        "thresholds": _object({"mode": _one_of("absolute", "percentage"), "steps": _list(STEP, 1)}),
    },
    {"min": NUMBER, "max": NUMBER, "decimals": NUMBER, "custom": GRAPH, "noValue": SAID},
)
REDUCED = _object({"calcs": _list(TEXT, 1), "fields": TEXT, "values": FLAG})
LEGEND = {"displayMode": _one_of("list", "table", "hidden"), "placement": _one_of("bottom", "right"),
          "showLegend": FLAG, "calcs": _list(TEXT)}  # fmt: skip
TOOLTIP = _object({"mode": _one_of("single", "multi", "none"), "sort": _one_of("asc", "desc", "none")})
OPTIONS: dict[str, Schema] = {
    "stat": _object(
        {"reduceOptions": REDUCED, "graphMode": _one_of("none", "line", "area"),
         "colorMode": _one_of("value", "background", "background_solid", "none"),
         "justifyMode": _one_of("auto", "center"), "orientation": _one_of("auto", "vertical", "horizontal"),
         "textMode": _one_of("auto", "value", "value_and_name", "name", "none"), "wideLayout": FLAG,
         "showPercentChange": FLAG, "percentChangeColorMode": _one_of("standard", "inverted", "same_as_value")}
    ),
    "timeseries": _object({"legend": _object(LEGEND), "tooltip": TOOLTIP}),
    "piechart": _object(
        {"pieType": _one_of("pie", "donut"), "displayLabels": _list(_one_of("name", "value", "percent")),
         "tooltip": TOOLTIP, "legend": _object({**LEGEND, "values": _list(_one_of("value", "percent"))}),
         "reduceOptions": REDUCED, "orientation": _one_of("auto", "vertical", "horizontal")}
    ),
    "heatmap": _object(
        {"calculate": FLAG, "cellGap": WHOLE, "showValue": _one_of("auto", "never", "always"),
         "color": _object({"mode": _one_of("scheme", "opacity"), "scheme": SAID, "fill": SAID, "exponent": NUMBER,
                           "steps": {"type": "integer", "minimum": 2, "maximum": 128}, "reverse": FLAG}),
         "yAxis": _object({"unit": SAID, "axisPlacement": _one_of("auto", "left", "right", "hidden")}),
         "rowsFrame": _object({"layout": _one_of("auto", "le", "ge", "unknown")}),
         "tooltip": _object({"mode": _one_of("single", "multi", "none"), "yHistogram": FLAG}),
         "legend": _object({"show": FLAG}), "exemplars": _object({"color": SAID})}
    ),
    "table": _object({"frameIndex": WHOLE, "showHeader": FLAG, "cellHeight": _one_of("sm", "md", "lg")}),
}  # fmt: skip
PROMETHEUS = _object(
    {"refId": SAID, "datasource": SOURCE, "expr": SAID, "legendFormat": TEXT, "instant": FLAG, "range": FLAG,
     "format": _one_of("time_series", "table", "heatmap"), "editorMode": _one_of("code", "builder")}
)  # fmt: skip
ELASTICSEARCH = _object(
    {"refId": SAID, "datasource": SOURCE, "query": TEXT, "alias": TEXT, "timeField": _one_of("@timestamp"),
     "metrics": _list(_object({"id": SAID, "type": _one_of("count")}), 1),
     "bucketAggs": _list(_object({"id": SAID, "type": _one_of("date_histogram"), "field": SAID,
                                  "settings": _object({"interval": TEXT, "min_doc_count": TEXT})}), 1)}
)  # fmt: skip
HEADING = _object(
    {"id": WHOLE, "type": _one_of("row"), "title": SAID, "collapsed": FLAG, "gridPos": PLACE,
     "panels": {"type": "array", "maxItems": 0}}
)  # fmt: skip


def _panel(kind: str) -> Schema:
    return _object(
        {"id": WHOLE, "type": _one_of(kind), "title": SAID, "description": SAID, "gridPos": PLACE,
         "datasource": SOURCE, "fieldConfig": _object({"defaults": DEFAULTS, "overrides": _list({})}),
         "options": OPTIONS[kind], "links": _list(LINK),
         "targets": _list({"oneOf": [PROMETHEUS, ELASTICSEARCH]}, 1)}
    )  # fmt: skip


DASHBOARD = _object(
    {
        "uid": {"type": "string", "pattern": "^[a-z0-9-]{1,40}$"},
        "title": SAID,
        "description": SAID,
        "tags": _list(SAID),
        "schemaVersion": {"type": "integer", "minimum": 39, "maximum": 42},
        "version": WHOLE,
        "editable": FLAG,
        "graphTooltip": _one_of(0, 1, 2),
        "timezone": _one_of("browser", "utc"),
        "time": _object({"from": {"type": "string", "pattern": r"^now-\d+[smhd]$"}, "to": _one_of("now")}),
        "refresh": {"type": "string", "pattern": r"^\d+[smh]$"},
        "annotations": _object({"list": _list({})}),
        "templating": _object({"list": _list({})}),
        "links": _list(LINK),
        "panels": _list({"oneOf": [HEADING, *map(_panel, OPTIONS)]}, 1),
    }
)
