"""Identity under strain: files that are cut, rewound, replaced in place, copied half, or gone while nobody looked."""

from __future__ import annotations

import gzip
import os

import pytest

from shipper import absence, tails
from shipper.generation import SIGNATURE_BYTES
from shipper.service import Service
from tests.shipper.conftest import Shipping, line, started, until


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(tails, "PARTING_SECONDS", 0.6)


def test_a_power_cut_that_was_written_over_is_no_truncation(shipping: Shipping) -> None:
    """The tail was lost and the writer went on beyond the old offset before the shipper started: nothing doubles."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 60))
    shipping.ship()
    os.truncate(log, len(shipping.lines(0, 50)))
    with log.open("ab") as file:
        file.write(shipping.lines(60, 40))
    service = shipping.ship()
    assert service.tails.counts["rewound"] == 1
    shipping.each_once(100)


def test_a_power_cut_that_left_nuls_is_no_truncation(shipping: Shipping) -> None:
    """The size survived and the data did not: NULs stand where lines were; what is whole is met by its id."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 60))
    shipping.ship()
    whole, size = len(shipping.lines(0, 50)), log.stat().st_size
    os.truncate(log, whole)
    os.truncate(log, size)
    with log.open("ab") as file:
        file.write(shipping.lines(60, 10))
    shipping.ship()
    shipping.each_once(70)


def test_a_stale_writer_leaves_a_hole_of_nuls(shipping: Shipping, running: Service) -> None:
    """Truncated under a writer that does not append: its next line lies behind NULs, and arrives without them."""
    log = shipping.logs / "a.log"
    with log.open("wb", buffering=0) as writer:
        writer.write(shipping.lines(0, 40))
        shipping.arrived(40)
        os.truncate(log, 0)
        writer.write(shipping.lines(40, 10))
    shipping.arrived(50)
    shipping.each_once(50)
    assert running.maker.counts["nul"] == 1


