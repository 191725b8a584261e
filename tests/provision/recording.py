"""A recorded run: 20 minutes of traffic with an error burst from minute 10 to 14, scraped every 15 s, as OpenMetrics.

The app's counters and histograms are its own instruments (app.monitoring.metrics), driven by seeded random traffic.
Gauges that the app computes from its state, and the series of shipper, Prometheus and Alertmanager, are made up here
under the names that the panels ask for: they prove the queries, not that the names are exposed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

START = 1_790_000_000  # seconds since 1970; any instant will do
STEP = 15
MINUTES = 20
END = START + MINUTES * 60

Sample = tuple[str, dict[str, str], float]


def openmetrics() -> str:
    """Return the whole run as OpenMetrics text, each series in order of time."""
    from app.monitoring.metrics import Metrics

    chance, metrics = random.Random(11), Metrics()
    series: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[int, float]]] = {}
    for at in range(START, END + 1, STEP):
        minute = (at - START) / 60
        failed = 0
        for _ in range(8):
            failed += _request(metrics, chance, failing=10 <= minute < 14 and chance.random() < 0.3)
        for name, labels, value in (*_exposed(metrics.registry), *_made_up(minute, failed / 8, at)):
            identity = name, tuple(sorted({"instance": "a", **labels}.items()))
            series.setdefault(identity, []).append((at, value))
    lines = []
    last = ""
    for (name, pairs), samples in sorted(series.items()):
        if name != last:
            lines.append(f"# TYPE {name} unknown")
            last = name
        text = ",".join(f'{key}="{value}"' for key, value in pairs)
        lines += [f"{name}{{{text}}} {value} {at}" for at, value in samples]
    return "\n".join([*lines, "# EOF", ""])


def _request(metrics: object, chance: random.Random, *, failing: bool) -> bool:
    from app.monitoring.metrics import Metrics

    assert isinstance(metrics, Metrics)
    metrics.duration["/predict"].observe(chance.lognormvariate(-4, 0.6))
    metrics.processing.observe(0.0002)
    metrics.requests.labels("/predict", "POST", "500" if failing else "200").inc()
    if failing:
        metrics.failed.inc()
        return True
    kind = int(chance.random() < 0.12)
    metrics.predictions.inc()
    metrics.by_class[kind].inc()
    metrics.confidence.observe(chance.uniform(0.5, 1))
    if chance.random() < 0.2:
        metrics.feedback[kind, kind].inc()
    return False


def _exposed(registry: Collector) -> Iterator[Sample]:
    from prometheus_client import CollectorRegistry, generate_latest

    assert isinstance(registry, CollectorRegistry)
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            yield sample.name, {"job": "app", **sample.labels}, sample.value


def _made_up(minute: float, failed: float, at: int) -> Iterator[Sample]:
    app, shipper = {"job": "app"}, {"job": "shipper"}
    scores = {"accuracy": 0.908, "precision": 0.62, "recall": 0.48, "f1_score": 0.54}
    for name, value in scores.items():
        yield f"ml_model_{name}", app, value
    yield "ml_prediction_error_rate", app, failed
    yield "ml_app_memory_bytes", app, 180e6 + minute * 1e5
    yield "ml_model_metrics_live", app, 0.0
    yield "ml_active_users", app, 7.0
    yield "ml_feature_psi", {**app, "feature": "age"}, 0.02
    yield "ml_feature_psi_threshold", {**app, "feature": "age"}, 0.1
    yield "ml_shipper_lag_seconds", shipper, 0.4
    yield "ml_shipper_lag_bytes", shipper, 900.0
    yield "ml_shipper_records_total", {**shipper, "verdict": "acknowledged"}, minute * 32
    yield "ml_shipper_dead_letters_total", shipper, 0.0
    yield "ml_shipper_retries_total", shipper, minute // 5
    yield "ml_shipper_last_acknowledgement_timestamp_seconds", shipper, at - 2.0
    for job in ("app", "shipper", "prometheus", "alertmanager"):
        yield "up", {"job": job}, 1.0
        yield "scrape_duration_seconds", {"job": job}, 0.01
    yield "ALERTS", {"alertname": "Watchdog", "severity": "none", "alertstate": "firing"}, 1.0
    yield "prometheus_tsdb_head_series", {"job": "prometheus"}, 1500.0
    yield "alertmanager_notifications_total", {"job": "alertmanager", "integration": "webhook"}, minute // 4
    yield "alertmanager_notifications_failed_total", {"job": "alertmanager", "integration": "webhook"}, 0.0
