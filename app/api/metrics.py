"""GET /metrics in the Prometheus text format."""

from __future__ import annotations

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.monitoring.metrics import exposition
from app.monitoring.readings import readings
from app.state import ServiceState


def blueprint(state: ServiceState) -> Blueprint:
    """Return the endpoint."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(state.metrics, lambda: readings(state)), content_type=CONTENT_TYPE_LATEST)

    return routes
