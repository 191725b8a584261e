"""A Docker daemon of the tests' own: its socket, its images, its networks; nothing of it is left when it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.docker.plugins import room
from tests.optional import need

START_DEADLINE = 90.0  # seconds; one is usual
STOP_DEADLINE = 60.0
# Addresses of this sandbox's own networks, made and removed with the daemon.
BRIDGE, BRIDGE_ADDRESS = "mldocker0", "172.28.0.1/16"
POOL = "base=172.29.0.0/16,size=24"
TABLES = ("nat", "filter")


class DaemonError(Exception):
    """The daemon did not start, or a docker command failed; the message holds what was said."""


class Daemon:
    """A running dockerd on a socket of its own.

    Its images stay in the cache from run to run; containers, volumes and networks do not.

    Args:
        plugin: the compose plugin.

    Raises:
        DaemonError: it ended, or did not answer in time.
    """

    def __init__(self, plugin: Path) -> None:
        self._closing = contextlib.ExitStack()
        lock = self._closing.enter_context((room() / "daemon.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.folder = Path(
            self._closing.enter_context(tempfile.TemporaryDirectory(prefix="dockerd-", ignore_cleanup_errors=True))
        )
        plugins = self.folder / "config" / "cli-plugins"
        plugins.mkdir(parents=True)
        (plugins / "docker-compose").symlink_to(plugin)
        # Somebody else's daemon has rules of the same names: they stay. Without one, what is there a killed run left.
        alone = not any(process.info["name"] == "dockerd" for process in psutil.process_iter(["name"]))
        self._chains: dict[str, set[str]] = {table: set() if alone else _chains(table) for table in TABLES}
        self._forward = "ACCEPT" if alone else ""
        _ip("link", "del", BRIDGE, check=False)
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("address", "add", BRIDGE_ADDRESS, "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        self._log = self._closing.enter_context((self.folder / "dockerd.log").open("wb"))
        self._process = subprocess.Popen(
            [
                need("dockerd", apt="docker.io"),
                f"--data-root={room() / 'data'}",
                f"--exec-root={self.folder / 'exec'}",
                f"--pidfile={self.folder / 'pid'}",
                f"--host=unix://{self.folder / 'socket'}",
                f"--bridge={BRIDGE}",
                f"--default-address-pool={POOL}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        )
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "COMPOSE_"))
        } | {
            "DOCKER_HOST": f"unix://{self.folder / 'socket'}",
            "DOCKER_CONFIG": str(self.folder / "config"),
            "DOCKER_BUILDKIT": "0",  # Debian's daemon has an old BuildKit, and no plugin has to be built for this one
            "COMPOSE_ANSI": "never",
        }
        try:
            self._wait()
            self._sweep()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while self.docker("info", check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DaemonError(f"dockerd did not start: {self.said()}")
            time.sleep(0.2)

    def said(self) -> str:
        """Return the end of the daemon's log."""
        return (self.folder / "dockerd.log").read_text(errors="replace")[-3000:]

    def docker(
        self, *arguments: str, check: bool = True, cwd: Path | None = None, more: dict[str, str] | None = None,
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a docker command against this daemon.

        Raises:
            DaemonError: it failed, and `check` asks that it does not.
        """
        done = subprocess.run(
            ["docker", *arguments],
            cwd=cwd,
            env=self.environment | (more or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check and done.returncode:
            raise DaemonError(f"docker {' '.join(arguments)}: {(done.stdout + done.stderr)[-3000:]}")
        return done

    def _sweep(self) -> None:
        """Remove what a run that was killed left: containers, networks, volumes; images stay."""
        if left := self.docker("ps", "-aq").stdout.split():
            self.docker("rm", "-f", *left)
        self.docker("network", "prune", "-f")
        if volumes := self.docker("volume", "ls", "-q").stdout.split():
            self.docker("volume", "rm", "-f", *volumes)
        # A week's layers are the cache of the builds; what is older only fills the disk.
        self.docker("image", "prune", "-f", "--filter", "until=168h")

    def stop(self) -> None:
        """End the daemon, and take its bridge, chains and mount out of the kernel."""
        if self._process.poll() is None:
            with contextlib.suppress(DaemonError, subprocess.TimeoutExpired):
                self._sweep()
            self._process.terminate()
            try:
                self._process.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        namespace = self.folder / "exec" / "netns" / "default"
        if os.path.ismount(namespace):
            subprocess.run(["umount", str(namespace)], check=False)
        _ip("link", "del", BRIDGE, check=False)
        for table in TABLES:
            _remove_chains(table, _chains(table) - self._chains[table])
        if self._forward:  # the daemon sets it to DROP
            _iptables("filter", "-P", "FORWARD", self._forward)
        self._closing.close()


def _iptables(table: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [need("iptables", apt="iptables"), "-w", "-t", table, *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()


def _chains(table: str) -> set[str]:
    return {line.split()[1] for line in _iptables(table, "-S") if line.startswith("-N DOCKER")}


def _ip(*arguments: str, check: bool = True) -> None:
    done = subprocess.run([need("ip", apt="iproute2"), *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise DaemonError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _remove_chains(table: str, chains: set[str]) -> None:
    """Remove chains that the daemon made, and each rule that names them or its networks."""
    if not chains:
        return
    networks = re.compile(rf"DOCKER|{BRIDGE}|172\.2[89]\.")
    for line in _iptables(table, "-S"):
        if line.startswith("-A ") and (networks.search(line) or line.split()[1] in chains):
            _iptables(table, "-D", *line.split()[1:])
    for chain in chains:
        _iptables(table, "-F", chain)
    for chain in chains:
        _iptables(table, "-X", chain)


@contextlib.contextmanager
def running(plugin: Path) -> Iterator[Daemon]:
    """Run a daemon until the block ends."""
    daemon = Daemon(plugin)
    try:
        yield daemon
    finally:
        daemon.stop()
