"""Grafana's files: the linter accepts ours and refuses each known mistake; titles, units, queries are the guide's."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner

from compose.console.log_search import Asked
from compose.provision.__main__ import main
from compose.provision.files import FOLDER, differing
from compose.provision.grafana import dashboard_json, panel_id
from compose.provision.panels import dashboards
from tests.provision.grafana_check import dashboard_complaints, provisioning_complaints
from tests.provision.grafana_schema import DASHBOARD
from tests.provision.kibana_check import template_fields
from tests.provision.kql import to_dsl

VALIDATOR = jsonschema_rs.Draft202012Validator(DASHBOARD)
GRAFANA = FOLDER / "grafana"
PAGES = {page.uid: page for page in dashboards()}
PROVISIONING = sorted(path.relative_to(GRAFANA / "provisioning") for path in GRAFANA.rglob("provisioning/*/*.yml"))


def test_the_committed_files_are_the_generated_ones() -> None:
    """Nobody edited a generated file, and none is missing or superfluous."""
    assert differing(FOLDER) == []


@pytest.mark.parametrize("uid", PAGES)
def test_the_dashboards_are_clean(uid: str) -> None:
    """The linter has nothing to say."""
    assert dashboard_complaints(json.loads((GRAFANA / "dashboards" / f"{uid}.json").read_text())) == []


@pytest.mark.parametrize("uid", PAGES)
def test_the_dashboards_fit_the_schema(uid: str) -> None:
    """The committed JSON fits the schema of classic dashboards, every key of every panel included."""
    content = json.loads((GRAFANA / "dashboards" / f"{uid}.json").read_text())
    assert [f"{error.instance_path}: {error.message}" for error in VALIDATOR.iter_errors(content)] == []


def test_an_empty_panel_says_why() -> None:
    """Where a panel may be empty while all is well, Grafana shows the reason and not only that there is no data."""
    shown = {
        panel["title"]: panel["fieldConfig"]["defaults"].get("noValue", "")
        for uid in PAGES
        for panel in json.loads((GRAFANA / "dashboards" / f"{uid}.json").read_text())["panels"]
        if panel["type"] != "row"
    }
    said = {panel.title: panel.empty_when for page in PAGES.values() for panel in page.panels()}
    assert {title for title, text in shown.items() if text} == {title for title, text in said.items() if text}
    assert all(said[title] in text for title, text in shown.items())


SCHEMA_MISTAKES: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown panel key": lambda d: d["panels"][0].update(descripton="x"),
    "option of another panel": lambda d: d["panels"][0]["options"].update(pieType="pie"),
    "value that Grafana does not know": lambda d: d["panels"][0]["options"].update(colorMode="text"),
    "threshold as text": lambda d: d["panels"][0]["fieldConfig"]["defaults"]["thresholds"]["steps"][1].update(
        value="1"
    ),
    "link without its type": lambda d: d["panels"][1]["links"][0].pop("type"),
    "wrong kind": lambda d: d["panels"][0].update(type="singlestat"),
    "new schema version": lambda d: d.update(schemaVersion=99),
    "target without a query": lambda d: d["panels"][0]["targets"][0].pop("expr"),
}


@pytest.mark.parametrize("name", SCHEMA_MISTAKES)
def test_the_schema_refuses_each_mistake(name: str) -> None:
    """A dashboard that Grafana would show wrongly does not fit."""
    content = dashboard_json(PAGES["ml-pipeline-production"])
    assert VALIDATOR.is_valid(content)
    SCHEMA_MISTAKES[name](content)
    assert not VALIDATOR.is_valid(content)


def test_the_links_lead_to_the_lines_behind_the_panel() -> None:
    """Each link has the panel's time range and its filter; the console reads its address as that search."""
    fields = template_fields(json.loads((files("index_templates") / "ml-pipeline.mappings.json").read_text()))
    linked = 0
    for page in PAGES.values():
        for panel, shown in zip(
            page.panels(), (p for p in dashboard_json(page)["panels"] if p["type"] != "row"), strict=True
        ):
            assert bool(panel.logs) == bool(shown["links"])
            if panel.logs is None:
                continue
            linked += 1
            to_dsl(panel.logs, fields)  # it is KQL that we understand, on fields of the template
            moments = {"${__from:date:iso}": "2026-11-24T09:00:00.000Z", "${__to:date:iso}": "2026-11-24T09:20:00.000Z"}
            kibana, console = (functools.reduce(lambda url, pair: url.replace(*pair), moments.items(), link["url"])
                               for link in shown["links"])  # fmt: skip
            assert "time:(from:'2026-11-24T09:00:00.000Z',to:'2026-11-24T09:20:00.000Z')" in kibana
            assert f"query:'{quote(panel.logs, safe='')}'" in kibana
            asked = Asked.from_address(dict(parse_qsl(urlsplit(console).query)), now=1_795_512_000)
            assert asked.text == panel.logs
            assert asked.spread.span == 20 * 60
    assert linked >= 8


