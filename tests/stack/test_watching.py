"""What must not end or mislead the watch over parts: a full disk, a removed folder, a closed terminal, a set clock."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from compose.stack import state
from compose.stack.settings import read_settings
from compose.stack.supervisor import Supervised, Supervisor
from tests.optional import lacking
from tests.ports import free_port
from tests.stack.running import RunningStack, until
from tests.stack.test_starting import part


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A volume of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        lacking("a small volume", "only root can mount one, and not in every container")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def watched(folder: Path, say: Callable[[str], None]) -> Iterator[tuple[Supervisor, Supervised]]:
    """Watch one part that lives until it is killed."""
    settings = read_settings({"STACK_DIR": str(folder), "STACK_MONITORING": "off"})
    settings.run_dir.mkdir(parents=True)
    running = Supervisor(settings, (part(free_port(), "import time; time.sleep(1000)"),), say)
    supervised = running.parts["part"]
    supervised.start()
    running.enter("running")
    thread = threading.Thread(target=running.watch)
    thread.start()
    try:
        yield running, supervised
    finally:
        running.stopping = 1
        thread.join(60)
        running.stop()
        assert supervised.process is not None
        assert supervised.process.poll() is not None, "a stop stops, whatever the disk does"


def killed(supervised: Supervised) -> int:
    """Kill a part's process; return its pid."""
    assert supervised.process is not None
    supervised.process.kill()
    return supervised.process.pid


def known_pid(running: Supervisor) -> int | None:
    """The pid of the part that `status` reads."""
    known = state.read(running.state_file)
    return known.services["part"].pid if known else None


def test_a_part_that_dies_while_the_disk_is_full_is_started_again(small: Path) -> None:
    """The watch goes on, and `status` still learns which process it is now."""
    with watched(small / "stack", lambda _: None) as (running, supervised):
        with contextlib.suppress(OSError), (small / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(512)):
                pass
        before = killed(supervised)
        until(lambda: known_pid(running) not in (None, before), "the part runs again, and is known")


def test_a_removed_folder_is_made_again(tmp_path: Path) -> None:
    """Somebody removes `run/`; the next part that dies is started again all the same, and is known."""
    with watched(tmp_path / "stack", lambda _: None) as (running, supervised):
        shutil.rmtree(running.settings.run_dir)
        before = killed(supervised)
        until(lambda: known_pid(running) not in (None, before), "the part runs again, and is known")


def test_what_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    """A file where the folder was: the watch says so once and starts the part when it can."""
    said: list[str] = []
    with watched(tmp_path / "stack", said.append) as (running, supervised):
        shutil.rmtree(running.settings.run_dir)
        running.settings.run_dir.write_text("in the way")
        before = killed(supervised)
        until(lambda: any("could not be started" in line for line in said), "it says why")
        assert sum("cannot be written" in line for line in said) == 1, said
        running.settings.run_dir.unlink()
        until(lambda: known_pid(running) not in (None, before), "the part runs again, and is known")


def test_a_closed_terminal_stops_every_part(tmp_path: Path) -> None:
    """Whoever closes the window leaves no process behind, although nobody hears what `up` says then."""
    stack = RunningStack(tmp_path / "stack")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-P", "-m", "compose.stack", "up"],
        env=stack.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while b"stops everything" not in said:
        said += os.read(ours, 65536)  # raises where `up` ended before
    known = state.read(stack.folder / "run" / "state.json")
    assert known is not None
    os.close(ours)
    process.wait(120)
    left = [name for name, each in known.services.items() if state.alive(each.pid, each.created)]
    if left:
        stack.command("down")
    assert not left


def test_a_clock_that_is_set_hides_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the machine's clock an hour off since `up`, its processes are still known, and as old as they are."""
    if sys.platform != "linux":
        pytest.skip("only Linux counts a process's start from the machine's")
    me = psutil.Process()
    created = state.born(me)
    age = state.up_seconds(created)
    # What the kernel tells after the clock was set: another moment at which the machine was started.
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / str(me.pid)).symlink_to(f"/proc/{me.pid}")
    lines = Path("/proc/stat").read_text().splitlines()
    (proc / "stat").write_text(
        "".join(f"btime {int(line.split()[1]) + 3600}\n" if line.startswith("btime") else f"{line}\n" for line in lines)
    )
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))
    moved = psutil.Process(me.pid)
    assert moved.create_time() == pytest.approx(me.create_time() + 3600), "psutil sees the clock that was set"
    assert state.alive(me.pid, created) is not None
    assert state.alive(me.pid, created - 10) is None
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3600)
    assert state.up_seconds(created) == pytest.approx(age, abs=60)
