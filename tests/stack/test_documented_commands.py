"""The commands of README.md and docs/ as printed, against a live stack; only the addresses are this stack's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.optional import need
from tests.stack.running import RunningStack
from tests.test_docs import PAGES, TRIED, commands

HERE = sorted({command for page in PAGES for command in commands(page) if re.match(TRIED, command)})
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("command", HERE)
def test_a_documented_command_works_as_printed(command: str, stack: RunningStack) -> None:
    """It ends with 0, and an answer over HTTP is no error."""
    if command.startswith("curl"):
        need("curl", apt="curl")
    text = command
    for port, address in stack.addresses().items():
        text = text.replace(f"http://localhost:{port}", address).replace(f"http://127.0.0.1:{port}", address)
    text = re.sub(r"^curl ", "curl --fail-with-body --globoff ", text)
    text = text.replace("python3 compose", f"{sys.executable} -P -m compose.stack").replace("--for 1m", "--for 2s")
    done = subprocess.run(
        ["bash", "-c", text],
        env={**stack.environment, "PATH": f"{BIN}:{stack.environment['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert done.stdout.strip() or command.startswith("cd"), f"{command} said nothing"


def test_what_the_runbook_does_without_docker_works(stack: RunningStack) -> None:
    """The commands of its table that need no Docker do on a local stack what they are for."""
    page = next(page for page in PAGES if page.name == "runbook.md").read_text()
    found = re.findall(r"`([A-Z_]+=\.stack/\w+ \.venv/bin/[^`]+|tail -n 50 [^`]+)`", page)
    assert len(found) == 3
    for command in found:
        text = command.replace(".stack/", f"{stack.folder}/").replace(".venv/bin/", f"{BIN}/").replace("<part>", "app")
        done = subprocess.run(
            ["bash", "-c", text], env=stack.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip(), f"{command} said nothing"
