"""The supervisor on bad days: a part that talks without end, a stop that is killed, a proxy, nobody who reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from compose.environment import keep_loopback_direct
from compose.stack import state, supervisor
from compose.stack.services import Service
from compose.stack.settings import StackSettings
from compose.stack.supervisor import Supervised, Supervisor
from compose.stack.up import down
from tests.ports import free_ports
from tests.stack.running import RunningStack, until
from tests.stack.test_starting import WAITS, part


@contextmanager
def supervised(folder: Path, service: Service) -> Iterator[tuple[Supervisor, list[str]]]:
    """A supervisor whose one part was started and not waited for."""
    said: list[str] = []
    running = Supervisor(StackSettings(stack_dir=folder), (service,), said.append)
    running.settings.run_dir.mkdir()
    running.parts[service.name].start()
    try:
        yield running, said
    finally:
        running.stop()


def test_what_a_part_prints_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part before stays beside it, and what comes then is in the file of the name that `up` says."""
    monkeypatch.setattr(supervisor, "OUTPUT_BYTES", 10_000)
    code = "import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.0005)"
    with supervised(tmp_path, part(free_ports(1)[0], code)) as (running, _said):
        held = running.parts["part"]
        until(lambda: held.output.stat().st_size > 20_000, "it printed more than the limit")
        running._look_after(held)
        assert held.output.stat().st_size < 20_000
        assert (tmp_path / "run" / "part.previous.log").stat().st_size > 20_000
        until(lambda: held.last_lines(1).strip() == "x" * 99, "it prints on, at the new beginning")


def test_the_last_lines_are_read_from_the_end_alone(tmp_path: Path) -> None:
    """An output of gigabytes is not read into memory for its last words."""
    held = Supervised(part(free_ports(1)[0], "pass"), tmp_path / "part.log")
    with held.output.open("wb") as output:
        output.truncate(2**36)  # a hole: no room is taken
        output.seek(0, os.SEEK_END)
        output.write(b"\nthe last word\n")
    assert held.last_lines(1) == "  the last word"


def test_a_stop_that_was_killed_is_ended_by_down(tmp_path: Path) -> None:
    """`down` says `stopped` only when nothing runs, also where `up` is killed while it stops."""
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
    )
    settings = StackSettings(stack_dir=tmp_path)
    settings.run_dir.mkdir()
    deaf = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    assert deaf.stdout.readline()
    # `up` that dies of its SIGTERM, as one does that is killed while it waits for a deaf part
    up = subprocess.Popen([sys.executable, "-c", WAITS])
    known = {"console": state.ProcessState(name="console", pid=deaf.pid, created=state.born(psutil.Process(deaf.pid)))}
    created = state.born(psutil.Process(up.pid))
    state.write(
        settings.run_dir / "state.json",
        state.StackState(phase="stopping", pid=up.pid, created=created, started_at="now", services=known),
    )
    said: list[str] = []
    try:
        down(settings, said.append)
        assert deaf.wait(60) == -signal.SIGKILL
        assert said[-1].startswith("stopped")
    finally:
        for process in (up, deaf):
            process.kill()
            process.wait()
        deaf.stdout.close()


@pytest.mark.parametrize(
    ("given", "excepted"),
    [
        ({"HTTP_PROXY": "http://proxy:3128"}, "127.0.0.1,localhost,::1"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "intern, localhost"}, "intern,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "intern"}, None),
    ],
)
def test_this_machine_is_excepted_from_a_proxy(given: dict[str, str], excepted: str | None) -> None:
    """What was excepted stays so; without a proxy nothing is changed."""
    environment = dict(given)
    keep_loopback_direct(environment)
    assert environment == (given if excepted is None else given | {"no_proxy": excepted, "NO_PROXY": excepted})


def test_a_stack_behind_a_companys_proxy_runs_on_when_nobody_reads_and_leaves_nobody_behind(tmp_path: Path) -> None:
    """`up | head -1` with HTTP_PROXY set: it starts, restarts what dies, and SIGTERM stops each part."""
    stack = RunningStack(tmp_path / "stack", HTTP_PROXY="http://127.0.0.1:9", no_proxy="", NO_PROXY="")
    up = subprocess.Popen(
        [sys.executable, "-P", "-m", "compose.stack", "up"],
        env=stack.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert up.stdout is not None
    try:
        assert up.stdout.readline()
        up.stdout.close()
        until(lambda: _phase(stack) == "running" or up.poll() is not None, "everything runs", 300)
        first = stack.pid("console")
        stack.kill("console")
        until(lambda: stack.pid("console") != first, "the console was started again")
        known = state.read(stack.folder / "run" / "state.json")
        assert known is not None
        assert httpx.get(f"{stack.store}/", trust_env=False).status_code == 200
    finally:
        up.terminate()
        assert up.wait(120) in (0, 120)  # 120: Python could not flush its last words
    assert not any(state.alive(each.pid, each.created) for each in known.services.values())


def _phase(stack: RunningStack) -> str | None:
    known = state.read(stack.folder / "run" / "state.json")
    return known.phase if known else None
