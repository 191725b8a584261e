"""What every request passes: its id, its client, the gate, and how its end is counted and logged."""

from __future__ import annotations

import functools
import hmac
import logging
import re
import threading
import time
import uuid
from typing import Any

import msgspec
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from app.model.about import ModelFailureError
from app.monitoring.metrics import ENDPOINTS
from app.problems import ServiceProblem, problem_response
from app.settings import AppSettings, read_api_key
from app.state import ServiceState

LOGGER = "app.api"
GUARDED = ("/predict", "/feedback")
METHODS = ("GET", "POST", "HEAD", "OPTIONS")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# W3C Trace Context, level 1: version, trace id, parent id, flags
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class Gate:
    """Lets so many requests run and so many wait; the rest is told to come back."""

    def __init__(self, running: int, waiting: int, seconds: float) -> None:
        self._running = threading.Semaphore(running)
        self._places = threading.Semaphore(running + waiting)
        self._seconds = seconds

    def enter(self) -> bool:
        """Wait for one's turn; False when there is no place, or it took too long."""
        if not self._places.acquire(blocking=False):
            return False
        if self._running.acquire(timeout=self._seconds):
            return True
        self._places.release()
        return False

    def leave(self) -> None:
        """End one's turn."""
        self._running.release()
        self._places.release()


def client_address(settings: AppSettings) -> str:
    """Return X-User-ID, or the address as the outermost trusted proxy saw it."""
    if user := request.headers.get("X-User-ID"):
        return f"user:{user[:200]}"
    address = request.remote_addr or ""
    if settings.trusted_hops:
        # Each proxy appends who connected to it: the entry of the outermost trusted one is the client's.
        chain = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
        if chain:
            address = chain[max(0, len(chain) - settings.trusted_hops)]
    return f"address:{address}"


def read_json() -> Any:
    """Return the decoded body.

    Raises:
        ServiceProblem: 415, 413 or 400.
    """
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise ServiceProblem(415, "send the body with Content-Type: application/json")
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise
    except (OSError, HTTPException):
        raise ServiceProblem(400, "the body could not be read to its end") from None
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        # msgspec says what and where, by byte; it shows no content but one character, which is left out here.
        place = re.search(r"\(byte (\d+)\)", str(error))
        where = f" (byte {place[1]})" if place else ""
        raise ServiceProblem(400, f"the body is not valid JSON{where}") from None
    except (RecursionError, UnicodeDecodeError):
        raise ServiceProblem(400, "the body is nested too deeply or is not UTF-8") from None


def install(app: Flask, state: ServiceState) -> None:
    """Put the steps around every request of the app."""
    settings = state.settings
    gate = Gate(settings.threads, settings.queue, settings.queue_seconds)
    app.extensions["gate"] = gate
    key = read_api_key(settings)
    counted = functools.lru_cache(256)(state.metrics.requests.labels)

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        g.gated = False
        headers = request.headers
        given = headers.get("X-Request-ID", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        trace = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
        g.trace_id = trace[1] if trace else None
        g.problem = None
        rule = matched.rule if (matched := request.url_rule) else None
        g.endpoint = rule if rule in ENDPOINTS else "unmatched"
        if rule not in GUARDED:
            return
        state.users.seen(client_address(settings))
        if key is not None:
            given_key = request.headers.get("X-API-Key") or request.headers.get("Authorization", "").removeprefix(
                "Bearer "
            )
            if not hmac.compare_digest(given_key.encode("utf-8", "replace"), key):
                raise ServiceProblem(401, "send the key as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        if not gate.enter():
            state.metrics.overload.inc()
            raise ServiceProblem(503, "too many requests are waiting; try again later", retry_after=1)
        g.gated = True

    @app.errorhandler(ServiceProblem)
    def refused(problem: ServiceProblem) -> Response:
        g.problem = problem
        return problem_response(problem, g.request_id)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        code = error.code or 500
        details = {
            404: "this address is not known; GET /openapi.json lists all",
            405: "this address does not take that method",
            413: f"the body may have at most {settings.max_body_bytes} bytes",
        }
        problem = ServiceProblem(code, details.get(code, "the request was refused"))
        response = refused(problem)
        if code == 405 and (allowed := getattr(error, "valid_methods", None)):
            response.headers["Allow"] = ", ".join(sorted(allowed))
        return response

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        # The kind of the error is for the log; its text may hold what the client sent.
        problem = ServiceProblem(500, "the service failed on this request; its request_id finds the log line")
        response = refused(problem)
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = ""
        if place is not None:
            frame = place.tb_frame
            where = f" in {frame.f_globals.get('__name__')}.{frame.f_code.co_name}, line {place.tb_lineno}"
        g.problem.cause = str(error) if isinstance(error, ModelFailureError) else f"{type(error).__name__}{where}"
        return response

    @app.after_request
    def finish(response: Response) -> Response:
        duration = time.perf_counter() - g.started
        endpoint = g.endpoint
        if g.gated:
            g.gated = False
            gate.leave()
        response.headers["X-Request-ID"] = g.request_id
        status = response.status_code
        state.metrics.duration[endpoint].observe(duration)
        method = request.method if request.method in METHODS else "other"
        counted(endpoint, method, str(status)).inc()
        if endpoint == "/predict":
            state.errors.add([0, 1] if status >= 500 else [0])
            if status >= 500:
                state.metrics.failed.inc()
            elif status >= 400:
                state.metrics.invalid.inc()
        if status >= 400 and endpoint not in ("/health", "/ready", "/metrics", "/status"):
            _log_problem(state, status, method, duration)
        return response


def _log_problem(state: ServiceState, status: int, method: str, duration: float) -> None:
    problem: ServiceProblem | None = g.problem
    text = problem.logged() if problem else "refused"
    if problem is not None and (cause := getattr(problem, "cause", None)):
        text = f"{text}: {cause}"
    model = state.model
    state.log.event(
        logging.ERROR if status >= 500 else logging.WARNING,
        LOGGER,
        "request failed" if status >= 500 else "request refused",
        request_id=g.request_id,
        duration=round(duration, 6),
        error=text,
        model_type=model.about.model_type if model else None,
        model_version=model.about.version if model else None,
        endpoint=g.endpoint,
        method=method,
        status=status,
        trace_id=g.trace_id,
    )


def json_response(body: object) -> Response:
    """Return a 200 with the body as JSON."""
    return Response(msgspec.json.encode(body), content_type="application/json")
