"""Grafana's dashboards as JSON, built from the panels' definitions.

Own builders, not grafana-foundation-sdk: it is a preview, checks nothing but numeric bounds, and leaves out panel ids
and refIds; what is needed here is about a hundred lines. Classic schema 39, which Grafana 10 to 13 read.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from compose.provision.panels import Dashboard, Panel, Query

SCHEMA_VERSION = 39
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
ELASTICSEARCH = {"type": "elasticsearch", "uid": "elasticsearch"}

# A line in each graph where a model became active: the series' value, in milliseconds, is the time of the mark.
ACTIVATIONS = {
    "name": "Model activated",
    "datasource": PROMETHEUS,
    "enable": True,
    "hide": False,
    "iconColor": "purple",
    "expr": "ml_model_activated_timestamp_seconds * 1000",
    "step": "60s",
    "useValueForTime": True,
    "titleFormat": "Model activated",
    "textFormat": "{{version}}",
}


class Viewers(msgspec.Struct, frozen=True, kw_only=True):
    """Where a person's browser finds the log lines behind a panel.

    Attributes:
        kibana, console: base addresses; in the Docker stack Kibana has 5601, so a console beside it has 5602.
    """

    kibana: str = "http://localhost:5601"
    console: str = "http://localhost:5602"


HERE = Viewers()


def dashboard_json(dashboard: Dashboard, viewers: Viewers = HERE) -> dict[str, Any]:
    """Return one dashboard as Grafana's classic JSON, its panels linked to the log lines in `viewers`."""
    panels: list[dict[str, Any]] = []
    x = y = height = 0
    for row in dashboard.rows:
        if row.title:
            y, x = y + height, 0
            height = 1
            panels.append(
                {
                    "id": len(panels) + 1,
                    "type": "row",
                    "title": row.title,
                    "collapsed": False,
                    "panels": [],
                    "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
                }
            )
            y, height = y + 1, 0
        for panel in row.panels:
            if x + panel.width > 24:
                y, x, height = y + height, 0, 0
            panels.append(_panel(panel, len(panels) + 1, x, y, viewers))
            x, height = x + panel.width, max(height, panel.height)
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": list(dashboard.tags),
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": f"now-{dashboard.span}", "to": "now"},
        "refresh": dashboard.refresh,
        "annotations": {"list": [ACTIVATIONS]},
        "templating": {"list": []},
        "links": [],
        "panels": panels,
    }


def panel_id(dashboard: Dashboard, key: str) -> int:
    """Return the id that the panel `key` has in the JSON."""
    keys: list[str] = []
    for row in dashboard.rows:
        keys += [""] if row.title else []
        keys += [panel.key for panel in row.panels]
    return keys.index(key) + 1


def _panel(panel: Panel, number: int, x: int, y: int, viewers: Viewers) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "color": {"mode": _colour_mode(panel)}, "mappings": []}
    limits = {"min": panel.minimum, "max": panel.maximum, "decimals": panel.decimals}
    if panel.empty_when:
        defaults["noValue"] = f"Nothing: {panel.empty_when}"
    defaults |= {name: value for name, value in limits.items() if value is not None}
    steps = [{"color": step.colour, "value": step.value} for step in panel.thresholds]
    defaults["thresholds"] = {"mode": "absolute", "steps": steps or [{"color": "green", "value": None}]}
    if panel.kind == "timeseries":
        drawn = "dashed" if panel.thresholds else "off"
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 10,
            "showPoints": "never",
            "thresholdsStyle": {"mode": drawn},
        }
    sources = {query.source for query in panel.queries}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "datasource": ELASTICSEARCH if sources == {"elasticsearch"} else PROMETHEUS,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "links": _links(panel, viewers),
        "targets": [_target(query, "ABCDEFGH"[index], panel) for index, query in enumerate(panel.queries)],
    }


def _colour_mode(panel: Panel) -> str:
    return "thresholds" if panel.kind == "stat" and panel.thresholds else "palette-classic"


def _options(panel: Panel) -> dict[str, Any]:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "stat":
            return {
                "reduceOptions": last,
                "colorMode": "value",
                "graphMode": "area",
                "textMode": "auto",
                "justifyMode": "auto",
                "orientation": "auto",
                "wideLayout": True,
                "showPercentChange": False,
                "percentChangeColorMode": "standard",
            }
        case "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "piechart":
            return {
                "reduceOptions": last,
                "pieType": "pie",
                "orientation": "auto",
                "displayLabels": ["percent"],
                "legend": {
                    "displayMode": "table",
                    "placement": "right",
                    "showLegend": True,
                    "values": ["value", "percent"],
                    "calcs": [],
                },
                "tooltip": {"mode": "single", "sort": "none"},
            }
        case "heatmap":
            return {
                "calculate": False,
                "cellGap": 1,
                "color": {
                    "mode": "scheme",
                    "scheme": "Oranges",
                    "steps": 64,
                    "fill": "dark-orange",
                    "exponent": 0.5,
                    "reverse": False,
                },
                "showValue": "never",
                "exemplars": {"color": "rgba(255,0,255,0.7)"},
                "yAxis": {"unit": panel.unit, "axisPlacement": "left"},
                "rowsFrame": {"layout": "auto"},
                "tooltip": {"mode": "single", "yHistogram": False},
                "legend": {"show": True},
            }
        case "table":
            return {"frameIndex": 0, "showHeader": True, "cellHeight": "sm"}


def _links(panel: Panel, viewers: Viewers) -> list[dict[str, Any]]:
    """Return the ways to the log lines behind the panel: the same time range, filtered as the panel is."""
    if panel.logs is None:
        return []
    query = quote(panel.logs.replace("'", "!'"), safe="")
    time = "from:'${__from:date:iso}',to:'${__to:date:iso}'"
    discover = (
        f"{viewers.kibana}/app/discover#/?_g=(time:({time}))"
        f"&_a=(dataSource:(dataViewId:ml-pipeline-logs,type:dataView),index:ml-pipeline-logs,"
        f"query:(language:kuery,query:'{query}'))"
    )
    console = f"{viewers.console}/logs?q={quote(panel.logs, safe='')}&from=${{__from:date:iso}}&to=${{__to:date:iso}}"
    return [_link("Log lines (Kibana)", discover), _link("Log lines (console)", console)]


def _link(title: str, url: str) -> dict[str, Any]:
    return {
        "title": title,
        "type": "link",
        "icon": "external link",
        "tooltip": "",
        "url": url,
        "tags": [],
        "asDropdown": False,
        "targetBlank": True,
        "includeVars": False,
        "keepTime": False,
    }


def _target(query: Query, ref: str, panel: Panel) -> dict[str, Any]:
    if query.source == "elasticsearch":
        bucket = {"interval": "auto", "min_doc_count": "0"}
        return {
            "refId": ref,
            "datasource": ELASTICSEARCH,
            "query": query.expr,
            "alias": query.legend,
            "timeField": "@timestamp",
            "metrics": [{"id": "1", "type": "count"}],
            "bucketAggs": [{"id": "2", "type": "date_histogram", "field": "@timestamp", "settings": bucket}],
        }
    formats = {"heatmap": "heatmap", "table": "table"}
    return {
        "refId": ref,
        "datasource": PROMETHEUS,
        "expr": query.expr,
        "legendFormat": query.legend,
        "format": formats.get(panel.kind, "time_series"),
        "instant": query.instant,
        "range": not query.instant,
        "editorMode": "code",
    }
