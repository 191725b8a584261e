"""Makes the recorded run anew: `python -m tests.provision.recorder` (two minutes; needs Prometheus and Alertmanager).

The real local stack (app, shipper, store, Prometheus, Alertmanager) serves real requests; each scrape of their real
/metrics stands for one 15 s later, so that 20 minutes take one. In minutes 10 to 14 more clients call at once than the
app takes, which then answers 503. What is compressed: the times of samples and log lines, gauges that hold an instant,
and the error rate, whose five minutes the app keeps by its own clock: it is computed anew from the recorded counters of
the same requests. What is not: durations, and the active users' five minutes.
"""

from __future__ import annotations

import bisect
import gzip
import os
import random
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from compose.stack import population
from tests.ports import free_ports
from tests.provision.recording import END, FOLDER, MINUTES, START, STEP
from tests.provision.servers import Endpoint
from tests.stack.running import RunningStack, running_stack

SECONDS = 0.75  # that one scrape interval takes here
CALM, CROWD = 5, 16  # requests between two scrapes, and at the same moment in the burst
BURST = range(10, 14)
WINDOW = 300  # seconds of the app's error rate
# Of Prometheus and Alertmanager only what panels and alerts ask for: they expose a thousand series.
KEPT = ("prometheus_tsdb_head_series", "prometheus_rule_evaluation_failures_total",
        "prometheus_notifications_dropped_total", "alertmanager_notifications_total",
        "alertmanager_notifications_failed_total")  # fmt: skip
JOBS = {"app": 5000, "shipper": 9108, "store": 9200, "prometheus": 9090, "alertmanager": 9093}
PATHS = {"store": "/_embedded/metrics"}
SETTINGS: dict[str, Any] = {
    "STACK_MONITORING": "auto",
    "APP_THREADS": "1",  # with no queue: a crowd is refused, which is the burst
    "APP_QUEUE": "0",
    "APP_LIVE_MINIMUM": "60",
    "APP_DRIFT_MINIMUM": "60",
}

Identity = tuple[str, tuple[tuple[str, str], ...]]
Sample = tuple[str, dict[str, str], float]


class Recorder:
    """Calls, scrapes, and keeps what it saw.

    Args:
        urls: base address of each job.
        seed: of the traffic.
    """

    def __init__(self, urls: dict[str, str], seed: int) -> None:
        self.urls, self.chance = urls, random.Random(seed)
        self.population = population.load()
        self.client = httpx.Client(timeout=30)
        self.series: dict[Identity, list[tuple[int, float]]] = {}
        self.scraped = [time.time()]  # real instants: the beginning, then one for each scrape

    def simulated(self, moment: float) -> float:
        """Return the instant of the run that a real instant stands for: in proportion between two scrapes."""
        place = min(max(bisect.bisect_right(self.scraped, moment), 1), len(self.scraped) - 1)
        if not place:
            return START - STEP + (moment - self.scraped[0]) * STEP / SECONDS
        before, after = self.scraped[place - 1 : place + 1]
        return START + STEP * (place - 2 + (moment - before) / (after - before))

    def serve(self, minute: float) -> None:
        """Send what comes in between two scrapes: predictions, a faulty one at times, labels for some."""
        crowd = int(minute) in BURST
        bodies = [population.customer(self.population, self.chance) for _ in range(CROWD if crowd else CALM)]
        with ThreadPoolExecutor(CROWD if crowd else 1) as pool:
            answers = list(pool.map(lambda body: self.client.post(self.urls["app"] + "/predict", json=body), bodies))
        if self.chance.random() < 0.2:
            content = population.faulty(bodies[0], self.chance)
            self.client.post(
                self.urls["app"] + "/predict", content=content, headers={"Content-Type": "application/json"}
            )
        for answer in answers:
            if answer.status_code == 200 and self.chance.random() < 0.5:
                told = answer.json()
                right = self.chance.random() < 0.9
                actual = told["prediction"] if right else 1 - told["prediction"]
                label = {"request_id": told["request_id"], "actual": actual}
                self.client.post(self.urls["app"] + "/feedback", json=label)

    def scrape(self, at: int) -> None:
        """Keep every job's series, and the alerts that fire at the real Prometheus, under the instant `at`."""
        self.scraped.append(time.time())
        for job, url in self.urls.items():
            labels = {"job": job, "instance": f"127.0.0.1:{JOBS[job]}"}
            began = time.perf_counter()
            answer = self.client.get(url + PATHS.get(job, "/metrics"))
            self._keep(at, ("scrape_duration_seconds", labels, time.perf_counter() - began))
            self._keep(at, ("up", labels, float(answer.status_code == 200)))
            for name, own, value in self._exposed(answer.text, job):
                self._keep(at, (name, {**own, **labels}, value))
        found = self.client.get(self.urls["prometheus"] + "/api/v1/query", params={"query": "ALERTS"}).json()
        for each in found["data"]["result"]:
            labels = {key: value for key, value in each["metric"].items() if key != "__name__"}
            self._keep(at, ("ALERTS", labels, 1.0))

    def _exposed(self, text: str, job: str) -> Iterator[Sample]:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if job in ("prometheus", "alertmanager") and sample.name not in KEPT:
                    continue
                instant = sample.name.endswith(("_timestamp_seconds", "_start_time_seconds"))
                yield sample.name, sample.labels, self.simulated(sample.value) if instant else sample.value

    def _keep(self, at: int, sample: Sample) -> None:
        name, labels, value = sample
        self.series.setdefault((name, tuple(sorted(labels.items()))), []).append((at, value))

    def openmetrics(self) -> str:
        """Return the run as OpenMetrics text, each series in order of time."""
        lines, last = [], ""
        for (name, pairs), samples in sorted(with_error_rate(self.series).items()):
            if name != last:
                lines.append(f"# TYPE {name} unknown")
                last = name
            text = ",".join(f'{key}="{_escaped(value)}"' for key, value in pairs)
            lines += [f"{name}{{{text}}} {value!r} {at}" for at, value in samples]
        return "\n".join([*lines, "# EOF", ""])

    def log_lines(self, store: str) -> list[dict[str, Any]]:
        """Return the documents that the shipper brought to the store, at their instants of the run."""
        body = {"size": 10_000, "sort": [{"@timestamp": "asc"}]}
        hits = self.client.post(f"{store}/ml-pipeline-*/_search", json=body).json()["hits"]["hits"]
        found = []
        for document in (hit["_source"] for hit in hits):
            moment = self.simulated(datetime.fromisoformat(document["@timestamp"]).timestamp())
            if START <= moment <= END:  # not what start and stop wrote
                stamp = datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")
                found.append({**document, "@timestamp": stamp.replace("+00:00", "Z")})
        return sorted(found, key=lambda document: document["@timestamp"])


