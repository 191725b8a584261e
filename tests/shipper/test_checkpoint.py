"""The checkpoint: journal, snapshot, previous, lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipper.checkpoint import JOURNAL, SNAPSHOT, Checkpoint
from shipper.errors import StateError
from shipper.generation import Record


def kept(folder: Path, offset: int) -> None:
    """Save one record as a process that then ends."""
    checkpoint = Checkpoint(folder)
    checkpoint.state.records["g"] = Record(generation="g", path="a", device=1, inode=2, offset=offset)
    checkpoint.save({"g"})
    checkpoint.close()


def test_what_was_saved_is_there_at_the_next_start(tmp_path: Path) -> None:
    """Offsets survive."""
    kept(tmp_path, 5)
    kept(tmp_path, 9)
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.state.records["g"].offset == 9
    checkpoint.close()


@pytest.mark.parametrize("harm", [b"", b"\0" * 100, b"{", b"0000000000000000 {}\n"])
def test_a_corrupt_snapshot_is_said_and_the_previous_one_used(tmp_path: Path, harm: bytes) -> None:
    """The start is never refused; the journal brings the newest offsets all the same."""
    kept(tmp_path, 5)
    (tmp_path / SNAPSHOT).write_bytes(harm)
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.rebuilt == 1
    assert checkpoint.state.records["g"].offset == 5
    checkpoint.close()


def test_a_torn_journal_line_is_left_out(tmp_path: Path) -> None:
    """A crash in the middle of a write costs that write alone."""
    kept(tmp_path, 5)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b"0123456789abcdef {torn")
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.state.records["g"].offset == 5
    checkpoint.close()


def test_a_second_shipper_is_refused(tmp_path: Path) -> None:
    """One instance per checkpoint, and the message names the other."""
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(StateError, match="another shipper"):
        Checkpoint(tmp_path)
    checkpoint.close()
