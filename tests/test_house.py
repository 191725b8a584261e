"""The rules of the house, as far as a machine can check them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path
    for room in ("app", "shipper", "compose", "tests")
    for path in (ROOT / room).rglob("*.py")
    if path.stat().st_size
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of this environment in the root."""
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )


@pytest.mark.parametrize(
    "command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=["lint", "format", "types"]
)
def test_the_code_is_clean(command: tuple[str, ...]) -> None:
    """Ruff and strict mypy have nothing to say."""
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rooms_share_no_code() -> None:
    """App, shipper and compose never import one another."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_top_level_is_as_designed() -> None:
    """Nothing lies in the root but the rooms and the few files the design names."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in listed.splitlines()}
    visible = {name for name in top if not name.startswith(".")}
    rooms = {"app", "shipper", "index_templates", "compose", "tests", "docs"}
    assert visible <= rooms | {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_is_one_room(path: Path) -> None:
    """Each module begins with a docstring, is of readable length, and is named by what it holds."""
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "say in the first line what the module is"
    assert len(text.splitlines()) <= 420, "about 400 lines at most: is it one room?"
    assert not re.fullmatch(r"(utils?|helpers?|common|misc|manager)\.py", path.name)


@pytest.mark.parametrize("lock", ["runtime", "test"])
def test_the_lock_holds_what_the_project_asks_for(lock: str) -> None:
    """Each dependency in pyproject.toml is pinned, with hashes, to a version that it allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "compose" / "locks" / f"{lock}.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))
    wanted = project["dependencies"] + (project["optional-dependencies"]["test"] if lock == "test" else [])
    for requirement in map(Requirement, wanted):
        assert requirement.name in pinned
        assert requirement.specifier.contains(pinned[requirement.name])
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
