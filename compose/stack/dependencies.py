"""What the lock files pin, and the commands that look at it: `outdated`, `audit`, `licences`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from compose.bootstrap import LOCKS
from compose.stack.failure import one_line
from compose.stack.settings import CHECKOUT
from compose.stack.supervisor import StackError

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\\n]+?))?\s*\\?$", re.MULTILINE)


class Pin(msgspec.Struct, frozen=True):
    """One line of a lock file; the marker says for which machines and Pythons, empty for all."""

    name: str
    version: str
    marker: str

    def requirement(self, *, exact: bool) -> str:
        """Return it as pip reads it: of exactly this version, or of any."""
        wanted = f"{self.name}=={self.version}" if exact else self.name
        return f"{wanted} ; {self.marker}" if self.marker else wanted


def pinned(lock: Path) -> list[Pin]:
    """Return what a lock file pins; a name comes twice where the version depends on the Python.

    Raises:
        StackError: the file cannot be read, or pins nothing.
    """
    try:
        text = lock.read_text(encoding="utf-8")
    except OSError as error:
        raise StackError(f"{lock}: {error.strerror}; it is made by `python3 compose lock`") from None
    found = [Pin(canonical(name), version, marker) for name, version, marker in _PIN.findall(text)]
    if not found:
        raise StackError(f"{lock} pins nothing; make it again: `python3 compose lock`")
    return found


def canonical(name: str) -> str:
    """Return a package's name in the one way that packages are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _ending(command: Callable[[], bool]) -> None:
    """Run a command; exit code 0 when all is well, 1 when something was found, 2 when it could not be said."""
    with one_line(2):
        well = command()
    sys.exit(0 if well else 1)


LOCK = click.option(
    "--lock",
    "lock",
    type=click.Path(path_type=Path),
    default=LOCKS / "test.txt",
    help="A lock file; by default that of the tests, which holds all.",
)


@click.command()
@LOCK
@click.option("--compose-file", type=click.Path(path_type=Path), default=CHECKOUT / "compose" / "compose.yaml")
def outdated(lock: Path, compose_file: Path) -> None:
    """Show pinned packages and images that have a newer version. Exit code 0 none, 1 some, 2 not known."""
    from compose.stack.outdated import show

    _ending(lambda: show(lock, compose_file, click.echo))


@click.command()
@LOCK
def audit(lock: Path) -> None:
    """Ask pip-audit for known vulnerabilities of what is pinned. Exit code 0 none, 1 some, 2 not known."""
    from compose.stack.audit import show

    _ending(lambda: show(lock, click.echo))


@click.command()
def licences() -> None:
    """List the licences of the runtime dependencies. Exit code 0 all allowed, 1 one is unknown or not allowed."""
    from compose.stack.licences import show

    _ending(lambda: show(LOCKS / "runtime.txt", click.echo))


def register(group: click.Group) -> None:
    """Add the three commands to a command line."""
    for command in (outdated, audit, licences):
        group.add_command(command)
