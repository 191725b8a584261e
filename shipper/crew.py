"""The worker processes as the reading process sees them: started, given jobs, listened to, and started again."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import site
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from shipper.batch import Segment
from shipper.wire import Flush, Job, Report, Tune, pair, reports, root, send

logger = logging.getLogger("shipper.crew")

JOBS = 32  # that one worker may have at a time; so many fit into the socket, and a send does not block
SEND_SECONDS = 5.0
SILENCE = 60.0  # seconds without a word from a worker: it hangs
LONGEST_PAUSE = 10.0  # between two starts of a worker that ends again and again
STEADY = 30.0  # seconds of life after which an end is the first one again


class Process(Protocol):
    """What is needed of a worker's process; `subprocess.Popen` has it."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""


Launch = Callable[[socket.socket, int], Process]


def launch(end: socket.socket, number: int) -> Process:
    """Start a worker process at one end of a way."""
    here = "" if root() in site.getsitepackages() else root()
    path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH", "")) if part)
    with end:
        return subprocess.Popen(
            [sys.executable, "-m", "shipper.worker", str(end.fileno()), str(number)],
            pass_fds=[end.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )


class Stretch(Segment):
    """A stretch that a worker has, and what is needed to give it to another one.

    Attributes:
        hand: the worker that has it.
        ahead: the bytes in front of it.
        earlier: the stamp that was valid there.
    """

    __slots__ = ("ahead", "earlier", "hand")

    def __init__(self, owner: int, path: str, start: int, hand: Hand, ahead: bytes, earlier: str) -> None:
        super().__init__(owner, path, start)
        self.hand = hand
        self.ahead = ahead
        self.earlier = earlier


class Hand:
    """One worker.

    Attributes:
        number: from 1.
        pid: of its process.
        jobs: under way: number of the tail and bytes expected, by number of the job.
        parts: what it has read and not settled, by its own number of it.
        held: bytes of its batches.
        last: its newest report.
        silent: seconds since it said something, of which this process was not asleep itself.
        born: moment of its start.
        flushed: nothing was given to it since it was told to flush.
        ended: it was told to end, and gets nothing any more.
    """

    def __init__(self, number: int, start: Launch, heard: Callable[[Hand, Report | None], None]) -> None:
        self.number = number
        self.jobs: dict[int, tuple[int, int]] = {}
        self.parts: dict[int, Stretch] = {}
        self.held = 0
        self.last = Report()
        self.silent = 0.0
        self.born = time.monotonic()
        self.flushed = True
        self.ended = False
        self._end, theirs = pair()
        try:
            self._end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SEND_SECONDS), 0))
            self.process = start(theirs, number)
        except OSError:
            self._end.close()
            raise
        self._heard = heard
        self._listener = threading.Thread(target=self._listen, name=f"worker-{number}", daemon=True)
        self._listener.start()

    @property
    def coming(self) -> int:
        """Bytes that it was given and has not reported."""
        return sum(size for _, size in self.jobs.values())

    def _listen(self) -> None:
        while (report := reports(self._end)) is not None:
            self._heard(self, report)
        self._heard(self, None)

    def tell(self, message: Job | Tune | Flush, handle: int | None = None) -> bool:
        """Send an order; returns False where it cannot be reached, which ends it."""
        try:
            send(self._end, message, handle)
        except OSError as error:
            logger.warning("worker %d (process %d) takes no orders (%s)", self.number, self.process.pid, error)
            self.end()
            return False
        return True

    def end(self) -> None:
        """Let it end at once, by the end of its way; kill it where it does not."""
        self.ended = True
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def bury(self) -> int:
        """Wait until it has ended; return its exit code."""
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
        code = self.process.wait()
        self._listener.join()
        self._end.close()
        return code


