"""`python -m compose.console`: serves the console in the foreground (CONSOLE_* settings)."""

from __future__ import annotations

import logging
import os
import sys

from compose.console.server import serve
from compose.console.settings import read_settings
from compose.environment import SettingsError, keep_loopback_direct
from compose.provision.objectives import read_objectives


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    keep_loopback_direct(os.environ)
    try:
        settings, aims = read_settings(), read_objectives()
        logging.getLogger("console").info("listening on http://%s:%d", settings.host, settings.port)
        serve(settings, aims)
    except SettingsError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
