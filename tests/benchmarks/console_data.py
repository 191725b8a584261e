"""What the console's benchmark looks at: log lines of a week, and samples of that week as the sampler keeps them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from compose.console.definitions import metrics
from compose.console.history import LEVELS
from compose.stack import sampler
from tests.contract.dataset import index_body
from tests.elasticsearch.documents import bulk_bodies, log_documents
from tests.provision.recording import MINUTES, START, STEP, openmetrics

DAYS = 7
_LINE = re.compile(r"(\w+)\{(.*)\} (\S+) (\d+)")
_OWN = re.compile(r'(job|instance)="([^"]*)",?')
NDJSON = {"content-type": "application/x-ndjson"}


def fill_lines(url: str, count: int) -> None:
    """Write `count` log lines over the last week, and wait until they can be searched."""
    start = datetime.now(UTC) - timedelta(days=DAYS)
    documents = log_documents(count, seed=11, start=start, step=timedelta(days=DAYS) / count)
    with httpx.Client(base_url=url, timeout=300) as client:
        for day in range(DAYS + 1):
            client.put(f"/ml-pipeline-{start + timedelta(days=day):%Y.%m.%d}", json=index_body())
        for body in bulk_bodies(documents, seed=11, size=2000, prefix="ml-pipeline-"):
            client.post("/_bulk", content=body, headers=NDJSON).raise_for_status()
        client.post("/ml-pipeline-*/_refresh").raise_for_status()


@functools.cache
def recorded() -> list[dict[str, dict[str, dict[str, float]]]]:
    """Return each scrape of the recorded run: job → metric → labels → value, as the sampler keeps it."""
    scrapes: list[dict[str, dict[str, dict[str, float]]]] = [{} for _ in range(MINUTES * 60 // STEP + 1)]
    wanted = metrics()
    for line in openmetrics().splitlines():
        found = _LINE.fullmatch(line)
        if found is None or found[1] not in wanted:
            continue
        job = dict(_OWN.findall(found[2]))["job"]
        labels = _OWN.sub("", found[2]).rstrip(",")
        scrape = scrapes[(int(found[4]) - START) // STEP]
        scrape.setdefault(job, {}).setdefault(found[1], {})[labels] = float(found[3])
    return scrapes


def sample_documents(now: float) -> Iterator[dict[str, Any]]:
    """Yield a week of samples of app, shipper and store up to `now`, each scrape that the console reads.

    The recorded run is repeated: its counters begin anew every 20 minutes, as after a restart.
    """
    newest, run = round(now / sampler.SECONDS), recorded()
    for tick in range(newest - DAYS * 86_400 // sampler.SECONDS, newest + 1):
        every, at = sampler.coarsest(tick), float(tick * sampler.SECONDS)
        if now - at > LEVELS[every]:
            continue
        for job, address in (("app", "127.0.0.1:5000"), ("shipper", "127.0.0.1:9108"), ("store", "127.0.0.1:9200")):
            yield {
                "@timestamp": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "job": job, "instance": address, "up": 1, "every": every, "seconds": 0.004,
                "samples": run[tick % len(run)].get(job, {}),
            }  # fmt: skip


def fill_samples(url: str, now: float) -> int:
    """Write the samples; return how many documents they are."""
    count, batch = 0, list[dict[str, Any]]()
    with httpx.Client(base_url=url, timeout=300) as client:
        client.put("/_ilm/policy/ml-metrics", json=sampler.POLICY).raise_for_status()
        client.put("/_index_template/ml-metrics", json=sampler.TEMPLATE).raise_for_status()
        for document in sample_documents(now):
            batch.append(document)
            if len(batch) == 500:
                client.post("/_bulk", content=sampler.bulk_body(batch), headers=NDJSON).raise_for_status()
                count, batch = count + len(batch), []
        if batch:
            client.post("/_bulk", content=sampler.bulk_body(batch), headers=NDJSON).raise_for_status()
        client.post("/ml-metrics-*/_refresh").raise_for_status()
    return count + len(batch)
