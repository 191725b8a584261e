"""How the guide's names in Grafana and Kibana are tried: each against the file that those two are given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.stack.guide import Place

ROOT = Path(__file__).resolve().parent.parent.parent
GENERATED = ROOT / "compose" / "provision" / "generated"
Check = Callable[[Place], str]
# the guide's words → Grafana's id
KINDS = {"stat": "stat", "time series": "timeseries", "pie": "piechart"}
UNITS = {"percent (0-1)": "percentunit", "reqps": "reqps", "percent": "percent", "seconds": "s", "MB": "decmbytes"}
COLOURS = re.compile(r"(red|yellow|green) ([<>])? ?([\d.]+)(?:-([\d.]+))?")


def _page() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (GENERATED / "grafana" / "dashboards" / "ml-pipeline-production.json").read_text()
    )
    return found


def dashboard(_place: Place) -> str:
    """The dashboard has the guide's name, range and refresh."""
    page = _page()
    assert (page["title"], page["time"], page["refresh"]) == (
        "ML Pipeline Production", {"from": "now-1h", "to": "now"}, "30s",
    )  # fmt: skip
    return f"provisioned: {page['uid']}"


def _steps(text: str) -> list[tuple[str, float | None]]:
    """Return the thresholds that the guide's words mean, lowest first: `green < 5, yellow 5-10, red > 10`."""
    ranges = [(colour, sign, float(one), other) for colour, sign, one, other in COLOURS.findall(text)]
    return [(colour, None if sign == "<" else one) for colour, sign, one, _ in ranges]


def panel(line: str) -> Check:
    """A row of the guide's table is a panel: title, kind, query, unit, thresholds, legend, axis."""
    title, kind, query, words = (cell.strip() for cell in line.strip("|").split("|"))

    def check(_place: Place) -> str:
        found = next(each for each in _page()["panels"] if each["title"] == title)
        defaults = found["fieldConfig"]["defaults"]
        assert found["type"] == KINDS[kind]
        asked = [target["expr"] for target in found["targets"]]
        if kind == "pie":
            assert query == 'by class "0" and "1"'
            assert asked == [f'ml_predictions_by_class_total{{prediction_class="{number}"}}' for number in (0, 1)]
            assert words == "legend " + " / ".join(target["legendFormat"] for target in found["targets"])
            return "provisioned: piechart of both classes"
        assert asked == [query]
        unit = next(name for name in sorted(UNITS, key=len, reverse=True) if words.startswith(name))
        assert defaults["unit"] == UNITS[unit]
        if steps := _steps(words):
            assert [(step["color"], step["value"]) for step in defaults["thresholds"]["steps"]] == steps
        if "y from 0" in words:
            assert defaults["min"] == 0
        return f"provisioned: {found['type']}, {defaults['unit']}" + (f", {len(steps)} colours" if steps else "")

    return check


def datasource(_place: Place) -> str:
    """The data source Prometheus is http://prometheus:9090."""
    text = (GENERATED / "grafana" / "provisioning" / "datasources" / "datasources.yml").read_text()
    found = {each["name"]: each for each in yaml.safe_load(text)["datasources"]}
    assert (found["Prometheus"]["type"], found["Prometheus"]["url"]) == ("prometheus", "http://prometheus:9090")
    return "provisioned"


def login(_place: Place) -> str:
    """Grafana begins with admin/admin, unless told otherwise."""
    grafana = yaml.safe_load((ROOT / "compose" / "compose.yaml").read_text())["services"]["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_USER"] == "${GRAFANA_USER:-admin}"
    assert grafana["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_PASSWORD:-admin}"
    return "admin/admin in compose.yaml"


def grafana_alert(line: str) -> Check:
    """One of the guide's two Grafana alerts: `expression < value (every 1m, for 5m)`."""
    found = re.fullmatch(r"(\w+) ([<>]) ([\d.]+) \(every (\w+), for (\w+)\)", line)
    assert found is not None, line
    expression, sign, value, every, lasting = found.groups()

    def check(_place: Place) -> str:
        text = (GENERATED / "grafana" / "provisioning" / "alerting" / "rules.yml").read_text()
        group = yaml.safe_load(text)["groups"][0]
        rule = next(each for each in group["rules"] if each["data"][0]["model"]["expr"] == expression)
        models = {each["refId"]: each["model"] for each in rule["data"]}
        condition = models[rule["condition"]]
        (evaluator,) = [each["evaluator"] for each in condition["conditions"]]
        assert (group["interval"], rule["for"]) == (every, lasting)
        assert evaluator == {"type": {"<": "lt", ">": "gt"}[sign], "params": [float(value)]}
        assert models[condition["expression"]]["expression"] == "A"  # which is the expression
        return f"provisioned: {rule['title']}"

    return check


def asked_by(module: str, path: str) -> Check:
    """An address of Grafana's is the one that a command of ours asks; Grafana itself cannot be had here."""

    def check(_place: Place) -> str:
        assert f'"{path}"' in (ROOT / module).read_text(), f"{module} does not ask {path}"
        return f"asked by {module}"

    return check


# -- Kibana


def _saved() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GENERATED / "kibana" / "ml-pipeline.ndjson").read_text().splitlines()]


