"""Grafana's provisioning files: data sources, the dashboards' provider, the guide's two alerts, their receiver."""

from __future__ import annotations

from typing import Any

from compose.provision.alerts import Alert, alerts
from compose.provision.grafana import panel_id
from compose.provision.objectives import Objectives
from compose.provision.panels import dashboards
from compose.provision.prometheus import SCRAPE_INTERVAL
from compose.provision.yaml_text import yaml_text

FOLDER = "ML Pipeline"
RECEIVER = "Alertmanager"


def datasources() -> str:
    """Return the data sources; their fixed uids are what dashboards and rules name."""
    prometheus = {
        "name": "Prometheus",
        "uid": "prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": "http://prometheus:9090",
        "isDefault": True,
        "editable": False,
        "jsonData": {"timeInterval": SCRAPE_INTERVAL, "httpMethod": "POST"},
    }
    elasticsearch = {
        "name": "Elasticsearch",
        "uid": "elasticsearch",
        "type": "elasticsearch",
        "access": "proxy",
        "url": "http://elasticsearch:9200",
        "isDefault": False,
        "editable": False,
        "jsonData": {
            "index": "ml-pipeline-*",
            "timeField": "@timestamp",
            "maxConcurrentShardRequests": 5,
            "logMessageField": "message",
            "logLevelField": "level",
        },
    }
    return yaml_text({"apiVersion": 1, "datasources": [prometheus, elasticsearch]})


def providers() -> str:
    """Return where Grafana finds the dashboards; they lie outside `provisioning`, which it scans for YAML."""
    provider = {
        "name": "ml-pipeline",
        "orgId": 1,
        "folder": FOLDER,
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": "/var/lib/grafana/dashboards"},
    }
    return yaml_text({"apiVersion": 1, "providers": [provider]})


def contact_points() -> str:
    """Return the one receiver: Alertmanager, which decides who is told."""
    receiver = {
        "uid": "ml-alertmanager",
        "type": "prometheus-alertmanager",
        "settings": {"url": "http://alertmanager:9093"},
    }
    return yaml_text(
        {"apiVersion": 1, "contactPoints": [{"orgId": 1, "name": RECEIVER, "receivers": [receiver]}]},
    )


def alert_rules(objectives: Objectives | None = None, runbook: str = "") -> str:
    """Return the guide's two alerts; label `origin: grafana` keeps Alertmanager from telling people twice.

    Args:
        objectives: the numbers; None for the defaults.
        runbook: address of the page that the alerts point to; empty: its path in the sources.
    """
    aims = objectives or Objectives()
    own = {alert.key: alert for alert in alerts(aims)}
    page = dashboards(aims)[0]
    rules = [
        _rule(
            own["ModelAccuracyLow/warning"],
            uid="ml-model-accuracy",
            title="Model Accuracy below 90 %" if aims.accuracy == 0.90 else "Model Accuracy low",
            expr="ml_model_accuracy",
            comparison=("lt", aims.accuracy),
            panel=(page.uid, panel_id(page, "model-accuracy")),
            runbook=runbook,
            no_data="NoData",
        ),
        _rule(
            own["PredictionErrorRateHigh/critical"],
            uid="ml-error-rate",
            title="Prediction Error Rate above 10 %" if aims.error_rate == 0.10 else "Prediction Error Rate high",
            expr="ml_prediction_error_rate",
            comparison=("gt", aims.error_rate),
            panel=(page.uid, panel_id(page, "error-rate")),
            runbook=runbook,
            no_data="NoData",
        ),
    ]
    group = {"orgId": 1, "name": "ml-pipeline", "folder": FOLDER, "interval": "1m", "rules": rules}
    return yaml_text({"apiVersion": 1, "groups": [group]})


def _rule(
    alert: Alert,
    *,
    uid: str,
    title: str,
    expr: str,
    comparison: tuple[str, float],
    panel: tuple[str, int],
    runbook: str,
    no_data: str,
) -> dict[str, Any]:
    expression = {"type": "__expr__", "uid": "__expr__"}
    kind, limit = comparison
    return {
        "uid": uid,
        "title": title,
        "condition": "C",
        "for": alert.hold,
        "noDataState": no_data,
        "execErrState": "Error",
        "dashboardUid": panel[0],
        "panelId": panel[1],
        "labels": {"severity": alert.severity, "origin": "grafana"},
        "annotations": {
            "summary": alert.summary,
            "description": "The value is {{ $values.B.Value }}.",
            "runbook_url": alert.runbook(runbook),
        },
        "notification_settings": {"receiver": RECEIVER},
        "data": [
            {
                "refId": "A",
                "relativeTimeRange": {"from": 600, "to": 0},
                "datasourceUid": "prometheus",
                "model": {
                    "refId": "A",
                    "expr": expr,
                    "instant": True,
                    "range": False,
                    "editorMode": "code",
                    "intervalMs": 1000,
                    "maxDataPoints": 43200,
                    "datasource": {"type": "prometheus", "uid": "prometheus"},
                },
            },
            {
                "refId": "B",
                "relativeTimeRange": {"from": 0, "to": 0},
                "datasourceUid": "__expr__",
                "model": {
                    "refId": "B",
                    "type": "reduce",
                    "expression": "A",
                    "reducer": "last",
                    "settings": {"mode": "dropNN"},
                    "datasource": expression,
                },
            },
            {
                "refId": "C",
                "relativeTimeRange": {"from": 0, "to": 0},
                "datasourceUid": "__expr__",
                "model": {
                    "refId": "C",
                    "type": "threshold",
                    "expression": "B",
                    "conditions": [{"evaluator": {"type": kind, "params": [limit]}}],
                    "datasource": expression,
                },
            },
        ],
    }
