"""Files that are not what their name says, links in circles, handles that go stale."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
from pathlib import Path

import pytest

from shipper.discovery import find
from shipper.reader import Source, foreign
from tests.shipper.cluster import UNAVAILABLE
from tests.shipper.conftest import Shipping, started, until


def names(folder: Path, pattern: str) -> list[str]:
    """What a pattern below a folder finds, relative to it."""
    return sorted(os.path.relpath(file.path, folder) for file in find([f"{folder}/{pattern}"], "").values())


@pytest.mark.timeout(60)
def test_links_in_circles_are_gone_through_once(tmp_path: Path) -> None:
    """Two links to the folder above them: the library's own way through them does not end in a lifetime."""
    (tmp_path / "sub" / ".hidden").mkdir(parents=True)
    for name in ("a.log", "sub/b.log", "sub/.hidden/c.log", "sub/d.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "one").symlink_to(".")
    (tmp_path / "sub" / "two").symlink_to("..")
    assert names(tmp_path, "**/*.log") == ["a.log", "sub/b.log"]
    assert names(tmp_path, "sub/**/*.log") == ["sub/b.log", "sub/two/a.log"]
    assert names(tmp_path, "**/sub/**/*.log") == ["sub/b.log", "sub/two/a.log"]
    assert names(tmp_path, "**/b.*") == ["sub/b.log"]


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path: Path) -> None:
    """As Kubernetes lays logs out: a folder of links to folders of files, whose names may hold a glob's own signs."""
    (tmp_path / "real" / "pod [1]").mkdir(parents=True)
    (tmp_path / "real" / "pod [1]" / "0.log").write_text("x")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "link").symlink_to(tmp_path / "real")
    assert names(tmp_path, "logs/**/*.log") == ["logs/link/pod [1]/0.log"]
    assert names(tmp_path, "logs/**/pod*/*.log") == ["logs/link/pod [1]/0.log"]


@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_a_file_holds_nobody(tmp_path: Path) -> None:
    """It was a file when the folder was looked at: opening it must not wait for a writer."""
    os.mkfifo(tmp_path / "a.log")
    with pytest.raises(OSError, match="Illegal seek"):
        Source(str(tmp_path / "a.log"))


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress], ids=["xz", "bzip2"])
def test_what_another_program_packed_is_said_and_not_sent(
    shipping: Shipping, caplog: pytest.LogCaptureFixture, pack: object
) -> None:
    """No binary nonsense in the index: the file is left alone, counted and named; what its original had is there."""
    shipping.set(paths=f"{shipping.logs}/a.log*")
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 50))
    shipping.ship()
    (shipping.logs / "a.log.1").write_bytes(pack(log.read_bytes()))  # type: ignore[operator]  # it packs
    log.write_bytes(shipping.lines(50, 10))
    service = shipping.ship()
    shipping.each_once(60)
    assert service.tails.counts["foreign"] == 1
    assert "a.log.1 is packed by" in caplog.text
    assert "SHIPPER_EXCLUDE" in caplog.text


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x28\xb5\x2f\xfd\x24", "zstd"),
        (b"\x04\x22\x4d\x18\x64", "lz4"),
        (b"\x1f\x9d\x90", "compress"),
        (b"BZh9 are words of a line", ""),
        (b"", ""),
    ],
)
def test_packers_are_known_by_the_first_bytes(head: bytes, name: str) -> None:
    """As each program's format has them."""
    assert foreign(head) == name


@pytest.mark.parametrize("workers", [1, 2])
def test_what_gzip_packed_is_known_by_its_first_bytes(shipping: Shipping, workers: int) -> None:
    """Whatever its name: it is the copy of what was read, and its unread end arrives."""
    shipping.set(paths=f"{shipping.logs}/a.log*", workers=workers)
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 50))
    shipping.ship()
    log.unlink()
    (shipping.logs / "a.log.1").write_bytes(gzip.compress(shipping.lines(0, 80)))
    shipping.ship()
    shipping.each_once(80)


