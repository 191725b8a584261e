"""One Elasticsearch process on this machine: configured, started on free ports of 127.0.0.1, watched and stopped."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

NOBODY = 65534
START_DEADLINE = 270.0  # seconds; 8 is usual, on a very busy machine it took more than 180
STOP_DEADLINE = 30.0
QUICK_START = ("-XX:TieredStopAtLevel=1",)  # the first compiler alone: half the CPU time of a start and of our requests
PR_SET_PDEATHSIG = 1  # linux/prctl.h

CONFIGURATION = {
    "cluster.name": "ml-pipeline-tests",
    "node.name": "node-1",
    "path.data": "{room}/data",
    "path.logs": "{room}/logs",
    "path.repo": '["{room}/repo"]',
    "network.host": "127.0.0.1",
    "http.port": "0",
    "transport.port": "0",
    "node.portsfile": "true",
    "discovery.type": "single-node",
    "xpack.security.enabled": "false",
    "xpack.security.http.ssl.enabled": "false",
    "xpack.security.transport.ssl.enabled": "false",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
    "indices.lifecycle.poll_interval": "1s",
}


class NodeError(Exception):
    """Elasticsearch did not start; the message holds the end of what it said."""


class Node:
    """A running Elasticsearch.

    Args:
        home: the unpacked distribution.
        java: path of the `java` program, version 17 or later.
        room: a folder for its configuration, data, logs and snapshots; every folder above it must be enterable by all.
        heap: size of the Java heap as Java writes it.
        jvm: more options of the Java machine.
        settings: values of elasticsearch.yml, beside and above our own.
        wait: until it answers; otherwise call `ready` before anything else.

    Raises:
        NodeError: it ended, or did not answer in time.
    """

    def __init__(
        self,
        home: Path,
        java: str,
        room: Path,
        *,
        heap: str = "512m",
        jvm: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> None:
        self.room = room
        self.url = ""
        self._started = time.monotonic()
        _configure(home, room, [f"-Xms{heap}", f"-Xmx{heap}", *jvm], settings or {})
        user = _user()
        if user is not None:
            for path in [room, *room.rglob("*")]:
                os.chown(path, user, user)
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(room),
            "ES_JAVA_HOME": str(Path(java).resolve().parent.parent),
            "ES_PATH_CONF": str(room / "config"),
            "ES_TMPDIR": str(room / "tmp"),
            "ES_DISTRIBUTION_TYPE": "zip",
            "CLI_JAVA_OPTS": "-Xms16m -Xmx64m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        }
        self._output = (room / "output").open("wb")
        libc = ctypes.CDLL(None, use_errno=True)
        self._launcher = subprocess.Popen(
            [str(home / "bin" / "elasticsearch")],
            cwd=room,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            # The launcher passes SIGTERM on to the server: neither outlives a test run that was killed.
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509 - no threads yet
        )
        if wait:
            self.ready()

    def ready(self) -> None:
        """Wait until it answers; `url` and `start_seconds` are known then.

        Raises:
            NodeError: it ended, or did not answer in time; nothing of it is left.
        """
        try:
            self.url = self._wait(self._started + START_DEADLINE)
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - self._started

    def _wait(self, deadline: float) -> str:
        ports = self.room / "logs" / "http.ports"
        while time.monotonic() < deadline:
            if self._launcher.poll() is not None:
                raise NodeError(f"Elasticsearch ended with {self._launcher.returncode}: {self._said()}")
            if ports.is_file() and (addresses := ports.read_text().split()):
                url = f"http://{addresses[0]}"
                try:
                    with urllib.request.urlopen(f"{url}/_cluster/health?wait_for_status=yellow", timeout=30):  # noqa: S310 - our own address
                        return url
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    pass  # it opens the port before the cluster is formed
            time.sleep(0.1)
        raise NodeError(f"Elasticsearch did not answer within {START_DEADLINE:.0f} s: {self._said()}")

    def _said(self) -> str:
        return (self.room / "output").read_text(errors="replace")[-4000:]

    def server(self) -> psutil.Process:
        """Return the server's own process, for its memory and CPU time; the launcher is its parent."""
        return max(
            psutil.Process(self._launcher.pid).children(recursive=True), key=lambda process: process.memory_info().rss
        )

    def stop(self) -> None:
        """End it gracefully, or hard after half a minute."""
        if self._launcher.poll() is None:
            family = psutil.Process(self._launcher.pid).children(recursive=True)
            self._launcher.terminate()
            try:
                self._launcher.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                self._launcher.kill()
                self._launcher.wait()
            _, alive = psutil.wait_procs(family, timeout=STOP_DEADLINE)
            for process in alive:
                process.kill()
        self._output.close()


def _user() -> int | None:
    """The user to run as, where this one is root, whom Elasticsearch refuses."""
    return NOBODY if os.getuid() == 0 else None


def _configure(home: Path, room: Path, jvm: Sequence[str], settings: Mapping[str, str]) -> None:
    for name in ("config/jvm.options.d", "data", "logs", "repo", "tmp"):
        (room / name).mkdir(parents=True)
    config = room / "config"
    for name in ("log4j2.properties", "roles.yml", "role_mapping.yml", "users", "users_roles"):
        shutil.copy(home / "config" / name, config)
    # The collector's log and heap dumps would go to paths relative to the distribution.
    options = (home / "config" / "jvm.options").read_text().splitlines()
    kept = [line for line in options if not any(word in line for word in ("gc.log", "HeapDump", "ErrorFile"))]
    (config / "jvm.options").write_text("\n".join(kept) + "\n")
    (config / "jvm.options.d" / "own.options").write_text("".join(f"{option}\n" for option in jvm))
    values = {name: value.format(room=room) for name, value in CONFIGURATION.items()} | dict(settings)
    (config / "elasticsearch.yml").write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
