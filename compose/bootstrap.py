"""Makes the checkout's own `.venv` on first use, with nothing but the standard library.

Used by the two launchers, `python3 compose` and `python3 tests`. The pinned pip wheel lies beside the lock files, as
CPython's own ensurepip carries one: so a Python without ensurepip (bare Debian) works too, every machine installs
with the same pip, and pip's own configuration (mirror, proxy, CA) counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "compose" / "locks"
PIP_WHEEL = LOCKS / "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


class BootstrapError(Exception):
    """The environment could not be made; the message says why and what to do."""


def environment_dir() -> Path:
    """Return where the checkout's environment lives: `.venv`, or ML_VENV where a test wants another."""
    return Path(os.environ.get("ML_VENV", str(ROOT / ".venv")))


def run(module: str, arguments: list[str], lock: str) -> None:
    """Replace this process by `python -m module arguments` in the environment that `lock` describes.

    Args:
        module: the dotted name of a module of this checkout.
        arguments: its command line.
        lock: name of a file in compose/locks/ without `.txt`: `runtime`, or `test`, which holds more.
    """
    try:
        python = ensure(lock)
    except BootstrapError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; what was fetched is kept, run the same command again")
    # -P: the caller's working directory must not shadow our packages.
    os.execv(str(python), [str(python), "-P", "-m", module, *arguments])  # noqa: S606 - no shell is wanted


def ensure(lock: str) -> Path:
    """Return the environment's Python, having made or refreshed the environment where needed.

    Raises:
        BootstrapError: the folder cannot be written, the pip wheel is damaged, or the installation failed.
    """
    target = environment_dir()
    python = target / "bin" / "python"
    if _is_current(target, lock):
        return python
    try:
        with _exclusively(target):
            if not _is_current(target, lock):  # another launcher may have made it while we waited
                _make(target, lock)
    except OSError as error:
        raise BootstrapError(
            f"the environment {target} cannot be made ({error.strerror}); it needs about 1 GB in a folder of yours: "
            "free space there, or name another one, ML_VENV=/path/to/folder"
        ) from None
    return python


def _wanted(lock: str) -> dict[str, str]:
    """What an environment made from `lock` records of itself."""
    return {
        "lock": lock,
        "sha256": hashlib.sha256((LOCKS / f"{lock}.txt").read_bytes()).hexdigest(),
        "project": hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest(),
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "root": str(ROOT),
    }


def _is_current(target: Path, lock: str) -> bool:
    try:
        made = json.loads((target / "made-from.json").read_text())
    except (OSError, ValueError):
        return False
    # The test environment holds all that the runtime one does.
    return any(made == _wanted(name) for name in {lock, "test"}) and (target / "bin" / "python").exists()


@contextlib.contextmanager
def _exclusively(target: Path) -> Iterator[None]:
    """Let one launcher at a time work on the environment."""
    import fcntl

    target.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("waiting: another process is making the environment", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _make(target: Path, lock: str) -> None:
    try:
        import venv
    except ImportError:
        raise BootstrapError("this Python has no venv module; on Debian: apt-get install python3-venv") from None
    if hashlib.sha256(PIP_WHEEL.read_bytes()).hexdigest() != PIP_SHA256:
        raise BootstrapError(f"{PIP_WHEEL} is damaged (its SHA-256 differs); restore it: git checkout -- {PIP_WHEEL}")
    started = time.monotonic()
    # A newer lock reuses the packages that are there: only another Python needs a new start.
    recorded, version = _recorded_python(target), _wanted(lock)["python"]
    other_python = recorded not in (None, version)
    stamp = target / "made-from.json"
    finished = stamp.exists()
    if finished:
        stamp.unlink()
    print(opening(target, recorded, version, finished=finished), file=sys.stderr)
    python = target / "bin" / "python"
    # A Python that was removed leaves a link that leads nowhere, and venv leaves such a link as it is.
    is_adrift = python.is_symlink() and not python.exists()
    venv.EnvBuilder(with_pip=False, symlinks=True, clear=other_python or is_adrift).create(target)
    fetched = _install(python, LOCKS / f"{lock}.txt")
    # The project itself, editable and offline: its commands (ml-app, ml-shipper, ml-stack) land in .venv/bin.
    _pip(python, ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)])
    stamp.write_text(json.dumps(_wanted(lock)))
    seconds = time.monotonic() - started
    print(f"  ready in {seconds:.0f} s, {fetched / 1e6:.0f} MB downloaded\n", file=sys.stderr)


