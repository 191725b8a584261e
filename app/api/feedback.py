"""POST /feedback: the true class of a prediction, or `{"feedback": [...]}`."""

from __future__ import annotations

import logging
import time
from typing import Any

from flask import Blueprint, Response, g

from app.api.request import json_response, read_json
from app.monitoring.feedback import SINGLE, FeedbackError, Labelled
from app.problems import ServiceProblem, misfits
from app.schema import Problem
from app.state import ServiceState

LOGGER = "app.api.feedback"
LABELS: dict[object, int] = {0: 0, 1: 1, "no": 0, "yes": 1}
KNOWN = ("request_id", "actual", "instance")


def parse_one(item: Any, path: str, limit: int) -> tuple[str, int, int, list[Problem]]:
    """Return request id, instance, label and what is wrong."""
    if not isinstance(item, dict):
        where = path.rstrip(".") or "body"
        return "", SINGLE, 0, [Problem(where, "must be an object", where)]
    problems = []
    if set(item) - set(KNOWN):
        problems.append(
            Problem(path + "(unknown field)", f"is not a field; known: {', '.join(KNOWN)}", path + "(unknown field)")
        )
    request_id = item.get("request_id")
    if not isinstance(request_id, str) or not 1 <= len(request_id) <= 64:
        problems.append(Problem(path + "request_id", "must be the id that /predict answered", path + "request_id"))
        request_id = ""
    actual = _whole(item.get("actual"))
    label = LABELS.get(actual) if isinstance(actual, int | str) and not isinstance(actual, bool) else None
    if label is None:
        problems.append(Problem(path + "actual", "must be 0 or 1 (or no or yes)", path + "actual"))
    instance = _whole(item.get("instance", SINGLE))
    if "instance" in item and (
        not isinstance(instance, int) or isinstance(instance, bool) or not 0 <= instance < limit
    ):
        wanted = f"must be a whole number from 0 to {limit - 1}"
        problems.append(Problem(path + "instance", wanted, path + "instance"))
    return request_id, instance, label or 0, problems


def _whole(value: Any) -> Any:
    """Return a number without fraction as int: JSON does not tell 67 from 67.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def blueprint(state: ServiceState) -> Blueprint:
    """Return the endpoint."""
    routes = Blueprint("feedback", __name__)

    @routes.post("/feedback")
    def feedback() -> Response:
        body = read_json()
        limit = state.settings.max_instances
        is_batch = isinstance(body, dict) and "feedback" in body
        items = body["feedback"] if is_batch else [body]
        if is_batch and (len(body) > 1 or not isinstance(items, list) or not 1 <= len(items) <= limit):
            raise ServiceProblem(422, f"`feedback` must be a list of 1 to {limit} objects, and stand alone")
        parsed = [parse_one(item, f"feedback[{n}]." if is_batch else "", limit) for n, item in enumerate(items)]
        problems = [problem for *_, found in parsed for problem in found]
        if problems:
            raise misfits(problems)
        results: list[dict[str, str | int]] = []
        labels = [(request_id, instance, actual) for request_id, instance, actual, _ in parsed]
        try:
            found = state.feedback.label(labels)
        except FeedbackError as error:
            text = "labels cannot be kept now, none of these was; try again later"
            raise ServiceProblem(503, text, retry_after=5, cause=str(error)) from None
        for (request_id, instance, actual), done in zip(labels, found, strict=True):
            _count(state, done, actual)
            results.append({"request_id": request_id, "status": done.status})
            if instance != SINGLE:
                results[-1]["instance"] = instance
        if is_batch:
            _log(state, f"feedback: {len(results)} label{'s' if len(results) > 1 else ''}", None)
            return json_response({"feedback": results})
        if results[0]["status"] == "unknown":
            days = f"{state.settings.feedback_days:g}"
            text = f"no prediction with this request_id (and instance) is known; one is kept for {days} days"
            raise ServiceProblem(404, text)
        _log(state, "feedback", done.version)
        return json_response(results[0])

    return routes


def _count(state: ServiceState, done: Labelled, actual: int) -> None:
    if done.status in ("recorded", "corrected") and done.predicted is not None:
        state.metrics.feedback[done.predicted, actual].inc()
        state.metrics.feedback_delay.observe(done.delay or 0.0)


def _log(state: ServiceState, message: str, version: str | None) -> None:
    state.log.event(
        logging.INFO,
        LOGGER,
        message,
        request_id=g.request_id,
        duration=round(time.perf_counter() - g.started, 6),
        model_version=version,
        endpoint="/feedback",
        method="POST",
        status=200,
        trace_id=g.trace_id,
    )
