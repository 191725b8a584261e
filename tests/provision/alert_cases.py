"""For each alert: series on which it fires and when, and series just below on which it does not."""

from __future__ import annotations

import msgspec

Series = dict[str, str]
MIB = 1024 * 1024
MINUTES = 130  # that every series lasts


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One alert's proof; a sample a minute.

    Attributes:
        fires: series on which it fires.
        at: minute in which it fires first; a minute earlier it does not.
        below: sets of series just below the condition, on which it never fires.
        without_data: how many fire where there are no series at all.
        count: how many alerts fire.
    """

    fires: Series
    at: int
    below: tuple[Series, ...]
    without_data: int = 0
    count: int = 1


def _flat(name: str, value: float, labels: str = 'instance="a",job="app"') -> Series:
    return {f"{name}{{{labels}}}": f"{value}+0x{MINUTES}"}


def _rising(name: str, step: float, labels: str = 'instance="a",job="app"') -> Series:
    return {f"{name}{{{labels}}}": f"0+{step}x{MINUTES}"}


def _jump(name: str, to: float, labels: str = 'instance="a",job="app"') -> Series:
    return {f"{name}{{{labels}}}": f"0 0 0 {to}+0x{MINUTES}"}


def _requests(total: int, failed: int) -> Series:
    labels = 'endpoint="/predict",method="POST",status='
    name = "http_requests_total"
    return _rising(name, total - failed, f'{labels}"200"') | (_rising(name, failed, f'{labels}"500"') if failed else {})


def _durations(half: int, one: int, every: int) -> Series:
    """Requests a minute: up to 0.5 s, up to 1 s, all."""
    labels = 'endpoint="/predict"'
    buckets = {"0.5": half, "1.0": one, "2.5": every, "+Inf": every}
    series = _rising("http_request_duration_seconds_count", every, labels) | _requests(every, 0)
    for edge, number in buckets.items():
        series |= _rising("http_request_duration_seconds_bucket", number, f'{labels},le="{edge}"')
    return series


def _memory(spike: float) -> Series:
    return {'ml_app_memory_bytes{instance="a",job="app"}': f"300e6+0x74 {spike}+0x40"}


def _traffic_stops(per_minute: int) -> Series:
    return {"ml_predictions_total": f"0+{per_minute}x80 {per_minute * 80}+0x40"}


def _drift(psi: float) -> Series:
    labels = 'instance="a",job="app",feature="age"'
    return _flat("ml_feature_psi", psi, labels) | _flat("ml_feature_psi_threshold", 0.2, labels)


def _store_disk(available: float, free: float) -> Series:
    """Free share of Elasticsearch's volume; free bytes of the embedded store, of which 64 MiB are kept."""
    labels = 'instance="e",job="elasticsearch-exporter",mount="/data"'
    own = 'instance="s",job="store"'
    return (
        _flat("elasticsearch_filesystem_data_available_bytes", available * 100e9, labels)
        | _flat("elasticsearch_filesystem_data_size_bytes", 100e9, labels)
        | _flat("ml_store_disk_free_bytes", free, own)
        | _flat("ml_store_disk_reserve_bytes", 64 * MIB, own)
    )


def _health(red: int) -> Series:
    labels = 'cluster="c",instance="e",job="elasticsearch-exporter",color='
    name = "elasticsearch_cluster_health_status"
    return _flat(name, red, f'{labels}"red"') | _flat(name, 1 - red, f'{labels}"yellow"')


def _failing(rate: float, a_minute: int) -> Series:
    return _flat("ml_prediction_error_rate", rate) | _rising("ml_prediction_failures_total", a_minute)


def _unlabelled(live: int, activated: int, predictions: int) -> Series:
    return (
        _flat("ml_model_metrics_live", live)
        | _flat("ml_model_activated_timestamp_seconds", activated, 'instance="a",job="app",version="1"')
        | _rising("ml_predictions_total", predictions)
    )


