"""Samples /metrics of the local stack every 15 s into `ml-metrics-YYYY.MM.DD` of the store: history without Prometheus.

One document holds one answer of one target: `up`, and `samples` as metric → labels as Prometheus writes them → value.
Scrapes fall on multiples of 15 s since 1970; `every` is the coarsest step to which the document belongs, in scrapes,
so that a long range is read from every 4th, 20th or 120th scrape by one term in the query; the first scrape of a run
belongs to all, so that a run of some minutes is seen in seven days. Only what panels, alerts and console ask for is
kept. While the store is away, an hour of answers is held in memory.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from compose.console.definitions import metrics
from compose.provision.prometheus import Target
from compose.stack.settings import StackSettings

SECONDS = 15
STEPS = (120, 20, 4, 1)
PREFIX = "ml-metrics-"
RETENTION = "8d"
HELD = 1000  # documents
TOLD = 4  # turns: a store that is started again is no news
TIMEOUT = 5.0
POLICY = {
    "policy": {
        "phases": {
            "hot": {"min_age": "0ms", "actions": {}},
            "delete": {"min_age": RETENTION, "actions": {"delete": {}}},
        }
    }
}
TEMPLATE = {
    "index_patterns": [PREFIX + "*"],
    "priority": 200,
    "template": {
        "settings": {
            "index": {
                "number_of_shards": 1,
                "auto_expand_replicas": "0-1",
                "lifecycle": {"name": "ml-metrics", "parse_origination_date": True},
            }
        },
        "mappings": {
            "dynamic": "false",
            "properties": {
                "@timestamp": {"type": "date"},
                "job": {"type": "keyword"},
                "instance": {"type": "keyword"},
                "up": {"type": "byte"},
                "every": {"type": "integer"},
                "seconds": {"type": "float"},
                "samples": {"type": "object", "enabled": False},
            },
        },
    },
}  # fmt: skip


def targets(settings: StackSettings) -> tuple[Target, ...]:
    """Return what is sampled: the jobs and addresses that a local Prometheus would have."""
    return (
        Target("app", f"127.0.0.1:{settings.app_port}"),
        Target("shipper", f"127.0.0.1:{settings.shipper_port}"),
        Target("store", f"127.0.0.1:{settings.store_port}", "/_embedded/metrics"),
    )


def coarsest(tick: int) -> int:
    """Return the largest of STEPS that divides the number of the scrape."""
    return next(step for step in STEPS if tick % step == 0)


def label_text(labels: dict[str, str]) -> str:
    """Return labels as Prometheus writes them, in the order of their names: `a="1",b="2"`."""
    return ",".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in sorted(labels.items()))


def samples(text: str, names: frozenset[str]) -> dict[str, dict[str, float | str]]:
    """Return the samples of an exposition: metric → labels → value; NaN and infinities as Prometheus writes them.

    Args:
        text: Prometheus's text format.
        names: the metrics to keep.
    """
    found: dict[str, dict[str, float | str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in names:
                value: float | str = float(sample.value)
                if not math.isfinite(float(sample.value)):
                    value = "NaN" if math.isnan(float(sample.value)) else "+Inf" if sample.value > 0 else "-Inf"
                found.setdefault(sample.name, {})[label_text(sample.labels)] = value
    return found


def document(target: Target, every: int, at: float, seconds: float, text: str | None) -> dict[str, Any]:
    """Return the document of one scrape.

    Args:
        every: the coarsest of STEPS to which it belongs.
        at: when it began, seconds since 1970.
        seconds: how long it took.
        text: the exposition, None where there was no answer.
    """
    return {
        "@timestamp": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "job": target.job,
        "instance": target.address,
        "up": int(text is not None),
        "every": every,
        "seconds": round(seconds, 6),
        "samples": samples(text, metrics()) if text is not None else {},
    }


def bulk_body(documents: list[dict[str, Any]]) -> bytes:
    """Return the `_bulk` body; ids make a document that is sent again meet its first copy."""
    lines = []
    for each in documents:
        day = each["@timestamp"][:10].replace("-", ".")
        identity = f"{each['job']}-{each['instance']}-{each['@timestamp']}"
        lines.append(msgspec.json.encode({"create": {"_index": PREFIX + day, "_id": identity}}))
        lines.append(msgspec.json.encode(each))
    return b"\n".join(lines) + b"\n"


class Sampler(threading.Thread):
    """Scrapes and writes until `stop`.

    Args:
        targets: what is scraped.
        store: base address of the store.
        clock: seconds since 1970.
        say: told when the history can be written no more, and when it can be again.
    """

    def __init__(
        self,
        targets: tuple[Target, ...],
        store: str,
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        super().__init__(name="sampler", daemon=True)
        self._targets, self._store, self._clock, self._say = targets, store, clock, say
        self._held: deque[dict[str, Any]] = deque(maxlen=HELD)
        self._ended = threading.Event()
        self._prepared = self._has_begun = False
        self._failures = 0  # turns in a row

    def run(self) -> None:
        """Scrape at every multiple of 15 s."""
        with httpx.Client(timeout=TIMEOUT) as client:
            self._turn(client)
            while not self._ended.wait(SECONDS - self._clock() % SECONDS):
                self._turn(client)

    def _turn(self, client: httpx.Client) -> None:
        try:
            self.once(client)
            if self._failures >= TOLD:
                self._say("the history of the figures is written again")
            self._failures = 0
        except Exception as error:  # noqa: BLE001 - history may have a gap; the stack it watches has to go on
            self._prepared = False  # the store may be another one when it is back
            self._failures += 1
            if self._failures == TOLD:
                self._say(
                    f"the history of the figures cannot be written ({type(error).__name__}: {error}); an hour is held"
                )

    def once(self, client: httpx.Client) -> None:
        """Scrape all targets and write what is held.

        Raises:
            httpx.HTTPError: the store did not take it; it is kept for the next turn.
        """
        every = coarsest(round(self._clock() / SECONDS)) if self._has_begun else max(STEPS)
        self._has_begun = True
        for target in self._targets:
            at, began = self._clock(), time.perf_counter()
            try:
                answer = client.get(f"http://{target.address}{target.path}")
                text = answer.text if answer.status_code == 200 else None
            except httpx.HTTPError:
                text = None
            self._held.append(document(target, every, at, time.perf_counter() - began, text))
        self.flush(client)

    def flush(self, client: httpx.Client) -> None:
        """Write what is held.

        Raises:
            httpx.HTTPError: the store did not take it.
            ValueError: it refused documents.
        """
        if not self._prepared:
            client.put(f"{self._store}/_ilm/policy/ml-metrics", json=POLICY).raise_for_status()
            client.put(f"{self._store}/_index_template/ml-metrics", json=TEMPLATE).raise_for_status()
            self._prepared = True
        waiting = list(self._held)
        headers = {"content-type": "application/x-ndjson"}
        answer = client.post(f"{self._store}/_bulk", content=bulk_body(waiting), headers=headers).raise_for_status()
        for _ in waiting:
            self._held.popleft()
        results = [item["create"] for item in answer.json()["items"]]
        if refused := [each for each in results if each["status"] >= 400 and each["status"] != 409]:
            raise ValueError(f"{len(refused)} of {len(waiting)} samples were refused: {refused[0].get('error')}")

    def stop(self) -> None:
        """End after the turn under way."""
        self._ended.set()
        self.join(timeout=2 * TIMEOUT)


@contextlib.contextmanager
def sampling(settings: StackSettings, say: Callable[[str], None]) -> Iterator[Sampler]:
    """Sample the local stack while the block runs."""
    sampler = Sampler(targets(settings), settings.store_url, say=say)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()
