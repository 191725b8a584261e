"""Ports for what a test starts or must not find, one way for all rooms."""

from __future__ import annotations

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Return so many different ports of 127.0.0.1 that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def free_port() -> int:
    """Return one."""
    return free_ports(1)[0]
