"""A server that cannot take it now: waited for, said, and not for ever where the process ends."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from tenacity import wait_fixed

from shipper.delivery import Outcome, pause
from shipper.errors import Stopped, SystemicError, Waiting
from shipper.server import Server
from shipper.tally import Tally
from tests.shipper.conftest import until
from tests.shipper.replies import (
    Replies,
    Room,
    away,
    batch_of,
    statuses,
)  # fmt: skip


def test_a_server_that_is_away_is_waited_for_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`settle` tries again until it is taken; meanwhile `server` is stuck with the reason, afterwards nothing is."""
    stuck: list[dict[str, str]] = []

    def back(ids: list[str]) -> bytes:
        stuck.append(dict(room.tally.stuck))
        return statuses()(ids)

    room = Room(tmp_path, away, away, back)
    with caplog.at_level(logging.WARNING, "shipper.delivery"):
        assert room.delivery.settle(batch_of(2), [0, 1]) == Outcome([], {})
    assert stuck == [{"server": "nobody there"}]
    assert room.tally.stuck == {}
    assert room.tally.counts["retries"] == 2
    assert [record.getMessage() for record in caplog.records] == ["waiting, nothing is lost: nobody there"]
    assert caplog.records[0].levelno == logging.WARNING
    assert room.tally.reachable is True


def test_a_server_that_is_not_as_it_must_be_is_an_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody must act: ERROR, not WARNING; and reachable it is."""
    moments: list[BaseException] = [SystemicError("another cluster"), Waiting("away")]

    def prepare() -> None:
        if moments:
            raise moments.pop(0)

    room = Room(tmp_path, statuses(), prepare=prepare)
    room.tally.reachable = True
    with caplog.at_level(logging.WARNING, "shipper.delivery"):
        room.delivery.settle(batch_of(1), [0])
    levels = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert levels == [
        (logging.ERROR, "waiting, nothing is lost: another cluster"),
        (logging.WARNING, "waiting, nothing is lost: away"),
    ]


def test_only_a_server_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    """SystemicError leaves `reachable` as it was; Waiting says no, from the probe and from a bulk request alike."""

    def raises(error: Waiting) -> Callable[[], None]:
        def prepare() -> None:
            raise error

        return prepare

    for error, reachable in ((SystemicError("x"), True), (Waiting("x"), False)):
        room = Room(tmp_path, statuses(), prepare=raises(error))
        room.tally.reachable = True
        with pytest.raises(Waiting):
            room.one_pass(batch_of(1))
        assert room.tally.reachable is reachable
    room = Room(tmp_path, away)
    with pytest.raises(Waiting):
        room.one_pass(batch_of(1))
    assert room.tally.reachable is False


def test_the_end_of_the_process_ends_the_waiting(tmp_path: Path) -> None:
    """Stopped carries the reason; nothing was settled."""
    room = Room(tmp_path, away)
    room.give_up.set()
    with pytest.raises(Stopped, match="nobody there"):
        room.delivery.settle(batch_of(1), [0])
    assert room.tally.counts["acknowledged"] == 0


def test_the_end_of_the_process_does_not_wait_for_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the pause between two attempts has become."""
    monkeypatch.setattr("shipper.delivery.exponential", lambda **_: wait_fixed(3600))
    room = Room(tmp_path, away)
    ended: list[Stopped] = []

    def settle() -> None:
        try:
            room.delivery.settle(batch_of(1), [0])
        except Stopped as stopped:
            ended.append(stopped)

    sender = threading.Thread(target=settle, daemon=True)
    sender.start()
    until(lambda: room.tally.counts["retries"] == 1, "it pauses")
    room.give_up.set()
    sender.join(60)
    assert ended


def test_a_fault_of_ours_is_no_reason_to_wait(tmp_path: Path) -> None:
    """What is no failure of the server is raised at once, and not tried for ever."""
    room = Room(tmp_path, statuses(), prepare=lambda: dict[str, None]()["a fault"])
    limit = threading.Timer(30.0, room.give_up.set)
    limit.start()
    with pytest.raises(KeyError, match="a fault"):
        room.delivery.settle(batch_of(1), [0])
    limit.cancel()
    assert room.tally.counts["retries"] == 0


