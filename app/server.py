"""Runs the service: Granian's WSGI server with one or several worker processes.

With an empty Flask /predict Granian answered 4,000 requests per CPU second, gunicorn's sync worker 2,870.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import multiprocessing
import os
import secrets
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from app.log_buffer import SUFFIX, recover
from app.logs import EventLog, LogFile
from app.model.bundle import BundleError, load_active
from app.own_model import OwnModelError, check_apart
from app.settings import AppSettings, read_api_key

LOGGER = "app.service"
# How workers come to be. Linux's own default is another one since Python 3.14; elsewhere a fork is not safe.
WAY = "fork" if sys.platform == "linux" else "spawn"
STOP_SECONDS = 12
ROOM = 2 * 1024 * 1024  # bytes that one worker's counters take in the state folder, and some
SLOW = 256  # connections of one worker that may be open without a request, or while a body comes in slowly
IDLE_SECONDS = 30  # for which a connection may be open without the whole head of a request
ORPHAN_SECONDS = 1.0


class ServeError(RuntimeError):
    """The service cannot start; the message says why and what to do."""


def prepare(settings: AppSettings) -> tuple[Path, int]:
    """Lock the state folder and wipe what processes share.

    Returns:
        The folder of shared numbers, and the handle that holds the lock.

    Raises:
        ServeError: another service uses the state folder, or it cannot be written or has no room.
    """
    run_dir = settings.state_dir / "run"
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(settings.state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServeError(f"APP_STATE_DIR={settings.state_dir}: another service uses it; stop that one") from None
        for found in recover(run_dir, settings.log_dir):
            _say(found)
        _wipe(run_dir)
        (run_dir / "metrics").mkdir(parents=True)
        (run_dir / f"parent-{os.getpid()}").touch()
        free, needed = shutil.disk_usage(run_dir).free, settings.workers * ROOM
        if free < needed:
            raise ServeError(
                f"APP_STATE_DIR={settings.state_dir}: {free:,} bytes are free there, and the counters of "
                f"{settings.workers} worker(s) need {needed:,}; free some, or name a folder on another volume"
            )
    except OSError as error:
        raise ServeError(f"APP_STATE_DIR={settings.state_dir}: {error.strerror}; it must be writable") from None
    return run_dir, lock


def _wipe(run_dir: Path) -> None:
    """Remove what processes shared, but for lines that could not be appended: workers try that again."""
    for path in run_dir.glob("*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != SUFFIX:
            path.unlink()


def check_port(settings: AppSettings) -> None:
    """Refuse a port that is taken: Granian sets SO_REUSEPORT and would quietly share it with the other process.

    Raises:
        ServeError: something listens there, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        raise ServeError(
            f"APP_PORT={settings.port} on APP_HOST={settings.host}: {reason}; name another, or stop what listens there"
        ) from None


def run(settings: AppSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ServeError: there is no model that can be used, or a folder or the port cannot be used.
        SettingsError: the API key cannot be read.
    """
    try:
        version = "" if settings.model else load_active(settings.model_dir).manifest.version
    except BundleError as error:
        raise ServeError(str(error)) from None
    read_api_key(settings)
    check_port(settings)
    run_dir, lock = prepare(settings)
    if settings.model:
        # Threads that wait by spinning take the cores from the other workers: for one row one thread is enough. OpenMP
        # reads this when it is loaded, which is in the processes that load the model.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            version = check_apart(settings.model, run_dir)
        except OwnModelError as error:
            raise ServeError(str(error)) from None
    user_key = secrets.token_bytes(32)
    # Before prometheus-client is imported: it looks once, at import. Workers inherit it.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(run_dir / "metrics")
    parent = os.getpid()

    multiprocessing.set_start_method(WAY, force=True)
    kept = lock if WAY == "fork" else -1
    load_worker = functools.partial(_worker, settings, run_dir, user_key, parent, kept)
    server = Granian(
        "app.server:run",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers,
        # A connection takes a place while it is open, and a thread while its request is read: more than may run and
        # wait, so that the gate, not the server's queue, says 503, and slow clients hold up nobody else.
        blocking_threads=settings.threads + settings.queue + SLOW,
        backpressure=settings.threads + settings.queue + SLOW,
        respawn_failed_workers=True,
        respawn_interval=0.1,
        workers_kill_timeout=STOP_SECONDS,
        # Told to find out by itself whether a client speaks HTTP/2, the server waits for its first bytes for ever.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=IDLE_SECONDS * 1000),
        log_enabled=False,
        websockets=False,
    )
    _say(f"listening on http://{settings.host}:{settings.port}, {settings.workers} worker(s), model {version}")
    log = _event_log(settings)
    log.event(logging.INFO, LOGGER, "service start", model_version=version)
    try:
        server.serve(target_loader=load_worker, wrap_loader=False)
    except OSError as error:
        raise ServeError(f"APP_PORT={settings.port}: {error}") from None
    finally:
        log.event(logging.INFO, LOGGER, "service stop", model_version=version)
        _say("stopped")
        os.close(lock)


def _worker(settings: AppSettings, run_dir: Path, user_key: bytes, parent: int, lock: int) -> Any:
    """Make the app of one worker, in the worker's process."""
    from multiprocessing.util import Finalize

    from app.service import create_app
    from app.state import ServiceState

    if lock >= 0:
        os.close(lock)
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    state = ServiceState(settings, run_dir, user_key)
    # A forked process leaves without atexit's functions; multiprocessing's own run in both ways.
    Finalize(None, state.close, exitpriority=10)
    return create_app(state)


def _end_with(parent: int) -> None:
    """End this worker when its parent was killed: nobody else would."""
    import signal

    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _event_log(settings: AppSettings) -> EventLog:
    """Return the log of the main process, which writes the service's own start and stop lines."""

    def dropped(reason: str, _: int) -> None:
        _say(f"the service's own line could not be logged: {reason}")

    file = LogFile(settings.log_dir, time.time, settings.log_file_bytes, dropped) if settings.log else None
    return EventLog(file, time.time)


def _say(text: str) -> None:
    print(f"app: {text}", file=sys.stderr, flush=True)
