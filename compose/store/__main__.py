"""`python -m compose.store`: runs the embedded store in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import gc
import logging
import os
import re
import socket
import sys
import threading

import click
import duckdb
import msgspec
from pythonjsonlogger.json import JsonFormatter

from compose.environment import SettingsError
from compose.store.engine import Engine
from compose.store.errors import StoreError
from compose.store.lifecycle import to_delete
from compose.store.settings import StoreSettings, read_settings

log = logging.getLogger("compose.store")

# As in the log lines that it keeps.
_NAMES = {"asctime": "@timestamp", "levelname": "level", "name": "logger"}


class _Formatter(JsonFormatter):
    """Writes the moment in RFC 3339, UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return dt.datetime.fromtimestamp(record.created, dt.UTC).strftime(datefmt or "%Y-%m-%dT%H:%M:%S.%fZ")


def usage() -> str:
    """Return each setting with its default and what its class says of it, as lines for people."""
    described: dict[str, str] = {}
    for names, text in re.findall(r"^ {4,8}([a-z_, ]+): ((?:.|\n {12})+)", StoreSettings.__doc__ or "", re.MULTILINE):
        described |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    lines = ["\b", "Settings, all from the environment:"]
    for field in msgspec.structs.fields(StoreSettings):
        default = "" if field.default in (None, "") else f" [{field.default}]"
        lines.append(f"  STORE_{field.name.upper()}{default}: {described[field.name]}")
    return "\n".join(lines)


@click.command(
    help="Run the embedded store in the foreground: Elasticsearch's API on one folder. SIGTERM or Ctrl-C ends it, and "
    "nothing that was acknowledged is lost.\n\nMore: docs/embedded-store.md",
    epilog=usage(),
)
def main() -> None:
    """Run the store; end with its exit code."""
    sys.exit(_start())


def _start() -> int:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=_NAMES))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        settings, ignored = read_settings()
    except SettingsError as error:
        log.error(str(error))  # noqa: TRY400 - the sentence is all there is to say
        return 2
    for name in ignored:
        log.info("ignored a Kubernetes service-link variable", extra={"variable": name})
    try:
        settings.dir.mkdir(parents=True, exist_ok=True)
        lock = (settings.dir / "lock").open("w")
    except OSError as error:
        log.error(f"the store cannot write to its folder: {error}; mend that or set STORE_DIR to another one")  # noqa: G004, TRY400
        return 1
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.error(f"{settings.dir} is in use by another store; stop that one or set STORE_DIR")  # noqa: G004, TRY400
            return 1
        return _run(settings)


def _run(settings: StoreSettings) -> int:
    from compose.store.rest.server import serve

    try:
        _check_port(settings)
        engine = Engine(settings)
    except (OSError, duckdb.Error, StoreError) as error:
        log.error(f"the store cannot start: {error}")  # noqa: G004, TRY400
        return 1
    stopped = threading.Event()
    runner = threading.Thread(target=_lifecycle, args=(engine, stopped), name="lifecycle", daemon=True)
    runner.start()
    # What a bulk request makes lives until it is loaded and has no cycles: looking for some each 700 objects is wasted.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        asyncio.run(serve(engine))
    finally:
        stopped.set()
        runner.join()
        engine.stop()
        gc.unfreeze()  # or what is frozen outlives the interpreter, and DuckDB's binding says so in sixty lines
    log.info("stopped")
    return 0


def _lifecycle(engine: Engine, stopped: threading.Event) -> None:
    while not stopped.wait(engine.settings.lifecycle_seconds):
        try:
            with engine.lock:
                old = to_delete(list(engine.indices.values()), engine.group("policy"), engine.clock())
                engine.delete_indices(old)
            for index in old:
                log.info("deleted an index by its lifecycle policy", extra={"index": index.name})
        except StoreError as error:
            engine.last_error = f"lifecycle: {error}"
            log.warning("lifecycle policies could not be applied", extra={"reason": str(error)})
        except Exception as error:
            # Whatever it is, an ended thread would let the disk fill up without a word.
            engine.last_error = f"lifecycle: {type(error).__name__}: {error}"
            log.exception("lifecycle policies could not be applied")


def _check_port(settings: StoreSettings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise OSError(f"{settings.host}:{settings.port}: {os.strerror(error.errno or 0)}; set STORE_PORT") from None


if __name__ == "__main__":
    main()
