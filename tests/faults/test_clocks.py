"""Clocks that jump: indices come from the lines, waiting from a clock that cannot jump."""

from __future__ import annotations

import time

import pytest

from shipper import tails
from tests.shipper.conftest import Shipping, started, until


@pytest.mark.parametrize("jump", [-90_000.0, 90_000.0, -20 * 365 * 86_400.0])
def test_the_clock_may_jump(shipping: Shipping, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """A day forth, a day or twenty years back: lines arrive, files that go are let go, the checkpoint holds."""
    monkeypatch.setattr(tails, "QUIET_SECONDS", 0.3)
    shipping.set(poll_seconds=0.05)
    service, thread = started(shipping)
    real = time.time
    try:
        (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
        until(lambda: len(shipping.cluster.documents) == 50, "the first lines arrive")
        with monkeypatch.context() as jumped:
            jumped.setattr("time.time", lambda: real() + jump)
            (shipping.logs / "b.log").write_bytes(shipping.lines(50, 50))
            until(lambda: len(shipping.cluster.documents) == 100, "the next ones as well", 60)
            (shipping.logs / "a.log").unlink()
            until(lambda: len(service.tails.tails) == 1, "the file that went is let go", 60)
            assert service.tails.counts["lost_bytes"] == 0
    finally:
        service.stop()
        thread.join(30)
    again = shipping.ship()
    assert again.tally.counts["acknowledged"] + again.tally.counts["already_there"] == 0
    shipping.each_once(100)


def test_a_clock_that_jumps_while_a_copy_may_still_grow(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the rest of a copy ends in time although the clock went back a day."""
    monkeypatch.setattr(tails, "QUIET_SECONDS", 0.5)
    shipping.set(poll_seconds=0.05)
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 60))
    shipping.ship()
    log.unlink()
    # Its first lines under another inode: perhaps a copy under way, perhaps another file.
    (shipping.logs / "keep-the-inode.log").touch()
    (shipping.logs / "b.log").write_bytes(shipping.lines(0, 20) + shipping.lines(60, 1))
    service, thread = started(shipping)
    real = time.time
    try:
        with monkeypatch.context() as jumped:
            jumped.setattr("time.time", lambda: real() - 86_400)
            until(lambda: "line 60" in shipping.cluster.messages(), "it is read as another file", 60)
    finally:
        service.stop()
        thread.join(30)
