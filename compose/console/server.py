"""Serves the console: Granian's WSGI server with one worker process and a few threads."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from granian import Granian
from granian.constants import Interfaces

from compose.console.settings import ConsoleSettings
from compose.environment import SettingsError

THREADS = 8


def serve(settings: ConsoleSettings, load: Callable[[], Any]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        load: makes the WSGI application, in the worker.

    Raises:
        SettingsError: the port cannot be had. Granian would quietly share it with another process.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        raise SettingsError(
            f"CONSOLE_PORT={settings.port} on {settings.host}: {error.strerror or error}; choose another one"
        ) from None
    server = Granian(
        "compose.console.service:create_console",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=THREADS,
        backpressure=64,
        respawn_failed_workers=True,
        respawn_interval=0.2,
        workers_kill_timeout=10,
        log_enabled=False,
        websockets=False,
    )
    server.serve(target_loader=load, wrap_loader=False)
