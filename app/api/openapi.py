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


def document(settings: AppSettings, schema: Schema) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a service whose model takes the schema's fields."""
    model = {name: {"type": "string"} for name in ("request_id", "model_type", "model_version")}
    instance, label = {"$ref": "#/components/schemas/Instance"}, {"$ref": "#/components/schemas/Label"}
    batch = {"type": "array", "minItems": 1, "maxItems": settings.max_instances}
    numbered = _object({"instance": {"type": "integer"}, **_answer()})
    status = {"enum": ["recorded", "unchanged", "corrected", "unknown"]}
    done = {
        "type": "object",
        "properties": {"request_id": {"type": "string"}, "status": status, "instance": {"type": "integer"}},
        "required": ["request_id", "status"],
    }

    def several(name: str, items: dict[str, Any]) -> dict[str, Any]:
        return {**_object({name: {**batch, "items": items}}), "additionalProperties": False}

    refusals: tuple[int, ...] = (400, 413, 415, 422, 500, 503)
    if settings.api_key_file is not None:
        refusals = (400, 401, *refusals[1:])
    predicted = {
        "anyOf": [
            _object({**_answer(), **model}),
            _object({"predictions": {"type": "array", "items": numbered}, **model}),
        ]
    }
    look = {name: {"type": "string"} for name in ("status",)}
    paths: dict[str, Any] = {
        "/predict": {
            "post": {
                "operationId": "predict",
                "summary": "Predict the class, 0 or 1, with a confidence.",
                "requestBody": {
                    "required": True,
                    "content": _json({"anyOf": [instance, several("instances", instance)]}),
                },
                "responses": _responses(_json(predicted), refusals),
            }
        },
        "/feedback": {
            "post": {
                "operationId": "feedback",
                "summary": "Tell the true class of a prediction.",
                "requestBody": {"required": True, "content": _json({"anyOf": [label, several("feedback", label)]})},
                "responses": _responses(
                    _json({"anyOf": [done, _object({"feedback": {"type": "array", "items": done}})]}),
                    (*refusals[:-4], 404, *refusals[-4:]),
                ),
            }
        },
    }
    for path, summary, problems in (
        ("/health", "Whether the process lives.", ()),
        ("/ready", "Whether a model is loaded.", (503,)),
        ("/status", "Model, scores, log file, drift.", ()),
    ):
        content = _json({**_object(look), "additionalProperties": True})
        paths[path] = {
            "get": {"operationId": path[1:], "summary": summary, "responses": _responses(content, (*problems, 500))}
        }
    text = {"text/plain": {"schema": {"type": "string"}}}
    paths["/metrics"] = {
        "get": {"operationId": "metrics", "summary": "Prometheus metrics.", "responses": _responses(text, (500,))}
    }
    paths["/openapi.json"] = {
        "get": {
            "operationId": "openapi",
            "summary": "This document.",
            "responses": _responses(_json({"type": "object"}), (500,)),
        }
    }
    components: dict[str, Any] = {
        "schemas": {"Instance": _instance(schema), "Label": _label(settings.max_instances), "Problem": _problem()}
    }
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "ML pipeline: model service", "version": "1"},
        "paths": paths,
        "components": components,
    }
    if settings.api_key_file is not None:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        for path in ("/predict", "/feedback"):
            paths[path]["post"]["security"] = [{"bearer": []}, {"key": []}]
    return whole


def blueprint(state: ServiceState) -> Blueprint:
    """Return the endpoint."""
    routes = Blueprint("openapi", __name__)
    made = document(state.settings, state.schema())

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return json_response(made)

    return routes
