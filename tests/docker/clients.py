"""Clients that send the guide's request to a stack, and the count of what became of each request."""

from __future__ import annotations

import threading
from typing import Any, Self

import httpx

from tests.docker.project import Project, wait_for

EXAMPLE = {
    "age": 30, "job": "admin", "marital": "single", "education": "secondary", "housing": "yes", "loan": "no",
    "duration": 200, "campaign": 2,
}  # fmt: skip


class Clients:
    """Requests that go on until the block ends; knows the id of each one that was answered 200.

    Args:
        stack: whose model service is asked.
        scheme: http, or https before a proxy.
        options: of httpx, for a login.
    """

    def __init__(self, stack: Project, scheme: str = "http", **options: Any) -> None:
        self._url, self._stopping = stack.url("app", "/predict", scheme), threading.Event()
        self._options = options
        self.answered: set[str] = set()
        self.unanswered = 0
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        with httpx.Client(timeout=5, **self._options) as client:
            while not self._stopping.wait(0.03):
                try:
                    answer = client.post(self._url, json=EXAMPLE)
                except httpx.HTTPError:
                    self.unanswered += 1
                    continue
                if answer.status_code == 200:
                    self.answered.add(answer.json()["request_id"])
                else:
                    self.unanswered += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._stopping.set()
        self._thread.join()


def found(stack: Project, wanted: set[str], scheme: str = "http", **options: Any) -> list[str]:
    """Return the request id of each document that carries one of the wanted ids, as often as it is there."""
    url = stack.url("elasticsearch", "/ml-pipeline-*/_search", scheme)
    names: list[str] = []
    ids = sorted(wanted)
    for start in range(0, len(ids), 500):
        some = {"terms": {"request_id": ids[start : start + 500]}}
        body = {"query": some, "size": 5000, "_source": ["request_id"]}
        hits = httpx.post(url, json=body, timeout=60, **options).json()["hits"]["hits"]
        names += [hit["_source"]["request_id"] for hit in hits]
    return names


def each_once(stack: Project, wanted: set[str], scheme: str = "http", **options: Any) -> None:
    """Wait until each request is a document, and check that none is there twice."""
    assert wanted
    wait_for(lambda: set(found(stack, wanted, scheme, **options)) == wanted, f"{len(wanted)} requests are documents")
    names = found(stack, wanted, scheme, **options)
    assert len(names) == len(set(names)), "a line was indexed twice"
