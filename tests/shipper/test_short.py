"""Files of which little is known: of a few bytes, sent, and then packed, moved, copied or made anew."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from shipper.checkpoint import Checkpoint
from shipper.service import Service
from tests.shipper.conftest import Shipping, line, started, until

WORDS = b'{"message":"starting"}\n'  # no moment: the next file may begin with the same ones


def ship_and_kill(shipping: Shipping) -> None:
    """Send all that is there by a shipper that knows the files, and is killed before it writes an offset down."""
    service = shipping.service()

    def note_new() -> None:
        if service.tails.fresh:
            service.tails.fresh = False
            Service._save(service)

    service._note_new = note_new  # type: ignore[method-assign]
    service._save = lambda: None  # type: ignore[method-assign]
    assert service.run(drain=True, timeout=60)
    checkpoint = Checkpoint(shipping.settings.state_dir)
    checkpoint.close()
    assert {record.offset for record in checkpoint.state.records.values()} == {0}


def put(path: Path, data: bytes) -> None:
    """Write a file, packed where its name says so."""
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("name", ["a.log.1.gz", "a.log.1", "0.log"])
@pytest.mark.parametrize(("first", "after"), [(1, 1), (1, 2), (1, 9), (20, 25)])
def test_a_kill_before_the_first_checkpoint_and_another_inode(
    shipping: Shipping, name: str, first: int, after: int
) -> None:
    """Lines were sent and nothing is acknowledged on the disk; the file may grow, and is then packed or moved."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, first))
    ship_and_kill(shipping)
    put(shipping.logs / name, shipping.lines(0, after))
    log.unlink()
    log.write_bytes(shipping.lines(after, 3))
    shipping.ship()
    shipping.each_once(after + 3)


@pytest.mark.parametrize("kill", [True, False])
@pytest.mark.parametrize("name", ["b.log", "b.log.gz"])
def test_a_file_made_anew_with_the_same_words(shipping: Shipping, name: str, kill: bool) -> None:
    """A file of some words without a time went while no shipper ran, and another one begins with them: no line is lost.

    Of a packed one that is known where nothing was acknowledged; else it is the copy that it looks like.
    """
    log, old = shipping.logs / "a.log", shipping.logs.parent / "kept"
    log.write_bytes(WORDS)
    if kill:
        ship_and_kill(shipping)
    else:
        shipping.ship()
    log.rename(old)  # so that its inode is not used again
    put(shipping.logs / name, WORDS + line(0))
    shipping.ship()
    copy = name.endswith(".gz") and not kill
    assert shipping.cluster.messages() == {"starting": 1 if copy else 2, "line 0": 1}


def test_a_log_made_anew_with_the_same_words_while_it_is_followed(shipping: Shipping) -> None:
    """Deleted, and begun again with the same words at once: both first lines arrive."""
    log = shipping.logs / "a.log"
    log.write_bytes(WORDS)
    shipping.set(poll_seconds=0.05)
    service, thread = started(shipping)
    try:
        until(lambda: shipping.cluster.messages()["starting"] == 1, "the first one arrives")
        log.unlink()
        log.write_bytes(WORDS + line(0))
        until(lambda: shipping.cluster.messages()["line 0"] == 1, "the second file arrives")
    finally:
        service.stop()
        thread.join(30)
    assert shipping.cluster.messages() == {"starting": 2, "line 0": 1}


@pytest.mark.parametrize("name", ["0.log", "z.log", "0.log.gz"])
@pytest.mark.parametrize("count", [2, 20])
def test_a_copy_beside_its_original_that_grew(shipping: Shipping, name: str, count: int) -> None:
    """Copied while no shipper ran, then the original grew: it goes on, wherever the copy's name sorts."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, count))
    shipping.ship()
    put(shipping.logs / name, log.read_bytes())
    with log.open("ab") as file:
        file.write(shipping.lines(count, 20))
    service = shipping.ship()
    assert service.tally.counts["acknowledged"] == (20 if count == 20 else 20 + count)
    assert service.tails.counts["inherited"] == 0


def test_a_log_whose_copy_is_packed_and_which_is_cut(shipping: Shipping) -> None:
    """A short log without times is copied and truncated while it is followed: the copy is not sent again."""
    log = shipping.logs / "a.log"
    log.write_bytes(WORDS)
    shipping.set(poll_seconds=0.05)
    service, thread = started(shipping)
    try:
        until(lambda: shipping.cluster.messages()["starting"] == 1, "it arrives")
        shutil.copyfile(log, shipping.logs / "a.log.1")
        log.write_bytes(b"")
        log.write_bytes(line(0))
        until(lambda: shipping.cluster.messages()["line 0"] == 1, "what follows arrives")
    finally:
        service.stop()
        thread.join(30)
    assert shipping.cluster.messages()["line 0"] == 1
