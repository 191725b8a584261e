"""`lock`: pins what pyproject.toml asks for, with hashes, for every machine and every image."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

from compose.bootstrap import LOCKS
from compose.stack.settings import CHECKOUT
from compose.stack.supervisor import StackError


def lock(say: Callable[[str], None], *, upgrade: bool) -> None:
    """Write compose/locks/*.txt anew.

    Args:
        say: prints one line.
        upgrade: take the newest versions allowed, rather than keeping what is pinned where it still fits.

    Raises:
        StackError: uv is not there, this is no checkout, or versions that fit together do not exist.
    """
    uv = shutil.which("uv", path=os.pathsep.join([str(CHECKOUT / ".venv" / "bin"), os.environ.get("PATH", "")]))
    if uv is None:
        raise StackError("uv is needed to resolve versions for every platform; try: pipx install uv")
    project = CHECKOUT / "pyproject.toml"
    if not project.exists():
        raise StackError(f"{project} is not there: versions are locked in a checkout, not in an installed copy")
    common = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    common += ["--no-header", *(["--upgrade"] if upgrade else [])]
    whole = ["--group", "build", str(project)]
    _compile(say, [*common, *whole], LOCKS / "runtime.txt")
    _compile(say, [*common, *whole, "--extra", "test"], LOCKS / "test.txt")
    images: dict[str, list[str]] = tomllib.loads(project.read_text())["tool"]["ml-stack"]["images"]
    for image, names in images.items():
        # Only what the image's room imports, in exactly the versions that the whole is tested with.
        chosen = [*common, "--constraint", str(LOCKS / "runtime.txt"), "-"]
        _compile(say, chosen, LOCKS / f"{image}.txt", names)


def _compile(say: Callable[[str], None], command: list[str], target: Path, names: list[str] | None = None) -> None:
    done = subprocess.run(
        [*command, "--output-file", str(target)],
        input="\n".join(names or []),
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    if done.returncode:
        raise StackError(f"{target.name} cannot be locked:\n{done.stderr.strip()}")
    say(f"  {target.relative_to(CHECKOUT)}: {target.read_text().count('==')} packages")
