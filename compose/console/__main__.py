"""`python -m compose.console`: serves the console in the foreground (CONSOLE_* settings)."""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any

from compose.console.server import serve
from compose.console.settings import ConsoleSettings, read_settings
from compose.environment import SettingsError
from compose.provision.objectives import Objectives, read_objectives


def load(settings: ConsoleSettings, aims: Objectives) -> Any:
    """Return the console's WSGI application; called in the worker, which may be a process begun anew."""
    from compose.console.service import create_console

    return create_console(settings, aims, warm=True).server


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings, aims = read_settings(), read_objectives()
        logging.getLogger("console").info("listening on http://%s:%d", settings.host, settings.port)
        serve(settings, functools.partial(load, settings, aims))
    except SettingsError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