def opening(target: Path, recorded: str | None, version: str, *, finished: bool) -> str:
    """Return what is said at the begin: why `target` is made.

    Args:
        target: the environment.
        recorded: its Python so far, None where there is none.
        version: ours.
        finished: whether it was complete once.
    """
    if recorded is None:
        return f"first use: making {target} (Python {version})"
    if recorded != version:
        return f"another Python: making {target} anew ({recorded} before, {version} now)"
    if not finished:
        return f"not finished last time: going on with {target} (Python {version})"
    return f"what the project asks for changed: bringing {target} up to date (Python {version})"


def _recorded_python(target: Path) -> str | None:
    """The version of the Python in the environment, or None where there is none."""
    try:
        configuration = (target / "pyvenv.cfg").read_text()
    except OSError:
        return None
    found = re.search(r"^version\s*=\s*(\S+)", configuration, re.MULTILINE)
    return found.group(1) if found else None


def _pip(python: Path, arguments: list[str]) -> None:
    """Run pip's `install` quietly; its output is shown only when it fails."""
    done = subprocess.run(
        _pip_command(python) + arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BootstrapError(_explain(done.stdout))


def _pip_command(python: Path) -> list[str]:
    # A wheel is a zip file that Python can run: no pip needs to be installed first.
    return [str(python), f"{PIP_WHEEL}/pip", "install", "--disable-pip-version-check", "--no-input"]


def _install(python: Path, lock: Path) -> int:
    """Install exactly what `lock` pins, showing progress; return the bytes fetched over the network."""
    packages = len(re.findall(r"^[a-zA-Z0-9._-]+==", lock.read_text(), re.MULTILINE))
    command = [*_pip_command(python), "--progress-bar", "raw", "--only-binary", ":all:", "--require-hashes"]
    process = subprocess.Popen([*command, "-r", str(lock)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None  # noqa: S101 - we asked for the pipe
    progress = Progress(packages, live=sys.stderr.isatty())
    output = []
    for line in process.stdout:
        if not line.startswith("Progress "):
            output.append(line)
        text = progress.feed(line)
        if text:
            print(text, end="", file=sys.stderr, flush=True)
    if process.wait():
        print(file=sys.stderr)
        raise BootstrapError(_explain("".join(output)))
    return progress.fetched


class Progress:
    """Turns pip's lines into one line for a person: packages seen, bytes fetched, what is under way.

    Args:
        packages: how many the lock pins.
        live: whether the line may be rewritten in place (a terminal); otherwise it is printed now and then.
    """

    def __init__(self, packages: int, live: bool) -> None:
        self.packages, self.live = packages, live
        self.seen = self.fetched = self.current = 0
        self.shown = 0

    def feed(self, line: str) -> str:
        """Take one line of `pip install --progress-bar raw`; return what to write to the terminal, or ''."""
        words = line.split()
        if not words:
            return ""
        if words[0] == "Progress" and len(words) == 4:
            self.fetched += int(words[1]) - self.current
            self.current = int(words[1])
            return self._show("") if self.live else ""
        if words[0] == "Ignoring":
            self.packages -= 1
        elif words[0] == "Collecting" or line.startswith("Requirement already satisfied"):
            self.seen += 1
            self.current = 0
            name = words[1] if words[0] == "Collecting" else words[3]
            if self.live or self.seen % 10 == 0:
                return self._show(name.split("==")[0])
        elif line.startswith("Installing collected packages"):
            return self._show("unpacking") + "\n"
        return ""

    def _show(self, name: str) -> str:
        text = f"  {min(self.seen, self.packages)} of {self.packages} packages, {self.fetched / 1e6:.1f} MB"
        if name:
            text += f"  {name}"
        padded, self.shown = text.ljust(self.shown), len(text)
        return f"\r{padded}" if self.live else f"{text}\n"


def _explain(output: str) -> str:
    """What pip said, and what to do about it."""
    tail = "\n".join("  " + line for line in output.strip().splitlines()[-6:])
    if "No space left" in output:
        advice = f"the disk of {environment_dir()} is full: free about 1 GB and run the command again"
    elif "do not match the hashes" in output.lower():
        advice = "a package is not the one that was pinned: check the package index or proxy in pip's configuration"
    elif "No matching distribution" in output or "Could not find a version" in output:
        advice = (
            "the package index has no ready-made package for this Python or machine, or cannot be reached; "
            "check the network and pip's configuration (pip config list), or try another Python (3.11 to 3.14)"
        )
    else:
        advice = "check the network and pip's configuration, then run the same command again; nothing is lost"
    return f"the packages could not be installed; pip's last words:\n{tail}\nwhat to do: {advice}"
