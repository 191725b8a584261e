"""How each row of the guide is tried, and the rows in the guide's order."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.stack import guide
from tests.stack.guide import Place, Row, finite, hits
from tests.stack.running import until

ROOT = Path(__file__).resolve().parent.parent.parent
GENERATED = ROOT / "compose" / "provision" / "generated"
NOW = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)


# -- how each kind of row is tried


def predicts(place: Place) -> str:
    """The guide's request is answered 0 or 1 with a confidence."""
    answer = httpx.post(place[5000] + "/predict", content=guide.REQUEST, headers={"Content-Type": "application/json"})
    body = answer.json()
    assert answer.status_code == 200
    assert body["prediction"] in (0, 1)
    assert 0.5 <= body["confidence"] <= 1
    return f"prediction {body['prediction']}, confidence {body['confidence']:.2f}"


def loops(place: Place) -> str:
    """The loop of 20 makes 20 predictions."""
    answers = [json.loads(line) for line in place.shell(guide.LOOP).splitlines() if line]
    assert len(answers) == 20
    assert all(answer["prediction"] in (0, 1) for answer in answers)
    return "20 answers"


def answers(port: int, method: str = "GET") -> Callable[[str], Callable[[Place], str]]:
    """An address answers 2xx."""

    def of(text: str) -> Callable[[Place], str]:
        path = text.partition(" ")[2] or text
        return lambda place: f"{place.request(f'{method} {path}', port=port).status_code}"

    return of


def metric(name: str) -> Callable[[Place], str]:
    """A metric is on /metrics under the guide's name."""

    def check(place: Place) -> str:
        text = httpx.get(place[5000] + "/metrics").text
        family = name.removesuffix("_total") if f"# TYPE {name} " not in text else name
        kind = re.search(rf"^# TYPE {family}(?:_total)? (\w+)$", text, re.MULTILINE)
        assert kind, f"{name} is not on /metrics"
        return kind[1]

    return check


def query(expression: str) -> Callable[[Place], str]:
    """A query has a value in a real Prometheus."""

    def check(place: Place) -> str:
        until(lambda: bool(finite(place.promql(expression))), f"{expression} has a value", 120)
        values = finite(place.promql(expression))
        return f"{len(values)} series, first {values[0]:.4g}"

    return check


def volume(place: Place) -> str:
    """The curl with jq prints the whole rate: one series without labels.

    As printed curl itself refuses the address ("bad range": it reads brackets as a pattern), whatever the server: -g.
    """
    command = guide.VOLUME.replace("curl -s", "curl -gs")
    until(lambda: place.shell(command).strip() not in ("null", ""), "the curl prints a rate", 120)
    until(lambda: float(place.shell(command).strip().strip('"')) > 0, "predictions are seen", 120)
    printed = place.shell(command).strip().strip('"')
    assert len(place.promql("rate(ml_predictions_total[1h])")) == 1
    assert float(printed) > 0
    return f"{float(printed):.4g} a second"


def snapshot(place: Place) -> str:
    """Prometheus snapshots through its admin API."""
    answer = place.request("POST /api/v1/admin/tsdb/snapshot", port=9090)
    return str(answer.json()["data"]["name"])


def targets(place: Place) -> str:
    """Prometheus sees the stack's services, all up."""
    active = place.request("GET /api/v1/targets", port=9090).json()["data"]["activeTargets"]
    jobs = {target["labels"]["job"]: target["health"] for target in active}
    assert any("app" in job or "ml" in job for job in jobs)
    return f"{len(active)} targets"


def newest_first(place: Place) -> str:
    """The last hour comes newest first, at most ten."""
    found = hits(place.request("GET /ml-pipeline-*/_search", guide.RANGE))
    stamps = [hit["@timestamp"] for hit in found]
    assert len(found) == 10
    assert stamps == sorted(stamps, reverse=True)
    return f"{len(found)} hits, newest {stamps[0]}"


def only_errors(place: Place) -> str:
    """Match on level finds the errors and nothing else."""
    found = hits(place.request("GET /ml-pipeline-*/_search", guide.ERRORS))
    assert {hit["level"] for hit in found} == {"ERROR"}
    return f"{len(found)} errors"


def distribution(place: Place) -> str:
    """The aggregation counts what a search counts."""
    body = place.request("GET /ml-pipeline-*/_search", guide.DISTRIBUTION).json()
    buckets = body["aggregations"]["prediction_distribution"]["buckets"]
    counted = sum(bucket["doc_count"] for bucket in buckets)
    later = place.request("GET /ml-pipeline-*/_count?q=prediction:*").json()["count"]
    assert 0 < counted <= later <= counted + 50  # a few more were served between the two
    mean = body["aggregations"]["avg_confidence"]["value"]
    assert 0.5 <= mean <= 1
    return f"{counted} predictions, mean confidence {mean:.3f}"


