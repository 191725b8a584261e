"""A server under test: the real Elasticsearch or the embedded store, spoken to without a client's help."""

from __future__ import annotations

import json
from typing import Any

import httpx
import msgspec

JSON = "application/json"
NDJSON = "application/x-ndjson"


class Request(msgspec.Struct, frozen=True):
    """One call.

    Attributes:
        name: short and unique in its list; names the test.
        body: sent as JSON; a string is sent as it is; a list becomes NDJSON.
        path: with parameters.
        method: HTTP's.
        unordered: the order of the hits is nobody's promise, compare them by id.
    """

    name: str
    body: Any = None
    path: str = "/contract-*/_search"
    method: str = "POST"
    unordered: bool = False


class Reply(msgspec.Struct, frozen=True):
    """What came back: HTTP status, body (parsed where it is JSON) and headers."""

    status: int
    body: Any
    headers: dict[str, str]


class Server:
    """A server and how to call it.

    Args:
        kind: `embedded` or `real`.
        url: where it listens.
    """

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, request: Request) -> Reply:
        """Send one request; an HTTP error is a reply like any other."""
        content, media = _encoded(request.body)
        headers = {"content-type": media} if content is not None else {}
        answer = self._client.request(request.method, request.path, content=content, headers=headers)
        body: Any = answer.text
        if JSON in answer.headers.get("content-type", "") and answer.content:
            body = answer.json()
        return Reply(answer.status_code, body, dict(answer.headers))

    def call(self, method: str, path: str, body: Any = None) -> Reply:
        """Send a request that needs no name."""
        return self.send(Request("", body, path, method))

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        """Return the body of a call that must succeed."""
        reply = self.call(method, path, body)
        assert reply.status < 300, f"{self.kind}: {method} {path}: {reply.status} {reply.body}"
        return reply.body


def _encoded(body: Any) -> tuple[bytes | None, str]:
    if body is None:
        return None, JSON
    if isinstance(body, list):
        return "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in body).encode(), NDJSON
    if isinstance(body, str):
        return body.encode(), JSON
    return json.dumps(body).encode(), JSON
