"""The ml_shipper_* metrics; loaded when they are first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from shipper.monitoring import files, lag_seconds, reasons, stalled
from shipper.service import Service

TREATMENTS = (
    "empty", "wrapped", "cut", "nul", "not_utf8", "stamp_inherited", "stamp_invalid", "stamp_number", "stamp_zoneless",
    "stamp_notation", "undated", "expired", "future", "redacted", "error_cut", "sampled",
)  # fmt: skip
EVENTS = ("truncated", "rewound", "inherited", "copies", "foreign", "collisions", "lost_files", "deleted_files")
VERDICTS = ("acknowledged", "already_there", "dead_letter")
FILES_SHOWN = 20  # those that lag most


def exposition(service: Service) -> Callable[[], bytes]:
    """Return what makes the text of /metrics, in Prometheus' text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(Instruments(service))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, amount in values.items():
        family.add_metric([value], amount)
    return family


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, amount in values.items():
        family.add_metric([value], amount)
    return family


class Instruments(Collector):
    """The ml_shipper_* metrics, made of the service's own counts when they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        moment = time.monotonic()
        yield from self._files(moment)
        yield from self._lines()
        yield from self._requests()
        yield from self._workers()
        yield from self._health(moment, time.time())

    def _files(self, moment: float) -> Iterator[Metric]:
        """Yield what is known of files: how many, what happened to them, how far behind they are."""
        service = self._service
        listed, moved = files(service, moment), service.tails.counts
        shown = listed[:FILES_SHOWN]
        behind = sum(file.lag_bytes for file in listed)
        longest = lag_seconds(service, listed, moment)
        unreadable = len(service.tails.unreadable.troubles)
        yield _gauge("ml_shipper_lag_bytes", "Bytes in the log files that are not acknowledged.", behind)
        yield _gauge(
            "ml_shipper_lag_seconds", "How long a file has waited since something of it was acknowledged.", longest
        )
        yield _gauge("ml_shipper_files", "Log files under way.", len(listed))
        text = "Log files that grow while nothing of them is acknowledged."
        yield _gauge("ml_shipper_files_stalled", text, len(stalled(service, moment)))
        yield _gauge("ml_shipper_files_unreadable", "Log files that cannot be read now.", unreadable)
        text = "Bytes of a file that are not acknowledged."
        yield _gauges("ml_shipper_file_lag_bytes", text, "path", {file.path: file.lag_bytes for file in shown})
        text = "How long a file has waited."
        yield _gauges("ml_shipper_file_lag_seconds", text, "path", {file.path: file.lag_seconds for file in shown})
        changes = {name: moved[name] for name in EVENTS}
        yield _counters("ml_shipper_files_changes", "What happened to files.", "event", changes)
        yield _counter("ml_shipper_lost_bytes", "Bytes that went before they could be read.", moved["lost_bytes"])

    def _lines(self) -> Iterator[Metric]:
        """Yield what became of lines: their verdicts, and what was done to them."""
        service = self._service
        counts, treated = service.tally.counts, service.maker.counts
        verdicts = {name: counts[name] for name in VERDICTS}
        yield _counters("ml_shipper_records", "Records settled, by verdict.", "verdict", verdicts)
        text = "Lines that were not sent as they were, by what was done."
        yield _counters("ml_shipper_lines", text, "treatment", {name: treated[name] for name in TREATMENTS})
        yield _counter("ml_shipper_dead_letters", "Documents refused and kept for replay.", counts["dead_letter"])
        text = "Documents that became dead letters, by type of error."
        yield _counters("ml_shipper_refusals", text, "type", dict(service.tally.errors))

    def _requests(self) -> Iterator[Metric]:
        """Yield what was sent."""
        counts = self._service.tally.counts
        yield _counter("ml_shipper_retries", "Requests and batches that had to be tried again.", counts["retries"])
        yield _counter("ml_shipper_requests", "Bulk requests answered.", counts["requests"])
        yield _counter("ml_shipper_request_bytes", "Bytes of bulk bodies sent, before compression.", counts["bytes"])

    def _workers(self) -> Iterator[Metric]:
        """Yield what several processes use."""
        service = self._service
        used = {str(worker): usage for worker, usage in dict(service.used).items()}
        yield _gauge("ml_shipper_workers", "Processes that read and send.", service.workers)
        text = "CPU time of a worker's process."
        yield _counters("ml_shipper_worker_cpu_seconds", text, "worker", {name: cpu for name, (cpu, _) in used.items()})
        text = "Memory of a worker's process."
        memory = {name: float(resident) for name, (_, resident) in used.items()}
        yield _gauges("ml_shipper_worker_resident_bytes", text, "worker", memory)
        yield _counter("ml_shipper_worker_restarts", "Workers that ended and were started again.", service.restarts)

    def _health(self, moment: float, now: float) -> Iterator[Metric]:
        """Yield whether it works: readiness, the newest acknowledgement, checkpoint and settings."""
        service = self._service
        newest = service.tally.last_acknowledged or service.started_at
        text = "When a record was last acknowledged."
        yield _gauge("ml_shipper_last_acknowledgement_timestamp_seconds", text, newest)
        ready = 0 if reasons(service, moment) else 1
        yield _gauge("ml_shipper_ready", "1 when nothing waits for somebody to act.", ready)
        text = "Time since the checkpoint was last found to be up to date."
        yield _gauge("ml_shipper_checkpoint_age_seconds", text, max(0.0, now - service.saved_at))
        text = "Checkpoint files that could not be used at the start."
        yield _counter("ml_shipper_checkpoint_rebuilds", text, service.checkpoint.rebuilt)
        text = "Settings read again after SIGHUP, by result."
        yield _counters("ml_shipper_reloads", text, "result", dict(service.reloads))
