"""Taken ports and their owners."""

from __future__ import annotations

import os
import socket

import pytest

from compose.stack import ports


def test_a_listening_port_is_taken_and_its_owner_is_known() -> None:
    """The process that listens is named with its pid."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        holder = ports.owner(port)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert ports.is_free(port)


@pytest.mark.parametrize(
    ("holder", "platform", "words"),
    [
        (
            ports.Owner("nginx", 17),
            "linux",
            "port 5000 is taken by nginx (pid 17): stop it, or choose another: APP_PORT=5001",
        ),
        (ports.Owner("ControlCenter", 411), "darwin", "AirPlay Receiver"),
        (ports.Owner("docker-proxy", 99), "linux", "docker compose down"),
        (None, "linux", "does not say by whom"),
    ],
)
def test_a_taken_port_is_explained(holder: ports.Owner | None, platform: str, words: str) -> None:
    """The sentence names the owner and what to do."""
    assert words in ports.complaint(5000, "APP_PORT", holder, platform=platform)
