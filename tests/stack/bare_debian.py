"""A bare Debian in a folder, by debootstrap and chroot: Python and git and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")
SUITES = ("bookworm", "trixie", "forky")  # Python 3.11, 3.13 and the newest that Debian has


def mirror() -> str:
    """Return the Debian mirror that this machine's apt uses."""
    for path in [*sorted(Path("/etc/apt").glob("sources.list*/*.sources")), Path("/etc/apt/sources.list")]:
        if path.exists() and (found := re.search(r"https?://\S+/debian/?(?=\s)", path.read_text())):
            return found[0]
    return "http://deb.debian.org/debian"


class BareDebian:
    """A Debian with Python and git in a folder, and a clone of this checkout in /root/project.

    Args:
        folder: its root.
        ports: the variables that choose free ports.
    """

    def __init__(self, folder: Path, ports: dict[str, str]) -> None:
        self.folder = folder
        self._environment = {
            "HOME": "/root",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            # Where a proxy with a certificate of its own stands before the registries, as on the host.
            "PIP_CERT": f"/{BUNDLE}",
            **ports,
        }

    def start(self, command: str, output: Path) -> subprocess.Popen[bytes]:
        """Start a shell command in /root/project, in a session of its own; its output goes to a file."""
        with output.open("wb") as file:
            return subprocess.Popen(
                self._chroot(command), env=self._environment, stdout=file, stderr=file, start_new_session=True
            )

    def run(self, command: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a shell command in /root/project to its end."""
        return subprocess.run(
            self._chroot(command), env=self._environment, capture_output=True, text=True, check=False, timeout=seconds
        )

    def _chroot(self, command: str) -> list[str]:
        return ["chroot", str(self.folder), "/bin/sh", "-c", f"cd /root/project && exec {command}"]


@contextlib.contextmanager
def bare_debian(debootstrap: str, suite: str, folder: Path, ports: dict[str, str]) -> Iterator[BareDebian]:
    """Make one, with this checkout's HEAD as a fresh clone; take it away afterwards.

    Args:
        debootstrap: the program.
        suite: Debian's name of the release.
        folder: becomes its root.
        ports: variables that choose free ports.
    """
    command = [debootstrap, "--variant=minbase", "--include=python3,git,ca-certificates", suite, str(folder), mirror()]
    scripts = Path("/usr/share/debootstrap/scripts")
    if not (scripts / suite).exists():  # a release that is younger than this debootstrap
        command.append(str(scripts / "sid"))
    subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=900,
    )
    if (host := Path("/") / BUNDLE).exists():
        shutil.copyfile(host, folder / BUNDLE)
    shutil.copyfile("/etc/resolv.conf", folder / "etc" / "resolv.conf")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "root" / "project")], check=True)
    mounted = []
    try:
        for kind, name in (("proc", "proc"), ("tmpfs", "dev/shm")):
            (folder / name).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", kind, kind, str(folder / name)], check=True)
            mounted.append(folder / name)
        yield BareDebian(folder, ports)
    finally:
        for place in reversed(mounted):
            subprocess.run(["umount", "--lazy", str(place)], check=False)
        if not any(os.path.ismount(place) for place in mounted):
            shutil.rmtree(folder, ignore_errors=True)