def _loops(labels: str = 'instance="a",job="app"') -> Series:
    return {f"up{{{labels}}}": "1 0 " * (MINUTES // 2)}


EXPORTER = 'instance="e",job="elasticsearch-exporter"'
LOST_FILES = 'instance="a",job="app",event="lost_files"'
DEPLOYMENTS = {'up{instance="a",job="app"}': f"1 0 1 1 0 1+0x{MINUTES}"}  # a new version, and back to the old one
SHORT_OF_TRAFFIC = _requests(2, 1)  # half of 120 requests in the hour fail: too few to judge

CASES: dict[str, Case] = {
    "PredictionErrorBudgetBurn/warning": Case(fires=_requests(1000, 2), at=16, below=(_requests(2000, 1),)),
    "PredictionErrorBudgetBurn/critical": Case(
        fires=_requests(1000, 7), at=3, below=(_requests(1000, 5), SHORT_OF_TRAFFIC)
    ),
    "PredictionLatencyBudgetBurn/warning": Case(
        fires=_durations(900, 1000, 1000), at=16, below=(_durations(960, 1000, 1000),)
    ),
    "PredictionLatencyBudgetBurn/critical": Case(
        fires=_durations(650, 1000, 1000), at=3, below=(_durations(750, 1000, 1000), _durations(0, 2, 2))
    ),
    "ModelAccuracyLow/warning": Case(
        fires=_flat("ml_model_accuracy", 0.899), at=5, below=(_flat("ml_model_accuracy", 0.9),)
    ),
    "ModelAccuracyLow/critical": Case(
        fires=_flat("ml_model_accuracy", 0.849), at=5, below=(_flat("ml_model_accuracy", 0.85),)
    ),
    "PredictionErrorRateHigh/warning": Case(
        fires=_flat("ml_prediction_error_rate", 0.051), at=2, below=(_flat("ml_prediction_error_rate", 0.05),)
    ),
    "PredictionErrorRateHigh/critical": Case(
        fires=_failing(0.101, 1), at=5, below=(_failing(0.1, 1), _failing(0.101, 0)),
    ),
    "PredictionLatencyHigh/warning": Case(
        fires=_durations(90, 100, 100), at=6, below=(_durations(96, 100, 100), _durations(0, 0, 0))
    ),
    "PredictionLatencyHigh/critical": Case(
        fires=_durations(50, 90, 100),
        at=6,
        below=(_durations(50, 96, 100), _durations(0, 0, 3), _durations(0, 0, 0)),
    ),
    "MemorySpike/warning": Case(fires=_memory(451e6), at=80, below=(_memory(449e6),)),
    "MemorySpike/critical": Case(fires=_memory(601e6), at=80, below=(_memory(599e6),)),
    "NoPredictions/warning": Case(
        fires=_traffic_stops(8), at=110, below=(_traffic_stops(7), _flat("ml_predictions_total", 7, ""))
    ),
    "NoPredictions/critical": Case(
        fires=_traffic_stops(8), at=100, below=(_traffic_stops(7), _flat("ml_predictions_total", 7, ""))
    ),
    "FeatureDrift/warning": Case(fires=_drift(0.21), at=15, below=(_drift(0.2),)),
    "FeatureDrift/critical": Case(fires=_drift(0.41), at=60, below=(_drift(0.4),)),
    "FeedbackTooThin/warning": Case(
        fires=_unlabelled(live=0, activated=-86400, predictions=3000),
        at=61,
        below=(
            _unlabelled(live=1, activated=-86400, predictions=3000),
            _unlabelled(live=0, activated=0, predictions=3000),
            _unlabelled(live=0, activated=-86400, predictions=10),
        ),
    ),
    "ModelNotLoaded/warning": Case(
        fires=_flat("ml_model_load_failing", 1), at=1, below=(_flat("ml_model_load_failing", 0),)
    ),
    "ModelNotLoaded/critical": Case(fires=_flat("ml_model_loaded", 0), at=3, below=(_flat("ml_model_loaded", 1),)),
    "FeedbackNotKept/warning": Case(
        fires=_jump("ml_feedback_not_kept_total", 1), at=3, below=(_flat("ml_feedback_not_kept_total", 0),)
    ),
    "ServiceDown/warning": Case(fires=_flat("up", 0), at=1, below=(_flat("up", 1),)),
    "ServiceDown/critical": Case(
        fires=_flat("up", 0), at=3, below=(_flat("up", 1), _flat("up", 0, 'instance="g",job="grafana"'))
    ),
    "ServiceUnstable/warning": Case(fires=_loops(), at=5, below=(_flat("up", 1), DEPLOYMENTS)),
    "ServiceUnstable/critical": Case(
        fires=_loops(), at=10, below=(DEPLOYMENTS, _loops('instance="g",job="grafana"'))
    ),
    "TargetMissing/critical": Case(
        fires=_flat("up", 1),
        at=5,
        below=(_flat("up", 1) | _flat("up", 1, 'instance="b",job="shipper"'),),
        without_data=2,
    ),
    "ShipperLag/warning": Case(
        fires=_flat("ml_shipper_lag_seconds", 61), at=5, below=(_flat("ml_shipper_lag_seconds", 60),)
    ),
    "ShipperLag/critical": Case(
        fires=_flat("ml_shipper_lag_seconds", 601), at=5, below=(_flat("ml_shipper_lag_seconds", 600),)
    ),
    "ShipperNotReady/warning": Case(
        fires=_flat("ml_shipper_ready", 0), at=5, below=(_flat("ml_shipper_ready", 1),)
    ),
    "ShipperDeadLetters/warning": Case(
        fires=_jump("ml_shipper_dead_letters_total", 1), at=3, below=(_flat("ml_shipper_dead_letters_total", 0),)
    ),
    "ShipperDeadLetters/critical": Case(
        fires=_jump("ml_shipper_dead_letters_total", 110), at=3, below=(_jump("ml_shipper_dead_letters_total", 80),)
    ),
    "LogLinesDropped/critical": Case(
        fires=_jump("ml_log_dropped_total", 1), at=3, below=(_flat("ml_log_dropped_total", 0),)
    ),
    "LogBytesLost/critical": Case(
        fires=_jump("ml_shipper_lost_bytes_total", 1), at=3, below=(_flat("ml_shipper_lost_bytes_total", 0),)
    ),
    "LogFilesLost/critical": Case(
        fires=_jump("ml_shipper_files_changes_total", 1, LOST_FILES),
        at=3,
        below=(
            _flat("ml_shipper_files_changes_total", 0, LOST_FILES),
            _jump("ml_shipper_files_changes_total", 1, 'instance="a",job="app",event="deleted_files"'),
        ),
    ),
    "LogDiskFilling/warning": Case(
        fires={"ml_log_disk_free_bytes": "2e9-7e6x130"},
        at=31,
        below=(
            {"ml_log_disk_free_bytes": "2e9-4e6x130"},
            {"ml_log_disk_free_bytes": "9e9-3e8x12 5.4e9+0x118"},  # a program filled 3.6 GB in 12 minutes and ended
        ),
    ),
    "LogDiskFilling/critical": Case(
        fires=_flat("ml_log_disk_free_bytes", 511 * MIB), at=1, below=(_flat("ml_log_disk_free_bytes", 512 * MIB),)
    ),
    "ElasticsearchDown/critical": Case(
        fires=_flat("up", 1, EXPORTER), at=3, below=(_flat("up", 1, EXPORTER) | _health(1), _flat("up", 0, EXPORTER))
    ),
    "ElasticsearchRed/critical": Case(fires=_health(1), at=2, below=(_health(0),)),
    "StoreDiskFilling/warning": Case(
        fires=_store_disk(0.149, 1087 * MIB), at=10, below=(_store_disk(0.15, 1088 * MIB),), count=2
    ),
    "StoreDiskFilling/critical": Case(
        fires=_store_disk(0.099, 63 * MIB), at=2, below=(_store_disk(0.1, 64 * MIB),), count=2
    ),
    "PrometheusRulesFailing/warning": Case(
        fires=_rising("prometheus_rule_evaluation_failures_total", 1),
        at=6,
        below=(_flat("prometheus_rule_evaluation_failures_total", 3),),
    ),
    "PrometheusNotificationsDropped/critical": Case(
        fires=_rising("prometheus_notifications_dropped_total", 1),
        at=6,
        below=(_flat("prometheus_notifications_dropped_total", 3),),
    ),
    "AlertmanagerNotificationsFailing/critical": Case(
        fires=_rising("alertmanager_notifications_failed_total", 1, 'instance="a",integration="webhook"'),
        at=6,
        below=(_flat("alertmanager_notifications_failed_total", 3, 'instance="a",integration="webhook"'),),
    ),
    "Watchdog/none": Case(fires={}, at=0, below=(), without_data=1),
}  # fmt: skip
