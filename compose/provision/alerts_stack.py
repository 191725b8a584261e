"""Alerts about the stack itself: services, shipper, lost lines, Prometheus, Alertmanager, and the dead man's switch."""

from __future__ import annotations

from compose.provision.alerts import Alert, Severity, number
from compose.provision.objectives import Objectives

LOST = "ml_shipper_lost_bytes_total"


def alerts(aims: Objectives) -> tuple[Alert, ...]:
    """Return the alerts of the stack, warning before critical."""
    return (*_services(), *_shipper(aims), *_losses(), *_store(), *_watchers())


def _services() -> list[Alert]:
    steps: list[tuple[Severity, str]] = [("warning", "1m"), ("critical", "3m")]
    down = [
        Alert(
            name="ServiceDown",
            severity=severity,
            expr="up == 0",
            hold=hold,
            summary="{{ $labels.job }} does not answer",
            description=f"{{{{ $labels.instance }}}} of {{{{ $labels.job }}}} has not answered a scrape for {hold}.",
            guide=True,
        )
        for severity, hold in steps
    ]
    missing = [
        Alert(
            name="TargetMissing",
            severity="critical",
            expr='absent(up{job="app"}) or absent(up{job="shipper"})',
            hold="5m",
            summary="Prometheus has no target {{ $labels.job }}",
            description="It is not even asked: the scrape configuration lost it.",
        )
    ]
    return down + missing


def _shipper(aims: Objectives) -> list[Alert]:
    lags: list[tuple[Severity, float]] = [("warning", aims.lag), ("critical", aims.lag_critical)]
    silences: list[tuple[Severity, str, str]] = [("warning", "300", "1m"), ("critical", "1800", "1m")]
    return [
        *(
            Alert(
                name="ShipperLag",
                severity=severity,
                expr=f"ml_shipper_lag_seconds > {number(lag)}",
                hold="5m",
                summary=f"Log lines reach Elasticsearch more than {lag:g} s late",
                description="The oldest line that is not acknowledged is {{ $value | humanizeDuration }} old.",
            )
            for severity, lag in lags
        ),
        *(
            Alert(
                name="ShipperNotAcknowledging",
                severity=severity,
                expr=f"time() - ml_shipper_last_acknowledgement_timestamp_seconds > {seconds} "
                "and ml_shipper_lag_bytes > 0",
                hold=hold,
                summary="The shipper has lines to send and Elasticsearch acknowledges none",
                description="The last acknowledgement was {{ $value | humanizeDuration }} ago.",
            )
            for severity, seconds, hold in silences
        ),
        Alert(
            name="ShipperDeadLetters",
            severity="warning",
            expr="increase(ml_shipper_dead_letters_total[15m]) > 0",
            hold="0s",
            summary="Elasticsearch refuses log lines for their content",
            description="{{ $value | humanize }} lines in 15 minutes went to the dead-letter files.",
        ),
        Alert(
            name="ShipperDeadLetters",
            severity="critical",
            expr="increase(ml_shipper_dead_letters_total[15m]) > 100",
            hold="0s",
            summary="Elasticsearch refuses many log lines",
            description="{{ $value | humanize }} lines in 15 minutes went to the dead-letter files, which are bounded.",
        ),
    ]


def _losses() -> list[Alert]:
    return [
        Alert(
            name="LogLinesDropped",
            severity="critical",
            expr="increase(ml_log_dropped_total[15m]) > 0",
            hold="0s",
            summary="The service could not write log lines",
            description="{{ $value | humanize }} lines in 15 minutes were not written: disk full or not writable.",
        ),
        Alert(
            name="LogBytesLost",
            severity="critical",
            expr=f"increase({LOST}[15m]) > 0",
            hold="0s",
            summary="Log files vanished before they were shipped",
            description="{{ $value | humanize1024 }}B were gone before Elasticsearch acknowledged them.",
        ),
        Alert(
            name="LogDiskFilling",
            severity="warning",
            # The disk may be shared: after a start, or during a build or a backup, one hour's line falls steeply for a
            # while. The line of the last quarter of an hour ends with the burst, and half an hour outlasts most.
            expr=" and ".join(
                f"predict_linear(ml_log_disk_free_bytes[{window}], 4 * 3600) < 512 * 1024 * 1024"
                for window in ("1h", "15m")
            ),
            hold="30m",
            summary="The log volume will be full within four hours",
            description="At this pace the service will have to drop its oldest log files.",
        ),
        Alert(
            name="LogDiskFilling",
            severity="critical",
            expr="ml_log_disk_free_bytes < 512 * 1024 * 1024",
            hold="1m",
            summary="The log volume is nearly full",
            description="{{ $value | humanize1024 }}B are free: the service drops its oldest closed log files now.",
        ),
    ]


def _store() -> list[Alert]:
    # Elasticsearch's own watermarks are 85 % and 90 %, and at 95 % it refuses writes; the embedded store has one mark.
    steps: list[tuple[Severity, str, str, str]] = [
        ("warning", "0.15", "ml_store_disk_reserve_bytes + 1024 * 1024 * 1024", "10m"),
        ("critical", "0.1", "ml_store_disk_reserve_bytes", "2m"),
    ]
    return [
        Alert(
            name="ElasticsearchRed",
            severity="critical",
            expr='elasticsearch_cluster_health_status{color="red"} == 1',
            hold="2m",
            summary="Elasticsearch is red: some documents cannot be searched",
            description="A primary shard is not assigned; the shipper keeps the lines of its index.",
        ),
        *(
            Alert(
                name="StoreDiskFilling",
                severity=severity,
                expr="elasticsearch_filesystem_data_available_bytes / elasticsearch_filesystem_data_size_bytes "
                f"< {share} or ml_store_disk_free_bytes < {reserve}",
                hold=hold,
                summary="The disk of the log store is nearly full",
                description="When it is full, writes are refused: the shipper waits and the lines stay in their files.",
            )
            for severity, share, reserve, hold in steps
        ),
    ]


def _watchers() -> list[Alert]:
    return [
        Alert(
            name="PrometheusRulesFailing",
            severity="warning",
            expr="increase(prometheus_rule_evaluation_failures_total[5m]) > 0",
            hold="5m",
            summary="Prometheus cannot evaluate a rule",
            description="An alert of group {{ $labels.rule_group }} may be blind.",
        ),
        Alert(
            name="PrometheusNotificationsDropped",
            severity="critical",
            expr="increase(prometheus_notifications_dropped_total[5m]) > 0",
            hold="5m",
            summary="Alerts do not reach Alertmanager",
            description="{{ $value | humanize }} notifications were dropped in five minutes.",
        ),
        Alert(
            name="AlertmanagerNotificationsFailing",
            severity="critical",
            expr="sum by (instance, integration) (increase(alertmanager_notifications_failed_total[5m])) > 0",
            hold="5m",
            summary="Alertmanager cannot deliver by {{ $labels.integration }}",
            description="{{ $value | humanize }} notifications failed in five minutes: nobody is told.",
        ),
        Alert(
            name="Watchdog",
            severity="none",
            expr="vector(1)",
            hold="0s",
            summary="The alerting works",
            description="It always fires: whoever receives it raises the alarm when it stops coming.",
        ),
    ]
