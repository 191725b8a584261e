"""The console's plain endpoints: /api/status in Kibana's shape, /health, and the export of log lines."""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

import flask

from compose.console import exporting
from compose.console.log_search import Asked, AskError
from compose.console.overview_data import Parts
from compose.console.settings import ConsoleSettings

LEVEL = {"ready": "available", "not ready": "degraded", "away": "unavailable"}


def status(parts: Parts, started: float) -> dict[str, Any]:
    """Return Kibana's /api/status: the overall level is the console's own; the services' levels stand beside it.

    Source: https://www.elastic.co/docs/api/doc/kibana/operation/operation-get-status
    """
    app, shipper, store = (each.result() for each in parts.services.ask())
    version = importlib.metadata.version("ml-pipeline-observability")
    services = {
        name: {"level": LEVEL[each.health], "summary": each.words}
        for name, each in (("app", app), ("shipper", shipper))
    }
    return {
        "name": "ml-pipeline-console",
        "version": {"number": version, "build_flavor": "embedded"},
        "status": {
            "overall": {"level": "available", "summary": "The console answers"},
            "core": {"elasticsearch": {"level": LEVEL[store.health], "summary": store.words}},
            "plugins": services,
        },
        "metrics": {
            "process": {"uptime_in_millis": round(1000 * (time.time() - started))},
            "source": parts.history.source().name,
            "why_not_prometheus": parts.history.why,
        },
    }


def routes(server: flask.Flask, parts: Parts, settings: ConsoleSettings) -> None:
    """Register the endpoints."""
    started = time.time()

    @server.get("/api/status")
    def api_status() -> flask.Response:
        return flask.jsonify(status(parts, started))

    @server.get("/health")
    def health() -> flask.Response:
        return flask.jsonify({"status": "alive"})

    @server.get("/export.<kind>")
    def export(kind: str) -> flask.Response:
        if kind not in exporting.KINDS:
            return flask.Response("ndjson and csv are there\n", 404, mimetype="text/plain")
        try:
            asked = Asked.from_address(flask.request.args, time.time())
        except AskError as error:
            return flask.Response(f"{error}\n", 400, mimetype="text/plain")
        return exporting.answer(parts.store, asked, kind, settings.export_lines)
