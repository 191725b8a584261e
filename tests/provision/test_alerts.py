"""Every alert, proven by promtool: it fires, not just below, not before its time, and as said without data."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose.provision import prometheus
from compose.provision.alerts import alerts, groups
from compose.provision.files import FOLDER
from tests.optional import need
from tests.provision.alert_cases import CASES, Series

RULES = FOLDER / "prometheus" / "rules.yml"
FIRED: dict[str, list[dict[str, Any]]] = yaml.safe_load((Path(__file__).parent / "fired_alerts.yaml").read_text())
ROOT = FOLDER.parent.parent.parent


def promtool(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    program = need("promtool", apt="prometheus")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, **options)


def _expect(key: str, minute: int, count: int) -> dict[str, Any]:
    name, severity = key.split("/")
    expr = f'count(ALERTS{{alertname="{name}",severity="{severity}",alertstate="firing"}})'
    return {
        "expr": expr,
        "eval_time": f"{minute}m",
        "exp_samples": [{"labels": "{}", "value": count}] if count else [],
    }


def _test(name: str, series: Series, expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "name": name,
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": expected,
    }


def unit_tests(key: str) -> list[dict[str, Any]]:
    """Return promtool's tests of one alert."""
    case = CASES[key]
    firing = [_expect(key, case.at, case.count)]
    if case.at:
        firing.append(_expect(key, case.at - 1, 0))
    told = {"eval_time": f"{case.at}m", "alertname": key.partition("/")[0], "exp_alerts": FIRED[key]}
    tests = [_test(f"{key} fires", case.fires, firing) | {"alert_rule_test": [told]}]
    late = case.at + 20
    tests += [
        _test(f"{key} below {number}", series, [_expect(key, minute, 0) for minute in (case.at, late)])
        for number, series in enumerate(case.below)
    ]
    silence = case.without_data
    tests.append(_test(f"{key} without data", {}, [_expect(key, late, silence)]))
    return tests


def test_each_alert_has_its_cases() -> None:
    """No alert without a proof, no proof without an alert."""
    assert {alert.key for alert in alerts()} == CASES.keys() == FIRED.keys()
    for key, told in FIRED.items():
        assert key.split("/")[1] in {each["exp_labels"]["severity"] for each in told}


def cut(names: str) -> dict[str, Any]:
    """Return the shipped rules, of which the alerts of the names are left, and the recordings that these read.

    promtool evaluates each rule of a file in each minute of each test; one alert does not depend on another.

    Args:
        names: a name, or a pattern of names.
    """
    shipped: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    left: list[dict[str, Any]] = []
    read = ""
    for group in reversed(shipped):  # a recording comes before who reads it
        rules: list[dict[str, Any]] = []
        for rule in reversed(group["rules"]):
            if re.fullmatch(names, rule.get("alert", "")) or ("record" in rule and rule["record"] in read):
                rules.insert(0, rule)
                read += rule["expr"]
        if rules:
            left.insert(0, {**group, "rules": rules})
    return {"groups": left}


def test_no_alert_reads_another() -> None:
    """So each may be tried without the others."""
    assert not [alert.key for alert in alerts() if "ALERTS" in alert.expr]


@pytest.mark.parametrize("name", sorted({alert.name for alert in alerts()}))
def test_an_alert_fires_when_it_should(name: str, tmp_path: Path) -> None:
    """It fires with its labels and words, not a minute early, not just below, and as said without data."""
    keys = [alert.key for alert in alerts() if alert.name == name]
    rules = cut(name)
    assert sum("alert" in rule for group in rules["groups"] for rule in group["rules"]) == len(keys)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    content = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "group_eval_order": [group["name"] for group in rules["groups"]],
        "tests": [test for key in keys for test in unit_tests(key)],
    }
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump(content))
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus.local.yml"])
def test_prometheus_takes_the_configuration(name: str) -> None:
    """`promtool check config` with all lints has nothing to say."""
    done = promtool("check", "config", "--lint=all", "--lint-fatal", FOLDER / "prometheus" / name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    """`promtool check rules --lint=all` finds every rule and no fault."""
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = sum(len(group.recordings) + len(group.alerts) for group in groups())
    assert f"{wanted} rules found" in done.stdout


def test_the_guides_alerts_are_there() -> None:
    """The guide's five conditions are each there as a warning and as critical."""
    found = {(alert.name, alert.severity) for alert in alerts()}
    for name in ("ModelAccuracyLow", "PredictionErrorRateHigh", "PredictionLatencyHigh", "ServiceDown", "MemorySpike"):
        assert {(name, "warning"), (name, "critical")} <= found


def test_each_alert_has_a_runbook_section() -> None:
    """docs/runbook.md has a heading for each alert, and none for an alert that is gone."""
    # Below the alerts stand the guide's own operations, from Troubleshooting on.
    text = (ROOT / "docs" / "runbook.md").read_text().partition("\n## Troubleshooting\n")[0]
    headings = {line.removeprefix("## ").strip() for line in text.splitlines() if line.startswith("## ")}
    assert {alert.name for alert in alerts()} == headings


def test_durations_shrink_but_never_vanish() -> None:
    """A compressed variant keeps `0s` and never makes a wait zero."""
    assert prometheus.shorter("5m", 60) == "5s"
    assert prometheus.shorter("15s", 60) == "1s"
    assert prometheus.shorter("0s", 60) == "0s"
    assert prometheus.shorter("5m", 1) == "5m"
    with pytest.raises(ValueError, match="is not a duration"):
        prometheus.seconds("5 minutes")
