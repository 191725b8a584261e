"""What may have happened to the state folder: an older version, a torn start, no room to write, long absence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shipper.checkpoint import JOURNAL, SNAPSHOT, Checkpoint, _seal
from shipper.errors import StateError
from shipper.generation import Record
from tests.optional import lacking
from tests.shipper.conftest import Shipping


def test_a_checkpoint_of_another_version_is_read(shipping: Shipping) -> None:
    """Fields that an older shipper did not know have their defaults, those of a newer one are left alone."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    shipping.ship()
    shipping.ship()  # the journal becomes part of the snapshot
    path = shipping.settings.state_dir / SNAPSHOT
    state = msgspec.json.decode(path.read_bytes().split(b" ", 1)[1])
    assert state["records"]
    for record in state["records"].values():
        del record["size"], record["unterminated"]
        record["invented_in_2031"] = [1]
    path.write_bytes(_seal(msgspec.json.encode(state)))
    (shipping.settings.state_dir / JOURNAL).write_bytes(b"")
    again = shipping.ship()
    assert again.checkpoint.rebuilt == 0
    assert again.tally.counts["acknowledged"] + again.tally.counts["already_there"] == 0


def test_a_temporary_file_that_was_left_is_no_matter(shipping: Shipping) -> None:
    """A start that was cut off between two writes leaves a torn `.tmp`: the whole snapshot counts."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    shipping.ship()
    (shipping.settings.state_dir / f"{SNAPSHOT}.tmp").write_bytes(b"0123 {torn")
    again = shipping.ship()
    assert again.tally.counts["acknowledged"] + again.tally.counts["already_there"] == 0
    assert not (shipping.settings.state_dir / f"{SNAPSHOT}.tmp").exists()


def test_all_snapshots_lost_is_said_and_the_files_are_read_again(shipping: Shipping) -> None:
    """Every file of the checkpoint is full of NULs, as after a power cut: it starts, and nothing doubles."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    shipping.ship()
    for path in shipping.settings.state_dir.glob("checkpoint*"):
        path.write_bytes(b"\0" * 500)
    again = shipping.ship()
    assert again.checkpoint.rebuilt == 2
    assert again.tally.counts["already_there"] == 20
    shipping.each_once(20)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A volume that nobody may write to, root neither."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid() != 0:
        lacking("a read-only volume", "only root can mount one")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_state_folder_refuses_the_start(read_only: Path) -> None:
    """Without a place for acknowledged offsets nothing is sent; the message names the setting."""
    with pytest.raises(StateError, match=r"SHIPPER_STATE_DIR=.*must be writable"):
        Checkpoint(read_only)


def test_what_is_gone_is_remembered_for_its_time_and_then_forgotten(shipping: Shipping) -> None:
    """Within the time a copy inherits the offset; after it the record goes, so that the checkpoint does not grow."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 20))
    shipping.ship()
    log.unlink()
    assert len(shipping.ship().checkpoint.state.records) == 1
    shipping.set(forget_seconds=0.001)
    assert not shipping.ship().checkpoint.state.records


def test_a_save_costs_what_changed_not_what_is_there(tmp_path: Path) -> None:
    """One offset of ten thousand moves on: a line is appended, the ten thousand are not written again."""
    checkpoint = Checkpoint(tmp_path)
    for number in range(10_000):
        name = f"{number:016x}"
        checkpoint.state.records[name] = Record(generation=name, path=f"/logs/{number}.log", device=1, inode=number)
    checkpoint.compact()
    whole = (tmp_path / SNAPSHOT).stat().st_size
    checkpoint.state.records[f"{7:016x}"].offset = 99
    checkpoint.save({f"{7:016x}"})
    assert (tmp_path / JOURNAL).stat().st_size < 500 < whole // 1000
    checkpoint.close()
    again = Checkpoint(tmp_path)
    assert again.state.records[f"{7:016x}"].offset == 99
    again.close()


def test_the_lock_is_gone_with_its_process(tmp_path: Path) -> None:
    """After a kill the next shipper starts at once: the lock is the kernel's, not a file that stays."""
    program = "from pathlib import Path; from shipper.checkpoint import Checkpoint; import os, sys, signal;"
    program += "Checkpoint(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=False, cwd=Path(__file__).parents[2], timeout=60
    )
    assert killed.returncode == -9
    Checkpoint(tmp_path).close()
