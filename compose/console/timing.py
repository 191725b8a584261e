"""Where the time of an answer goes, told in its Server-Timing header (W3C): the whole, and the store's share."""

from __future__ import annotations

import time

import flask


def spent(name: str, seconds: float) -> None:
    """Add time that another service took to the answer under way; nothing where there is none."""
    if flask.has_request_context():
        times: dict[str, float] = flask.g.setdefault("spent", {})
        times[name] = times.get(name, 0.0) + seconds


def tell(server: flask.Flask) -> None:
    """Give each answer its Server-Timing header, in milliseconds."""

    @server.before_request
    def begin() -> None:
        flask.g.began = time.perf_counter()

    @server.after_request
    def end(answer: flask.Response) -> flask.Response:
        times = {"total": time.perf_counter() - flask.g.get("began", time.perf_counter()), **flask.g.get("spent", {})}
        answer.headers["Server-Timing"] = ", ".join(f"{name};dur={1000 * each:.1f}" for name, each in times.items())
        return answer