def test_what_went_unread_while_stopped_is_counted(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with bytes that were seen and not acknowledged is deleted while no shipper runs: counted and said."""
    monkeypatch.setattr(absence, "PARTING_SECONDS", 0.1)
    log = shipping.logs / "a.log"
    unfinished = b'{"message":"never ended'
    log.write_bytes(shipping.lines(0, 10) + unfinished)
    shipping.ship()
    log.unlink()
    shipping.set(poll_seconds=0.05)
    service, thread = started(shipping)
    try:
        until(lambda: service.tails.counts["lost_bytes"] == len(unfinished), "the loss is counted")
    finally:
        service.stop()
        thread.join(30)
    assert shipping.ship().tails.counts["lost_bytes"] == 0  # once


def test_a_gap_in_our_numbers_across_a_restart_is_counted(shipping: Shipping) -> None:
    """Files of the app's that came and went while no shipper ran are missed all the same."""
    start = "app-20261124T100000Z-79"
    (shipping.logs / f"{start}-000001.jsonl").write_bytes(shipping.lines(0, 10))
    shipping.ship()
    (shipping.logs / f"{start}-000003.jsonl").write_bytes(shipping.lines(10, 10))
    assert shipping.ship().tails.counts["lost_files"] == 1


def test_a_drain_waits_until_it_knows_what_a_short_copy_is(shipping: Shipping) -> None:
    """A file that begins like one that is gone, and is shorter, may be a copy under way; a drain does not skip it."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 60))
    shipping.ship()
    log.rename(shipping.logs / "out-of-sight")
    (shipping.logs / "b.log").write_bytes(shipping.lines(0, 20) + shipping.lines(60, 5))
    shipping.ship()
    found = shipping.cluster.messages()
    assert all(found[f"line {number}"] for number in range(65))


@pytest.mark.parametrize("step", [1, 7, 128])
def test_the_signature_grows_with_the_file(shipping: Shipping, step: int) -> None:
    """From one line to beyond a kibibyte, a restart at each step: the file stays itself."""
    data, log = shipping.lines(0, 30), shipping.logs / "a.log"
    assert len(data) > 2 * SIGNATURE_BYTES
    places = range(80, len(data), step * 37)
    for place in places:
        log.write_bytes(data[:place])
        shipping.ship()
    log.write_bytes(data)
    service = shipping.ship()
    assert service.tally.counts["already_there"] == 0
    assert len(service.checkpoint.state.records) == 1
    shipping.each_once(30)


@pytest.mark.parametrize("after", [5, 10, 25])
def test_a_reused_inode_with_any_size_is_a_new_file(shipping: Shipping, after: int) -> None:
    """Written anew in place, so that the inode is surely the same, to less, the same and more bytes than before."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(10, 10))
    shipping.ship()
    inode = log.stat().st_ino
    log.write_bytes(shipping.lines(20, after))
    assert log.stat().st_ino == inode
    shipping.ship()
    assert shipping.cluster.messages() == {f"line {number}": 1 for number in range(10, 20 + after)}


def test_many_quick_rotations(shipping: Shipping, running: Service) -> None:
    """Eighty rotations of one path without a pause: each generation is read, whatever its name is by then."""
    log = shipping.logs / "a.log"
    for turn in range(80):
        log.write_bytes(shipping.lines(turn * 5, 5))
        log.rename(shipping.logs / f"a.log.{turn}")
    shipping.arrived(400)
    shipping.each_once(400)


def test_two_rotations_packed_with_a_restart_between(shipping: Shipping) -> None:
    """a.log.1 half read, packed; a.log rotated and packed in turn, half of it unread: the rest of both arrives."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 30))
    shipping.ship()
    (shipping.logs / "a.log.1.gz").write_bytes(gzip.compress(shipping.lines(0, 50)))
    log.unlink()
    log.write_bytes(shipping.lines(50, 20))
    shipping.ship()
    shipping.each_once(70)
    (shipping.logs / "a.log.1.gz").rename(shipping.logs / "a.log.2.gz")
    (shipping.logs / "a.log.1.gz").write_bytes(gzip.compress(shipping.lines(50, 40)))
    log.unlink()
    shipping.ship()
    shipping.each_once(90)


def test_a_damaged_gz_is_said_and_does_not_end_the_shipper(shipping: Shipping, running: Service) -> None:
    """It is tried again after pauses that grow; the other files go on; made whole, it is read."""
    packed = gzip.compress(os.urandom(40) * 200 + shipping.lines(0, 10))
    broken = bytearray(packed)
    broken[30:40] = b"\xff" * 10
    (shipping.logs / "a.log.gz").write_bytes(broken)
    (shipping.logs / "b.log").write_bytes(shipping.lines(10, 10))
    shipping.arrived(10)
    troubles = running.tails.unreadable.troubles
    until(lambda: any("a.log.gz" in path and trouble.pause > 1 for path, trouble in troubles.items()), "it is said")
    (shipping.logs / "a.log.gz").write_bytes(gzip.compress(shipping.lines(0, 10)))
    shipping.arrived(20)
    shipping.each_once(20)
    assert not troubles


def test_oldest_first_within_a_file(shipping: Shipping) -> None:
    """With one request at a time lines arrive in the order in which they were written."""
    shipping.set(in_flight=1, batch_lines=10)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 200))
    shipping.ship()
    assert [document["message"] for document in shipping.cluster.documents.values()] == [
        f"line {number}" for number in range(200)
    ]


def test_a_file_long_untouched_is_read_on_when_it_grows(shipping: Shipping, running: Service) -> None:
    """A file of last week is no reason to look away: touched again, it is read on."""
    log = shipping.logs / "a.log"
    log.write_bytes(line(0))
    os.utime(log, (1_700_000_000, 1_700_000_000))
    shipping.arrived(1)
    with log.open("ab") as file:
        file.write(line(1))
    os.utime(log, (1_700_000_001, 1_700_000_001))
    shipping.arrived(2)
    shipping.each_once(2)


def test_replaced_between_the_first_look_and_the_first_read(shipping: Shipping) -> None:
    """Nothing of a file was read when other, longer content came in its place: that is another generation."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(1000, 20))
    service = shipping.service()
    service._scan()
    os.truncate(log, 0)
    log.write_bytes(shipping.lines(0, 40))
    assert service.run(drain=True, timeout=60)
    shipping.each_once(40)
    assert service.tails.counts["truncated"] == 1
    shipping.ship()
    shipping.each_once(40)
    assert shipping.cluster.refused == 0
