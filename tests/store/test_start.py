"""How a store is started by hand: what it says of itself, of wrong arguments and of a folder it cannot have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec

from compose.store.settings import StoreSettings
from tests.elasticsearch.embedded import EmbeddedStore


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


def test_a_stop_ends_with_the_word_stopped(tmp_path: Path) -> None:
    """After SIGTERM a store that was used says "stopped" as its last line, and every line of it is one JSON object."""
    store = EmbeddedStore(tmp_path)
    with httpx.Client(base_url=store.url, timeout=60) as client:
        client.post("/logs/_doc?refresh=true", json={"n": 1}).raise_for_status()
        assert client.get("/logs/_search").json()["hits"]["total"]["value"] == 1
    assert store.stop() == 0
    said = [msgspec.json.decode(line) for line in (tmp_path / "output").read_bytes().splitlines()]
    assert said[-1]["message"] == "stopped"
