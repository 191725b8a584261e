"""The wheel and the sdist: built here, installed in a fresh environment elsewhere, and used from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

from compose.bootstrap import LOCKS, PIP_WHEEL
from compose.stack.settings import CHECKOUT
from tests.ports import free_ports
from tests.stack.running import until
from tests.stack.test_end_to_end import GUIDE_REQUEST


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist, built without the network."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_wheel_and_sdist_hold_what_is_needed_and_nothing_else(built: Path) -> None:
    """Code, templates, statistics and generated files are in both; what a checkout leaves about is in neither."""
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    packed = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        "app/model/statistics.json",
        "index_templates/ml-pipeline.template.json",
        "compose/provision/generated/prometheus/rules.yml",
        "compose/compose.yaml",
        "compose/locks/runtime.txt",
    }
    assert needed <= packed
    assert "compose/console/pages/runbook.md" in packed
    assert needed | {"pyproject.toml", "README.md", "tests/runner.py", "docs/architecture.md"} <= source
    for name in packed | source:
        assert not any(part in name for part in ("__pycache__", ".venv", ".stack", "secrets/", ".hypothesis")), name


@pytest.mark.long
def test_the_installed_wheel_works_elsewhere(built: Path, tmp_path: Path) -> None:
    """In a fresh environment: train, check, a stack on free ports, one prediction that is a document, stop."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = str(environment / "bin" / "python")
    pip = [python, f"{PIP_WHEEL}/pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    (wheel,) = built.glob("*.whl")
    locked = ["--only-binary", ":all:", "--require-hashes", "-r", str(LOCKS / "runtime.txt")]
    for arguments in (locked, ["--no-deps", "--no-index", str(wheel)]):
        done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    names = ("APP_PORT", "STORE_PORT", "SHIPPER_PORT", "CONSOLE_PORT")
    ports = dict(zip(names, map(str, free_ports(len(names))), strict=True))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    surroundings = {**kept, **ports, "STACK_MONITORING": "off", "PATH": f"{environment}/bin:/usr/bin:/bin"}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=elsewhere, env=surroundings, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert str(environment) in run(python, "-c", "import app; print(app.__file__)")
    models = {"APP_MODEL_DIR": str(elsewhere / ".stack" / "models")}
    surroundings |= models
    run("ml-app", "train", "--rows", "3000")
    assert "Look at settings" in run("ml-shipper", "check", "--help")
    assert {run(program, "--version").split()[-1] for program in ("ml-app", "ml-shipper", "ml-stack")} == {"0.1.0"}
    said = elsewhere / "up.txt"
    with said.open("wb") as output:
        up = subprocess.Popen(["ml-stack", "up"], cwd=elsewhere, env=surroundings, stdout=output, stderr=output)
    try:
        until(
            lambda: "Everything runs" in said.read_text() or up.poll() is not None,
            f"the installed stack is up; it said:\n{said.read_text()}",
            120,
        )
        assert up.poll() is None, said.read_text()
        answer = httpx.post(f"http://127.0.0.1:{ports['APP_PORT']}/predict", json=GUIDE_REQUEST, timeout=30)
        assert answer.status_code == 200, answer.text
        counted = (
            f"http://127.0.0.1:{ports['STORE_PORT']}/ml-pipeline-*/_count?q=request_id:{answer.json()['request_id']}"
        )
        until(lambda: httpx.get(counted).json().get("count") == 1, "the prediction is a document")
        assert "ml-stack traffic" in said.read_text()
        assert "python3 compose" not in said.read_text()
        runbook = httpx.get(f"http://127.0.0.1:{ports['CONSOLE_PORT']}/runbook", timeout=60).text
        assert "ServiceDown" in runbook
        run("ml-stack", "down")
        assert up.wait(timeout=60) == 0
    finally:
        if up.poll() is None:
            up.terminate()
            up.wait(timeout=60)
    assert (elsewhere / ".stack" / "store").is_dir()
