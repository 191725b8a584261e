"""The history without Prometheus: what is said when it cannot be written."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from typing import Any

import httpx
import pytest

from compose.stack.sampler import TOLD, Sampler


class _Store(http.server.BaseHTTPRequestHandler):
    """Takes policies and templates; answers `_bulk` as told."""

    def __init__(self, answers: list[tuple[int, dict[str, Any]]], *request: object) -> None:
        self.answers = answers
        super().__init__(*request)  # type: ignore[arg-type]

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_PUT(self) -> None:
        self._answer(200, {})

    def do_POST(self) -> None:
        self._answer(*self.answers[0])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
        """Say nothing."""


WELL: tuple[int, dict[str, Any]] = (200, {"items": []})
BUSY: tuple[int, dict[str, Any]] = (503, {"items": []})
REFUSED = (200, {"items": [{"create": {"status": 400, "error": {"reason": "no such field"}}}]})


@pytest.mark.parametrize(("answer", "words"), [(BUSY, "503"), (REFUSED, "no such field")])
def test_a_history_that_cannot_be_written_is_said_once_and_when_it_is_over(
    answer: tuple[int, dict[str, Any]], words: str
) -> None:
    """A store that is away for a moment is no news; one that refuses for a minute is, whether whole or by document."""
    answers, said = [answer], list[str]()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Store, answers)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        sampler = Sampler((), f"http://127.0.0.1:{server.server_port}", say=said.append)
        with httpx.Client() as client:
            for _ in range(TOLD - 1):
                sampler._turn(client)
            assert said == []
            for _ in range(TOLD):
                sampler._turn(client)
            answers[0] = WELL
            sampler._turn(client)
        server.shutdown()
        thread.join()
    assert len(said) == 2
    assert words in said[0]
    assert said[1] == "the history of the figures is written again"