class Volume:
    """A network volume: handles that were opened before it was served anew are stale (ESTALE, nfs(5))."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stale: set[int] = set()
        opened, pread, fstat, close = os.open, os.pread, os.fstat, os.close

        def note(path: str, *rest: int, **more: int) -> int:
            handle = opened(path, *rest, **more)
            self._stale.discard(handle)
            if str(path).endswith(".log"):
                self._logs.add(handle)
            return handle

        def check(handle: int) -> None:
            if handle in self._stale:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        def reads(handle: int, *rest: int) -> bytes:
            check(handle)
            return pread(handle, *rest)

        def looks(handle: int) -> os.stat_result:
            check(handle)
            return fstat(handle)

        def closes(handle: int) -> None:
            self._logs.discard(handle)
            self._stale.discard(handle)
            close(handle)

        self._logs: set[int] = set()
        for name, function in (("open", note), ("pread", reads), ("fstat", looks), ("close", closes)):
            monkeypatch.setattr(f"shipper.reader.os.{name}", function)

    def serve_anew(self) -> None:
        """Make each open handle of a log a stale one."""
        self._stale |= self._logs


def test_a_stale_handle_is_opened_anew(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """The volume was served anew and the file is there as before: what is written later arrives, once."""
    volume = Volume(monkeypatch)
    shipping.set(poll_seconds=0.05)
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10))
    service, runner = started(shipping)
    shipping.arrived(10)
    volume.serve_anew()
    with log.open("ab") as file:
        file.write(shipping.lines(10, 10))
    shipping.arrived(20)
    until(lambda: not service.tails.unreadable.troubles, "the trouble is over")
    service.stop()
    runner.join(60)
    shipping.each_once(20)


@pytest.mark.parametrize("lines", [0, 10])
def test_a_stale_handle_with_all_of_it_under_way(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """Lines that were read and not acknowledged, or a beginning that was not read yet: the file is the one it was."""
    monkeypatch.setattr("shipper.tails.NEXT_SECONDS", 60.0)
    volume = Volume(monkeypatch)
    shipping.set(poll_seconds=0.05)
    shipping.cluster.odds = {UNAVAILABLE: 1.0}
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, lines) or b"x\n")
    service, runner = started(shipping)
    until(lambda: service.tails.tails and (not lines or shipping.cluster.met[UNAVAILABLE]), "the file is seen")
    volume.serve_anew()
    with log.open("ab") as file:
        file.write(shipping.lines(lines, 20 - lines))
    until(lambda: next(iter(service.tails.tails.values())).read == log.stat().st_size, "all of it is read")
    shipping.cluster.odds = {}
    shipping.arrived(20)
    service.stop()
    runner.join(60)
    found = shipping.cluster.messages()
    assert all(found[f"line {number}"] == 1 for number in range(20))
    assert len(shipping.cluster.documents) == 20 + (lines == 0)
    assert service.tails.counts["truncated"] == 0


def test_a_file_that_went_under_a_stale_handle_is_counted_and_let_go(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted by another machine while bytes of it were unread: the shipper lives, and says how many are lost."""
    monkeypatch.setattr("shipper.tails.QUIET_SECONDS", 0.3)
    volume = Volume(monkeypatch)
    shipping.set(poll_seconds=0.05)
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 10) + b"half a li")
    service, runner = started(shipping)
    shipping.arrived(10)
    volume.serve_anew()
    log.unlink()
    until(lambda: service.tails.counts["lost_bytes"] == len(b"half a li"), "the loss is counted")
    until(lambda: not service.tails.tails, "the file is let go")
    (shipping.logs / "b.log").write_bytes(shipping.lines(10, 10))
    shipping.arrived(20)
    assert runner.is_alive()
    assert not service.tails.unreadable.troubles
    service.stop()
    runner.join(60)
    shipping.each_once(20)
