"""What the shipper tells of itself: /health, /ready, /metrics and /status."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from shipper.errors import SettingsError
from shipper.monitoring import hanging, reasons, status
from shipper.service import Service

logger = logging.getLogger("shipper.endpoints")


class Endpoints:
    """The HTTP endpoints in a thread of their own.

    Args:
        service: what is told of.
        host, port: where; port 0 takes a free one.

    Raises:
        SettingsError: the port cannot be had.
    """

    def __init__(self, service: Service, host: str, port: int) -> None:
        @functools.cache
        def metrics() -> Callable[[], bytes]:
            from shipper.instruments import exposition  # with its library a twentieth of the start

            return exposition(service)

        class Handler(BaseHTTPRequestHandler):
            server_version = "ml-shipper"
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                now = time.time()
                if path == "/health":
                    stopped = time.monotonic() - service.ticked
                    alive = not hanging(service, time.monotonic())
                    self._answer(200 if alive else 503, {"alive": alive, "last_turn_seconds": round(stopped, 3)})
                elif path == "/ready":
                    why = reasons(service, time.monotonic())
                    self._answer(503 if why else 200, {"ready": not why, "reasons": why})
                elif path == "/status":
                    self._answer(200, status(service, now))
                elif path == "/metrics":
                    self._send(200, "text/plain; version=0.0.4; charset=utf-8", metrics()())
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
