"""What every request passes: its id, its client, the gate, and how its end is counted and logged."""

from __future__ import annotations

import functools
import hmac
import logging
import re
import time
import uuid
from typing import Any

import msgspec
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from app.api import body
from app.api.gate import Gate
from app.model.about import ModelFailureError
from app.monitoring.metrics import ENDPOINTS
from app.problems import ServiceProblem, problem_response
from app.settings import AppSettings, read_api_key
from app.state import ServiceState

LOGGER = "app.api"
GUARDED = ("/predict", "/feedback")
LOOKS = ("/health", "/ready", "/metrics", "/status")  # a monitor's: they leave no log line
METHODS = ("GET", "POST", "HEAD", "OPTIONS")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# W3C Trace Context, level 1: version, trace id, parent id, flags
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


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
    """Return the decoded body of a guarded request.

    Raises:
        ServiceProblem: 400.
    """
    return body.decode(g.body)


class Passage:
    """The steps around every request.

    Args:
        state: what they read and count in.

    Raises:
        SettingsError: the API key cannot be read.
    """

    def __init__(self, state: ServiceState) -> None:
        self.state = state
        settings = state.settings
        self.gate = Gate(settings.threads, settings.queue, settings.queue_seconds)
        self._rest = body.Rest()
        self._key = read_api_key(settings)
        self._counted = functools.lru_cache(256)(state.metrics.requests.labels)

    def begin(self) -> None:
        """Give the request its id; of a guarded one check the key, read the body and wait for its turn.

        The body comes before the turn: a client that sends slowly, or never ends, holds up no other.

        Raises:
            ServiceProblem: 401, 413, 415, 400, or 503 where too many wait.
        """
        g.started = time.perf_counter()
        g.gated = g.begun = False
        g.unread = body.is_coming(request)
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
        state = self.state
        state.users.seen(client_address(state.settings))
        if self._key is not None and not hmac.compare_digest(_given_key(), self._key):
            raise ServiceProblem(401, "send the key as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        limit = state.settings.max_body_bytes
        body.check(request, limit)
        g.begun = True
        g.body = body.read(request, limit)
        g.unread = False
        if not self.gate.enter():
            state.metrics.overload.inc()
            raise ServiceProblem(503, "too many requests are waiting; try again later", retry_after=1)
        g.gated = True

    def refused(self, problem: ServiceProblem) -> Response:
        """Answer a request that is not served."""
        g.problem = problem
        return problem_response(problem, g.request_id)

    def http_error(self, error: HTTPException) -> Response:
        """Answer what Flask refuses."""
        code, allowed = error.code or 500, ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        details = {404: "this address is not known; GET /openapi.json lists all", 405: f"this address takes {allowed}"}
        response = self.refused(ServiceProblem(code, details.get(code, "the request was refused")))
        if code == 405:
            response.headers["Allow"] = allowed
        return response

    def failed(self, error: Exception) -> Response:
        """Answer a request on which the service failed; what and where is for the log alone."""
        # The kind of the error is for the log; its text may hold what the client sent.
        cause = str(error) if isinstance(error, ModelFailureError) else f"{type(error).__name__}{_place(error)}"
        text = "the service failed on this request; its request_id finds the log line"
        return self.refused(ServiceProblem(500, text, cause=cause))

    def finish(self, response: Response) -> Response:
        """Time and count the answer, log a refusal or failure, and leave no unread body on the connection."""
        duration = time.perf_counter() - g.started
        self.end(None)
        endpoint = g.endpoint
        response.headers["X-Request-ID"] = g.request_id
        status = response.status_code
        metrics = self.state.metrics
        metrics.duration[endpoint].observe(duration)
        method = request.method if request.method in METHODS else "other"
        self._counted(endpoint, method, str(status)).inc()
        if endpoint == "/predict":
            self.state.errors.add([0, 1] if status >= 500 else [0])
            if status >= 500:
                metrics.failed.inc()
            elif status >= 400:
                metrics.invalid.inc()
        if status >= 400 and endpoint not in LOOKS:
            _log_problem(self.state, status, method, duration)
        if g.unread:
            self._rest.dismiss(request, response, begun=g.begun)
        return response

    def end(self, _: BaseException | None) -> None:
        """End the request's turn, whatever became of it."""
        if g.get("gated"):
            g.gated = False
            self.gate.leave()


def install(app: Flask, state: ServiceState) -> None:
    """Put the steps around every request of the app.

    Raises:
        SettingsError: the API key cannot be read.
    """
    passage = Passage(state)
    app.extensions["gate"] = passage.gate
    app.before_request(passage.begin)
    app.register_error_handler(ServiceProblem, passage.refused)
    app.register_error_handler(HTTPException, passage.http_error)
    app.register_error_handler(Exception, passage.failed)
    app.after_request(passage.finish)
    app.teardown_request(passage.end)


def _given_key() -> bytes:
    headers = request.headers
    if (key := headers.get("X-API-Key")) is None:
        scheme, _, credentials = headers.get("Authorization", "").partition(" ")
        key = credentials.strip() if scheme.lower() == "bearer" else ""
    return key.encode("utf-8", "replace")


def _place(error: Exception) -> str:
    """Return where an error was raised, in words."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return ""
    frame = place.tb_frame
    return f" in {frame.f_globals.get('__name__')}.{frame.f_code.co_name}, line {place.tb_lineno}"


def _log_problem(state: ServiceState, status: int, method: str, duration: float) -> None:
    problem: ServiceProblem | None = g.problem
    model = state.model
    state.log.event(
        logging.ERROR if status >= 500 else logging.WARNING,
        LOGGER,
        "request failed" if status >= 500 else "request refused",
        request_id=g.request_id,
        duration=round(duration, 6),
        error=problem.logged() if problem else "refused",
        model_type=model.about.model_type if model else None,
        model_version=model.about.version if model else None,
        endpoint=g.endpoint,
        method=method,
        status=status,
        trace_id=g.trace_id,
    )


def json_response(content: object) -> Response:
    """Return a 200 with the content as JSON."""
    return Response(msgspec.json.encode(content), content_type="application/json")
