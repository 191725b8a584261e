"""What the supervisor keeps on disk about its processes, so that `status` and `down` find them.

A process is known again by its pid and by its start since the machine's: a clock that is set changes neither.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import msgspec
import psutil


class ProcessState(msgspec.Struct, kw_only=True):
    """One process as last seen by the supervisor.

    Attributes:
        name: the service.
        pid, created: the process and its start as `born` tells it, by which a reused pid is told apart.
        restarts: how often it was started again after it had died.
        last_exit: how the last run ended, in words; None while the first one lives.
    """

    name: str
    pid: int
    created: float
    restarts: int = 0
    last_exit: str | None = None


class StackState(msgspec.Struct, kw_only=True):
    """The supervisor and its processes.

    Attributes:
        phase: `training`, `starting`, `running` or `stopping`.
        ports: by field of StackSettings, where the parts listen.
    """

    phase: str
    pid: int
    created: float
    started_at: str
    services: dict[str, ProcessState] = {}
    ports: dict[str, int] = {}


def write(path: Path, state: StackState) -> None:
    """Replace the state file in one step, so that a reader never sees half of it.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, content = path.with_suffix(".tmp"), msgspec.json.encode(state)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        if not path.exists():
            raise
        with path.open("r+b") as file:  # a full disk: what is there has its place, and JSON may end in spaces
            file.write(content.ljust(path.stat().st_size))


def born(process: psutil.Process) -> float:
    """Return when a process started, in seconds on a scale that the same machine keeps until it is started again."""
    created = process.create_time()
    # Linux counts from the start of the machine; psutil adds that start as the clock has it now.
    return created - psutil.boot_time() if sys.platform == "linux" else created


def up_seconds(created: float) -> float:
    """Return for how long a process runs that was `born` then."""
    now = time.time()
    return now - psutil.boot_time() - created if sys.platform == "linux" else now - created


def read(path: Path) -> StackState | None:
    """Return the state on disk, or None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=StackState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def alive(pid: int, created: float) -> psutil.Process | None:
    """Return the process if it still is the one that was started then, else None."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if abs(born(process) - created) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def running_supervisor(path: Path) -> psutil.Process | None:
    """Return the supervisor that owns this state file, if it lives."""
    state = read(path)
    return alive(state.pid, state.created) if state else None


def ports(path: Path) -> dict[str, int]:
    """Return where the parts listen that run, by field of StackSettings; empty where nothing runs."""
    state = read(path)
    if state is None:
        return {}
    running = alive(state.pid, state.created) or any(alive(each.pid, each.created) for each in state.services.values())
    return state.ports if running else {}


def orphans(path: Path) -> list[tuple[str, psutil.Process]]:
    """Return the processes that live although their supervisor is gone (it was killed)."""
    state = read(path)
    if state is None or alive(state.pid, state.created) or state.pid == os.getpid():
        return []
    found = ((service.name, alive(service.pid, service.created)) for service in state.services.values())
    return [(name, process) for name, process in found if process]