def _titled(kind: str, title: str) -> dict[str, Any]:
    name = "name" if kind == "index-pattern" else "title"
    (found,) = [each for each in _saved() if each["type"] == kind and each["attributes"].get(name) == title]
    return found


def data_view(_place: Place) -> str:
    """The data view has the guide's name, pattern and time field."""
    found = _titled("index-pattern", "ML Pipeline Logs")["attributes"]
    assert (found["title"], found["timeFieldName"]) == ("ml-pipeline-*", "@timestamp")
    return "provisioned"


def visualisation(title: str, kind: str, kql: str, *operations: tuple[str, str]) -> Check:
    """A visualisation is drawn as the guide says, of the guide's operations on the guide's fields, with its filter."""

    def check(_place: Place) -> str:
        found = _titled("lens", title)["attributes"]
        state = found["state"]
        drawn = state["visualization"].get("preferredSeriesType", found["visualizationType"])
        (layer,) = state["datasourceStates"]["formBased"]["layers"].values()
        columns = [(each["operationType"], each["sourceField"]) for each in layer["columns"].values()]
        assert drawn == kind
        assert re.sub(r"\s", "", state["query"]["query"]) == kql
        assert sorted(columns) == sorted(operations)
        return f"provisioned: {kind}, {len(columns)} columns"

    return check


def newest_errors_first(place: Place) -> str:
    """The table of errors is ordered by the time of the newest line, downwards, and shows the guide's columns."""
    columns = (
        ("terms", "request_id"), ("max", "@timestamp"), ("last_value", "level"), ("last_value", "message.keyword"),
        ("last_value", "error"),
    )  # fmt: skip
    seen = visualisation("Error Analysis", "lnsDatatable", "level:ERROR", *columns)(place)
    (layer,) = _titled("lens", "Error Analysis")["attributes"]["state"]["datasourceStates"]["formBased"][
        "layers"
    ].values()
    (terms,) = [each for each in layer["columns"].values() if each["operationType"] == "terms"]
    ordered = layer["columns"][terms["params"]["orderBy"]["columnId"]]
    assert (ordered["operationType"], terms["params"]["orderDirection"]) == ("max", "desc")
    return f"{seen}, newest first"


def all_four(_place: Place) -> str:
    """The dashboard shows every one of the guide's four visualisations."""
    found = _titled("dashboard", "ML Pipeline Logs Dashboard")
    shown = {reference["id"] for reference in found["references"] if reference["type"] == "lens"}
    assert shown == {each["id"] for each in _saved() if each["type"] == "lens"}
    assert len(shown) == 4
    return "provisioned with all four"


def kibana_rule(_place: Place) -> str:
    """The alert counts level:ERROR on ml-pipeline-*: more than 5 in 5 minutes."""
    rule = json.loads((GENERATED / "kibana" / "rule.json").read_text())
    asked = rule["params"]
    assert (rule["rule_type_id"], rule["enabled"], asked["index"]) == (".es-query", True, ["ml-pipeline-*"])
    assert json.loads(asked["esQuery"]) == {"query": {"term": {"level": "ERROR"}}}
    assert (asked["thresholdComparator"], asked["threshold"]) == (">", [5])
    assert (asked["timeWindowSize"], asked["timeWindowUnit"]) == (5, "m")
    return f"provisioned: {rule['name']}"