def uri_search(place: Place) -> str:
    """The URI search gives the five newest errors."""
    found = hits(place.request("GET /ml-pipeline-*/_search?q=level:ERROR&sort=@timestamp:desc&size=5"))
    stamps = [hit["@timestamp"] for hit in found]
    assert len(found) == 5
    assert stamps == sorted(stamps, reverse=True)
    assert {hit["level"] for hit in found} == {"ERROR"}
    return "5 errors, newest first"


def log_field(name: str) -> Callable[[Place], str]:
    """A log field is in documents."""

    def check(place: Place) -> str:
        body = json.dumps({"query": {"exists": {"field": name}}, "size": 1})
        found = hits(place.request("GET /ml-pipeline-*/_search", body))
        assert found, f"no document has {name}"
        value = found[0][name]
        if name == "service":
            assert value == "ml-pipeline"
        return str(value)[:40]

    return check


def panel(title: str, kind: str, expression: str, unit: str) -> Callable[[Place], str]:
    """A panel of the provisioned Grafana dashboard is the guide's."""

    def check(_place: Place) -> str:
        page = json.loads((GENERATED / "grafana" / "dashboards" / "ml-pipeline-production.json").read_text())
        assert page["title"] == "ML Pipeline Production"
        assert (page["time"]["from"], page["refresh"]) == ("now-1h", "30s")
        found = next(each for each in page["panels"] if each["title"] == title)
        assert (found["type"], found["fieldConfig"]["defaults"]["unit"]) == (kind, unit)
        assert expression in [target["expr"] for target in found["targets"]]
        return f"provisioned: {kind}, {unit}"

    return check


def grafana_alert(expression: str, threshold: float, lasting: str) -> Callable[[Place], str]:
    """One of the guide's two Grafana alerts is provisioned with its threshold, interval and duration."""

    def check(_place: Place) -> str:
        text = (GENERATED / "grafana" / "provisioning" / "alerting" / "rules.yml").read_text()
        group = yaml.safe_load(text)["groups"][0]
        rule = next(each for each in group["rules"] if expression in json.dumps(each["data"]))
        assert group["interval"] == "1m"
        assert rule["for"] == lasting
        assert threshold in _numbers(rule["data"])
        return f"provisioned: {rule['title']}"

    return check


