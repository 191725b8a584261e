"""The launchers and the environment that they make."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from compose import bootstrap
from compose.python_version import refuse_old

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("launcher", ["compose", "tests"])
def test_a_launcher_works_from_another_directory(launcher: str, tmp_path: Path) -> None:
    """`python3 /somewhere/compose` finds its own code, whatever lies in the working directory."""
    (tmp_path / "app.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "compose.py").write_text("raise SystemExit('shadowed')")
    done = subprocess.run(
        [sys.executable, ROOT / launcher, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"python3 {launcher}" in done.stdout


@pytest.mark.parametrize("found", [(2, 7, 18), (3, 6, 15), (3, 10, 20)])
def test_an_old_python_is_named(found: tuple[int, ...]) -> None:
    """A Python that is too old gets a sentence with the version needed and the one found."""
    with pytest.raises(SystemExit, match=rf"3\.11 or newer is needed, this is {found[0]}\.{found[1]} at /"):
        refuse_old(found)
    refuse_old((3, 11, 0))


def test_what_an_old_python_reads_is_written_for_it() -> None:
    """What runs before the version is looked at has no syntax and no letter that Python 2.7 does not know."""
    for path in ("compose/__main__.py", "tests/__main__.py", "compose/python_version.py", "compose/__init__.py"):
        text = (ROOT / path).read_text()
        assert text.isascii(), path
        assert "__future__" not in text, path
        tree = ast.parse(text)
        assert not any(isinstance(node, (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr)) for node in ast.walk(tree)), path
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert not any(node.returns or any(each.annotation for each in node.args.args) for node in functions), path


def test_a_damaged_pip_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is installed by a pip whose bytes are not the pinned ones."""
    damaged = tmp_path / "pip.whl"
    damaged.write_bytes(bootstrap.PIP_WHEEL.read_bytes()[:-1])
    monkeypatch.setattr(bootstrap, "PIP_WHEEL", damaged)
    monkeypatch.setenv("ML_VENV", str(tmp_path / "venv"))
    with pytest.raises(bootstrap.BootstrapError, match="is damaged"):
        bootstrap.ensure("runtime")


def test_an_environment_whose_python_was_removed_is_made_anew(tmp_path: Path) -> None:
    """Its `python` leads nowhere: the installation begins, and the missing file is not taken for a full disk."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(tmp_path / "removed" / "python3")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    done = subprocess.run(
        [sys.executable, ROOT / "compose", "--help"],
        env={"ML_VENV": str(tmp_path / "venv"), "PATH": "/usr/bin:/bin", **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the packages could not be installed" in done.stderr
    assert python.exists()


@pytest.mark.long
def test_a_fresh_environment_without_ensurepip(tmp_path: Path) -> None:
    """An environment is made by a Python that has no ensurepip, and holds the three commands."""
    site = tmp_path / "site"
    site.mkdir()
    # As on a bare Debian: importing it fails.
    (site / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    done = subprocess.run(
        [sys.executable, ROOT / "compose", "--help"],
        env={"ML_VENV": str(tmp_path / "venv"), "PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", **_network()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ready in" in done.stderr
    assert "MB downloaded" in done.stderr
    assert {"ml-app", "ml-shipper", "ml-stack"} <= {path.name for path in (tmp_path / "venv" / "bin").iterdir()}
    # The second use makes nothing.
    again = subprocess.run(
        [sys.executable, ROOT / "compose", "--help"],
        env={"ML_VENV": str(tmp_path / "venv"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stderr == ""
    shutil.rmtree(tmp_path / "venv")  # 430 MB


def _network() -> dict[str, str]:
    """The variables by which this machine's pip reaches its index and its cache."""
    import os

    kept = ("HOME", "PIP_", "SSL_", "REQUESTS_", "XDG_", "HTTP", "http", "NO_PROXY", "no_proxy")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)}


def test_why_the_environment_is_made_is_said() -> None:
    """A first use, another Python, a start that was cut off and changed packages are told apart."""
    cases = ((None, False), ("3.11.7", True), ("3.12.1", False), ("3.12.1", True))
    said = [bootstrap.opening(Path("/x/.venv"), recorded, "3.12.1", finished=finished) for recorded, finished in cases]
    assert [line.partition(":")[0] for line in said] == [
        "first use",
        "another Python",
        "not finished last time",
        "what the project asks for changed",
    ]


def test_progress_is_told_in_packages_and_megabytes() -> None:
    """Pip's lines become one line for a person: packages seen, bytes fetched."""
    progress = bootstrap.Progress(packages=12, live=True)
    assert progress.feed("Ignoring numpy: markers don't match your environment\n") == ""
    progress.feed("Collecting duckdb==2.0.0 (from -r runtime.txt (line 27))\n")
    progress.feed("Progress 1000000 of 24351483\n")
    progress.feed("Progress 24351483 of 24351483\n")
    shown = progress.feed("Collecting flask==3.1.3 (from -r runtime.txt (line 56))\n")
    assert shown.strip() == "2 of 11 packages, 24.4 MB  flask"
    progress.feed("Progress 103000 of 103000\n")
    assert progress.fetched == 24351483 + 103000


def test_progress_off_a_terminal_is_printed_now_and_then() -> None:
    """A log file gets a line for every tenth package, not one for each piece."""
    progress = bootstrap.Progress(packages=20, live=False)
    lines = [progress.feed(f"Collecting name{number}==1.0\n") for number in range(20)]
    assert [line for line in lines if line] == [
        "  10 of 20 packages, 0.0 MB  name9\n",
        "  20 of 20 packages, 0.0 MB  name19\n",
    ]


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one that was pinned"),
        ("ERROR: No matching distribution found for duckdb==2.0.0", "no ready-made package for this Python"),
        ("ReadTimeoutError", "run the same command again"),
    ],
)
def test_a_failed_installation_says_what_to_do(said: str, advice: str) -> None:
    """Pip's last words are shown with advice that fits them."""
    message = bootstrap._explain(said)
    assert said in message
    assert advice in message
