"""`check --acceptance`: every check of the guide, tried once against a running stack; says what was left out.

The same for a person, for `.github/workflows` on the vendors' images, and for the tests on stand-ins.
"""

from __future__ import annotations

import datetime as dt
import random
import time
import uuid
from collections.abc import Callable
from typing import Any

from compose.provision.elasticsearch import PATTERN, REPOSITORY
from compose.provision.visualisations import ERROR_BURST
from compose.stack import schema_requests
from compose.stack.remote import Server, Servers, wait_until
from compose.stack.supervisor import StackError

Say = Callable[[str], None]
PATIENCE = 120.0  # seconds for a line to be found or a scrape to be seen
EXAMPLE = {
    "age": 30, "job": "admin", "marital": "single", "education": "secondary", "housing": "yes", "loan": "no",
    "duration": 200, "campaign": 2,
}  # fmt: skip
# The guide's queries; each is to give at least one series once requests were made and scraped.
QUERIES = (
    "ml_model_accuracy",
    "rate(ml_predictions_total[1m]) * 60",
    "ml_prediction_error_rate * 100",
    "rate(http_request_duration_seconds_sum[5m]) / rate(http_request_duration_seconds_count[5m])",
    "histogram_quantile(0.95, http_request_duration_seconds_bucket)",
    "histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m]))",
    "ml_app_memory_bytes / 1024 / 1024",
    "ml_predictions_by_class_total",
    'ml_predictions_by_class_total{prediction_class="0"}',
    'ml_predictions_by_class_total{prediction_class="1"}',
    "rate(ml_prediction_confidence_sum[5m]) / rate(ml_prediction_confidence_count[5m])",
    "rate(ml_predictions_total[1m])",
    "rate(ml_predictions_total[1h])",
    "ml_model_precision",
    "ml_model_recall",
    "ml_model_f1_score",
    "ml_feature_processing_seconds_count",
    "ml_model_load_seconds",
    "ml_input_validation_failures_total",
    "ml_active_users",
)
SCORES = ("ml_model_accuracy", "ml_model_precision", "ml_model_recall", "ml_model_f1_score")
PANELS = ("Model Accuracy", "Predictions per Minute", "Error Rate", "95th Percentile Latency",
          "Prediction Distribution", "Memory Usage")  # fmt: skip
VISUALISATIONS = ("Log Levels Over Time", "Error Analysis", "Request Duration Trends", "Prediction Success Rate")


