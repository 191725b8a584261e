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
from tests.stack.guide_provisioned import (
    all_four,
    asked_by,
    dashboard,
    data_view,
    datasource,
    grafana_alert,
    kibana_rule,
    login,
    newest_errors_first,
    panel,
    visualisation,
)
from tests.stack.running import until

ROOT = Path(__file__).resolve().parent.parent.parent


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


def answers(number: int, path: str) -> Callable[[Place], str]:
    """An address answers 2xx."""
    return lambda place: f"{place.request(f'GET {path}', port=number).status_code}"


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


def prometheus_alert(condition: str) -> Callable[[Place], str]:
    """An alert with the guide's condition is loaded in Prometheus, beside one of the other severity."""

    def check(place: Place) -> str:
        groups = place.request("GET /api/v1/rules?type=alert", port=9090).json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        (found,) = [rule for rule in rules if rule["query"].startswith(condition)]
        name = found["name"]
        severities = {rule["labels"]["severity"] for rule in rules if rule["name"] == name}
        assert severities == {"warning", "critical"}, f"{name}: {severities}"
        assert all(rule["health"] == "ok" for rule in rules if rule["name"] == name)
        return f"{name}, {found['labels']['severity']}"

    return check


def objective(condition: str) -> Callable[[Place], str]:
    """A target of the guide is the number in a rule that Prometheus runs."""

    def check(place: Place) -> str:
        groups = place.request("GET /api/v1/rules?type=alert", port=9090).json()["data"]["groups"]
        found = [rule["name"] for group in groups for rule in group["rules"] if condition in rule["query"]]
        assert found, f"no rule asks {condition}"
        return f"{found[0]}: {condition}"

    return check


def port(number: int, variable: str) -> Callable[[Place], str]:
    """The guide's port is the one that compose.yaml publishes."""

    def check(_place: Place) -> str:
        services = yaml.safe_load((ROOT / "compose" / "compose.yaml").read_text())["services"].values()
        published = [each.rpartition(":")[0] for service in services for each in service.get("ports", ())]
        assert f"127.0.0.1:${{{variable}:-{number}}}" in published
        return f"{variable} in compose.yaml"

    return check


def health(place: Place) -> str:
    """The cluster is green or yellow."""
    status = place.request("GET /_cluster/health").json()["status"]
    assert status in ("green", "yellow")
    return str(status)


def indices(place: Place) -> str:
    """The list has a heading, and an index of a day with documents."""
    heading, *lines = place.request("GET /_cat/indices?v").text.splitlines()
    columns = heading.split()
    rows = [dict(zip(columns, line.split(), strict=False)) for line in lines]
    daily = [row for row in rows if re.fullmatch(r"ml-pipeline-\d{4}\.\d\d\.\d\d", row["index"])]
    assert sum(int(row["docs.count"]) for row in daily) > 0
    return f"{len(rows)} indices, {daily[0]['index']}"


def pretty(place: Place) -> str:
    """The search finds lines and is written for people."""
    answer = place.request("GET /ml-pipeline-*/_search?pretty")
    assert answer.text.startswith("{\n  ")
    assert len(hits(answer)) == 10
    return "10 hits, indented"


def stored(place: Place) -> str:
    """The snapshot is made and holds the daily indices."""
    name = f"snapshot_{dt.datetime.now(dt.UTC):%Y%m%d}"
    place.request(f"PUT /_snapshot/backup/{name}")

    def made() -> dict[str, Any]:
        (found,) = place.request(f"GET /_snapshot/backup/{name}").json()["snapshots"]
        return dict(found)

    until(lambda: made()["state"] == "SUCCESS", "the snapshot is made", 60)
    assert any(index.startswith("ml-pipeline-2") for index in made()["indices"])
    return f"{name}: {len(made()['indices'])} indices"


def in_docker(verb: str) -> Callable[[Place], str]:
    """A command of Docker is run by the test of the guide's commands there."""

    def check(_place: Place) -> str:
        text = (ROOT / "tests" / "docker" / "test_stack.py").read_text()
        body = text.partition("def test_the_guides_commands_work_as_printed(")[2].partition("\ndef ")[0]
        assert f'stack.compose("{verb}"' in body, f"no test in tests/docker runs {verb}"
        return "run in tests/docker/test_stack.py"

    return check


# -- the rows, in the guide's order

