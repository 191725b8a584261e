"""One embedded store in its own process, started the way the stack starts it, for comparing it with Elasticsearch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from tests.ports import free_port

START_DEADLINE = 60.0  # seconds
STOP_DEADLINE = 30.0


class EmbeddedStoreError(Exception):
    """The store did not start; the message holds the end of what it said."""


class EmbeddedStore:
    """A running `python -m compose.store`.

    Args:
        room: folder for its data and its output.
        extra: more variables.

    Raises:
        EmbeddedStoreError: it ended, or did not answer in time.
    """

    def __init__(self, room: Path, **extra: str) -> None:
        self._said = room / "output"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STORE_")}
        environment = inherited | {"STORE_PORT": str(port), "STORE_DIR": str(room / "data"), **extra}
        started = time.monotonic()
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "compose.store"], env=environment, stdout=output, stderr=output
            )
        try:
            self._wait(started + START_DEADLINE)
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - started

    def _wait(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise EmbeddedStoreError(f"the store ended with {self._process.returncode}: {self._end()}")
            try:
                with urllib.request.urlopen(f"{self.url}/_cluster/health", timeout=10):  # noqa: S310 - our own address
                    return
            except urllib.error.HTTPError as error:
                if error.code == 401:  # it answers, and asks for a password
                    return
                time.sleep(0.02)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.02)
        raise EmbeddedStoreError(f"the store did not answer within {START_DEADLINE:.0f} s: {self._end()}")

    def _end(self) -> str:
        return self._said.read_text(errors="replace")[-4000:]

    def processes(self) -> list[psutil.Process]:
        """Return the store's processes, for their memory and CPU time."""
        leader = psutil.Process(self._process.pid)
        return [leader, *leader.children(recursive=True)]

    def stop(self) -> int:
        """End it gracefully, or hard after half a minute; return its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self._process.returncode
