"""Wires the Flask app of one worker."""

from __future__ import annotations

from flask import Flask

from app.api import feedback, health, metrics, openapi, predict
from app.api.request import install
from app.state import ServiceState


def create_app(state: ServiceState) -> Flask:
    """Return the app that answers with what `state` holds."""
    app = Flask("app", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = state.settings.max_body_bytes
    app.url_map.strict_slashes = False
    for module in (predict, feedback, health, metrics, openapi):
        app.register_blueprint(module.blueprint(state))
    install(app, state)
    return app
