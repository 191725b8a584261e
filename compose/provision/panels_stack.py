"""The dashboard "ML Pipeline Stack": the observability stack watched by itself."""

from __future__ import annotations

from compose.provision.objectives import Objectives
from compose.provision.panels import Dashboard, Panel, Query, Row, Threshold


def stack(aims: Objectives) -> Dashboard:
    """Return the stack's own dashboard: targets, shipper, Prometheus, Alertmanager."""
    return Dashboard(
        uid="ml-pipeline-stack",
        title="ML Pipeline Stack",
        description="The stack itself: who answers, what the shipper holds, what Prometheus and Alertmanager do.",
        rows=(
            Row("", _targets()),
            Row("Shipper", _shipper(aims)),
            Row("Store", _store()),
            Row("Prometheus and Alertmanager", _prometheus()),
        ),
    )


def _targets() -> tuple[Panel, ...]:
    return (
        Panel(
            key="targets-up",
            title="Targets",
            description="1: the last scrape was answered; 0: it was not.",
            kind="stat",
            unit="none",
            queries=(Query(expr="min by (job) (up)", legend="{{job}}", instant=True),),
            thresholds=(Threshold(None, "red"), Threshold(1, "green")),
            decimals=0,
            width=12,
        ),
        Panel(
            key="availability",
            title="Availability of Predictions",
            description="Share of prediction requests without a 5xx in the last hour; empty without requests.",
            kind="stat",
            unit="percentunit",
            queries=(Query(expr="1 - ml:predict_errors:ratio_rate1h", legend="last hour"),),
            thresholds=(Threshold(None, "red"), Threshold(0.99, "yellow"), Threshold(0.999, "green")),
            minimum=0,
            maximum=1,
            decimals=3,
            width=6,
            logs="level: ERROR",
            empty_when="no prediction was asked for in the last hour",
        ),
        Panel(
            key="active-users",
            title="Active Users",
            description="Distinct clients of the last five minutes; kept only as keyed hashes.",
            kind="stat",
            unit="short",
            queries=(Query(expr="sum(ml_active_users)", legend="clients"),),
            decimals=0,
            width=6,
        ),
    )


def _shipper(aims: Objectives) -> tuple[Panel, ...]:
    return (
        Panel(
            key="shipper-lag-bytes",
            title="Bytes not Acknowledged",
            description="What lies in the log files and is not in Elasticsearch yet.",
            kind="timeseries",
            unit="bytes",
            queries=(Query(expr="sum by (instance) (ml_shipper_lag_bytes)", legend="{{instance}}"),),
            minimum=0,
        ),
        Panel(
            key="shipper-retries",
            title="Shipper Retries",
            description="Requests to Elasticsearch in a second that had to be repeated.",
            kind="timeseries",
            unit="reqps",
            queries=(Query(expr="sum(rate(ml_shipper_retries_total[$__rate_interval]))", legend="retries"),),
            minimum=0,
        ),
        Panel(
            key="shipper-last-acknowledgement",
            title="Last Acknowledgement",
            description="Seconds since Elasticsearch last acknowledged a line; grows when nothing is logged, too.",
            kind="stat",
            unit="s",
            queries=(Query(expr="min(time() - ml_shipper_last_acknowledgement_timestamp_seconds)", legend="ago"),),
            thresholds=(Threshold(None, "green"), Threshold(aims.lag_critical, "yellow")),
            decimals=0,
        ),
    )


def _store() -> tuple[Panel, ...]:
    return (
        Panel(
            key="store-documents",
            title="Documents",
            description="Log lines in Elasticsearch; in the embedded store samples of the metrics are counted, too.",
            kind="timeseries",
            unit="short",
            queries=(
                Query(
                    expr='sum(ml_store_documents) or sum(elasticsearch_indices_docs_primary{index=~"ml-pipeline-.*"})',
                    legend="documents",
                ),
            ),
            minimum=0,
            width=12,
        ),
        Panel(
            key="store-disk",
            title="Free Disk of the Store",
            description="Free bytes on the fullest volume of Elasticsearch, or of the embedded store.",
            kind="timeseries",
            unit="bytes",
            queries=(
                Query(
                    expr="min(ml_store_disk_free_bytes) or min(elasticsearch_filesystem_data_available_bytes)",
                    legend="free",
                ),
            ),
            minimum=0,
            width=12,
        ),
    )


def _prometheus() -> tuple[Panel, ...]:
    return (
        Panel(
            key="alerts-firing",
            title="Alerts Firing",
            description="Firing alerts by name and severity; the Watchdog always fires.",
            kind="table",
            unit="none",
            queries=(
                Query(
                    expr='count by (alertname, severity) (ALERTS{alertstate="firing"})',
                    legend="{{alertname}}",
                    instant=True,
                ),
            ),
        ),
        Panel(
            key="scrape-duration",
            title="Scrape Duration",
            description="How long each target takes to tell its metrics.",
            kind="timeseries",
            unit="s",
            queries=(Query(expr="max by (job) (scrape_duration_seconds)", legend="{{job}}"),),
            minimum=0,
        ),
        Panel(
            key="prometheus-series",
            title="Series in Prometheus",
            description="Series in memory; a steep rise means that a label has too many values.",
            kind="timeseries",
            unit="short",
            queries=(Query(expr="sum(prometheus_tsdb_head_series)", legend="series"),),
            minimum=0,
        ),
        Panel(
            key="notifications",
            title="Notifications Sent",
            description="Alertmanager's notifications in a second, and those that failed.",
            kind="timeseries",
            unit="reqps",
            queries=(
                Query(
                    expr="sum(rate(alertmanager_notifications_total[$__rate_interval]))",
                    legend="sent",
                ),
                Query(
                    expr="sum(rate(alertmanager_notifications_failed_total[$__rate_interval]))",
                    legend="failed",
                ),
            ),
            minimum=0,
        ),
    )
