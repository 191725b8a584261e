"""The console as a process: it serves however its worker comes to be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.stack.running import until


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_it_serves_however_its_worker_is_begun(way: str, tmp_path: Path) -> None:
    """A worker that is forked, begun anew (macOS) or by a server of forks (Python 3.14's default) answers and ends."""
    if way == "fork" and sys.platform != "linux":
        pytest.skip("only Linux forks safely")
    port = free_port()
    output = tmp_path / "console.txt"
    code = f"import runpy, compose.console.server as server; server.WAY = '{way}'"
    run = "runpy.run_module('compose.console', run_name='__main__', alter_sys=True)"  # as `-m compose.console`
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"{code}; {run}"],
            env={**os.environ, "CONSOLE_PORT": str(port)},
            stdout=file,
            stderr=file,
        )

    def answers() -> bool:
        assert process.poll() is None, output.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(answers, "the console answers")
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0, output.read_text()


def test_a_killed_console_gives_its_port_back(tmp_path: Path) -> None:
    """After SIGKILL of its first process the worker ends too, and the next console serves on the same port."""
    port = free_port()
    output = tmp_path / "console.txt"

    def begun() -> subprocess.Popen[bytes]:
        with output.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "compose.console"],
                env={**os.environ, "CONSOLE_PORT": str(port)},
                stdout=file,
                stderr=file,
            )

    def answers() -> bool:
        assert process.poll() is None, output.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def is_free() -> bool:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            return False
        return True

    process = begun()
    until(answers, "the console answers")
    process.kill()
    process.wait()
    until(is_free, "nothing listens any more")
    process = begun()
    try:
        until(answers, "the next console answers")
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0, output.read_text()
