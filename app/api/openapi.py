"""GET /openapi.json: what the service takes and answers, as OpenAPI 3.1, made from the schema that validates."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from app.api.request import json_response
from app.problems import TITLES
from app.schema import Schema
from app.settings import AppSettings
from app.state import ServiceState


def _instance(schema: Schema) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in schema.fields:
        if field.categories:
            kind: dict[str, Any] = {"type": "string", "enum": list(schema.codes[field.name])}
        else:
            type_name = "integer" if field.whole else "number"
            kind = {"type": type_name, "minimum": field.low, "maximum": field.high}
        if not field.required:
            kind = {"anyOf": [kind, {"type": "null"}]}
        properties[field.name] = {**kind, "description": field.description}
    required = [field.name for field in schema.fields if field.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _label(limit: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "request_id": {"type": "string", "minLength": 1, "maxLength": 64},
            "actual": {"enum": [0, 1, "no", "yes"]},
            "instance": {"type": "integer", "minimum": 0, "maximum": limit - 1},
        },
        "required": ["request_id", "actual"],
        "additionalProperties": False,
    }


def _answer() -> dict[str, Any]:
    return {
        "prediction": {"type": "integer", "enum": [0, 1]},
        "confidence": {"type": "number", "minimum": 0.5, "maximum": 1},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
    }


def _problem() -> dict[str, Any]:
    entry = {
        "type": "object",
        "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
        "required": ["field", "detail"],
    }
    return {
        "type": "object",
        "description": "Problem details, RFC 9457.",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "request_id": {"type": "string"},
            "errors": {"type": "array", "items": entry},
        },
        "required": ["type", "title", "status", "detail", "request_id"],
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _responses(content: dict[str, Any], problems: tuple[int, ...]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "200": {"description": "Done", "content": content},
        **{str(status): {"description": TITLES[status], "content": problem} for status in problems},
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _refusals(settings: AppSettings, *more: int) -> tuple[int, ...]:
    """Return the statuses, but 200, of an endpoint that takes a body."""
    guarded = () if settings.api_key_file is None else (401,)
    return tuple(sorted((400, 413, 415, 422, 500, 503, *guarded, *more)))


def _several(name: str, items: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return the batch form of a body."""
    batch = {"type": "array", "minItems": 1, "maxItems": limit, "items": items}
    return {**_object({name: batch}), "additionalProperties": False}


def _predict(settings: AppSettings) -> dict[str, Any]:
    model = {name: {"type": "string"} for name in ("request_id", "model_type", "model_version")}
    instance = {"$ref": "#/components/schemas/Instance"}
    body = {"anyOf": [instance, _several("instances", instance, settings.max_instances)]}
    numbered = _object({"instance": {"type": "integer"}, **_answer()})
    predicted = [
        _object({**_answer(), **model}),
        _object({"predictions": {"type": "array", "items": numbered}, **model}),
    ]
    return {
        "operationId": "predict",
        "summary": "Predict the class, 0 or 1, with a confidence.",
        "requestBody": {"required": True, "content": _json(body)},
        "responses": _responses(_json({"anyOf": predicted}), _refusals(settings)),
    }


def _feedback(settings: AppSettings) -> dict[str, Any]:
    label = {"$ref": "#/components/schemas/Label"}
    body = {"anyOf": [label, _several("feedback", label, settings.max_instances)]}
    status = {"enum": ["recorded", "unchanged", "corrected", "unknown"]}
    done = {
        "type": "object",
        "properties": {"request_id": {"type": "string"}, "status": status, "instance": {"type": "integer"}},
        "required": ["request_id", "status"],
    }
    answers = [done, _object({"feedback": {"type": "array", "items": done}})]
    return {
        "operationId": "feedback",
        "summary": "Tell the true class of a prediction.",
        "requestBody": {"required": True, "content": _json(body)},
        "responses": _responses(_json({"anyOf": answers}), _refusals(settings, 404)),
    }


def _looks() -> dict[str, Any]:
    """Return the endpoints that take no body."""
    told = _json({**_object({"status": {"type": "string"}}), "additionalProperties": True})
    text = {"text/plain": {"schema": {"type": "string"}}}
    looks = (
        ("health", "/health", "Whether the process lives.", told, (500,)),
        ("ready", "/ready", "Whether a model is loaded.", told, (500, 503)),
        ("status", "/status", "Model, scores, log file, drift.", told, (500,)),
        ("metrics", "/metrics", "Prometheus metrics.", text, (500,)),
        ("openapi", "/openapi.json", "This document.", _json({"type": "object"}), (500,)),
    )
    return {
        path: {"get": {"operationId": name, "summary": summary, "responses": _responses(content, problems)}}
        for name, path, summary, content, problems in looks
    }


def document(settings: AppSettings, schema: Schema) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a service whose model takes the schema's fields."""
    guarded = {"/predict": {"post": _predict(settings)}, "/feedback": {"post": _feedback(settings)}}
    components: dict[str, Any] = {
        "schemas": {"Instance": _instance(schema), "Label": _label(settings.max_instances), "Problem": _problem()}
    }
    if settings.api_key_file is not None:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        for path in guarded.values():
            path["post"]["security"] = [{"bearer": []}, {"key": []}]
    return {
        "openapi": "3.1.0",
        "info": {"title": "ML pipeline: model service", "version": "1"},
        "paths": {**guarded, **_looks()},
        "components": components,
    }


def blueprint(state: ServiceState) -> Blueprint:
    """Return the endpoint."""
    routes = Blueprint("openapi", __name__)
    made = document(state.settings, state.schema())

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return json_response(made)

    return routes
