"""How a store is started by hand: what it says of itself, of wrong arguments and of a folder it cannot have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from compose.store.settings import StoreSettings


def start(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Return what a start that ends at once said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STORE_")}
    return subprocess.run(
        [sys.executable, "-m", "compose.store", *arguments],
        env=environment | settings, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_help_names_every_setting() -> None:
    """`--help` prints a usage text with each setting, and starts nothing."""
    done = start("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage:")
    for field in msgspec.structs.fields(StoreSettings):
        assert f"STORE_{field.name.upper()}" in done.stdout


def test_a_wrong_argument_is_named() -> None:
    """An argument that there is not is an error that names it, not a store."""
    done = start("--port", "1")
    assert done.returncode == 2
    assert "--port" in done.stderr


def test_a_folder_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    """A folder that cannot be made is one sentence with what to do, not a stack."""
    (tmp_path / "file").touch()
    done = start(STORE_DIR=str(tmp_path / "file" / "below"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "set STORE_DIR" in done.stderr
