"""POST /predict: one object, or `{"instances": [...]}`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, g

from app.api.request import json_response, read_json
from app.model.about import ModelFailureError
from app.monitoring.drift import expected_cells
from app.monitoring.feedback import SINGLE, Prediction
from app.problems import ServiceProblem, misfits
from app.schema import Problem, Schema
from app.state import Active, ServiceState

LOGGER = "app.api.predict"


def parse(body: Any, schema: Schema, limit: int) -> tuple[list[list[Any]], bool]:
    """Turn a decoded body into the model's rows.

    Args:
        body: as decoded.
        schema: of the model.
        limit: most instances.

    Returns:
        The rows, and whether it was a batch.

    Raises:
        ServiceProblem: 422, naming each field that is wrong.
    """
    if not isinstance(body, dict):
        raise ServiceProblem(422, "the body must be one JSON object")
    if "instances" not in body:
        row, problems = schema.encode(body)
        if problems:
            raise misfits(problems)
        return [row], False
    instances = body["instances"]
    if len(body) > 1:
        raise ServiceProblem(422, "beside `instances` nothing else may stand")
    if not isinstance(instances, list) or not 1 <= len(instances) <= limit:
        wrong = Problem("instances", f"must be a list of 1 to {limit} objects", "instances")
        raise misfits([wrong])
    rows: list[list[Any]] = []
    problems = []
    for number, instance in enumerate(instances):
        path = f"instances[{number}]"
        if isinstance(instance, dict):
            row, wrong_fields = schema.encode(instance, path + ".")
            rows.append(row)
            problems.extend(wrong_fields)
        else:
            problems.append(Problem(path, "must be an object", path))
    if problems:
        raise misfits(problems)
    return rows, True


def blueprint(state: ServiceState) -> Blueprint:
    """Return the endpoint."""
    routes = Blueprint("predict", __name__)

    @routes.post("/predict")
    def predict() -> Response:
        model = state.model
        if model is None:
            raise ServiceProblem(503, "no model is loaded", retry_after=5)
        started = time.perf_counter()
        served = model.served
        rows, is_batch = parse(read_json(), served.schema, state.settings.max_instances)
        prepared = [served.prepare(row) for row in rows]
        state.metrics.processing.observe(time.perf_counter() - started)
        probabilities = served.probabilities(prepared)
        if any(not 0 <= probability <= 1 for probability in probabilities):  # NaN fails this too
            raise ModelFailureError("the model gave something that is no probability")
        answers = _served(state, model, probabilities, is_batch=is_batch)
        _watch(model, rows, prepared, probabilities)
        about = {
            "request_id": g.request_id,
            "model_type": model.about.model_type,
            "model_version": model.about.version,
        }
        if is_batch:
            return json_response({"predictions": answers, **about})
        return json_response({**answers[0], **about})

    return routes


def _served(
    state: ServiceState, model: Active, probabilities: list[float], *, is_batch: bool
) -> list[dict[str, int | float]]:
    """Count, log and keep each prediction; return the answers."""
    metrics = state.metrics
    now = state.clock()
    duration = round(time.perf_counter() - g.started, 6)
    request_id, trace_id, about = g.request_id, g.trace_id, model.about
    answers: list[dict[str, int | float]] = []
    kept = []
    for number, probability in enumerate(probabilities):
        predicted = int(probability >= 0.5)
        confidence = round(max(probability, 1 - probability), 6)
        metrics.by_class[predicted].inc()
        metrics.confidence.observe(confidence)
        instance = number if is_batch else SINGLE
        kept.append(Prediction(request_id, instance, now, about.version, predicted))
        answer = {"prediction": predicted, "confidence": confidence, "probability": round(probability, 6)}
        answers.append({"instance": number, **answer} if is_batch else answer)
        state.log.event(
            logging.INFO,
            LOGGER,
            "prediction served",
            request_id=request_id,
            instance=number if is_batch else None,
            prediction=predicted,
            confidence=confidence,
            duration=duration,
            model_type=about.model_type,
            model_version=about.version,
            endpoint="/predict",
            method="POST",
            status=200,
            trace_id=trace_id,
        )
    metrics.predictions.inc(len(probabilities))
    state.feedback.remember(kept)
    return answers


def _watch(model: Active, rows: list[list[Any]], prepared: list[Sequence[Any]], probabilities: list[float]) -> None:
    """Count inputs and outputs for drift and the estimate."""
    served, total = model.served, model.bins
    positions: list[int] = []
    amounts: list[float] = []
    for row, places, probability in zip(rows, prepared, probabilities, strict=True):
        bins = served.bins(row, places, probability)
        one, first, other, second = expected_cells(probability)
        positions += [*bins, total + one, total + other]
        amounts += [*([1.0] * len(bins)), first, second]
    model.window.add(positions, amounts)
