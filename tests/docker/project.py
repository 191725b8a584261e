"""One compose project on the tests' own daemon: the real compose files, on free ports, with what a test asks of it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.docker.daemon import Daemon
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
HERE = Path(__file__).resolve().parent
QUICK = HERE / "quick.yaml"
PORTS = ("APP_PORT", "ELASTICSEARCH_PORT", "KIBANA_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT",
         "SHIPPER_PORT")  # fmt: skip
WITHOUT = "kibana grafana"  # what is left out where no image can be pulled
PATIENCE = 180.0  # seconds
T = TypeVar("T")


def defaults() -> dict[str, str]:
    """Return what compose/.env.example sets."""
    text = (COMPOSE / ".env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


def wait_for(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Return the condition's first true value; fail with `what` where there is none in time."""
    deadline, reason = time.monotonic() + seconds, ""
    while True:
        try:
            if found := condition():
                return found
        except (httpx.HTTPError, ValueError, KeyError) as error:
            reason = f" ({type(error).__name__}: {error})"
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:.0f} s still not so: {what}{reason}")
        time.sleep(0.3)


class Project:
    """A compose project.

    Args:
        daemon: where it runs.
        folder: for its settings file.
        files: the compose files, relative to compose/ or absolute.
        settings: values beside and above those of .env.example.
    """

    def __init__(self, daemon: Daemon, folder: Path, files: Sequence[str | Path], **settings: str) -> None:
        self.daemon = daemon
        self.seconds_to_healthy = 0.0  # of the first `up`, where somebody measured it
        ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        own = {"ELASTICSEARCH_HEAP": "512m", "BACKUP_DIR": str(folder / "backups")}
        self.settings = defaults() | ports | own | settings
        self._file = folder / "settings.env"
        self._file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        self._options = [part for file in (*files, QUICK) for part in ("-f", str(COMPOSE / file))]
        self._options += ["--env-file", str(self._file)]

    def compose(self, *arguments: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` with the project's files."""
        return self.daemon.docker(
            "compose", *self._options, *arguments, check=check, cwd=COMPOSE, timeout=timeout, more=self.settings
        )

    def url(self, service: str, path: str = "", scheme: str = "http") -> str:
        """Return an address of a service on its published port."""
        return f"{scheme}://127.0.0.1:{self.settings[f'{service.upper()}_PORT']}{path}"

    def container(self, service: str) -> str:
        """Return the id of a service's container, running or ended."""
        return self.compose("ps", "-aq", service).stdout.strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the daemon knows of a service's container."""
        found: dict[str, Any] = json.loads(self.daemon.docker("inspect", self.container(service)).stdout)[0]
        return found

    def healthy(self, service: str) -> bool:
        """Whether a service's container runs and, where it has a health check, passes it."""
        state = self.inspect(service)["State"]
        return bool(state["Running"]) and state.get("Health", {}).get("Status", "healthy") == "healthy"

    def process(self, service: str, word: str) -> int:
        """Return the id, on this machine, of the service's first process whose command line holds a word."""
        for line in self.daemon.docker("top", self.container(service), "-eo", "pid,args").stdout.splitlines()[1:]:
            pid, _, command = line.strip().partition(" ")
            if word in command and "tini" not in command and "docker-init" not in command:
                return int(pid)
        raise AssertionError(f"{service} has no process with {word!r} in its command line")

    def logs(self, *services: str) -> str:
        """Return what services printed."""
        return self.compose("logs", "--no-color", *services).stdout

    def documents(self, query: str = "*", **options: Any) -> int:
        """Return how many documents of ours a query finds, 0 where there is no index yet."""
        url = self.url("elasticsearch", "/ml-pipeline-*/_count")
        answer = httpx.get(url, params={"q": query, "ignore_unavailable": "true"}, timeout=30, **options)
        return int(answer.json()["count"]) if answer.status_code == 200 else -1

    def end(self) -> None:
        """Stop everything and remove its volumes."""
        self.compose("--profile", "*", "down", "-v", "--remove-orphans", "-t", "5", check=False)


def operations(project: Project, *arguments: str, check: bool = True) -> str:
    """Run one of the operations in its container; return what it printed."""
    command = ["run", "--rm", "-T", "-e", f"OPS_WITHOUT={WITHOUT}", "operations", *arguments]
    done = project.compose("--profile", "operations", *command, check=check)
    return done.stdout + done.stderr
