"""A cluster of one process that takes bulk requests and fails as it is told: what a real server does only by luck."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Refusal = tuple[int, str, str]  # status, type, reason of one item
Judge = Callable[[str, str, dict[str, Any]], Refusal | None]

# How a whole request may fail.
UNAVAILABLE, BUSY, RESET, LOST_REPLY, HTML, CUT_REPLY, FORBIDDEN, UNAUTHORISED, TOO_LARGE, BAD_REQUEST, HANG = (
    "503", "429", "reset", "lost reply", "html", "cut reply", "403", "401", "413", "400", "hang",
)  # fmt: skip


class Cluster:
    """The documents, and what goes wrong.

    Args:
        seed: of the odds.
        context: speaks TLS with it.
        documents: of another address of the same cluster.
        port: 0 for a free one.

    Attributes:
        documents: by index and id; a second `create` is a 409.
        faults: what the next bulk requests meet, one each.
        odds: chance of a fault for each further request, by fault.
        judge: says whether a document is refused.
        limit: bytes of a body, above it 413.
        bodies: sizes of the bulk bodies, as sent.
        refused: how many documents were there already.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        context: ssl.SSLContext | None = None,
        documents: dict[tuple[str, str], dict[str, Any]] | None = None,
        port: int = 0,
    ) -> None:
        self.documents: dict[tuple[str, str], dict[str, Any]] = {} if documents is None else documents
        self.faults: list[str] = []
        self.odds: dict[str, float] = {}
        self.item_odds: dict[int, float] = {}
        self.judge: Judge | None = None
        self.limit = 100_000_000
        self.uuid = "first-cluster"
        self.bodies: list[int] = []
        self.met: Counter[str] = Counter()
        self.refused = 0
        self.paths: list[str] = []
        self.released = threading.Event()
        self.headers: list[dict[str, str]] = []
        self._connections: set[socket.socket] = set()
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._scheme = "https" if context else "http"
        if context:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop it."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def root(self) -> dict[str, Any]:
        """What it says of itself."""
        return {"cluster_uuid": self.uuid, "cluster_name": "told", "version": {"number": "8.19.0"}}

    def messages(self) -> Counter[str]:
        """How often each message is there."""
        with self._lock:
            return Counter(str(document.get("message")) for document in self.documents.values())

    def bulk(self, body: bytes) -> tuple[int, Any]:
        """Take a bulk body; return status and reply."""
        lines = body.split(b"\n")
        items = []
        errors = False
        for action, source in zip(lines[0:-1:2], lines[1:-1:2], strict=True):
            head = json.loads(action)["create"]
            document = json.loads(source)
            key = (head["_index"], head["_id"])
            item: dict[str, Any] = {"status": 201}
            refusal = self._refusal(key, document)
            if refusal:
                item = {"status": refusal[0], "error": {"type": refusal[1], "reason": refusal[2]}}
                errors = True
            else:
                self.documents[key] = document
            items.append({"create": item})
        return 200, {"errors": errors, "items": items}

    def _refusal(self, key: tuple[str, str], document: dict[str, Any]) -> Refusal | None:
        for status, odds in self.item_odds.items():
            if self._chance.random() < odds:
                return status, "es_rejected_execution_exception", "busy"
        if self.judge is not None:
            refusal = self.judge(*key, document)
            if refusal:
                return refusal
        if key in self.documents:
            self.refused += 1
            return 409, "version_conflict_engine_exception", "document already exists"
        return None

    def next_fault(self, size: int) -> str | None:
        """Return what the next request meets."""
        if size > self.limit:
            return TOO_LARGE
        if self.faults:
            return self.faults.pop(0)
        return next((fault for fault, odds in self.odds.items() if self._chance.random() < odds), None)

    def answer(self, path: str, body: bytes) -> tuple[int, bytes, str | None]:
        """Return status, reply, and the fault of the connection."""
        with self._lock:
            self.paths.append(path)
            path = path.partition("?")[0]
            if path == "/_bulk":
                self.bodies.append(len(body))
                fault = self.next_fault(len(body))
                if fault:
                    self.met[fault] += 1
                if fault in (UNAVAILABLE, BUSY, FORBIDDEN, UNAUTHORISED, TOO_LARGE, BAD_REQUEST):
                    kind = "security_exception" if fault in (FORBIDDEN, UNAUTHORISED) else "some_exception"
                    return int(fault), json.dumps({"error": {"type": kind, "reason": "told to"}}).encode(), None
                if fault == RESET:
                    return 0, b"", RESET
                if fault == HTML:
                    return 200, b"<html>a proxy's page</html>", None
                status, reply = self.bulk(body)
                return status, json.dumps(reply, separators=(",", ":")).encode(), fault
            if path == "/_mget":
                wanted = json.loads(body)["docs"]
                found = [{"found": (doc["_index"], doc["_id"]) in self.documents} for doc in wanted]
                return 200, json.dumps({"docs": found}).encode(), None
            return 200, json.dumps(self.root).encode(), None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                cluster.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, reply, fault = cluster.answer(self.path, body)
                if fault == HANG:  # it was indexed, and nobody will ever hear of it
                    cluster.released.wait(60)
                    self.close_connection = True
                    return
                if fault in (RESET, LOST_REPLY):
                    # The connection is torn down with a reset, not closed politely.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                self.send_header("X-Elastic-Product", "Elasticsearch")
                html = reply.startswith(b"<")
                self.send_header("Content-Type", "text/html" if html else "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                if fault == CUT_REPLY:
                    self.wfile.write(reply[: len(reply) // 2])
                    self.close_connection = True
                    return
                self.wfile.write(reply)

            do_GET = do_POST  # noqa: N815 - http.server finds the method by this name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
                pass

            def handle(self) -> None:
                cluster._connections.add(self.connection)
                try:
                    super().handle()
                except (ConnectionError, ValueError, OSError):
                    self.close_connection = True

            def finish(self) -> None:
                try:
                    super().finish()
                except (ConnectionError, ValueError, OSError):
                    self.close_connection = True
                cluster._connections.discard(self.connection)

        return Handler
