"""Real Prometheus and Alertmanager on free ports, a target that tells what it is told to, and a receiver."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.optional import need


class Endpoint:
    """An HTTP server on a free port: GET answers `text`, POSTs are kept in `received` and answered `answer`."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.received: list[dict[str, Any]] = []
        self.answer = 200
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(endpoint.text.encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.received.append(json.loads(body))
                self.send_response(endpoint.answer)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def alerts(self, name: str, status: str, severity: str) -> list[dict[str, Any]]:
        """Return the alerts of that name, status and severity that came in."""
        return [
            alert
            for body in list(self.received)
            for alert in body["alerts"]
            if (alert["labels"]["alertname"], alert["status"], alert["labels"]["severity"]) == (name, status, severity)
        ]


class Relay:
    """Passes connections on to a server until it is closed: for its clients the server is then gone.

    Args:
        address: `host:port` of the server.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._open: list[socket.socket] = []
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection((host, int(port)), timeout=60) as there:
                    relay._open += [self.request, there]
                    back = threading.Thread(target=_pass_on, args=(there, self.request), daemon=True)
                    back.start()
                    _pass_on(self.request, there)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Take no more connections, and end those that there are."""
        self._server.shutdown()
        self._server.socket.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def running(command: list[str], health: str, output: Path) -> Iterator[None]:
    """Run a server until the block ends; it has to answer 200 at `health` first."""
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: _answers(health, process, output), f"{command[0]} answers")
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str, process: subprocess.Popen[bytes], output: Path) -> bool:
    assert process.poll() is None, output.read_text()[-2000:]
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until the condition holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not so: {what}"
        time.sleep(0.1)


def prometheus_command(folder: Path, port: int, *options: str) -> list[str]:
    """Return the command of a Prometheus on the files in `folder`."""
    return [
        need("prometheus", apt="prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=10y",
        *options,
    ]


def alertmanager_command(folder: Path, port: int) -> list[str]:
    """Return the command of an Alertmanager on the files in `folder`."""
    return [
        need("prometheus-alertmanager", apt="prometheus-alertmanager"),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]


def query(url: str, expr: str, at: float | None = None) -> list[dict[str, Any]]:
    """Return the series of an instant query."""
    parameters: dict[str, Any] = {"query": expr} | ({} if at is None else {"time": at})
    answer = httpx.get(f"{url}/api/v1/query", params=parameters, timeout=30)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def query_range(url: str, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
    """Return the series of a range query, times in seconds since 1970."""
    parameters: dict[str, Any] = {"query": expr, "start": start, "end": end, "step": step}
    answer = httpx.get(f"{url}/api/v1/query_range", params=parameters, timeout=30)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found
