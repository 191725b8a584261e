"""Who holds a TCP port, and what to do about it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Collection

import msgspec
import psutil

from compose.stack.settings import CALLED

DOCKER_NAMES = (
    "docker-proxy",
    "com.docker.backend",
    "com.docker.vpnkit",
    "vpnkit",
    "rootlessport",
    "OrbStack Helper",
)


class Owner(msgspec.Struct, frozen=True):
    """The process that listens on a port: its name and, where the system tells, its pid."""

    name: str
    pid: int | None


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on `host:port` now."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # As servers do: a port in TIME_WAIT after a restart counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def is_forbidden(port: int, host: str = "127.0.0.1") -> bool:
    """Whether the system reserves the port (below 1024, on Linux) for others than this user."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((host, port))
        except PermissionError:
            return True
        except OSError:
            return False
        return False


def owner(port: int) -> Owner | None:
    """Return the process that listens on `port`, or None where the system does not tell."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS tells only root
        return _owner_by_lsof(port)
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ):
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                meant = _to_stop(psutil.Process(connection.pid))
                return Owner(meant.name(), meant.pid)
    return None


def _to_stop(process: psutil.Process) -> psutil.Process:
    """Return the leader of a worker's process group: the worker alone would be replaced at once."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):  # a leader may be gone
        leader = psutil.Process(os.getpgid(process.pid))
        if leader.exe() == process.exe():  # names change: some servers set a title
            return leader
    return process


def _owner_by_lsof(port: int) -> Owner | None:
    program = shutil.which("lsof")
    if program is None:
        return None
    done = subprocess.run(
        [program, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"], capture_output=True, text=True, check=False
    )
    fields = {line[0]: line[1:] for line in done.stdout.splitlines() if line}
    return Owner(fields["c"], int(fields["p"])) if {"c", "p"} <= fields.keys() else None


def another(port: int, avoid: Collection[int] = ()) -> int:
    """Return the nearest port above `port`, below it where there is none, that is free and not in `avoid`."""
    candidates = itertools.chain(range(port + 1, 65536), range(port - 1, 0, -1))
    return next(other for other in candidates if other not in avoid and is_free(other))


def complaint(port: int, setting: str, holder: Owner | None, *, other: int, platform: str = sys.platform) -> str:
    """Return the sentence that says which port is taken, by whom, and what to do.

    Args:
        port: that is taken.
        setting: the variable that names it.
        holder: who listens there; None where the system does not tell.
        other: a port that is free.
        platform: as `sys.platform`.
    """
    choice = f"choose another: {setting}={other} {CALLED} up"
    if holder is None and is_forbidden(port):
        return f"port {port} is not for this user: the system keeps ports below 1024 for root; {choice}"
    if holder is None:
        return f"port {port} is taken, the system does not say by whom; {choice}"
    who = f"{holder.name}" + (f" (pid {holder.pid})" if holder.pid else "")
    if platform == "darwin" and port == 5000 and holder.name.startswith("ControlCe"):
        return (
            f"port {port} is taken by macOS's AirPlay Receiver ({who}): switch it off in System Settings, General, "
            f"AirDrop & Handoff; or {choice}"
        )
    if holder.name in DOCKER_NAMES:
        return (
            f"port {port} is taken by a container ({who}): a Docker stack is running; stop it with "
            f"`docker compose down`, or {choice}"
        )
    return f"port {port} is taken by {who}: stop it, or {choice}"
