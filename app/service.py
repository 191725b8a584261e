"""Wires the Flask app of one worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from app.api import feedback, health, metrics, openapi, predict
from app.api.request import install
from app.state import ServiceState


class Service(Flask):
    """Flask without its look, at each call, whether a function of ours is a coroutine: none is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is."""
        return func


def create_app(state: ServiceState) -> Flask:
    """Return the app that answers with what `state` holds."""
    app = Service("app", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # a look at what is allowed is no prediction request
    app.url_map.strict_slashes = False
    for module in (predict, feedback, health, metrics, openapi):
        app.register_blueprint(module.blueprint(state))
    install(app, state)
    return app