@pytest.mark.parametrize(
    ("arguments", "variables", "kibana", "console"),
    [
        ([], {}, "http://localhost:5601/app/", "http://localhost:5602/logs?"),
        ([], {"KIBANA_PORT": "15601", "CONSOLE_PORT": "7"}, "http://localhost:15601/app/", "http://localhost:7/logs?"),
        (
            ["--kibana", "https://k/", "--console=https://c/x"],
            {"CONSOLE_PORT": "7"},
            "https://k/app/",
            "https://c/x/logs?",
        ),
    ],
)
def test_the_links_follow_the_settings(
    arguments: list[str],
    variables: dict[str, str],
    kibana: str,
    console: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`write` puts the ports, or the addresses, into every panel's links, and nothing else changes."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["write", "--to", str(tmp_path), *arguments])
    assert done.exit_code == 0, done.output
    links = [
        link["url"]
        for file in (tmp_path / "grafana" / "dashboards").iterdir()
        for panel in json.loads(file.read_text())["panels"]
        for link in panel.get("links", ())
    ]
    assert len(links) >= 16
    assert all(url.startswith((kibana, console)) for url in links), links
    boards = {f"grafana/dashboards/{uid}.json" for uid in PAGES}
    assert set(differing(tmp_path)) == (boards if variables or arguments else set())


@pytest.mark.parametrize("path", PROVISIONING, ids=str)
def test_the_provisioning_is_clean(path: Any) -> None:
    """Each key is one that Grafana's parser reads."""
    content = yaml.safe_load((GRAFANA / "provisioning" / path).read_text())
    assert provisioning_complaints(path.parts[0], content) == []


def test_the_guides_dashboard_is_as_printed() -> None:
    """Titles, types, queries, units, thresholds and legends of the six panels are the guide's."""
    content = dashboard_json(PAGES["ml-pipeline-production"])
    assert content["title"] == "ML Pipeline Production"
    assert (content["time"]["from"], content["refresh"]) == ("now-1h", "30s")
    panels = content["panels"][:6]
    seen = [(p["title"], p["type"], p["targets"][0]["expr"], p["fieldConfig"]["defaults"]["unit"]) for p in panels]
    assert seen == [
        ("Model Accuracy", "stat", "ml_model_accuracy", "percentunit"),
        ("Predictions per Minute", "timeseries", "rate(ml_predictions_total[1m]) * 60", "reqps"),
        ("Error Rate", "stat", "ml_prediction_error_rate * 100", "percent"),
        (
            "95th Percentile Latency",
            "timeseries",
            "histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m]))",
            "s",
        ),
        ("Prediction Distribution", "piechart", 'ml_predictions_by_class_total{prediction_class="0"}', "short"),
        ("Memory Usage", "timeseries", "ml_app_memory_bytes / 1024 / 1024", "decmbytes"),
    ]
    steps = [
        [(step["color"], step["value"]) for step in p["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        for p in (panels[0], panels[2])
    ]
    assert steps == [
        [("red", None), ("yellow", 0.85), ("green", 0.90)],
        [("green", None), ("yellow", 5.0), ("red", 10.0)],
    ]
    assert panels[1]["fieldConfig"]["defaults"]["min"] == 0
    assert [target["legendFormat"] for target in panels[4]["targets"]] == ["No Subscribe", "Subscribe"]


def test_the_alerts_point_to_their_panels() -> None:
    """Each of the guide's alerts names the panel with its own query."""
    groups = yaml.safe_load((GRAFANA / "provisioning" / "alerting" / "rules.yml").read_text())["groups"]
    page = PAGES["ml-pipeline-production"]
    rules = groups[0]["rules"]
    wanted = [panel_id(page, "model-accuracy"), panel_id(page, "error-rate")]
    assert [rule["panelId"] for rule in rules] == wanted
    panels = {panel["id"]: panel for panel in dashboard_json(page)["panels"]}
    assert [panels[rule["panelId"]]["title"] for rule in rules] == ["Model Accuracy", "Error Rate"]
    assert [rule["for"] for rule in rules] == ["5m", "2m"]
    assert groups[0]["interval"] == "1m"
    assert all(rule["labels"]["origin"] == "grafana" for rule in rules)


PANEL_MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no description": (lambda p: p.update(description=""), "has no description"),
    "no unit": (lambda p: p["fieldConfig"]["defaults"].pop("unit"), "has no unit"),
    "import-only data source": (lambda p: p.update(datasource={"uid": "${DS_PROMETHEUS}"}), "names no data source"),
    "fixed window": (
        lambda p: p["targets"][0].update(expr="sum(rate(ml_predictions_total[1m]))"),
        "rate over the fixed window 1m",
    ),
    "bare counter": (lambda p: p["targets"][0].update(expr="ml_predictions_total"), "without rate or increase"),
    "quantile without le": (
        lambda p: p["targets"][0].update(expr="histogram_quantile(0.95, rate(x_bucket[$__rate_interval]))"),
        "without sum by (le)",
    ),
    "too wide": (lambda p: p["gridPos"].update(x=20), "is wider than the grid"),
    "thresholds": (
        lambda p: p["fieldConfig"]["defaults"]["thresholds"].update(
            steps=[{"color": "green", "value": None}, {"color": "red", "value": 2}, {"color": "red", "value": 1}]
        ),
        "do not rise",
    ),
    "two refIds": (lambda p: p["targets"].append(p["targets"][0]), "two with one refId"),
}


@pytest.mark.parametrize("name", PANEL_MISTAKES)
def test_each_panel_mistake_is_found(name: str) -> None:
    """A panel that Grafana would show wrongly or not at all is named."""
    spoil, words = PANEL_MISTAKES[name]
    content = dashboard_json(PAGES["ml-pipeline-production"])
    spoil(content["panels"][0])
    assert any(words in text for text in dashboard_complaints(content))


RULE_MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "snake case": (lambda r: r.update(no_data_state="OK"), "no_data_state: Grafana does not know this key"),
    "camel case": (lambda r: r.update(notificationSettings={}), "notificationSettings: Grafana does not know"),
    "query as condition": (lambda r: r.update(condition="A"), "the condition does not name the threshold"),
    "no title": (lambda r: r.pop("title"), "title is missing"),
    "wrong state": (lambda r: r.update(noDataState="Ok"), "noDataState Ok is none of"),
    "single dollar": (lambda r: r["labels"].update(job="{{ $labels.job }}"), "Grafana eats a single $"),
    "step of nothing": (lambda r: r["data"][1]["model"].update(expression="Z"), "works on Z"),
}


@pytest.mark.parametrize("name", RULE_MISTAKES)
def test_each_rule_mistake_is_found(name: str) -> None:
    """What Grafana drops without a word, or does not start with, is refused here."""
    spoil, words = RULE_MISTAKES[name]
    content = yaml.safe_load((GRAFANA / "provisioning" / "alerting" / "rules.yml").read_text())
    spoiled = copy.deepcopy(content)
    spoil(spoiled["groups"][0]["rules"][0])
    assert any(words in text for text in provisioning_complaints("alerting", spoiled))
