"""Checks Grafana's files for what Grafana swallows: dashboards by the linter's rules, provisioning key by key.

The rules are those of grafana/dashboard-linter that fit; the keys those of pkg/services/provisioning in Grafana's tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from compose.provision.panels import Unit

GUIDE_TITLES = frozenset({"Predictions per Minute", "95th Percentile Latency"})  # their queries stay as printed
UIDS = frozenset({"prometheus", "elasticsearch"})
GRID_WIDTH = 24

Keys = dict[str, Any]
RULE_KEYS: Keys = {
    **dict.fromkeys(
        [
            "uid",
            "title",
            "condition",
            "for",
            "noDataState",
            "execErrState",
            "dashboardUid",
            "panelId",
            "labels",
            "annotations",
            "keepFiringFor",
            "missing_series_evals_to_resolve",
            "isPaused",
        ]
    ),
    "notification_settings": {"receiver": None},
    "data": [
        {
            "refId": None,
            "queryType": None,
            "relativeTimeRange": {"from": None, "to": None},
            "datasourceUid": None,
            "model": None,
        }
    ],
}
FILES: dict[str, Keys] = {
    "datasources": {
        "apiVersion": None,
        "datasources": [
            {
                **dict.fromkeys(
                    [
                        "name",
                        "uid",
                        "type",
                        "access",
                        "url",
                        "isDefault",
                        "editable",
                        "orgId",
                        "version",
                        "basicAuth",
                        "user",
                    ]
                ),
                "jsonData": None,
                "secureJsonData": None,
            }
        ],
    },
    "dashboards": {
        "apiVersion": None,
        "providers": [
            {
                **dict.fromkeys(
                    [
                        "name",
                        "orgId",
                        "folder",
                        "folderUid",
                        "type",
                        "disableDeletion",
                        "allowUiUpdates",
                        "updateIntervalSeconds",
                    ]
                ),
                "options": {"path": None, "foldersFromFilesStructure": None},
            }
        ],
    },
    "alerting": {
        "apiVersion": None,
        "groups": [{**dict.fromkeys(["orgId", "name", "folder", "interval"]), "rules": [RULE_KEYS]}],
        "contactPoints": [
            {
                "orgId": None,
                "name": None,
                "receivers": [dict.fromkeys(["uid", "type", "settings", "disableResolveMessage"])],
            }
        ],
    },
}
STATES = {
    "noDataState": {"NoData", "Alerting", "OK", "KeepLast"},
    "execErrState": {"Error", "Alerting", "OK", "KeepLast"},
}


def provisioning_complaints(kind: str, content: Any) -> list[str]:
    """Return the keys that Grafana would silently drop, and rules that it would refuse.

    Args:
        kind: `datasources`, `dashboards` or `alerting`: the folder of the file.
        content: the parsed YAML.
    """
    found = list(_unknown(content, FILES[kind], ""))
    for group in content.get("groups", []):
        for rule in group.get("rules", []):
            found += [f"{rule.get('title')}: {text}" for text in _rule(rule)]
    for source in content.get("datasources", []):
        found += [] if source.get("uid") else [f"data source {source.get('name')}: no uid; nothing could name it"]
    return found


def _unknown(content: Any, keys: Any, path: str) -> Iterator[str]:
    if isinstance(keys, list):
        for index, each in enumerate(content):
            yield from _unknown(each, keys[0], f"{path}[{index}]")
    elif isinstance(keys, dict):
        for name, value in content.items():
            if name not in keys:
                yield f"{path}.{name}: Grafana does not know this key and would drop it"
            elif keys[name] is not None:
                yield from _unknown(value, keys[name], f"{path}.{name}")


def _rule(rule: dict[str, Any]) -> Iterator[str]:
    missing = [name for name in ("uid", "title", "condition", "data") if not rule.get(name)]
    yield from (f"{name} is missing: Grafana would not start" for name in missing)
    steps = {step["refId"]: step["model"] for step in rule.get("data", [])}
    if steps.get(rule.get("condition", ""), {}).get("type") != "threshold":
        yield "the condition does not name the threshold"
    for ref, model in steps.items():
        if model.get("refId") != ref:
            yield f"step {ref}: its model has another refId"
        if "expression" in model and model["expression"] not in steps:
            yield f"step {ref}: works on {model['expression']}, which is not there"
    for name, allowed in STATES.items():
        if rule.get(name) not in allowed:
            yield f"{name} {rule.get(name)} is none of {sorted(allowed)}"
    for name, value in rule.get("labels", {}).items():
        if re.search(r"(?<!\$)\$(?!\$)", str(value)):
            yield f"label {name}: Grafana eats a single $; write $$"


def dashboard_complaints(content: dict[str, Any]) -> list[str]:
    """Return what the linter has to say about one dashboard, each with its panel."""
    found: list[str] = []
    if content.get("editable") is not False:
        found.append("the dashboard is editable: changes would be lost at the next start")
    numbers = [panel["id"] for panel in content["panels"]]
    if len(set(numbers)) != len(numbers):
        found.append("two panels have the same id")
    for panel in content["panels"]:
        if panel["type"] != "row":
            found += [f"{panel['title']}: {text}" for text in _panel(panel)]
    for index, one in enumerate(content["panels"]):
        for other in content["panels"][index + 1 :]:
            if _overlap(one["gridPos"], other["gridPos"]):
                found.append(f"{one['title']} and {other['title']} overlap")
    if "${DS_" in str(content) or "__inputs" in content:
        found.append("only the import dialogue fills ${DS_…} and __inputs")
    return found


def _overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
    return not (beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"])


def _panel(panel: dict[str, Any]) -> Iterator[str]:
    for name in ("title", "description"):
        if not panel.get(name):
            yield f"has no {name}"
    if panel["fieldConfig"]["defaults"].get("unit") not in get_args(Unit):
        yield "has no unit that we know"
    if panel.get("datasource", {}).get("uid") not in UIDS:
        yield "names no data source that is provisioned"
    if panel["gridPos"]["x"] + panel["gridPos"]["w"] > GRID_WIDTH:
        yield "is wider than the grid"
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    values = [step["value"] for step in steps[1:]]
    if steps[0]["value"] is not None or values != sorted(values):
        yield "thresholds do not begin with the base or do not rise"
    refs = [target["refId"] for target in panel["targets"]]
    if len(set(refs)) != len(refs) or not refs:
        yield "has no targets, or two with one refId"
    for target in panel["targets"]:
        if target["datasource"]["uid"] not in UIDS:
            yield f"target {target['refId']} names no data source that is provisioned"
        if "expr" in target:
            yield from _expr(panel["title"], target["expr"])


def _expr(title: str, expr: str) -> Iterator[str]:
    if title in GUIDE_TITLES:
        return
    for window in re.findall(r"(?:rate|increase)\([^\[]*\[([^\]]+)\]", expr):
        if window not in ("$__rate_interval", "$__range"):
            yield f"rate over the fixed window {window}: take $__rate_interval"
    if "histogram_quantile" in expr and "sum by (le" not in expr:
        yield "histogram_quantile without sum by (le)"
    for name in re.findall(r"\b\w+_total\b", expr):
        if not re.search(rf"(?:rate|increase)\({name}", expr) and "by_class" not in name:
            yield f"counter {name} without rate or increase"
