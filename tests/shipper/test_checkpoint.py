"""The checkpoint: journal, snapshot, previous, lock."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shipper.checkpoint import JOURNAL, LOCK, PREVIOUS, SNAPSHOT, Checkpoint
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


def record_of(name: str, offset: int) -> Record:
    """A record of a generation."""
    return Record(generation=name, path="a", device=1, inode=2, offset=offset)


def offsets(folder: Path) -> dict[str, int]:
    """What a start finds, undamaged."""
    checkpoint = Checkpoint(folder)
    checkpoint.close()
    assert checkpoint.rebuilt == 0
    return {name: record.offset for name, record in checkpoint.state.records.items()}


def test_several_records_of_one_save_are_all_there(tmp_path: Path) -> None:
    """And a record that was forgotten is not, though others are."""
    folder = tmp_path / "not" / "there" / "yet"
    checkpoint = Checkpoint(folder)
    checkpoint.state.records = {name: record_of(name, 5) for name in "abc"}
    checkpoint.save({"a", "b", "c"})
    checkpoint.state.records["b"].offset = 9
    del checkpoint.state.records["a"]
    checkpoint.save({"a", "b", "never there"})
    checkpoint.close()
    assert offsets(folder) == {"b": 9, "c": 5}


def test_a_snapshot_holds_all_without_the_journal(tmp_path: Path) -> None:
    """Records, volumes and cluster survive in it alone; so they do in the one before when it is missing."""
    checkpoint = Checkpoint(tmp_path)
    checkpoint.state.records = {"a": record_of("a", 5)}
    checkpoint.state.volumes, checkpoint.state.cluster = {"/logs": "v"}, "uuid"
    checkpoint.compact()
    checkpoint.close()
    (tmp_path / JOURNAL).unlink()
    assert offsets(tmp_path) == {"a": 5}
    (tmp_path / JOURNAL).unlink()
    (tmp_path / SNAPSHOT).unlink()  # a crash between the two renames
    again = Checkpoint(tmp_path)
    again.close()
    assert (again.state.volumes, again.state.cluster, again.rebuilt) == ({"/logs": "v"}, "uuid", 0)
    assert again.state.records["a"].offset == 5


def test_a_journal_older_than_the_snapshot_is_left_alone(tmp_path: Path) -> None:
    """A crash after the snapshot and before the new journal must not put offsets back."""
    checkpoint = Checkpoint(tmp_path)
    checkpoint.state.records["a"] = record_of("a", 5)
    checkpoint.save({"a"})
    old = (tmp_path / JOURNAL).read_bytes()
    checkpoint.state.records["a"] = record_of("a", 9)
    checkpoint.compact()
    checkpoint.close()
    (tmp_path / JOURNAL).write_bytes(old)
    assert offsets(tmp_path) == {"a": 9}


def test_each_snapshot_has_a_higher_number_than_all_before(tmp_path: Path) -> None:
    """Also over starts, and where only the journal knows the highest."""
    checkpoint = Checkpoint(tmp_path)
    numbers = [checkpoint.state.epoch]
    checkpoint.compact()
    numbers.append(checkpoint.state.epoch)
    checkpoint.state.records["a"] = record_of("a", 5)
    checkpoint.save({"a"})
    checkpoint.close()
    (tmp_path / SNAPSHOT).write_bytes(b"")
    again = Checkpoint(tmp_path)
    again.close()
    numbers.append(again.state.epoch)
    assert numbers == [1, 2, 3]


def test_both_snapshots_lost_is_said_twice_and_the_start_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each file is named with what is wrong; then that everything is read again."""
    kept(tmp_path, 5)
    kept(tmp_path, 6)
    for name in (SNAPSHOT, PREVIOUS):
        (tmp_path / name).write_bytes(b"0000000000000000 {}\n")
    (tmp_path / JOURNAL).unlink()
    checkpoint = Checkpoint(tmp_path)
    checkpoint.close()
    assert (checkpoint.rebuilt, checkpoint.state.records) == (2, {})
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / SNAPSHOT} cannot be used (its checksum is wrong); the one before it is tried",
        f"{tmp_path / PREVIOUS} cannot be used (its checksum is wrong); there is no older one",
        "the checkpoint is rebuilt from the files; what was sent is met by its id",
    ]


