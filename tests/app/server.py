"""`python -m app serve` as a process of its own, for tests that talk to it over HTTP."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.app.conftest import GUIDE_REQUEST, samples
from tests.ports import free_port
from tests.rounds import rounds

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


class Server:
    """`python -m app serve` on a free port."""

    command: tuple[str, ...] = ("-m", "app", "serve")

    def __init__(self, model_dir: Path, folder: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("APP_")},
            "APP_PORT": str(port),
            "APP_MODEL_DIR": str(model_dir),
            "APP_LOG_DIR": str(folder / "logs"),
            "APP_STATE_DIR": str(folder / "state"),
            **settings,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", *self.command], env=self.environment, stderr=subprocess.PIPE
        )
        try:
            until(lambda: self.process.poll() is not None or self.answers(), "it answers")
        except AssertionError:
            self.stop()
            raise
        assert self.process.poll() is None, self.process.stderr.read() if self.process.stderr else ""

    def answers(self) -> bool:
        """Whether /ready is 200."""
        try:
            return httpx.get(f"{self.url}/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def predict(self) -> httpx.Response:
        """Send the guide's request."""
        return httpx.post(f"{self.url}/predict", json=GUIDE_REQUEST, timeout=60)

    def metrics(self) -> dict[str, float]:
        """Scrape."""
        return samples(httpx.get(f"{self.url}/metrics", timeout=60).text)

    def ready(self) -> dict[str, str]:
        """What /ready tells."""
        told: dict[str, str] = httpx.get(f"{self.url}/ready", timeout=60).json()
        return told

    def status(self) -> dict[str, Any]:
        """What /status tells."""
        told: dict[str, Any] = httpx.get(f"{self.url}/status", timeout=60).json()
        return told

    def workers(self) -> list[int]:
        """Pids of the workers."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        if self.process.stderr:
            self.process.stderr.close()
        return code


def until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s: {what}"
        time.sleep(0.05)


@contextlib.contextmanager
def serving(model_dir: Path, folder: Path, **settings: str) -> Iterator[Server]:
    """Serve, and stop whatever happens."""
    server = Server(model_dir, folder, **settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def refused(environment: dict[str, str]) -> str:
    """Serve where it must not start; return what it said."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "app", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def keeps_to_its_document(server: Server, folder: Path) -> int:
    """Run schemathesis from /openapi.json and assert that it finds nothing; return how many cases it tried."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json", "--seed", "1"),
        *("--max-examples", str(rounds(15)), "--phases", "examples,coverage,fuzzing", "--generation-database", "none"),
        *("--checks", ",".join(CHECKS)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, cwd=folder)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    made = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert made is not None, done.stdout[-2000:]
    assert int(made[1]) == int(made[2])
    return int(made[1])
