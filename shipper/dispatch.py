"""Batches on their way: handed to the sending threads, taken back, and held while what is left of them must wait."""

from __future__ import annotations

import heapq
import logging
import queue
import random
import threading
import time
from collections.abc import Iterator, Sequence

from shipper.batch import Batch, Segment
from shipper.delivery import Delivery, Outcome, pause
from shipper.errors import Stopped

logger = logging.getLogger("shipper.dispatch")


class Job:
    """A batch on its way.

    Attributes:
        batch: the records.
        pending: numbers of the records not settled.
        open: the segments not settled.
        attempt: how often it was sent.
    """

    __slots__ = ("attempt", "batch", "open", "pending")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.pending: Sequence[int] = range(len(batch))
        self.open = list(batch.segments)
        self.attempt = 0


class Dispatch:
    """Sends batches by threads of its own; everything but the sending is called from the reading thread.

    Args:
        delivery: settles a batch.
        wake: set when a thread is done with one.

    Attributes:
        held: bytes of all batches that are not settled.
    """

    def __init__(self, delivery: Delivery, wake: threading.Event) -> None:
        self.held = 0
        self._delivery = delivery
        self._wake = wake
        self._ready: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Job, Outcome | None]] = queue.SimpleQueue()
        self._delayed: list[tuple[float, int, Job]] = []
        self._under_way = 0
        self._threads = 0
        self._numbers = 0
        self._chance = random.Random()  # noqa: S311 - spreads retries, no secret

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._under_way and not self._delayed

    @property
    def waiting(self) -> bool:
        """Whether something waits for its next attempt."""
        return bool(self._delayed)

    def resize(self, threads: int) -> None:
        """Have so many sending threads; those too many end after what they are sending."""
        for _ in range(threads - self._threads):
            self._numbers += 1
            threading.Thread(target=self._work, name=f"deliver-{self._numbers}", daemon=True).start()
        for _ in range(self._threads - threads):
            self._ready.put(None)
        self._threads = threads

    def submit(self, batch: Batch) -> None:
        """Hand a batch over."""
        self.held += batch.size
        self._under_way += 1
        self._ready.put(Job(batch))

    def release(self, moment: float) -> None:
        """Send again what waited long enough.

        Args:
            moment: of the monotonic clock, seconds.
        """
        while self._delayed and self._delayed[0][0] <= moment:
            self._ready.put(heapq.heappop(self._delayed)[2])
            self._under_way += 1

    def hurry(self) -> None:
        """Let what waits be sent again at once, for what it waited for may have changed."""
        self.release(float("inf"))

    def collect(self) -> Iterator[Segment]:
        """Take back what the threads did; yields the segments of which every record is settled."""
        while True:
            try:
                job, outcome = self._done.get_nowait()
            except queue.Empty:
                return
            self._under_way -= 1
            if outcome is None:
                continue  # given up: it stays unacknowledged
            job.pending = outcome.pending
            waiting = {id(job.batch.segment_of(number)) for number in outcome.pending}
            yield from (segment for segment in job.open if id(segment) not in waiting)
            job.open = [segment for segment in job.open if id(segment) in waiting]
            if job.pending:
                job.attempt += 1
                due = time.monotonic() + pause(job.attempt, self._chance)
                heapq.heappush(self._delayed, (due, id(job), job))
            else:
                self.held -= job.batch.size

    def _work(self) -> None:
        while (job := self._ready.get()) is not None:
            try:
                outcome: Outcome | None = self._delivery.settle(job.batch, job.pending)
                self._delivery.tally.stuck.pop("shipper", None)
            except Stopped:
                outcome = None
            except Exception as error:  # a fault of ours must not end the thread silently
                logger.exception("a batch failed; it is tried again")
                self._delivery.tally.stuck["shipper"] = repr(error)
                outcome = Outcome(list(job.pending), {})
            self._done.put((job, outcome))
            self._wake.set()
