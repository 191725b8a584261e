"""What Prometheus scrapes from the store: documents, translog, loader, disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from compose.store.engine import Engine
from compose.store.rest.request import Reply, Request


class _Instruments(Collector):
    """The ml_store_* metrics, read from the engine when they are asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        engine = self._engine
        gauges = (
            ("ml_store_documents", "Documents in the store.", engine.documents()),
            ("ml_store_indices", "Indices in the store.", len(engine.indices)),
            ("ml_store_waiting_operations", "Writes that are durable and not in the table yet.", engine.waiting()),
            ("ml_store_translog_bytes", "Bytes of the translog on disk.", engine.translog.bytes_on_disk()),
            ("ml_store_disk_free_bytes", "Free bytes on the store's volume.",
             shutil.disk_usage(engine.settings.dir).free),
            ("ml_store_disk_reserve_bytes", "Below this many free bytes writes are refused.",
             engine.settings.disk_reserve),
        )  # fmt: skip
        for name, text, value in gauges:
            yield GaugeMetricFamily(name, text, value=value)
        yield CounterMetricFamily("ml_store_fsyncs", "Times the translog was forced to disk.", engine.translog.fsyncs)


def metrics(engine: Engine, request: Request) -> Reply:
    """Answer in the Prometheus text format; `/_embedded/metrics`, for Elasticsearch has no such path."""
    request.allow()
    registry = CollectorRegistry()
    registry.register(_Instruments(engine))
    ProcessCollector(registry=registry)
    return Reply(text=generate_latest(registry).decode())
