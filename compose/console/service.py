"""Wiring: the Dash application on its Flask server, with pages, endpoints and protection."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dash import Dash, Input, Output

from compose.console import api, security, shell, timing
from compose.console.first import FirstContent
from compose.console.history import History
from compose.console.overview_data import Parts
from compose.console.pages import dashboard, logs, model, overview, panels, pipeline, runbook, tryit
from compose.console.parts import notice
from compose.console.services import Services
from compose.console.settings import ConsoleSettings
from compose.console.store import Store
from compose.provision.objectives import Objectives, read_objectives

ASSETS = Path(__file__).parent / "assets"
TITLE = "ML pipeline console"


def create_console(settings: ConsoleSettings, aims: Objectives | None = None, *, warm: bool = False) -> Dash:
    """Return the console.

    Args:
        settings: as read.
        aims: the targets; None reads OBJECTIVE_* as the panels and alerts do.
        warm: read the samples in the background at once, so that the first page has them.
    """
    store = Store(settings)
    parts = Parts(store, History(settings, store), Services(settings, store))
    if warm:
        threading.Thread(target=parts.history.warm, name="warm", daemon=True).start()
    app = Dash(
        "compose.console",
        assets_folder=str(ASSETS),
        pages_folder="",
        index_string=shell.INDEX,
        title=TITLE,
        update_title="",
        suppress_callback_exceptions=True,
        serve_locally=True,
        add_log_handler=False,
        enable_mcp=False,
        meta_tags=[
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "color-scheme", "content": "light dark"},
        ],
    )
    frame = functools.partial(shell.layout, settings.refresh_seconds)
    app.layout = frame()
    shell.callbacks(app)
    objectives = aims or read_objectives()
    frames = {
        "/": overview.layout,
        "/logs": logs.layout,
        "/dashboard": dashboard.layout,
        "/model": model.layout,
        "/pipeline": pipeline.layout,
        "/runbook": runbook.layout,
        "/try": lambda: tryit.layout(parts.services),
    }

    def page(path: str) -> Any:
        made = frames.get(path.rstrip("/") or "/")
        return made() if made else notice(f"There is no page {path[:100]}.", "attention")

    def prepare(path: str, search: str, find: Callable[[str], Any]) -> None:
        shell.prepare(path, search, find)
        logs.prepare(search, find)

    app.callback(Output("page", "children"), Input("url", "pathname"))(page)
    first = FirstContent(app, frame, page, prepare, patience=settings.first_seconds)
    overview.callbacks(first, parts, objectives)
    panels.callbacks(first, parts)
    logs.callbacks(first, parts)
    dashboard.callbacks(first, parts)
    model.callbacks(first, parts, objectives)
    pipeline.callbacks(first, parts, settings.dead_letters)
    tryit.callbacks(app, parts)
    runbook.callbacks(app)
    api.routes(app.server, parts, settings)
    timing.tell(app.server)
    security.protect(app.server, settings, app.csp_hashes)
    return app
