"""Prometheus instruments of the guide, and their exposition over one or several processes.

Counters and histograms are prometheus-client's; with PROMETHEUS_MULTIPROC_DIR set (which `serve` does, before this
module is imported) each process writes files of its own there, which are added up at the scrape. They are named by the
process's place, not by its pid: the worker that replaces a killed one counts on in its files, so counters never go back
and files do not pile up; the folder is wiped when the service starts. Gauges are not kept in those files, where a
killed process's would live on: they are computed at the scrape from what all processes share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.logs import DROP_REASONS
from app.monitoring.shared import allocate

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
FILE_BYTES = 256 * 1024  # of one process's counters, and of its histograms: more than all their series take
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONFIDENCES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)
DELAYS = (1, 10, 60, 600, 3600, 21_600, 86_400, 259_200, 604_800, 2_592_000)
ENDPOINTS = ("/predict", "/feedback", "/health", "/ready", "/status", "/metrics", "/openapi.json", "unmatched")

disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped

# A gauge that is computed at the scrape: name, help, label names, then (label values, value) of each series.
Reading = tuple[str, str, tuple[str, ...], Sequence[tuple[tuple[str, ...], float]]]


class Metrics:
    """All instruments of one process; series exist from the first scrape.

    Args:
        place: of this process among those that share the folder, see `app.monitoring.shared.Place`.

    Raises:
        OSError: the shared folder has no room.
    """

    def __init__(self, place: int = 0) -> None:
        if shared := os.environ.get(MULTIPROCESS_VARIABLE):
            for kind in ("counter", "histogram"):
                allocate(Path(shared) / f"{kind}_{place}.db", FILE_BYTES)
            values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.predictions = self._counter("ml_predictions_total", "Predictions made.")
        by_class = Counter(
            "ml_predictions_by_class_total", "Predictions made, by class.", ["prediction_class"], registry=self.registry
        )
        self.by_class = [by_class.labels(name) for name in ("0", "1")]
        self.confidence = self._histogram(
            "ml_prediction_confidence", "Probability of the predicted class.", CONFIDENCES
        )
        self.invalid = self._counter(
            "ml_input_validation_failures_total", "Prediction requests that were refused (4xx)."
        )
        self.failed = self._counter("ml_prediction_failures_total", "Prediction requests that failed (5xx).")
        self.overload = self._counter("ml_overload_total", "Requests answered 503 because too many were waiting.")
        self.processing = self._histogram(
            "ml_feature_processing_seconds", "Time to validate and encode a prediction request.", LATENCIES_FINE
        )
        duration = Histogram(
            "http_request_duration_seconds", "Time to answer.", ["endpoint"], buckets=LATENCIES, registry=self.registry
        )
        self.duration = {name: duration.labels(name) for name in ENDPOINTS}
        self.requests = Counter(
            "http_requests_total", "Requests answered.", ["endpoint", "method", "status"], registry=self.registry
        )
        for status in ("200", "422", "500", "503"):
            self.requests.labels("/predict", "POST", status)
        feedback = Counter("ml_feedback_total", "Labels received.", ["predicted", "actual"], registry=self.registry)
        self.feedback = {(p, a): feedback.labels(str(p), str(a)) for p in (0, 1) for a in (0, 1)}
        self.feedback_delay = self._histogram(
            "ml_feedback_delay_seconds", "Time from a prediction to its label.", DELAYS
        )
        self.not_kept = self._counter("ml_feedback_not_kept_total", "Predictions that could not be kept for labelling.")
        dropped = Counter("ml_log_dropped_total", "Log lines dropped, by reason.", ["reason"], registry=self.registry)
        self._dropped = {reason: dropped.labels(reason) for reason in DROP_REASONS}

    def log_dropped(self, reason: str, count: int) -> None:
        """Count log lines that were not written."""
        self._dropped[reason].inc(count)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(name, text, buckets=tuple(buckets), registry=self.registry)


LATENCIES_FINE = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, *LATENCIES)


class _Readings(Collector):
    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        for name, text, labels, series in self._read():
            family = GaugeMetricFamily(name, text, labels=labels)
            for of_labels, value in series:
                family.add_metric(of_labels, value)
            yield family


def exposition(metrics: Metrics, read: Callable[[], Iterable[Reading]]) -> bytes:
    """Return all series in the Prometheus text format.

    Args:
        metrics: this process's instruments, which are all there is when there is no shared folder.
        read: computes the gauges.
    """
    shared = os.environ.get(MULTIPROCESS_VARIABLE)
    gauges = CollectorRegistry()
    gauges.register(_Readings(read))
    if shared is None:
        return generate_latest(metrics.registry) + generate_latest(gauges)
    counted = CollectorRegistry()
    MultiProcessCollector(counted, path=shared)  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped
    return generate_latest(counted) + generate_latest(gauges)
