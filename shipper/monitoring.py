"""What the shipper tells of itself: /health, /ready, /metrics and /status."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from shipper.deadletter import moment as written
from shipper.errors import SettingsError
from shipper.service import Service
from shipper.tail import Tail

logger = logging.getLogger("shipper.monitoring")

TICK_LIMIT = 30.0  # seconds without a turn of the reading thread: it hangs
FILES_SHOWN = 200
TREATMENTS = (
    "empty", "wrapped", "cut", "nul", "not_utf8", "stamp_inherited", "stamp_invalid", "stamp_number", "stamp_zoneless",
    "stamp_notation", "undated", "expired", "future", "redacted", "error_cut", "sampled",
)  # fmt: skip
EVENTS = ("truncated", "rewound", "inherited", "copies", "collisions", "lost_files", "deleted_files")


class File(msgspec.Struct):
    """One file in /status; sizes in bytes, lag in bytes and seconds."""

    path: str
    generation: str
    size: int
    offset: int
    acknowledged: int
    lag_bytes: int
    lag_seconds: float


class Cluster(msgspec.Struct):
    """Elasticsearch in /status."""

    reachable: bool | None
    cluster_uuid: str | None


class Status(msgspec.Struct):
    """/status; `state` is starting, shipping, waiting or stopping."""

    state: str
    reasons: list[str]
    lag_bytes: int
    lag_seconds: float
    files: list[File]
    files_total: int
    acknowledged: int
    already_there: int
    dead_letters: int
    retries: int
    expired: int
    wrapped: int
    lost_bytes: int
    lost_files: int
    last_acknowledged_at: str | None
    last_error: str | None
    checkpoint_age_seconds: float
    started_at: str
    elasticsearch: Cluster


def files(service: Service, moment: float) -> list[File]:
    """Return all files under way at a moment of the monotonic clock, the one that lags most first."""
    shown = [
        File(
            path=tail.path,
            generation=tail.record.generation,
            size=tail.size,
            offset=tail.read,
            acknowledged=tail.record.offset,
            lag_bytes=tail.lag,
            lag_seconds=max(0.0, moment - tail.behind_since) if tail.behind_since and tail.lag else 0.0,
        )
        for tail in list(service.tails.tails.values())
    ]
    return sorted(shown, key=lambda file: (-file.lag_bytes, file.path))


def reasons(service: Service, moment: float) -> list[str]:
    """Return why the shipper is not ready at a moment of the monotonic clock; empty when it is."""
    found = [f"{key}: {text}" for key, text in list(service.tally.stuck.items())]
    if service.target.cluster is None and not found:
        found.append("starting: Elasticsearch was not reached yet")
    behind = sum(tail.lag for tail in list(service.tails.tails.values()))
    still = moment - service.progressed
    limit = service.settings.stall_seconds
    oldest = max((file.lag_seconds for file in files(service, moment)), default=0.0)
    if behind and service.tally.reachable and still > limit and oldest > limit:
        found.append(f"stalled: {behind} bytes wait and nothing was acknowledged for {still:.0f} s")
    elif service.tally.reachable:
        stuck = stalled(service, moment)
        found += [f"{tail.path} grows, and nothing of it was acknowledged for {limit:.0f} s" for tail in stuck[:5]]
    troubles = list(service.tails.unreadable.troubles.items())
    found += [f"{path} cannot be read: {trouble.text}" for path, trouble in troubles[:5]]
    return found


def stalled(service: Service, moment: float) -> list[Tail]:
    """Return the files that grow while their acknowledged offset does not move."""
    limit = service.settings.stall_seconds
    return [tail for tail in list(service.tails.tails.values()) if tail.stuck(moment, limit)]


def status(service: Service, now: float) -> Status:
    """Return /status at a moment, seconds since 1970."""
    tally, counts = service.tally, service.tally.counts
    moment = time.monotonic()
    listed = files(service, moment)
    why = reasons(service, moment)
    state = "stopping" if service.stopping.is_set() else "waiting" if why else "shipping"
    if service.target.cluster is None and state == "waiting" and tally.reachable is None:
        state = "starting"
    return Status(
        state=state,
        reasons=why,
        lag_bytes=sum(file.lag_bytes for file in listed),
        lag_seconds=max((file.lag_seconds for file in listed), default=0.0),
        files=listed[:FILES_SHOWN],
        files_total=len(listed),
        acknowledged=counts["acknowledged"],
        already_there=counts["already_there"],
        dead_letters=counts["dead_letter"],
        retries=counts["retries"],
        expired=service.maker.counts["expired"],
        wrapped=service.maker.counts["wrapped"],
        lost_bytes=service.tails.counts["lost_bytes"],
        lost_files=service.tails.counts["lost_files"],
        last_acknowledged_at=written(tally.last_acknowledged) if tally.last_acknowledged else None,
        last_error=tally.last_error,
        checkpoint_age_seconds=max(0.0, now - service.saved_at),
        started_at=written(service.started_at),
        elasticsearch=Cluster(tally.reachable, service.target.cluster),
    )


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
        yield gauge("ml_shipper_lag_seconds", "How long the oldest unacknowledged bytes have waited.",
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


class Endpoints:
    """The HTTP endpoints in a thread of their own.

    Args:
        service: what is told of.
        host, port: where; port 0 takes a free one.

    Raises:
        SettingsError: the port cannot be had.
    """

    def __init__(self, service: Service, host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(Instruments(service))
        ProcessCollector(registry=registry)

        class Handler(BaseHTTPRequestHandler):
            server_version = "ml-shipper"
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                now = time.time()
                if path == "/health":
                    stopped = time.monotonic() - service.ticked
                    alive = stopped < TICK_LIMIT
                    self._answer(200 if alive else 503, {"alive": alive, "last_turn_seconds": round(stopped, 3)})
                elif path == "/ready":
                    why = reasons(service, time.monotonic())
                    self._answer(503 if why else 200, {"ready": not why, "reasons": why})
                elif path == "/status":
                    self._answer(200, status(service, now))
                elif path == "/metrics":
                    self._send(200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry))
                else:
                    self._answer(404, {"error": f"{path} is not there: /health, /ready, /metrics, /status are"})

            do_HEAD = do_GET  # noqa: N815 - http.server finds the method by this name

            def _answer(self, code: int, body: object) -> None:
                self._send(code, "application/json", msgspec.json.encode(body))

            def _send(self, code: int, kind: str, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
                logger.debug(format, *args)

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise SettingsError(f"SHIPPER_PORT={port}: {error.strerror} on {host}; choose another one") from None
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoints", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