PANELS = """\
| Model Accuracy | stat | ml_model_accuracy | percent (0-1); red < 0.85, yellow 0.85-0.90, green > 0.90 |
| Predictions per Minute | time series | rate(ml_predictions_total[1m]) * 60 | reqps as the guide says, y from 0 |
| Error Rate | stat | ml_prediction_error_rate * 100 | percent; green < 5, yellow 5-10, red > 10 |
| 95th Percentile Latency | time series | histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m])) | seconds |
| Prediction Distribution | pie | by class "0" and "1" | legend No Subscribe / Subscribe |
| Memory Usage | time series | ml_app_memory_bytes / 1024 / 1024 | MB |""".splitlines()  # noqa: E501 - the guide's own
TIME = ("date_histogram", "@timestamp")
COUNT = ("count", "___records___")
VISUALISATIONS = (
    ("Log Levels Over Time", visualisation("Log Levels Over Time", "bar_stacked", "", TIME, ("terms", "level"), COUNT)),
    ("Error Analysis", newest_errors_first),
    (
        "Request Duration Trends",
        visualisation("Request Duration Trends", "line", "", TIME, ("average", "duration")),
    ),
    ("Prediction Success Rate", visualisation("Prediction Success Rate", "lnsMetric", "NOTerror:*", COUNT)),
)
ROWS = (
    Row("Service", "Service, port 5000", port(5000, "APP_PORT")),
    Row("Service", guide.REQUEST, predicts),
    Row("Service", "A loop of 20 such requests", loops),
    *(Row("Service", f"GET {path}", answers(5000, path)) for path in ("/health", "/status", "/metrics")),
    Row("Service", "POST /predict", predicts),
    *(Row("Metrics", name, metric(name)) for name in guide.METRICS),
    *(Row("PromQL", text, query(text)) for text in guide.PROMQL),
    Row("PromQL", guide.VOLUME, volume),
    Row("Prometheus", "Prometheus, port 9090", port(9090, "PROMETHEUS_PORT")),
    *(
        Row("Prometheus", path, answers(9090, path))
        for path in ("/-/healthy", "/api/v1/query?query=ml_model_accuracy", "/api/v1/status/config")
    ),
    Row("Prometheus", "/api/v1/targets", targets),
    Row("Prometheus", "POST /api/v1/admin/tsdb/snapshot", snapshot),
    Row("Grafana", "Grafana, port 3000", port(3000, "GRAFANA_PORT")),
    Row("Grafana", "admin/admin at first", login),
    Row("Grafana", "Data source Prometheus, http://prometheus:9090", datasource),
    Row("Grafana", 'Dashboard "ML Pipeline Production", last 1 hour, refresh 30 s', dashboard),
    *(Row("Grafana", line, panel(line)) for line in PANELS),
    *(
        Row("Grafana", line, grafana_alert(line))
        for line in (
            "ml_model_accuracy < 0.90 (every 1m, for 5m)",
            "ml_prediction_error_rate > 0.10 (every 1m, for 2m)",
        )
    ),
    Row("Grafana", "Health /api/health", asked_by("compose/stack/acceptance.py", "/api/health")),
    Row(
        "Grafana",
        "backup GET /api/search?type=dash-db",
        asked_by("compose/stack/acceptance.py", "/api/search?type=dash-db"),
    ),
    Row("Alert rules", "Model accuracy < 90 %", prometheus_alert("ml_model_accuracy < 0.9")),
    Row("Alert rules", "error rate > 10 %", prometheus_alert("ml_prediction_error_rate > 0.1")),
    Row("Alert rules", "request latency > 1 s", prometheus_alert("ml:predict_duration_seconds:p95_5m > 1 ")),
    Row("Alert rules", "service unavailable", prometheus_alert("up{job!~")),
    Row("Alert rules", "memory spikes", prometheus_alert("ml_app_memory_bytes > 2 * avg_over_time")),
    Row("Elasticsearch", "Elasticsearch, port 9200", port(9200, "ELASTICSEARCH_PORT")),
    Row("Elasticsearch", "GET /_cluster/health", health),
    Row("Elasticsearch", "GET /_cat/indices?v", indices),
    Row("Elasticsearch", "GET /ml-pipeline-*/_search?pretty", pretty),
    Row("Elasticsearch", "GET /ml-pipeline-*/_search?q=level:ERROR&sort=@timestamp:desc&size=5", uri_search),
    Row("Elasticsearch", "PUT /_snapshot/backup/snapshot_YYYYMMDD", stored),
    Row("Elasticsearch", guide.RANGE, newest_first),
    Row("Elasticsearch", guide.ERRORS, only_errors),
    Row("Elasticsearch", guide.DISTRIBUTION, distribution),
    *(Row("Log fields", name, log_field(name)) for name in guide.LOG_FIELDS),
    Row("Kibana", "Kibana, port 5601", port(5601, "KIBANA_PORT")),
    Row("Kibana", "/api/status", answers(5601, "/api/status")),
    Row("Kibana", 'Data view "ML Pipeline Logs": ml-pipeline-*, time field @timestamp', data_view),
    *(Row("Kibana", title, check) for title, check in VISUALISATIONS),
    Row("Kibana", 'Dashboard "ML Pipeline Logs Dashboard" with all four', all_four),
    Row("Kibana", "Elasticsearch query on ml-pipeline-*, level:ERROR, more than 5 in 5 minutes", kibana_rule),
    Row("Operations", "accuracy > 90 %", objective("ml_model_accuracy < 0.9")),
    Row("Operations", "p95 < 500 ms", objective("ml:predict_duration_seconds:p95_5m > 0.5")),
    Row("Operations", "errors < 5 %", objective("ml_prediction_error_rate > 0.05")),
    Row("Operations", "> 10 requests/minute", objective("offset 30m) > 600")),
    Row("Operations", "availability > 99.9 %", objective("ml:predict_errors:ratio_rate3d > 0.001")),
    *(Row("Operations", f"docker compose {verb}", in_docker(verb)) for verb in ("ps", "restart", "stats")),
)