def test_another_server_is_tried_at_once(tmp_path: Path) -> None:
    """A changed setting does not wait for the back-off's end, and its limits count."""
    room = Room(tmp_path, away)
    other = Replies(statuses())
    threading.Timer(0.2, lambda: room.delivery.configure(cast("Server", other), 50, mass_allowed=False)).start()
    assert room.delivery.settle(batch_of(3), [0, 1, 2]) == Outcome([], {})
    assert len(other.bodies) > 1


class Watched(threading.Event):
    """An event that tells when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.awaited.set()
        return super().wait(timeout)


def test_each_change_of_the_settings_cuts_the_pause_short(tmp_path: Path) -> None:
    """Not only the first one."""
    room = Room(tmp_path, statuses())
    for _ in range(3):
        room.delivery._give_up = watched = Watched()
        rest = threading.Thread(target=room.delivery._rest, args=(3600.0,), daemon=True)
        rest.start()
        assert watched.awaited.wait(60)
        room.delivery.configure(cast("Server", room.server), 1000, mass_allowed=False)
        rest.join(60)
        assert not rest.is_alive()


def test_what_is_taken_at_once_is_settled_without_a_word(tmp_path: Path) -> None:
    """Nothing was stuck, and nothing is."""
    room = Room(tmp_path, statuses())
    assert room.delivery.settle(batch_of(2), [0, 1]) == Outcome([], {})
    assert room.tally.stuck == {}


def test_the_same_trouble_is_said_twice_a_minute_at_most(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key has its own clock; the newest text is kept in any case."""
    clock = [1000.0]
    monkeypatch.setattr("shipper.delivery.time.monotonic", lambda: clock[0])
    tally = Tally()
    with caplog.at_level(logging.DEBUG, "shipper.delivery"):
        for at, key, text in (
            (0, "a", "first"), (29.9, "a", "second"), (29.9, "b", "other"), (30, "a", "third"), (59, "a", "fourth"),
        ):  # fmt: skip
            clock[0] = 1000.0 + at
            tally.trouble(key, text)
            assert tally.last_error == text
    assert [record.getMessage() for record in caplog.records] == ["first", "other", "third"]
    clock[0] = 0.0  # a machine that has just booted
    with caplog.at_level(logging.DEBUG, "shipper.delivery"):
        Tally().trouble("a", "fresh")
    assert caplog.records[-1].getMessage() == "fresh"


def test_a_fresh_tally_knows_nothing() -> None:
    """No trouble, no server, no acknowledgement."""
    tally = Tally()
    assert (tally.last_acknowledged, tally.last_error, tally.reachable) == (0.0, None, None)
    assert (tally.counts, tally.errors, tally.stuck) == ({}, {}, {})


def test_a_pause_grows_to_half_a_minute_and_has_chance_in_it() -> None:
    """From a tenth of a second; doubled with each try, 30 seconds at most."""

    class Ends(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return a * 1000 + b

    assert [pause(attempt, Ends()) for attempt in (0, 1, 2, 6, 7, 10, 11, 50)] == [
        100.25, 100.5, 101.0, 116.0, 130.0, 130.0, 130.0, 130.0,
    ]  # fmt: skip


def test_pauses_are_drawn_from_a_twentieth_of_a_second_up_to_twice_as_much_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random exponential back-off, 30 seconds at most."""
    room = Room(tmp_path, statuses())
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    monkeypatch.setattr("tenacity.wait.random.uniform", uniform)
    for number in (1, 2, 3, 20):
        room.delivery._retrying.wait(SimpleNamespace(attempt_number=number))  # type: ignore[arg-type]
    assert drawn == [(0.05, 0.25), (0.05, 0.5), (0.05, 1.0), (0.05, 30.0)]


def test_a_rest_takes_its_time_unless_it_is_cut_short(tmp_path: Path) -> None:
    """It ends neither early nor never; the end of the process ends it."""
    room = Room(tmp_path, statuses())
    started = time.monotonic()
    room.delivery._rest(0.3)
    assert time.monotonic() - started >= 0.3
    room.give_up.set()
    room.delivery._rest(3600)