def accept(servers: Servers, say: Say, *, patience: float = PATIENCE) -> int:
    """Run every check; print one line for each; return 0 when none failed, 2 otherwise."""
    sent: dict[str, Any] = {}
    checks: list[tuple[str, str, Callable[[Server], str | None]]] = [
        ("app", "health, status and metrics answer", lambda server: _app(server, sent)),
        ("app", "the guide's requests are answered", lambda server: _predict(server, sent)),
        ("shipper", "it is ready and waits for nothing", lambda server: _shipper(server, patience)),
        ("elasticsearch", "cluster health and indices", _cluster),
        ("elasticsearch", "each request is one document", lambda server: _documents(server, sent, patience)),
        ("elasticsearch", "the guide's searches", _searches),
        ("elasticsearch", "a snapshot is made and removed", _snapshot),
        ("prometheus", "healthy, configured, rules loaded", _prometheus),
        ("prometheus", "every target is up", lambda server: _targets(server, servers, patience)),
        ("prometheus", "the guide's queries have series", lambda server: _queries(server, sent, patience)),
        ("prometheus", "a snapshot is made", _metrics_snapshot),
        ("alertmanager", "it takes and shows an alert", _alert),
        ("grafana", "health, data source, dashboards, alerts", _grafana),
        ("kibana", "status, data view, dashboard, alert", _kibana),
    ]
    passed = failed = left_out = 0
    for name, what, look in checks:
        started = time.monotonic()
        if not servers.has(name):
            say(f"left out  {name}: {what}")
            left_out += 1
            continue
        try:
            told = look(servers[name])
        except (StackError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            kind = "" if isinstance(error, StackError) else f"an answer of another form ({type(error).__name__}): "
            say(f"FAILED    {name}: {what}: {kind}{error}")
            failed += 1
            continue
        say(f"ok        {name}: {what}{f' ({told})' if told else ''}, {time.monotonic() - started:.1f} s")
        passed += 1
    say(f"{passed} passed, {failed} failed, {left_out} left out")
    return 2 if failed else 0


def _want(condition: object, sentence: str) -> None:
    if not condition:
        raise StackError(sentence)


def _app(app: Server, sent: dict[str, Any]) -> None:
    app.json("GET", "/health")
    # A model of the user's own may bring no hold-out: then there are no scores until labels come.
    sent["scored"] = bool((app.json("GET", "/status")["model"] or {}).get("scores"))
    metrics = app.answer("GET", "/metrics").text
    _want("ml_predictions_total" in metrics, "/metrics has no ml_predictions_total")


def _predict(app: Server, sent: dict[str, Any]) -> str:
    schema = app.json("GET", "/openapi.json")["components"]["schemas"]["Instance"]
    sent["ids"] = set()
    for body in _bodies(schema, random.Random(20)):  # noqa: S311 - made-up customers, no secrets
        answer = app.json("POST", "/predict", json=body)
        _want(answer["prediction"] in (0, 1), f"prediction is {answer['prediction']!r}")
        _want(0 <= answer["confidence"] <= 1, f"confidence is {answer['confidence']!r}")
        sent["ids"].add(answer["request_id"])
    refused = app.answer("POST", "/predict", json={"no_such_field": "old"}, allowed=(400, 422))
    _want(not refused.is_success, "a faulty request was served")
    return f"{len(sent['ids'])} predictions, one refused"


def _bodies(schema: dict[str, Any], chance: random.Random) -> list[dict[str, Any]]:
    """Return the guide's requests, or as many of the schema of a model of the user's own."""
    if set(schema["required"]) != set(EXAMPLE):
        return [schema_requests.valid(schema, chance) for _ in range(22)]
    return [EXAMPLE, EXAMPLE | {"job": "management"}] + [
        EXAMPLE
        | {"age": chance.randint(25, 64), "duration": chance.randint(100, 399), "campaign": chance.randint(1, 5)}
        for _ in range(20)
    ]


def _shipper(shipper: Server, patience: float) -> None:
    wait_until(
        lambda: shipper.answer("GET", "/ready", allowed=(503,)).is_success,
        "the shipper is ready: see /status",
        patience,
    )


def _cluster(elastic: Server) -> str:
    status = str(elastic.json("GET", "/_cluster/health")["status"])
    _want(status in ("green", "yellow"), f"the cluster is {status}")
    _want("health" in elastic.answer("GET", "/_cat/indices?v").text, "/_cat/indices?v has no header")
    return status


def _documents(elastic: Server, sent: dict[str, Any], patience: float) -> str:
    _want(sent.get("ids"), "no request was answered before")
    body = {"query": {"terms": {"request_id": sorted(sent["ids"])}}, "size": 100}

    def found() -> list[str]:
        hits = elastic.json("POST", f"/{PATTERN}/_search", params={"ignore_unavailable": "true"}, json=body)
        return [hit["_source"]["request_id"] for hit in hits["hits"]["hits"]]

    started = time.monotonic()
    wait_until(lambda: set(found()) == sent["ids"], "every request is a document", patience)
    took = time.monotonic() - started
    _want(len(found()) == len(sent["ids"]), "a request is there twice")
    return f"{len(sent['ids'])} found, the last after {took:.1f} s"


def _searches(elastic: Server) -> str:
    elastic.json("GET", f"/{PATTERN}/_search?pretty")
    elastic.json("GET", f"/{PATTERN}/_search?q=level:ERROR&sort=@timestamp:desc&size=5")
    recent = {
        "query": {"range": {"@timestamp": {"gte": "now-1h"}}},
        "sort": [{"@timestamp": {"order": "desc"}}],
        "size": 10,
    }
    hits = elastic.json("POST", f"/{PATTERN}/_search", json=recent)["hits"]["hits"]
    # By what the server sorted: Elasticsearch's dates have milliseconds, the lines' own text has microseconds.
    moments = [hit["sort"][0] for hit in hits]
    _want(moments and moments == sorted(moments, reverse=True), "the newest are not first")
    elastic.json("POST", f"/{PATTERN}/_search", json={"query": {"match": {"level": "ERROR"}}})
    grouped = {
        "aggs": {
            "prediction_distribution": {"terms": {"field": "prediction"}},
            "avg_confidence": {"avg": {"field": "confidence"}},
        },
        "size": 0,
    }
    found = elastic.json("POST", f"/{PATTERN}/_search", json=grouped)["aggregations"]
    classes = {bucket["key"]: bucket["doc_count"] for bucket in found["prediction_distribution"]["buckets"]}
    _want(set(classes) <= {0, 1} and classes, f"prediction_distribution has the classes {sorted(classes)}")
    _want(0 <= found["avg_confidence"]["value"] <= 1, "avg_confidence is no probability")
    return f"by class {classes}, mean confidence {found['avg_confidence']['value']:.3f}"


def _snapshot(elastic: Server) -> None:
    path = f"/_snapshot/{REPOSITORY}/snapshot_acceptance_{uuid.uuid4().hex[:8]}"
    made = elastic.json("PUT", f"{path}?wait_for_completion=true", json={"indices": PATTERN})
    _want(made["snapshot"]["state"] == "SUCCESS", f"the snapshot ended as {made['snapshot']['state']}")
    elastic.json("DELETE", path)


def _prometheus(prometheus: Server) -> str:
    prometheus.answer("GET", "/-/healthy")
    _want("job_name: app" in prometheus.json("GET", "/api/v1/status/config")["data"]["yaml"], "there is no job `app`")
    groups = prometheus.json("GET", "/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    _want(rules, "no rule is loaded")
    broken = [rule["name"] for rule in rules if rule["health"] == "err"]
    _want(not broken, f"rule {broken[:1]} cannot be evaluated")
    return f"{len(rules)} rules"


def _targets(prometheus: Server, servers: Servers, patience: float) -> str:
    def down() -> list[str]:
        targets = prometheus.json("GET", "/api/v1/targets")["data"]["activeTargets"]
        return [
            target["labels"]["job"]
            for target in targets
            if target["health"] != "up" and target["labels"]["job"] not in servers.addresses.without
        ]

    wait_until(lambda: not down(), lambda: f"every target is up; down: {', '.join(down())}", patience)
    return ", ".join(
        sorted(t["labels"]["job"] for t in prometheus.json("GET", "/api/v1/targets")["data"]["activeTargets"])
    )


def _queries(prometheus: Server, sent: dict[str, Any], patience: float) -> str:
    asked = [query for query in QUERIES if sent.get("scored", True) or query not in SCORES]

    def empty() -> list[str]:
        ask = (prometheus.json("GET", "/api/v1/query", params={"query": query})["data"]["result"] for query in asked)
        return [query for query, result in zip(asked, ask, strict=True) if not result]

    wait_until(
        lambda: not empty(), lambda: f"each of the guide's queries has a series; none: {empty()[:3]}", patience, poll=2
    )
    hour = prometheus.json("GET", "/api/v1/query", params={"query": "rate(ml_predictions_total[1h])"})["data"]["result"]
    _want(len(hour) == 1, f"rate(ml_predictions_total[1h]) has {len(hour)} series, one is wanted")
    return f"{len(asked)} queries"


def _metrics_snapshot(prometheus: Server) -> str:
    return str(prometheus.json("POST", "/api/v1/admin/tsdb/snapshot")["data"]["name"])


def _alert(alertmanager: Server) -> None:
    number, now = uuid.uuid4().hex[:8], dt.datetime.now(dt.UTC)
    alert = {
        "labels": {"alertname": "AcceptanceTest", "severity": "none", "test": number},
        "startsAt": now.isoformat(),
        "endsAt": (now + dt.timedelta(seconds=30)).isoformat(),
    }
    alertmanager.answer("POST", "/api/v2/alerts", json=[alert])
    listed = {"filter": f'test="{number}"'}
    wait_until(lambda: bool(alertmanager.json("GET", "/api/v2/alerts", params=listed)), "the alert is listed", 30)


def _grafana(grafana: Server) -> str:
    _want(grafana.json("GET", "/api/health")["database"] == "ok", "its database is not ok")
    sources = {source["type"]: source for source in grafana.json("GET", "/api/datasources")}
    health = grafana.json("GET", f"/api/datasources/uid/{sources['prometheus']['uid']}/health")
    _want(health["status"] == "OK", f"the data source says {health}")
    found = {entry["title"]: entry["uid"] for entry in grafana.json("GET", "/api/search?type=dash-db")}
    board = grafana.json("GET", f"/api/dashboards/uid/{found['ML Pipeline Production']}")["dashboard"]
    titles = {panel["title"] for panel in board["panels"]}
    _want(set(PANELS) <= titles, f"panels missing: {sorted(set(PANELS) - titles)}")
    rules = grafana.json("GET", "/api/v1/provisioning/alert-rules")
    _want(len(rules) >= 2, f"{len(rules)} alert rules, two are wanted")
    return f"{len(found)} dashboards, {len(rules)} alert rules"


def _kibana(kibana: Server) -> str:
    level = kibana.json("GET", "/api/status")["status"]["overall"]["level"]
    _want(level == "available", f"it is {level}")
    views = [view["title"] for view in kibana.json("GET", "/api/data_views")["data_view"]]
    _want(PATTERN in views, f"no data view {PATTERN}")
    kinds = "type=dashboard&type=visualization&type=lens&type=search&per_page=100"
    objects = kibana.json("GET", f"/api/saved_objects/_find?{kinds}")["saved_objects"]
    titles = {entry["attributes"]["title"] for entry in objects}
    wanted = {"ML Pipeline Logs Dashboard", *VISUALISATIONS}
    _want(wanted <= titles, f"missing: {sorted(wanted - titles)}")
    rule = kibana.json("GET", f"/api/alerting/rule/{ERROR_BURST.id}")
    _want(rule["enabled"], "the alert is off")
    return f"{len(titles)} objects"
