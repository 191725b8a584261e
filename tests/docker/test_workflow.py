"""The workflow files under .github/: valid, and their commands are those of the stack."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docker import plugins
from tests.docker.plugins import BuildError
from tests.docker.project import ROOT
from tests.optional import lacking, need

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))


def linted(file: Path) -> subprocess.CompletedProcess[str]:
    """Run actionlint over one workflow file; the shell's own linter is left out, for it may not be here."""
    try:
        program = plugins.actionlint(need("go", apt="golang"))
    except BuildError as error:
        lacking("actionlint", f"Go builds it through its proxy: {error}")
        raise
    command = [str(program), "-no-color", "-shellcheck=", "-pyflakes=", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: str(file.name))
def test_a_workflow_is_valid(file: Path) -> None:
    """Syntax, keys, expressions and the inputs of known actions, as actionlint knows them."""
    done = linted(file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        ("timeout-minutes", "timeout-minuets", "unexpected key"),
        ("github.ref", "github.reff", "not defined"),
        ("if: failure()", "if: failed()", "undefined function"),
    ],
)
def test_a_broken_workflow_is_refused(tmp_path: Path, good: str, bad: str, complaint: str) -> None:
    """A key, a field and a function that do not exist are each named."""
    text = WORKFLOWS[0].read_text()
    assert good in text
    (tmp_path / "broken.yaml").write_text(text.replace(good, bad, 1))
    done = linted(tmp_path / "broken.yaml")
    assert done.returncode == 1
    assert complaint in done.stdout
