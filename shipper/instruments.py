"""The ml_shipper_* metrics; loaded when they are first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from shipper.monitoring import files, reasons, stalled
from shipper.service import Service

TREATMENTS = (
    "empty", "wrapped", "cut", "nul", "not_utf8", "stamp_inherited", "stamp_invalid", "stamp_number", "stamp_zoneless",
    "stamp_notation", "undated", "expired", "future", "redacted", "error_cut", "sampled",
)  # fmt: skip
EVENTS = ("truncated", "rewound", "inherited", "copies", "foreign", "collisions", "lost_files", "deleted_files")


def exposition(service: Service) -> Callable[[], bytes]:
    """Return what makes the text of /metrics, in Prometheus' text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(Instruments(service))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


class Instruments(Collector):
    """The ml_shipper_* metrics, made of the service's own counts when they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        service = self._service
        now, moment = time.time(), time.monotonic()
        counts, moved = service.tally.counts, service.tails.counts
        listed = files(service, moment)

        def gauge(name: str, text: str, value: float) -> Metric:
            family = GaugeMetricFamily(name, text)
            family.add_metric([], value)
            return family

        def counter(name: str, text: str, value: float) -> Metric:
            family = CounterMetricFamily(name, text)
            family.add_metric([], value)
            return family

        def labelled(name: str, text: str, label: str, values: dict[str, float]) -> Metric:
            family = CounterMetricFamily(name, text, labels=[label])
            for value, amount in values.items():
                family.add_metric([value], amount)
            return family

        yield gauge(
            "ml_shipper_lag_bytes",
            "Bytes in the log files that are not acknowledged.",
            sum(f.lag_bytes for f in listed),
        )
        yield gauge("ml_shipper_lag_seconds", "How long a file has waited since something of it was acknowledged.",
                    max((f.lag_seconds for f in listed), default=0.0))  # fmt: skip
        yield gauge("ml_shipper_files", "Log files under way.", len(listed))
        yield gauge("ml_shipper_files_stalled", "Log files that grow while nothing of them is acknowledged.",
                    len(stalled(service, moment)))  # fmt: skip
        yield gauge("ml_shipper_files_unreadable", "Log files that cannot be read now.",
                    len(service.tails.unreadable.troubles))  # fmt: skip
        for name, unit, text in (
            ("ml_shipper_file_lag_bytes", "lag_bytes", "Bytes of a file that are not acknowledged."),
            ("ml_shipper_file_lag_seconds", "lag_seconds", "How long a file has waited."),
        ):  # fmt: skip
            family = GaugeMetricFamily(name, text, labels=["path"])
            for file in listed[:20]:
                family.add_metric([file.path], getattr(file, unit))
            yield family
        verdicts = ("acknowledged", "already_there", "dead_letter")
        yield labelled("ml_shipper_records", "Records settled, by verdict.", "verdict",
                       {name: counts[name] for name in verdicts})  # fmt: skip
        yield labelled("ml_shipper_lines", "Lines that were not sent as they were, by what was done.", "treatment",
                       {name: service.maker.counts[name] for name in TREATMENTS})  # fmt: skip
        yield labelled(
            "ml_shipper_files_changes", "What happened to files.", "event", {name: moved[name] for name in EVENTS}
        )
        yield counter("ml_shipper_retries", "Requests and batches that had to be tried again.", counts["retries"])
        yield counter("ml_shipper_requests", "Bulk requests answered.", counts["requests"])
        yield counter("ml_shipper_request_bytes", "Bytes of bulk bodies sent, before compression.", counts["bytes"])
        yield counter("ml_shipper_dead_letters", "Documents refused and kept for replay.", counts["dead_letter"])
        yield labelled("ml_shipper_refusals", "Documents that became dead letters, by type of error.", "type",
                       dict(service.tally.errors))  # fmt: skip
        yield counter("ml_shipper_checkpoint_rebuilds", "Checkpoint files that could not be used at the start.",
                      service.checkpoint.rebuilt)  # fmt: skip
        yield labelled("ml_shipper_reloads", "Settings read again after SIGHUP, by result.", "result",
                       dict(service.reloads))  # fmt: skip
        yield gauge("ml_shipper_workers", "Processes that read and send.", service.workers)
        used = dict(service.used)
        yield labelled("ml_shipper_worker_cpu_seconds", "CPU time of a worker's process.", "worker",
                       {str(worker): cpu for worker, (cpu, _) in used.items()})  # fmt: skip
        memory = GaugeMetricFamily(
            "ml_shipper_worker_resident_bytes", "Memory of a worker's process.", labels=["worker"]
        )
        for worker, (_, resident) in used.items():
            memory.add_metric([str(worker)], resident)
        yield memory
        yield counter("ml_shipper_worker_restarts", "Workers that ended and were started again.", service.restarts)
        yield counter("ml_shipper_lost_bytes", "Bytes that went before they could be read.", moved["lost_bytes"])
        yield gauge("ml_shipper_last_acknowledgement_timestamp_seconds", "When a record was last acknowledged.",
                    service.tally.last_acknowledged or service.started_at)  # fmt: skip
        yield gauge(
            "ml_shipper_ready", "1 when nothing waits for somebody to act.", 0 if reasons(service, moment) else 1
        )
        yield gauge("ml_shipper_checkpoint_age_seconds", "Time since the checkpoint was last found to be up to date.",
                    max(0.0, now - service.saved_at))  # fmt: skip
