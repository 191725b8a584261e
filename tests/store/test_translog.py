"""A translog on a disk that fails: what was answered stays readable, and what is unsure is never answered."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from compose.store.translog import Translog, TranslogError


def line(number: int) -> bytes:
    """Return an operation as a line."""
    return b'{"n":%d}\n' % number


def replayed(folder: Path) -> list[bytes]:
    """Return what a start would find."""
    seen: list[bytes] = []
    Translog(folder).replay(0, seen.append)
    return seen


def test_a_failed_fsync_at_a_rotation_ends_all_writing(tmp_path: Path) -> None:
    """The kernel forgets what it could not write, so a second fsync, which succeeds, must acknowledge nothing."""
    failing = True

    def fsync(_handle: int) -> None:
        if failing:
            raise OSError(errno.EIO, "Input/output error")

    translog = Translog(tmp_path, rotate_bytes=1, fsync=fsync)
    translog.open()
    position = translog.append([line(1)], 1)
    with pytest.raises(TranslogError, match="fsync"):
        translog.rotate(0, 2**30)
    failing = False
    with pytest.raises(TranslogError, match="fsync"):
        translog.sync(position)
    with pytest.raises(TranslogError, match="fsync"):
        translog.append([line(2)], 2)


def test_writing_goes_on_where_a_new_file_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation that fails leaves the file before it open, and what is written next is there after a start."""
    translog = Translog(tmp_path, rotate_bytes=1)
    translog.open()
    translog.append([line(1)], 1)
    really = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(path, flags, mode)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(OSError, match="No space"):
            translog.rotate(0, 2**30)
    translog.sync(translog.append([line(2)], 2))
    translog.rotate(0, 2**30)
    translog.sync(translog.append([line(3)], 3))
    translog.close()
    assert replayed(tmp_path) == [line(1), line(2), line(3)]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_half_written_begin_of_a_file_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first line of a new file is written in part, it is cut back, so that what follows is read."""
    translog = Translog(tmp_path, rotate_bytes=1)
    translog.open()
    translog.append([line(1)], 1)

    def half(handle: int, parts: list[bytes]) -> int:
        os.write(handle, parts[0][:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", half)
        with pytest.raises(OSError, match="No space"):
            translog.rotate(0, 2**30)
    translog.sync(translog.append([line(2)], 2))
    translog.close()
    assert replayed(tmp_path) == [line(1), line(2)]


def test_no_write_follows_what_cannot_be_cut_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind half a batch that stays in the file nothing would be read, so nothing more is taken."""
    translog = Translog(tmp_path)
    translog.open()

    def half(handle: int, parts: list[bytes]) -> int:
        os.write(handle, parts[0][:5])
        raise OSError(errno.EIO, "Input/output error")

    def refuse(_handle: int, _size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", half)
        patched.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="Input/output"):
            translog.append([line(1)], 1)
    with pytest.raises(TranslogError, match="cannot be cut back"):
        translog.append([line(2)], 2)
