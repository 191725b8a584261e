"""What each image copies is enough for what it starts: tried here, without Docker, from those folders alone."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compose.stack.settings import CHECKOUT

IMAGES = sorted((CHECKOUT / "compose" / "images").glob("*.Dockerfile"))
# Modules for the stack without Docker alone, and what they ask for that its image does not hold.
ONLY_HERE = {"stack": {"compose.stack.sampler": "compose.console", "compose.stack.up": "compose.console"}}
PROGRAMS = {"app": "app", "shipper": "shipper", "stack": "compose.stack"}


@pytest.mark.parametrize("dockerfile", IMAGES, ids=lambda path: path.stem)
def test_the_copied_folders_are_enough(dockerfile: Path, tmp_path: Path) -> None:
    """The image's program, with nothing of the checkout but what its COPY lines name, imports all its modules."""
    for line in re.findall(r"^COPY (?!--from)(.+) /srv/\S+$", dockerfile.read_text(), re.MULTILINE):
        for pattern in shlex.split(line):
            for source in CHECKOUT.glob(pattern):
                target = tmp_path / source.relative_to(CHECKOUT)
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, target)
    program = PROGRAMS[dockerfile.stem]
    script = (
        "import importlib, json, pkgutil\n"
        f"package, lacking = importlib.import_module({program!r}), []\n"
        "for each in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    try: importlib.import_module(each.name)\n"
        "    except ModuleNotFoundError as error: lacking.append((each.name, error.name))\n"
        "print(json.dumps([package.__path__[0], lacking]))\n"
    )
    surroundings = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    place, lacking = json.loads(done.stdout)
    assert place.startswith(str(tmp_path))
    assert dict(lacking) == ONLY_HERE.get(dockerfile.stem, {})
    helped = [sys.executable, "-m", program, "--help"]
    done = subprocess.run(helped, cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
