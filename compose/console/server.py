"""Serves the console: Granian's WSGI server with one worker process and a few threads."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces

from compose.console.settings import ConsoleSettings
from compose.environment import SettingsError
from compose.provision.objectives import Objectives

# How the worker comes to be. Linux's own default is another one since Python 3.14; elsewhere a fork is not safe.
WAY = "fork" if sys.platform == "linux" else "spawn"
THREADS = 8
ORPHAN_SECONDS = 1.0


def serve(settings: ConsoleSettings, aims: Objectives) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        aims: the objectives that the console holds the service to.

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
    multiprocessing.set_start_method(WAY, force=True)
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
        http=HTTPModes.http1,  # with the choice of HTTP/2 a connection that says nothing is kept for ever
    )
    server.serve(target_loader=functools.partial(_worker, settings, aims, os.getpid()), wrap_loader=False)


def _worker(settings: ConsoleSettings, aims: Objectives, parent: int) -> Any:
    """Return the console's WSGI application; called in the worker, which may be a process begun anew."""
    from compose.console.service import create_console

    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    return create_console(settings, aims, warm=True).server


def _end_with(parent: int) -> None:
    """End this worker when its parent was killed: it would keep the port, and the next console could not start."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
