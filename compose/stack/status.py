"""`status`: one line per process, with its health, lag and last error."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from compose.stack import health, state
from compose.stack.monitoring import installed
from compose.stack.services import Service, services
from compose.stack.settings import CALLED, StackSettings
from compose.wording import counted

WIDE = 120  # columns that the table with its counts needs
COLOURS = {"ready": "green", "not ready": "yellow", "stopped": "red", "starting": "yellow"}


class PartStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one process is.

    Attributes:
        state: `ready`, `not ready` (it runs but does not answer or says no), `stopped`.
        up_seconds: since the process started; None when it does not run.
        restarts: how often the supervisor started it again.
        lag_bytes, lag_seconds: the shipper's: bytes not acknowledged, and the age of the oldest; None elsewhere.
        last_error: the newest complaint, from the process itself or from how it ended; it may be over when `ready`.
        lasting: whether it is not over although the part is `ready`.
        detail: what the process counts, in words.
    """

    name: str
    state: str
    url: str
    pid: int | None = None
    up_seconds: float | None = None
    restarts: int = 0
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    last_error: str | None = None
    lasting: bool = False
    detail: str = ""


def collect(settings: StackSettings) -> list[PartStatus]:
    """Ask every part of the stack how it is."""
    known = state.read(settings.run_dir / "state.json")
    started = known.services.keys() if known else ()
    # A part that was left out at the start is no fault.
    watching = [service for service in installed(settings) if service.name in started]
    return [_part(service, known) for service in (*services(settings), *watching)]


def _part(service: Service, known: state.StackState | None) -> PartStatus:
    process = known.services.get(service.name) if known else None
    running = process is not None and state.alive(process.pid, process.created) is not None
    if process is None or not running:
        last = process.last_exit if process else None
        restarts = process.restarts if process else 0
        return PartStatus(name=service.name, state="stopped", url=service.url, restarts=restarts, last_error=last)
    reason = health.unready_reason(service)
    told = health.own_status(service)
    lasting = False
    if service.name == "app":
        trouble = app_trouble(told)
        told = {**told, "last_error": trouble or (told.get("log") or {}).get("last_error")}
        lasting = bool(trouble)
    return PartStatus(
        name=service.name,
        state="not ready" if reason else "ready",
        url=service.url,
        pid=process.pid,
        up_seconds=round(state.up_seconds(process.created), 1),
        restarts=process.restarts,
        lag_bytes=told.get("lag_bytes"),
        lag_seconds=told.get("lag_seconds"),
        last_error=reason or told.get("last_error") or process.last_exit,
        lasting=lasting,
        detail=detail(service.name, told),
    )


def app_trouble(told: dict[str, Any]) -> str:
    """Return what the model service cannot do now, though it answers: log, keep labels, load the active model."""
    log, labels = told.get("log") or {}, told.get("feedback") or {}
    present = (log.get("last_error") if log.get("failing") else None, labels.get("last_error"), told.get("model_error"))
    return "; ".join(filter(None, present))


def detail(name: str, told: dict[str, Any]) -> str:
    """Return in words what a part's own status counts; empty where it told nothing."""
    if not told:
        return ""
    if name == "store":
        return counted(told.get("documents", 0), "document")
    if name == "app":
        model, log = told.get("model") or {}, told.get("log") or {}
        written = log.get("written", 0)
        lines = f"{counted(written, 'line')}, {log.get('dropped', 0):,} dropped"
        return f"model {model.get('type')} {model.get('version')}, {lines}"
    if name == "console":
        return f"figures from {(told.get('metrics') or {}).get('source', 'nowhere')}"
    if name == "prometheus":
        head = (told.get("data") or {}).get("headStats") or {}
        return f"{head.get('numSeries', 0):,} series"
    if name == "alertmanager":
        return f"version {(told.get('versionInfo') or {}).get('version', '?')}"
    return (
        f"{told.get('acknowledged', 0):,} acknowledged, {counted(told.get('dead_letters', 0), 'dead letter')}, "
        f"{counted(told.get('retries', 0), 'retry', 'retries')}"
    )


def render(parts: list[PartStatus], settings: StackSettings, width: int = WIDE) -> RenderableType:
    """Return the table a person reads.

    Args:
        width: columns of the terminal; under WIDE what the parts count stands below the table, so that nothing is cut.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("part", "state", "pid", "up", "restarts", "lag", *(["counts"] if width >= WIDE else [])):
        table.add_column(heading, no_wrap=heading not in ("up", "lag", "counts"), overflow="fold")
    for part in parts:
        table.add_row(
            part.name,
            Text(part.state, style=COLOURS[part.state]),
            str(part.pid or "–"),
            duration(part.up_seconds),
            str(part.restarts),
            "–" if part.lag_bytes is None else f"{part.lag_bytes:,} B, {part.lag_seconds or 0:.1f} s",
            *([part.detail] if width >= WIDE else []),
        )
    lines: list[RenderableType] = [table]
    if width < WIDE:
        lines += [Text(f"{part.name}: {part.detail}") for part in parts if part.detail]
    for part in parts:
        if part.last_error:
            when = ", earlier" if part.state == "ready" and not part.lasting else ""
            lines.append(Text(f"{part.name}{when}: {part.last_error}", style="yellow"))
    known = state.read(settings.run_dir / "state.json")
    if known and known.phase != "running" and state.alive(known.pid, known.created):
        doing = {"training": "makes the model, then starts everything", "stopping": "is stopping everything"}
        lines.append(Text(f"`up` (pid {known.pid}) {doing.get(known.phase, 'is starting everything')}"))
    elif all(part.state == "stopped" for part in parts):
        lines.append(Text(f"nothing runs in {settings.stack_dir}; start it with `{CALLED} up`"))
    elif unwatched(settings):
        sentence = f"its `up` was killed: what dies now stays dead; `{CALLED} down`, then `up`, mends that"
        lines.append(Text(sentence, style="yellow"))
    return Group(*lines)


def unwatched(settings: StackSettings) -> bool:
    """Whether parts run although their supervisor is gone."""
    return bool(state.orphans(settings.run_dir / "state.json"))


def duration(seconds: float | None) -> str:
    """Return seconds as a person says them: 42 s, 3 min 5 s, 2 h 10 min."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