def test_a_torn_journal_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With its path; what follows the torn line is not believed."""
    kept(tmp_path, 5)
    good = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(good + b"torn\n" + good.replace(b'"offset":5', b'"offset":7'))
    assert offsets(tmp_path) == {"g": 5}
    (record,) = caplog.records
    assert record.getMessage() == f"{tmp_path / JOURNAL} ends in the middle of a line; the rest is left out"


def test_the_holder_of_the_lock_is_named(tmp_path: Path) -> None:
    """By its process number, which stands alone in the file whatever stood there before."""
    (tmp_path / LOCK).write_text("123456789012345")
    checkpoint = Checkpoint(tmp_path)
    assert (tmp_path / LOCK).read_text() == str(os.getpid())
    with pytest.raises(StateError, match=rf"another shipper \(process {os.getpid()}\) uses it; stop it"):
        Checkpoint(tmp_path)
    (tmp_path / LOCK).write_text("")
    with pytest.raises(StateError, match=r"another shipper \(process unknown\)"):
        Checkpoint(tmp_path)
    checkpoint.close()


def test_a_journal_is_folded_into_a_snapshot_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never grows beyond COMPACT_BYTES, and nothing is lost over it."""
    checkpoint = Checkpoint(tmp_path)
    checkpoint.state.records["a"] = record_of("a", 0)
    checkpoint.save({"a"})
    entry = (tmp_path / JOURNAL).stat().st_size
    monkeypatch.setattr("shipper.checkpoint.COMPACT_BYTES", 3 * entry)
    sizes = []
    for offset in range(1, 8):
        checkpoint.state.records["a"].offset = offset
        checkpoint.save({"a"})
        sizes.append((tmp_path / JOURNAL).stat().st_size // entry)
    checkpoint.close()
    assert sizes == [2, 3, 0, 1, 2, 3, 0]
    assert offsets(tmp_path) == {"a": 7}


def test_after_a_torn_write_the_next_save_is_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs that save; the one after it hides nothing behind the torn line."""
    checkpoint = Checkpoint(tmp_path)
    whole = os.write
    checkpoint.state.records["a"] = record_of("a", 5)
    with monkeypatch.context() as patched:
        patched.setattr("shipper.checkpoint.os.write", lambda handle, data: whole(handle, data[:20]))
        with pytest.raises(OSError, match=r"^the volume of the state folder is full$"):
            checkpoint.save({"a"})
    assert checkpoint._journal == -1
    checkpoint.state.records["a"].offset = 9
    checkpoint.save({"a"})
    assert (tmp_path / JOURNAL).read_bytes() == b""
    checkpoint.close()
    assert offsets(tmp_path) == {"a": 9}


def test_a_state_folder_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    """One save fails with words, the next one makes the folder with all its parents."""
    folder = tmp_path / "deep" / "state"
    checkpoint = Checkpoint(folder)
    checkpoint.state.records["a"] = record_of("a", 5)
    shutil.rmtree(tmp_path / "deep")
    with pytest.raises(OSError, match=r"^the state folder was deleted$"):
        checkpoint.save({"a"})
    checkpoint.save({"a"})
    checkpoint.close()
    checkpoint.close()
    assert offsets(folder) == {"a": 5}


def test_a_path_with_spaces_comes_back_from_journal_and_snapshot(tmp_path: Path) -> None:
    """A line's checksum ends at its first space, whatever the file is called."""
    for _ in range(3):
        checkpoint = Checkpoint(tmp_path)
        checkpoint.state.records["g"] = Record(generation="g", path="/var/log/my app/a b.log", device=1, inode=2)
        checkpoint.save({"g"})
        checkpoint.close()
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.state.records["g"].path == "/var/log/my app/a b.log"
    assert checkpoint.rebuilt == 0
    checkpoint.close()


def test_the_journal_is_for_its_owner_alone_and_is_closed_once(tmp_path: Path) -> None:
    """Paths and times are nobody else's business; a second close touches no handle of others."""
    checkpoint = Checkpoint(tmp_path)
    assert (tmp_path / JOURNAL).stat().st_mode & 0o777 == 0o600
    checkpoint.close()
    checkpoint.close()
    os.fstat(1)