def _numbers(value: Any) -> set[float]:
    if isinstance(value, dict):
        return set().union(*(_numbers(each) for each in value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*(_numbers(each) for each in value)) if value else set()
    return {value} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def prometheus_alert(word: str) -> Callable[[Place], str]:
    """An alert is loaded in Prometheus as a warning and as critical."""

    def check(place: Place) -> str:
        groups = place.request("GET /api/v1/rules?type=alert", port=9090).json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"] if word in rule["name"]]
        severities = {rule["labels"]["severity"] for rule in rules}
        assert {"warning", "critical"} <= severities, f"{word}: {severities}"
        return ", ".join(sorted({rule["name"] for rule in rules}))

    return check


def kibana(kind: str, title: str) -> Callable[[Place], str]:
    """A Kibana object of the guide is in what set-up imports."""

    def check(_place: Place) -> str:
        lines = (GENERATED / "kibana" / "ml-pipeline.ndjson").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        match = [each for each in found if each.get("type") == kind and _title(each) == title]
        assert match, f"{kind} {title!r} is not there"
        return f"provisioned: {match[0]['id']}"

    return check


def _title(saved: dict[str, Any]) -> str:
    attributes = saved["attributes"]
    return (
        str(attributes.get("name") or attributes.get("title"))
        if saved["type"] == "index-pattern"
        else str(attributes["title"])
    )


def kibana_rule(_place: Place) -> str:
    """The alert counts level:ERROR on ml-pipeline-*: more than 5 in 5 minutes."""
    rule = json.loads((GENERATED / "kibana" / "rule.json").read_text())
    parameters = rule["params"]
    assert rule["rule_type_id"] == ".es-query"
    assert (parameters["threshold"], parameters["thresholdComparator"]) == ([5], ">")
    assert (parameters["timeWindowSize"], parameters["timeWindowUnit"]) == (5, "m")
    assert "ERROR" in json.dumps(parameters)
    return f"provisioned: {rule['name']}"


def objective(name: str, value: float) -> Callable[[Place], str]:
    """A target of the guide is a number that rules, panels and console share."""

    def check(_place: Place) -> str:
        from compose.provision.objectives import Objectives

        assert getattr(Objectives(), name) == value
        return f"objective {name} = {value:g}"

    return check


def in_docker(word: str) -> Callable[[Place], str]:
    """A command of Docker is run by a test of tests/docker."""

    def check(_place: Place) -> str:
        found = [path.name for path in sorted((ROOT / "tests" / "docker").glob("*.py")) if word in path.read_text()]
        assert found, f"no test in tests/docker runs {word}"
        return f"run in tests/docker/{found[0]}"

    return check


# -- the rows, in the guide's order

PANELS = (
    ("Model Accuracy", "stat", "ml_model_accuracy", "percentunit"),
    ("Predictions per Minute", "timeseries", "rate(ml_predictions_total[1m]) * 60", "reqps"),
    ("Error Rate", "stat", "ml_prediction_error_rate * 100", "percent"),
    ("95th Percentile Latency", "timeseries", guide.PROMQL[5], "s"),
    ("Prediction Distribution", "piechart", guide.PROMQL[8], "short"),
    ("Memory Usage", "timeseries", "ml_app_memory_bytes / 1024 / 1024", "decmbytes"),
)
ROWS = (
    Row("Service", guide.REQUEST, predicts),
    Row("Service", "a loop of 20 such requests", loops),
    *(Row("Service", f"GET {path}", answers(5000)(path)) for path in ("/health", "/status", "/metrics")),
    *(Row("Metrics", name, metric(name)) for name in guide.METRICS),
    *(Row("PromQL", text, query(text)) for text in guide.PROMQL),
    Row("PromQL", guide.VOLUME, volume),
    *(
        Row("Prometheus", path, answers(9090)(path))
        for path in ("/-/healthy", "/api/v1/query?query=ml_model_accuracy", "/api/v1/status/config")
    ),
    Row("Prometheus", "/api/v1/targets", targets),
    Row("Prometheus", "POST /api/v1/admin/tsdb/snapshot", snapshot),
    *(Row("Grafana", f"{each[0]}: {each[2]}", panel(*each)) for each in PANELS),
    Row("Grafana", "ml_model_accuracy < 0.90 (every 1m, for 5m)", grafana_alert("ml_model_accuracy", 0.90, "5m")),
    Row(
        "Grafana",
        "ml_prediction_error_rate > 0.10 (every 1m, for 2m)",
        grafana_alert("ml_prediction_error_rate", 0.10, "2m"),
    ),
    *(Row("Alert rules", word, prometheus_alert(word)) for word in ("Accuracy", "Error", "Latency", "Down", "Memory")),
    Row("Elasticsearch", "GET /_cluster/health", answers(9200)("/_cluster/health")),
    Row("Elasticsearch", "GET /_cat/indices?v", answers(9200)("/_cat/indices?v")),
    Row("Elasticsearch", "GET /ml-pipeline-*/_search?pretty", answers(9200)("/ml-pipeline-*/_search?pretty")),
    Row("Elasticsearch", "GET /ml-pipeline-*/_search?q=level:ERROR&sort=@timestamp:desc&size=5", uri_search),
    Row(
        "Elasticsearch",
        "PUT /_snapshot/backup/snapshot_YYYYMMDD",
        answers(9200, "PUT")(f"/_snapshot/backup/snapshot_{NOW:%Y%m%d}"),
    ),
    Row("Elasticsearch", guide.RANGE, newest_first),
    Row("Elasticsearch", guide.ERRORS, only_errors),
    Row("Elasticsearch", guide.DISTRIBUTION, distribution),
    *(Row("Log fields", name, log_field(name)) for name in guide.LOG_FIELDS),
    Row("Kibana", "/api/status", answers(5601)("/api/status")),
    Row("Kibana", "ML Pipeline Logs", kibana("index-pattern", "ML Pipeline Logs")),
    *(
        Row("Kibana", title, kibana("lens", title))
        for title in ("Log Levels Over Time", "Request Duration Trends", "Prediction Success Rate")
    ),
    Row("Kibana", "ML Pipeline Logs Dashboard", kibana("dashboard", "ML Pipeline Logs Dashboard")),
    Row("Kibana", "level:ERROR, more than 5 in 5 minutes", kibana_rule),
    Row("Operations", "accuracy > 90 %", objective("accuracy", 0.90)),
    Row("Operations", "p95 < 500 ms", objective("latency", 0.5)),
    Row("Operations", "errors < 5 %", objective("error_rate_warning", 0.05)),
    Row("Operations", "> 10 requests/minute", objective("predictions_per_minute", 10.0)),
    Row("Operations", "availability > 99.9 %", objective("availability", 0.999)),
    *(Row("Operations", f"docker compose {verb}", in_docker(verb)) for verb in ("ps", "restart", "stats")),
)