def with_error_rate(series: dict[Identity, list[tuple[int, float]]]) -> dict[Identity, list[tuple[int, float]]]:
    """Return the series with ml_prediction_error_rate as the app counts it, over five minutes of the run.

    5xx over all requests to /predict (GUIDE.md), by the counters at each scrape and 300 s before it.
    """
    grown: dict[int, list[float]] = {}  # instant → failed, all
    for (name, pairs), samples in series.items():
        labels = dict(pairs)
        if name == "http_requests_total" and labels.get("endpoint") == "/predict":
            for at, value in samples:
                both = grown.setdefault(at, [0.0, 0.0])
                both[0] += value if labels["status"].startswith("5") else 0.0
                both[1] += value

    def rate(at: int) -> float:
        failed, every = grown[at]
        earlier = grown.get(at - WINDOW, [0.0, 0.0])  # the app was started for this run
        return (failed - earlier[0]) / (every - earlier[1]) if every > earlier[1] else 0.0

    return {
        identity: [(at, rate(at)) for at, _ in samples] if identity[0] == "ml_prediction_error_rate" else samples
        for identity, samples in series.items()
    }


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def record(stack: RunningStack, prometheus: str, alertmanager: str) -> Recorder:
    """Play the run against a running stack."""
    urls = {
        "app": stack.app,
        "shipper": stack.shipper,
        "store": stack.store,
        "prometheus": prometheus,
        "alertmanager": alertmanager,
    }
    made = Recorder(urls, seed=11)
    for tick in range(MINUTES * 60 // STEP + 1):
        minute = tick * STEP / 60
        made.serve(minute)
        if minute == 5:  # a foreign line that the index's mapping refuses: a dead letter
            line = {"@timestamp": datetime.now(UTC).isoformat(), "message": "foreign", "level": {"name": "INFO"}}
            (stack.folder / "logs" / "foreign.jsonl").write_bytes(msgspec.json.encode(line) + b"\n")
        time.sleep(max(0.0, made.scraped[-1] + SECONDS - time.time()))
        made.scrape(START + tick * STEP)
    return made


def main() -> None:
    """Record the run and write both files."""
    port, manager = free_ports(2)
    told = Endpoint()
    own: dict[str, Any] = {"PROMETHEUS_PORT": str(port), "ALERTMANAGER_PORT": str(manager)}
    hooks: dict[str, Any] = {
        "WATCHDOG_WEBHOOK_URL": f"http://{told.address}/",
        "ALERT_WEBHOOK_URL": f"http://{told.address}/",
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder) / "stack", **SETTINGS, **own, **hooks) as stack,
    ):
        urls = [f"http://127.0.0.1:{number}" for number in (port, manager)]
        while not httpx.get(f"{urls[0]}/api/v1/query", params={"query": "ALERTS"}).json()["data"]["result"]:
            time.sleep(0.5)
        made = record(stack, *urls)
        time.sleep(5)  # the shipper brings the rest
        lines = made.log_lines(stack.store)
    told.close()
    FOLDER.mkdir(exist_ok=True)
    text = "".join(msgspec.json.encode(line).decode() + "\n" for line in lines)
    for name, content in (("metrics.om.gz", made.openmetrics()), ("lines.jsonl.gz", text)):
        (FOLDER / name).write_bytes(gzip.compress(content.encode(), mtime=0))
        print(f"{name}: {content.count(os.linesep):,} lines, {(FOLDER / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
