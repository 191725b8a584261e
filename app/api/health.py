"""GET /health, /ready and /status."""

from __future__ import annotations

from flask import Blueprint, Response, g

from app.api.request import json_response
from app.problems import ServiceProblem
from app.state import ServiceState


def blueprint(state: ServiceState) -> Blueprint:
    """Return the endpoints."""
    routes = Blueprint("health", __name__)

    @routes.get("/health")
    def health() -> Response:
        return json_response({"status": "alive", "request_id": g.request_id})

    @routes.get("/ready")
    def ready() -> Response:
        if state.model is None:
            raise ServiceProblem(503, "no model is loaded; /status says why", retry_after=5)
        log = "off" if state.log.file is None else "failing" if state.log_trouble() else "ok"
        return json_response({"status": "ready", "model_version": state.model.about.version, "log": log})

    @routes.get("/status")
    def status() -> Response:
        return json_response(state.status())

    return routes
