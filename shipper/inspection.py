"""`check`: settings, folders, server, rights and templates looked at; what is wrong, and what to do about it."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from shipper.discovery import find
from shipper.errors import SettingsError, ShipperError, SystemicError
from shipper.reader import volume_id
from shipper.server import RefusedError, Server
from shipper.settings import LOGIN, ShipperSettings
from shipper.templates import Templates
from shipper.wording import counted

FILES_LOOKED_INTO = 100
LOOKED_AT = 65_536  # bytes of a file
GZIP = b"\x1f\x8b"
# What the panels and the day of the index need, and what other loggers call it.
ALSO_CALLED = {
    "@timestamp": ("time", "timestamp", "ts", "asctime", "datetime", "date"),
    "level": ("severity", "levelname", "lvl", "log.level"),
    "message": ("msg", "event", "text"),
}
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Finding(msgspec.Struct):
    """One thing that was looked at; `level` is ok, warning or error."""

    level: str
    what: str


def inspect(settings: ShipperSettings) -> Iterator[Finding]:
    """Look at everything a run needs; nothing is changed on the server."""
    yield from _logs(settings)
    yield _state(settings)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none
    if settings.workers > cores:
        here = f"this machine has {counted(cores, 'core')}"
        yield Finding("warning", f"SHIPPER_WORKERS={settings.workers}: {here}; more workers only wait")
    yield from _server(settings)


def _logs(settings: ShipperSettings) -> Iterator[Finding]:
    if not settings.globs:
        yield Finding("error", "SHIPPER_PATHS: name the log files, such as /var/log/app/*.jsonl")
        return
    for pattern in settings.globs:
        folder = Path(pattern).parent
        if "*" not in str(folder) and not folder.is_dir():
            yield Finding("warning", f"SHIPPER_PATHS: {folder} is not there yet; it is looked for again and again")
    found = find(settings.globs, settings.exclude)
    unreadable = [file.path for file in found.values() if not os.access(file.path, os.R_OK)]
    for path in unreadable:
        yield Finding("error", f"{path} cannot be read: give the shipper's user the right to")
    yield Finding(
        "ok", f"{counted(len(found), 'log file')}, {counted(sum(file.size for file in found.values()), 'byte')}"
    )
    yield from _fields(sorted(file.path for file in found.values())[:FILES_LOOKED_INTO])
    folders = sorted({Path(file.path).parent for file in found.values()})
    if settings.delete_acknowledged:
        for folder in folders:
            if not os.access(folder, os.W_OK | os.X_OK):
                yield Finding("error", f"SHIPPER_DELETE_ACKNOWLEDGED: {folder} is not writable, so nothing is deleted")
    if settings.state_dir in folders:
        yield Finding("warning", f"SHIPPER_STATE_DIR={settings.state_dir} is a log folder: keep it on another volume")
    for folder in folders:
        if not volume_id(folder) and not settings.volume_id:
            yield Finding(
                "warning",
                f"{folder} has no .volume-id: set SHIPPER_VOLUME_ID to a fixed text, or the host name stands in",
            )


def _fields(paths: Sequence[str]) -> Iterator[Finding]:
    """Tell of names that another writer gave to what the panels look for: each lack once, with the first file of it."""
    told: set[str] = set()
    for path in paths:
        lack = lacking(_first_line(path))
        if lack and lack not in told:
            told.add(lack)
            yield Finding("warning", f"{path}: {lack}")


def _first_line(path: str) -> bytes:
    """Return a file's first line without its end; empty when there is none yet, it is long, packed or not readable."""
    try:
        with Path(path).open("rb") as file:
            line, newline, _ = file.read(LOOKED_AT).partition(b"\n")
    except OSError:
        return b""
    return line if newline and not line.startswith(GZIP) else b""


def lacking(line: bytes) -> str:
    """Return which fields of the contract a line lacks, and what it calls them; empty when nothing is to be said.

    Args:
        line: raw, without its newline.
    """
    if not line.strip():
        return ""
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = None
    if not isinstance(fields, dict):
        return "its first line is no JSON object: such lines are sent as text"
    missing = []
    for name, others in ALSO_CALLED.items():
        if name not in fields:
            other = next((each for each in others if each in fields), None)
            missing.append(f"no {name}" + (f" (`{other}` is not taken for it)" if other else ""))
    level = fields.get("level", LEVELS[0])
    if level not in LEVELS:
        missing.append(f"a level that is none of {', '.join(LEVELS)}")
    if not missing:
        return ""
    undated = "lines without @timestamp go to ml-pipeline-undated; " if "@timestamp" not in fields else ""
    return f"its first line has {', '.join(missing)}: {undated}let its writer use these names, docs/own-service.md"


def _state(settings: ShipperSettings) -> Finding:
    folder = settings.state_dir
    above = next(part for part in (folder, *folder.parents) if part.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return Finding("error", f"SHIPPER_STATE_DIR={folder}: {above} is not writable")
    free = os.statvfs(above).f_bavail * os.statvfs(above).f_frsize
    if free < settings.dead_letter_bytes:
        return Finding(
            "warning",
            f"SHIPPER_STATE_DIR={folder}: {counted(free, 'byte', 'is', 'are')} free, less than for dead letters",
        )
    return Finding("ok", f"the state folder {folder} is writable")


def _server(settings: ShipperSettings) -> Iterator[Finding]:
    try:
        server = Server(settings)
    except SettingsError as error:
        yield Finding("error", str(error))
        return
    try:
        try:
            root = server.call("GET", "/")
        except SystemicError as error:  # what answers there, or its certificate, is not what it should be
            yield Finding("error", str(error))
            return
        number = root.get("version", {}).get("number") if isinstance(root, dict) else None
        if number is None or not root.get("cluster_uuid"):
            yield Finding("error", f"{settings.urls[0]}: what answers is not Elasticsearch; correct SHIPPER_URL")
            return
        yield Finding("ok", f"{settings.urls[0]}: Elasticsearch {number}, {root.get('cluster_name', 'without a name')}")
        if settings.setup == "off":
            yield Finding("warning", "SHIPPER_SETUP=off: templates and lifecycle policy are not looked at")
        else:
            Templates(server, "verify", settings.retention_days).ensure(dt.datetime.now(dt.UTC).date())
            yield Finding("ok", "index templates and lifecycle policy are as they must be")
        yield from _ignored(server)
    except SystemicError as error:
        missing = settings.setup == "install"
        yield Finding("warning" if missing else "error", f"{error}" + ("; `run` installs them" if missing else ""))
    except RefusedError as error:
        yield Finding("error", f"{settings.urls[0]}: {error}; correct SHIPPER_URL, or {LOGIN}")
    except ShipperError as error:
        yield Finding("error", f"{error}; start it, or correct SHIPPER_URL")
    finally:
        server.close()


def _ignored(server: Server) -> Iterator[Finding]:
    """Count documents of which a field could not be indexed."""
    query = {"query": {"exists": {"field": "_ignored"}}}
    count = server.call("POST", "/ml-pipeline-*/_count?ignore_unavailable=true", query).get("count", 0)
    if count:
        yield Finding(
            "warning",
            f"{counted(count, 'document', 'has', 'have')} a field that could not be indexed as mapped:"
            " search for _exists_:_ignored to see them",
        )