class Crew:
    """All workers.

    Args:
        count: of them.
        tune: returns the settings that a new one begins with.
        wake: set when one of them said something.
        start: makes the process of a worker.

    Attributes:
        restarts: how many were started again.
        hands: those that live.
    """

    def __init__(self, count: int, tune: Callable[[], Tune], wake: threading.Event, start: Launch = launch) -> None:
        self.restarts = 0
        self.hands: list[Hand] = []
        self._tune = tune
        self._wake = wake
        self._start = start
        self._heard: queue.SimpleQueue[tuple[Hand, Report | None]] = queue.SimpleQueue()
        self._due = dict.fromkeys(range(1, count + 1), 0.0)  # moment of the start, by number of those that do not live
        self._failures = dict.fromkeys(range(1, count + 1), 0)
        self._turn = 0
        self._looked = time.monotonic()

    def _hear(self, hand: Hand, report: Report | None) -> None:
        self._heard.put((hand, report))
        self._wake.set()

    def fill(self, moment: float) -> str | None:
        """Start the workers that are missing, unless they ended too often; return what hinders it."""
        trouble = None
        for number, due in list(self._due.items()):
            if moment < due:
                continue
            try:
                hand = Hand(number, self._start, self._hear)
            except OSError as error:
                self._put_off(number, moment)
                trouble = f"worker {number} cannot be started: {error}"
                continue
            del self._due[number]
            if hand.tell(self._tune()):
                self.hands.append(hand)
        ending = sorted(
            number
            for number, failures in self._failures.items()
            if failures >= 3 and not any(hand.number == number and moment - hand.born > STEADY for hand in self.hands)
        )
        if ending and trouble is None:
            trouble = f"worker {ending[0]} ended {self._failures[ending[0]]} times soon after its start; see the log"
        return trouble

    def _put_off(self, number: int, moment: float) -> None:
        failures = self._failures[number]
        self._failures[number] = failures + 1
        self._due[number] = moment + (min(LONGEST_PAUSE, 0.1 * 2**failures) if failures else 0.0)

    def heard(self, moment: float) -> Iterator[tuple[Hand, Report | None]]:
        """Return what the workers said; None from one that is gone, which is then started again."""
        asleep = moment - self._looked
        self._looked = moment
        for hand in self.hands:
            hand.silent += min(asleep, 1.0)
            if hand.silent > SILENCE:
                logger.error("worker %d (process %d) says nothing: it is killed", hand.number, hand.process.pid)
                hand.process.kill()
                hand.silent = 0.0
        while True:
            try:
                hand, report = self._heard.get_nowait()
            except queue.Empty:
                return
            hand.silent = 0.0
            if report is None:
                self._lost(hand, moment)
            else:
                hand.last = report
                hand.held = report.held
            yield hand, report

    def _lost(self, hand: Hand, moment: float) -> None:
        code = hand.bury()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
        logger.error(
            "worker %d (process %d) ended %s; what it had is read again, and met by its id", hand.number,
            hand.process.pid, how,
        )  # fmt: skip
        if hand in self.hands:
            self.hands.remove(hand)
        self.restarts += 1
        if moment - hand.born > STEADY:
            self._failures[hand.number] = 0
        self._put_off(hand.number, moment)

    def choose(self, source: int, packed: bool, budget: int) -> Hand | None:
        """Return the worker that takes the next job, None where all have enough.

        Args:
            source: number of the file.
            packed: it stays with one worker, which keeps it open.
            budget: bytes that one worker may hold.
        """
        hands = [hand for hand in self.hands if not hand.ended]
        count = len(hands)
        if not count:
            return None
        if packed:
            order = [hands[source % count]]
        else:
            self._turn += 1
            order = [hands[(self._turn + place) % count] for place in range(count)]
        free = [hand for hand in order if len(hand.jobs) < JOBS and hand.held + hand.coming < budget]
        return min(free, key=lambda hand: hand.coming, default=None)

    def tell(self, message: Tune | Flush) -> None:
        """Tell all of them."""
        for hand in self.hands:
            if not hand.ended:
                hand.tell(message)

    def end(self) -> None:
        """End all of them, whatever they are doing."""
        for hand in self.hands:
            hand.end()
        for hand in self.hands:
            hand.bury()
        self.hands.clear()
