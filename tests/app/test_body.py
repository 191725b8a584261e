"""Bodies on the wire: refused, chunked, stalled, broken off; what the client hears, and what the next request gets."""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Request, Response
from werkzeug.test import EnvironBuilder

from app.api import body
from app.problems import ServiceProblem
from tests.app.conftest import GUIDE_REQUEST
from tests.app.server import Server, serving, until

JSON = {"Content-Type": "application/json"}
KEY = "correct-horse-battery"
BIG = 8 * 1024 * 1024  # more than all the buffers between client and server hold


def port(server: Server) -> int:
    """Where a server listens."""
    return int(server.url.rpartition(":")[2])


def pieces(size: int) -> Iterator[bytes]:
    """A body that does not tell its length."""
    for _ in range(size // 65_536):
        yield b" " * 65_536


@pytest.mark.parametrize("chunked", [False, True])
def test_every_refusal_is_heard_and_the_connection_goes_on(model_dir: Path, tmp_path: Path, chunked: bool) -> None:
    """A client that sends 8 MB before it looks gets 401, 404, 405, 413 or 415, and its next request is served."""
    key = tmp_path / "key"
    key.write_text(KEY)
    with serving(model_dir, tmp_path, APP_API_KEY_FILE=str(key)) as server:
        for status, path, headers in (
            (413, "/predict", {**JSON, "X-API-Key": KEY}),
            (413, "/feedback", {**JSON, "Authorization": f"bearer {KEY}"}),
            (415, "/predict", {"Content-Type": "text/csv", "X-API-Key": KEY}),
            (415, "/predict", {**JSON, "X-API-Key": KEY, "Content-Encoding": "gzip"}),
            (401, "/predict", JSON),
            (404, "/predicts", JSON),
            (405, "/health", JSON),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", port(server), timeout=60)
            content = pieces(BIG) if chunked else b" " * BIG
            connection.request("POST", path, body=content, headers=headers, encode_chunked=chunked)
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["status"]) == (status, status)
            assert answer.getheader("Connection") != "close"
            used = connection.sock
            connection.request("POST", "/predict", json.dumps(GUIDE_REQUEST), {**JSON, "X-API-Key": KEY})
            assert connection.getresponse().status == 200
            assert connection.sock is used
            connection.close()


def test_a_client_that_asks_first_need_not_send(model_dir: Path, tmp_path: Path) -> None:
    """`Expect: 100-continue` with too long a body: 413 at once, no 100, and the connection is closed."""
    with serving(model_dir, tmp_path) as server, socket.create_connection(("127.0.0.1", port(server)), 60) as client:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {BIG}\r\n"
        client.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()


def test_clients_that_never_end_hold_up_nobody(model_dir: Path, tmp_path: Path) -> None:
    """Bodies that stop in the middle, far more than may run and wait: others are served; broken off, each is a 400."""
    stalled = 40
    with serving(model_dir, tmp_path, APP_THREADS="1", APP_QUEUE="2") as server:
        clients = [socket.create_connection(("127.0.0.1", port(server)), 60) for _ in range(stalled)]
        for client in clients:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n")
            client.sendall(b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        for _ in range(3):
            assert server.predict().status_code == 200
        for client in clients:
            client.close()
        series = 'http_requests_total{endpoint="/predict",method="POST",status="400"}'
        until(lambda: server.metrics().get(series) == stalled, "each is counted as refused")
        assert server.predict().status_code == 200


def request(content: bytes, **environ: Any) -> Request:
    """A request as WSGI hands it over; an environ's value of None is left out."""
    made = EnvironBuilder("/predict", method="POST", data=content, content_type="application/json").get_environ()
    made.update({"SERVER_PROTOCOL": "HTTP/1.1", "wsgi.input": io.BytesIO(content), **environ})
    return Request({name: value for name, value in made.items() if value is not None})


def test_a_body_without_a_length_is_read_to_the_limit_and_no_further() -> None:
    """As long as the limit: read whole. One byte more: 413, not a body that was cut."""
    assert body.read(request(b"x" * 100, CONTENT_LENGTH=None), 100) == b"x" * 100
    with pytest.raises(ServiceProblem, match="at most 100 bytes"):
        body.read(request(b"x" * 101, CONTENT_LENGTH=None), 100)
    with pytest.raises(ServiceProblem, match="to its end"):
        body.read(request(b"x" * 99, CONTENT_LENGTH="100"), 100)


@pytest.mark.parametrize(
    ("rest", "closes"),
    [
        (body.Rest(), False),
        (body.Rest(most=1000), True),
        (body.Rest(seconds=0), True),
        (body.Rest(places=0), True),
    ],
)
def test_what_is_not_read_to_its_end_closes_the_connection(rest: body.Rest, closes: bool) -> None:
    """More bytes, time or refusals at once than are allowed for: the answer says so; a place is given back."""
    for _ in range(body.REST_PLACES + 1):
        answer = Response(status=413)
        rest.dismiss(request(b"x" * 200_000), answer, begun=True)
        assert (answer.headers.get("Connection") == "close") is closes
