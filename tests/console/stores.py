"""The same log lines and samples in a real Elasticsearch and in the embedded store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
from elasticsearch import Elasticsearch

from compose.console.settings import ConsoleSettings
from compose.console.store import Store
from compose.provision.prometheus import Target
from compose.stack import sampler
from tests.elasticsearch import installation
from tests.elasticsearch.documents import bulk_bodies, log_documents
from tests.provision.servers import Endpoint

COUNT = 1500
HOURS = 50
SCRAPES = 80
FOREIGN: tuple[dict[str, Any], ...] = (
    {"message": "a foreign line without a level: naïve 東京 <b>bold</b>"},
    {"level": "ERROR", "message": "no request", "error": "disk full"},
    {"level": "TRACE", "message": 'a level that is none of ours "in quotes"', "request_id": "Foreign-1"},
)


class Filled(msgspec.Struct, frozen=True):
    """What both stores hold.

    Attributes:
        stores: the console's way to each of them, the real one first.
        documents: the log lines, oldest first.
        start, end: around all of them, seconds since 1970.
        now: when the newest sample was taken, seconds since 1970.
    """

    stores: tuple[Store, Store]
    documents: list[dict[str, Any]]
    start: float
    end: float
    now: float


def lines(end: datetime) -> list[dict[str, Any]]:
    """Return log lines of two days and two hours up to `end`, every tenth at the same instant as the one before."""
    step = timedelta(hours=HOURS) / COUNT
    found = list(log_documents(COUNT, seed=23, start=end - timedelta(hours=HOURS), step=step))
    for before, after in itertools.pairwise(found):
        if int(after["request_id"], 16) % 10 == 0:
            after["@timestamp"] = before["@timestamp"]
    for place, foreign in enumerate(FOREIGN):
        found.append({"@timestamp": found[-5 * (place + 1)]["@timestamp"], "service": "elsewhere", **foreign})
    return sorted(found, key=lambda each: str(each["@timestamp"]))


def exposition(number: int, *, drift: float = 0.05) -> str:
    """Return /metrics of a service that has served a little more at each scrape, and whose model gets worse.

    Args:
        number: of the scrape.
        drift: PSI of the input age, whose threshold is 0.1.
    """
    classes = "".join(
        f'ml_predictions_by_class_total{{prediction_class="{name}"}} {number * pace}\n'
        for name, pace in (("0", 7), ("1", 2))
    )
    buckets = "".join(
        f'http_request_duration_seconds_bucket{{endpoint="/predict",method="POST",status="200",le="{edge}"}} {count}\n'
        for edge, count in (("0.1", 5 * number), ("0.5", 8 * number), ("1.0", 9 * number), ("+Inf", 9 * number))
    )
    return (
        f"ml_predictions_total {9 * number}\nml_model_accuracy {0.95 - number / 1000}\n"
        f"ml_prediction_error_rate {0.001 * number}\nml_app_memory_bytes {1e8 + 1e5 * number}\n"
        f'ml_feature_psi{{feature="age"}} {drift}\nml_feature_psi_threshold{{feature="age"}} 0.1\n{classes}{buckets}'
    )


def fill(url: str, documents: list[dict[str, Any]], now: float, service: Endpoint) -> None:
    """Give one server the index templates, the lines as the shipper sends them, and samples by the real sampler."""
    with Elasticsearch(url, request_timeout=60) as client:
        installation.install(client)
    with httpx.Client(timeout=60) as client:
        for body in bulk_bodies(iter(documents), seed=23, size=500, prefix="ml-pipeline-"):
            answer = client.post(f"{url}/_bulk", content=body, headers={"content-type": "application/x-ndjson"})
            assert answer.json()["errors"] is False, answer.text[:1000]
        clock = [0.0]
        taken = sampler.Sampler((Target("app", service.address),), url, clock=lambda: clock[0])
        for number in range(SCRAPES):
            clock[0] = now - sampler.SECONDS * (SCRAPES - 1 - number)
            service.text = exposition(number)
            taken.once(client)
        client.post(f"{url}/ml-*/_refresh").raise_for_status()


def empty(url: str) -> None:
    """Take all of it out again."""
    with Elasticsearch(url, request_timeout=60) as client:
        installation.uninstall(client)
        for index in client.indices.get(index="ml-metrics-*", expand_wildcards="all").body:
            client.options(ignore_status=404).indices.delete(index=index)
        for path in ("/_index_template/ml-metrics", "/_ilm/policy/ml-metrics"):
            client.options(ignore_status=404).perform_request("DELETE", path, headers=installation.JSON)


def filled(elasticsearch: str, embedded: str) -> Iterator[Filled]:
    """Fill both, and empty them afterwards."""
    end = datetime.now(UTC) - timedelta(minutes=2)
    documents = lines(end)
    pair = (Store(ConsoleSettings(store_url=elasticsearch)), Store(ConsoleSettings(store_url=embedded)))
    now = sampler.SECONDS * (datetime.now(UTC).timestamp() // sampler.SECONDS)
    service = Endpoint()
    try:
        for url in (elasticsearch, embedded):
            empty(url)  # what another room's tests left there would be counted
            fill(url, documents, now, service)
        yield Filled(pair, documents, (end - timedelta(hours=HOURS + 1)).timestamp(), end.timestamp(), now)
    finally:
        service.close()
        for store in pair:
            store.close()
        for url in (elasticsearch, embedded):
            empty(url)
