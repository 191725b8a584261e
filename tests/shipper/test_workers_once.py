"""What exists once, however many workers there are: the cluster's name, the room for dead letters, the end."""

from __future__ import annotations

import os
import time

import pytest

from shipper import tails
from shipper.deadletter import read
from shipper.inspection import inspect
from shipper.monitoring import reasons
from tests.shipper import cluster as faults
from tests.shipper.conftest import Shipping, line, started, until
from tests.shipper.test_commands import command
from tests.shipper.test_rotation import append


def test_another_cluster_gets_nothing_from_any_worker(shipping: Shipping) -> None:
    """Replaced while they run: after the first failure each worker looks, and all wait loudly."""
    shipping.set(workers=2, poll_seconds=0.05)
    service, thread = started(shipping)
    try:
        for number in range(8):
            append(shipping.logs / f"{number}.log", line(number))
        until(lambda: len(shipping.cluster.documents) == 8, "the first lines arrive")
        shipping.cluster.uuid = "second-cluster"
        shipping.cluster.odds = {faults.UNAVAILABLE: 1.0}
        for number in range(8):
            append(shipping.logs / f"{number}.log", line(8 + number))
        until(lambda: any("another cluster" in text for text in reasons(service, time.monotonic())), "it is said")
        until(lambda: all("--resend" in str(hand.last.stuck) for hand in service.crew.hands), "by both")  # type: ignore[attr-defined]
        shipping.cluster.odds = {}
        assert len(shipping.cluster.documents) == 8
        shipping.cluster.uuid = "first-cluster"
        until(lambda: len(shipping.cluster.documents) == 16, "it goes on where it belongs")
    finally:
        service.stop()
        thread.join(60)
    shipping.each_once(16)


def test_a_failure_that_one_worker_meets_makes_all_look_again(shipping: Shipping) -> None:
    """One request fails while the cluster is replaced: the other worker sends nothing to the new one either."""
    shipping.set(workers=2, poll_seconds=0.05)
    service, thread = started(shipping)
    try:
        for number in range(8):
            append(shipping.logs / f"{number}.log", line(number))
        until(lambda: len(shipping.cluster.documents) == 8, "the first lines arrive")
        shipping.cluster.uuid = "second-cluster"
        shipping.cluster.faults = [faults.UNAVAILABLE]
        append(shipping.logs / "0.log", line(8))
        until(lambda: any("another cluster" in text for text in reasons(service, time.monotonic())), "it is said")
        for number in range(1, 8):
            append(shipping.logs / f"{number}.log", line(8 + number))
        until(lambda: all("--resend" in str(hand.last.stuck) for hand in service.crew.hands), "by both")  # type: ignore[attr-defined]
        assert len(shipping.cluster.documents) == 8
        shipping.cluster.uuid = "first-cluster"
        until(lambda: len(shipping.cluster.documents) == 16, "it goes on where it belongs")
    finally:
        service.stop()
        thread.join(60)


def test_another_cluster_at_the_start_is_an_alarm_and_an_explicit_resend(shipping: Shipping) -> None:
    """Nothing is handed to a worker; with --resend all that is on disk goes to the new one."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    assert command(shipping, "drain", SHIPPER_WORKERS="2").returncode == 0
    shipping.cluster.documents.clear()
    shipping.cluster.uuid = "second-cluster"
    append(shipping.logs / "a.log", shipping.lines(20, 1))
    refused = command(shipping, "drain", "--timeout", "3", SHIPPER_WORKERS="2")
    assert refused.returncode == 2
    assert "another cluster" in refused.stderr
    assert not shipping.cluster.documents
    assert command(shipping, "drain", "--resend", SHIPPER_WORKERS="2").returncode == 0
    shipping.each_once(21)


def test_dead_letters_have_one_room(shipping: Shipping) -> None:
    """Two workers fill it together; what does not fit waits and is said, and goes on when there is room again."""
    shipping.cluster.judge = lambda _index, _id, document: (
        (400, "document_parsing_exception", "no") if document["message"].startswith("line 1") else None
    )
    shipping.set(workers=2, poll_seconds=0.05, dead_letter_bytes=4096, mass_dead_letters=True, batch_lines=1)
    folder = shipping.settings.state_dir
    for number in range(100, 120):
        append(shipping.logs / f"{number}.log", line(number))
    service, thread = started(shipping)
    try:
        until(lambda: "SHIPPER_DEAD_LETTER_BYTES" in str(reasons(service, time.monotonic())), "it is said")
        files = list(folder.glob("dead-letters-*.jsonl"))
        assert files
        assert sum(path.stat().st_size for path in files) <= 4096
        for path in files:
            path.rename(path.with_suffix(".kept"))
        until(lambda: service.tally.counts["dead_letter"] > 12, "there is room again", 120)
        for path in folder.glob("dead-letters-*.jsonl"):
            path.rename(path.with_suffix(".later"))
        until(lambda: service.tally.counts["dead_letter"] == 20, "all are kept", 120)
    finally:
        service.stop()
        thread.join(60)
    letters = [letter for path in folder.glob("dead-letters-*") for letter in read(path) if path.suffix != ".lock"]
    assert len({letter.id for letter in letters}) == len(letters) == 20


def test_check_names_more_workers_than_cores(shipping: Shipping) -> None:
    """A warning, for they would only wait for each other; as many as there are is nothing to say."""
    cores = len(os.sched_getaffinity(0))
    for workers, warned in ((cores, False), (min(64, cores + 1), cores < 64)):
        shipping.set(workers=workers)
        assert any("SHIPPER_WORKERS" in finding.what for finding in inspect(shipping.settings)) is warned


def test_two_workers_leave_when_the_app_is_gone(shipping: Shipping) -> None:
    """Last lines without a newline go out as they are, and the end is 0."""
    ended = shipping.logs.parent / "ended"
    ended.touch()
    for number in range(5):
        (shipping.logs / f"{number}.log").write_bytes(line(number) + line(5 + number)[:-1])
    done = command(shipping, "run", SHIPPER_WORKERS="2", SHIPPER_LEAVE_WHEN=f"exists:{ended}")
    assert done.returncode == 0, done.stderr
    shipping.each_once(10)


@pytest.mark.parametrize("workers", [2, 3])
def test_a_first_line_sent_without_its_end_and_completed_later(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Its file is the same one after that, also when it is packed: only what is new of it is sent."""
    monkeypatch.setattr(tails, "QUIET_SECONDS", 0.1)
    shipping.set(workers=workers)
    log = shipping.logs / "a.log"
    log.write_bytes(line(0)[:-1])
    ended = shipping.logs.parent / "ended"
    ended.touch()
    shipping.set(leave_when=f"exists:{ended}")
    service = shipping.service()
    assert service.run()
    shipping.each_once(1)
    shipping.set(leave_when="", workers=5 - workers)
    append(log, b"\n" + shipping.lines(1, 30))
    shipping.ship()
    assert {f"line {number}" for number in range(31)} <= set(shipping.cluster.messages())
    assert max(shipping.cluster.messages().values()) == 1
