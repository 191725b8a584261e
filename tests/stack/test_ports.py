"""Taken ports and their owners."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

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
    assert words in ports.complaint(5000, "APP_PORT", holder, other=5001, platform=platform)


def test_a_port_that_is_kept_for_root_is_not_called_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there: what is missing is the right."""

    class Refused(socket.socket):
        def bind(self, _address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("compose.stack.ports.socket.socket", Refused)
    assert ports.complaint(80, "APP_PORT", None, other=1024) == (
        "port 80 is not for this user: the system keeps ports below 1024 for root;"
        " choose another: APP_PORT=1024 python3 compose up"
    )


def test_the_port_that_is_proposed_is_free() -> None:
    """What is taken beside it is passed over; above the last port the search goes down."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        other = ports.another(port - 1)
        assert other > port
        assert ports.is_free(other)
        assert ports.another(port - 1, avoid=[other]) > other
    assert 1023 < ports.another(65535) < 65535


def test_an_owner_whose_group_leader_is_gone_is_still_named() -> None:
    """A server left behind by a shell that ended is named itself."""
    script = (
        "import os, socket, sys, time\n"
        "if os.fork(): os._exit(0)\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        port, pid = map(int, leader.stdout.readline().split())
        leader.wait()
        try:
            holder = ports.owner(port)
            assert holder is not None
            assert holder.pid == pid
        finally:
            os.kill(pid, signal.SIGKILL)
