"""Alerts about the stack itself: services, shipper, lost lines, Prometheus, Alertmanager, and the dead man's switch."""

from __future__ import annotations

from compose.provision.alerts import Alert, Severity, grown, number
from compose.provision.objectives import Objectives

# Who is told at night when it does not answer: not for what only looks on.
PAGING = 'job!~"grafana|elasticsearch-exporter"'


def alerts(aims: Objectives) -> tuple[Alert, ...]:
    """Return the alerts of the stack, warning before critical."""
    return (*_services(), *_shipper(aims), *_losses(), *_store(), *_watchers())


def _services() -> list[Alert]:
    steps: list[tuple[Severity, str, str]] = [("warning", "1m", "up"), ("critical", "3m", f"up{{{PAGING}}}")]
    # Three outages are five or six changes; a deployment and its rollback are four.
    often = "changes(up[15m]) > 4"
    loops: list[tuple[Severity, str, str]] = [
        ("warning", often, "0s"),
        ("critical", f"{often} and avg_over_time(up{{{PAGING}}}[15m]) < 0.8", "5m"),
    ]
    down = [
        Alert(
            name="ServiceDown",
            severity=severity,
            expr=f"{series} == 0",
            hold=hold,
            summary="{{ $labels.job }} does not answer",
            description=f"{{{{ $labels.instance }}}} of {{{{ $labels.job }}}} has not answered a scrape for {hold}.",
            guide=True,
        )
        for severity, hold, series in steps
    ]
    unstable = [
        Alert(
            name="ServiceUnstable",
            severity=severity,
            expr=expr,
            hold=hold,
            summary="{{ $labels.job }} comes and goes",
            description="{{ $labels.instance }} of {{ $labels.job }} stopped and began to answer three times or more "
            "in a quarter of an hour: it is started again and again, or has no time to answer.",
        )
        for severity, expr, hold in loops
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
    return down + unstable + missing


def _shipper(aims: Objectives) -> list[Alert]:
    lags: list[tuple[Severity, float]] = [("warning", aims.lag), ("critical", aims.lag_critical)]
    refused: list[tuple[Severity, int, str, str]] = [
        ("warning", 0, "log lines for their content", ""),
        ("critical", 100, "many log lines", ", which are bounded"),
    ]
    return [
        *(
            Alert(
                name="ShipperLag",
                severity=severity,
                # The seconds begin anew with each acknowledgement: one that falls ever further behind is seen by how
                # long what waits will take at its pace. An unfinished last line waits, too, but is no megabyte.
                expr=f"ml_shipper_lag_seconds > {number(lag)} "
                f"or ml_shipper_lag_bytes / (rate(ml_shipper_request_bytes_total[5m]) > 0) > {number(lag)} "
                "and ml_shipper_lag_bytes > 1048576",
                hold="5m",
                summary=f"Log lines reach Elasticsearch more than {lag:g} s late",
                description="Lines wait {{ $value | humanizeDuration }}: since something was acknowledged last, or "
                "until all of them are sent at the pace of the last five minutes.",
            )
            for severity, lag in lags
        ),
        Alert(
            name="ShipperNotReady",
            severity="warning",
            expr="ml_shipper_ready == 0",
            hold="5m",
            summary="The shipper waits for somebody to act",
            description="Its /ready says for what: a refused login, a missing index, a file that it may not read.",
        ),
        *(
            Alert(
                name="ShipperDeadLetters",
                severity=severity,
                expr=grown("ml_shipper_dead_letters_total", by),
                hold="0s",
                summary=f"Elasticsearch refuses {what}",
                description=f"{{{{ $value | humanize }}}} lines in 15 minutes went to the dead-letter files{more}.",
            )
            for severity, by, what, more in refused
        ),
    ]


def _losses() -> list[Alert]:
    return [
        Alert(
            name="LogLinesDropped",
            severity="critical",
            expr=grown("ml_log_dropped_total"),
            hold="0s",
            summary="The service could not write log lines",
            description="{{ $value | humanize }} lines in 15 minutes were not written: {{ $labels.reason }}.",
        ),
        Alert(
            name="LogBytesLost",
            severity="critical",
            expr=grown("ml_shipper_lost_bytes_total"),
            hold="0s",
            summary="Log files were cut or removed before they were shipped",
            description="{{ $value | humanize1024 }}B were gone before Elasticsearch acknowledged them.",
        ),
        Alert(
            name="LogFilesLost",
            severity="critical",
            expr=grown('ml_shipper_files_changes_total{event="lost_files"}'),
            hold="0s",
            summary="Log files vanished before the shipper saw them",
            description="{{ $value | humanize }} numbers are missing in the row of the service's log files.",
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
            name="ElasticsearchDown",
            severity="critical",
            # The exporter answers then, too, but has no state to tell; newer ones have no metric that says so.
            expr='up{job="elasticsearch-exporter"} == 1 unless on (instance) elasticsearch_cluster_health_status',
            hold="3m",
            summary="Elasticsearch does not answer",
            description="Its exporter cannot reach it: nothing can be searched, and the lines stay in their files.",
        ),
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
            # A group is tried again every five minutes: a shorter window would see nothing between two failures.
            expr="sum by (instance, integration) (increase(alertmanager_notifications_failed_total[15m])) > 0",
            hold="5m",
            summary="Alertmanager cannot deliver by {{ $labels.integration }}",
            description="{{ $value | humanize }} notifications failed in a quarter of an hour: nobody is told.",
        ),
        Alert(
            name="Watchdog",
            severity="none",
            expr="vector(1)",
            hold="0s",
            summary="The alerting works",
            description="It always fires: whoever receives it raises the alarm when it stops coming.",
            keep="0s",
        ),
    ]
