"""What is seen while a stack starts or fails to: whose port it is, what a part said last, what `up` does now."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from compose.stack import state, supervisor
from compose.stack.services import Service
from compose.stack.settings import StackSettings, as_running
from compose.stack.status import collect, render
from compose.stack.supervisor import StackError, Supervised, Supervisor
from compose.stack.up import train_if_missing
from tests.ports import free_ports


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers every GET with `status` and `reasons`."""

    def __init__(self, status: int, *request: object) -> None:
        self.status = status
        super().__init__(*request)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(json.dumps({"reasons": ["the moon is full"]}).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
        """Say nothing."""


@contextlib.contextmanager
def answering(status: int) -> Iterator[int]:
    """Serve on a free port, in this process."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Answers, status)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def part(port: int, code: str) -> Service:
    """Return a part that runs a line of Python."""
    return Service(
        name="part",
        program=sys.executable,
        arguments=("-c", code),
        environment={},
        port=port,
        port_setting="PART_PORT",
        url=f"http://127.0.0.1:{port}",
        health="/ready",
        status="/status",
        stop_seconds=10,
    )


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    """A stack's folder, empty."""
    return StackSettings(stack_dir=tmp_path)


WAITS = "import time; time.sleep(600)"


def test_a_stranger_on_the_port_is_not_taken_for_the_part(settings: StackSettings) -> None:
    """Another store that answers at the address would get the lines: the start fails and names who listens."""
    with answering(200) as port:
        running = Supervisor(settings, (part(port, WAITS),), lambda _line: None)
        try:
            with pytest.raises(StackError, match=rf"port {port} is taken by .*choose another: PART_PORT="):
                running.start()
        finally:
            running.stop()


def test_what_a_part_waits_for_is_told_before_the_start_fails(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute of silence would be taken for a hang."""
    monkeypatch.setattr(supervisor, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(supervisor, "HEALTH_SECONDS", 1.0)
    said: list[str] = []
    with answering(503) as port:
        running = Supervisor(settings, (part(port, WAITS),), said.append)
        try:
            with pytest.raises(StackError, match="the moon is full"):
                running.start()
        finally:
            running.stop()
    assert said[0] == "  part         not ready yet: the moon is full"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("""print('{"level": "ERROR", "message": "no room"}'); raise SystemExit(1)""", ": no room"),
        ("""print('{"level": "INFO", "message": "listening"}'); raise SystemExit(1)""", ""),
        ("raise SystemExit('error: no room')", ": error: no room"),
        ("import os, signal; print('well', flush=True); os.kill(os.getpid(), signal.SIGKILL)", ""),
    ],
)
def test_what_a_part_said_last_is_told_where_it_is_a_complaint(tmp_path: Path, code: str, word: str) -> None:
    """`up` and `status` say why it ended, not only where to look."""
    supervised = Supervised(part(free_ports(1)[0], code), tmp_path / "part.log")
    supervised.start()
    assert supervised.process is not None
    supervised.process.wait(60)
    assert supervised.last_word() == word


def test_an_argument_of_the_first_start_is_not_given_to_a_restart(settings: StackSettings) -> None:
    """`up --resend` sends everything again once, not whenever the shipper is started again."""
    running = Supervisor(
        settings, (part(free_ports(1)[0], "import sys; print(sys.argv[1:])"),), print, {"part": ("--resend",)}
    )
    settings.run_dir.mkdir()
    supervised = running.parts["part"]
    for _ in range(2):
        supervised.start()
        assert supervised.process is not None
        supervised.process.wait(60)
    assert supervised.output.read_text().splitlines() == ["['--resend']", "[]"]


def write(settings: StackSettings, phase: str, created: float, **ports: int) -> None:
    """Write the state of a stack whose `up` is this process."""
    state.write(
        settings.run_dir / "state.json",
        state.StackState(phase=phase, pid=os.getpid(), created=created, started_at="now", ports=ports),
    )


def test_another_terminal_need_not_know_the_ports(settings: StackSettings) -> None:
    """The folder tells where the stack in it listens; one that is gone tells nothing."""
    me = state.born(psutil.Process())
    write(settings, "running", me, app_port=15000, store_port=19200, strange_port=1)
    assert (as_running(settings).app_port, as_running(settings).store_url) == (15000, "http://127.0.0.1:19200")
    assert as_running(settings).shipper_port == settings.shipper_port
    write(settings, "running", me - 1000, app_port=15000)
    assert as_running(settings) == settings


def test_a_stack_that_is_starting_is_not_told_to_be_absent(settings: StackSettings) -> None:
    """While the model is made nothing runs yet, and `up` would be refused: `status` says what it does."""
    write(settings, "training", state.born(psutil.Process()))
    console = Console(width=1000, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115 - closed with it
    console.print(render(collect(settings), settings))
    console.file.close()
    shown = console.export_text()
    assert f"`up` (pid {os.getpid()}) makes the model, then starts everything" in shown
    assert "nothing runs" not in shown


def test_a_stop_ends_the_training(settings: StackSettings) -> None:
    """`down` and Ctrl-C need not wait for the model; it is no failure."""
    train_if_missing(settings, lambda: True)
    assert not list((settings.stack_dir / "models").glob("*/model*"))
