"""A real local stack on free ports, for tests: the processes, as `python3 compose up` starts them."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from compose.stack import state
from tests.kept import kept
from tests.ports import free_ports

START_SECONDS = 300.0


@functools.cache
def trained_models() -> Path:
    """Return a folder with the default model, for copies."""

    def train(folder: Path) -> None:
        subprocess.run(
            [sys.executable, "-P", "-m", "app", "train"],
            env={**os.environ, "APP_MODEL_DIR": str(folder)},
            capture_output=True,
            check=True,
            timeout=START_SECONDS,
        )

    return kept("models", train)


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait until the condition holds; fail the test with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:.0f} s still not so: {what}")
        time.sleep(0.05)


class RunningStack:
    """`compose up` in a folder of its own.

    Args:
        folder: STACK_DIR.
        untrained: begin without a model, as a first start does.
        extra: more variables.
    """

    def __init__(self, folder: Path, *, untrained: bool = False, **extra: str) -> None:
        self.folder = folder
        if not untrained:
            shutil.copytree(trained_models(), folder / "models")
        app, store, shipper, console = ports = free_ports(4)
        self.app, self.store, self.shipper, self.console = (f"http://127.0.0.1:{port}" for port in ports)
        self.environment = {
            **os.environ,
            "STACK_DIR": str(folder),
            "APP_PORT": str(app),
            "STORE_PORT": str(store),
            "SHIPPER_PORT": str(shipper),
            "CONSOLE_PORT": str(console),
            "STACK_MONITORING": "off",
            **extra,
        }
        self.output = folder.parent / f"{folder.name}-up.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def addresses(self) -> dict[int, str]:
        """The guide's ports and where this stack's services are instead."""
        return {5000: self.app, 9200: self.store, 9108: self.shipper, 5601: self.console}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python3 compose ARGUMENTS` beside the running stack."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "compose.stack", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def up(self) -> None:
        """Start it and wait for its greeting."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "compose.stack", "up"],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = self.process
        until(
            lambda: "Everything runs" in self.said() or process.poll() is not None,
            f"the stack is up; it said:\n{self.said()}",
            START_SECONDS,
        )
        assert process.poll() is None, self.said()

    def said(self) -> str:
        """What `up` printed so far."""
        return self.output.read_text()

    def pid(self, part: str) -> int:
        """The process that runs a part now."""
        known = state.read(self.folder / "run" / "state.json")
        assert known is not None
        return known.services[part].pid

    def kill(self, part: str) -> None:
        """SIGKILL a part's process."""
        os.kill(self.pid(part), signal.SIGKILL)

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=120)

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        """Search all our indices in the store."""
        answer = httpx.post(f"{self.store}/ml-pipeline-*/_search", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = msgspec.json.decode(answer.content)
        return result

    def predictions(self) -> list[str]:
        """The request ids of all prediction documents in the store; empty while the store is away."""
        try:
            found = self.search({"query": {"exists": {"field": "prediction"}}, "size": 10_000})
        except httpx.HTTPError:
            return []
        return [hit["_source"]["request_id"] for hit in found["hits"]["hits"]]


@contextlib.contextmanager
def running_stack(folder: Path, *, untrained: bool = False, **extra: str) -> Iterator[RunningStack]:
    """Start a stack; stop it whatever the test does."""
    stack = RunningStack(folder, untrained=untrained, **extra)
    try:
        stack.up()
        yield stack
    finally:
        if stack.process is not None and stack.process.poll() is None:
            stack.process.terminate()
            stack.process.wait(timeout=120)
