"""A shipper with several workers: this process knows files and offsets, the others read, make records and send."""

from __future__ import annotations

import logging
import time
from itertools import count

from shipper.crew import Crew, Hand, Launch, Stretch, launch
from shipper.service import TURN, Service
from shipper.settings import ShipperSettings
from shipper.tail import Tail
from shipper.unreadable import READ_ERRORS
from shipper.wire import Flush, Job, Report, Tune

logger = logging.getLogger("shipper.sharing")


class Sharing(Service):
    """The shipper, its reading and sending shared by workers.

    Which file is which, what was read and what is acknowledged is decided in this process alone, exactly as by one
    that has no workers; they know stretches of bytes. So no worker has to be asked about another one's files, and the
    checkpoint does not know how many there are.

    Args:
        settings: all of them.
        resend: see `Service`.
        start: makes the process of a worker.
    """

    def __init__(self, settings: ShipperSettings, resend: bool = False, start: Launch = launch) -> None:
        super().__init__(settings, resend)
        self.crew = Crew(settings.workers, self._tune, self._wake, start)
        self._numbers = count(1)
        self._out: dict[int, int] = {}  # job by tail
        self._shown: set[str] = set()  # keys of `stuck` that are the workers'
        self._named = ""  # the cluster that they know of
        self._missed: set[Hand] = set()  # those whose last request failed

    def _tune(self, again: bool = False) -> Tune:
        return Tune(self.settings, self.target.cluster or "", again)

    def _apply(self, settings: ShipperSettings) -> None:
        before = self.reloads["applied"]
        super()._apply(settings)
        if self.reloads["applied"] > before:
            self.crew.tell(self._tune(again=True))

    def _halt(self) -> None:
        self.crew.end()
        super()._halt()

    def _idle(self) -> bool:
        return super()._idle() and not any(hand.jobs or hand.parts for hand in self.crew.hands) and not self._out

    # -- giving

    def _fill(self) -> bool:
        """Give each file that has something to a worker; their reports wake this thread, so it need not go on."""
        moment = time.monotonic()
        trouble = self.crew.fill(moment)
        if trouble:
            self.tally.trouble("workers", trouble, logging.ERROR)
            self.tally.stuck["workers"] = trouble
        else:
            self.tally.stuck.pop("workers", None)
        self.workers, self.restarts = len(self.crew.hands), self.crew.restarts
        if self.target.cluster is None:
            return False  # what must be there before the first document is not there yet
        if self._named != self.target.cluster:
            self._named = self.target.cluster
            self.crew.tell(self._tune())
        for number in list(self._due):
            tail = self.tails.tails.get(number)
            if tail is None:
                del self._due[number]
                continue
            if number in self._out or tail.unsettled >= self._per_file:
                continue
            packed = tail.reader is not None and tail.reader.source.packed
            hand = self.crew.choose(number, packed, self._budget)
            if hand is None:
                if not packed:
                    break
                continue
            del self._due[number]
            self._give(tail, hand, moment)
        return False

    def _give(self, tail: Tail, hand: Hand, moment: float) -> None:
        look = (tail.size, tail.modified)
        if self.tails.unreadable.rests(tail.path, look, moment):
            return
        try:
            whole = self.tails.has_more(tail, moment)
        except READ_ERRORS as error:
            self.tails.failed(tail, error, look, moment)
            return
        if whole is None:
            return
        self._note_new()
        reader, record, number = tail.handle, tail.record, next(self._numbers)
        job = Job(
            number, tail.number, tail.path, tail.size if reader.source.packed else -1, tail.read, reader.before,
            (record.signature_length, record.signature), TURN, whole, record.generation, tail.seed, tail.stamp,
            tail.fallback,
        )  # fmt: skip
        if hand.tell(job, reader.source.fileno()):
            hand.jobs[number] = (tail.number, min(TURN, tail.size - tail.read))
            hand.flushed = False
            self._out[tail.number] = number
        else:
            self._due[tail.number] = None

    def _flush(self) -> None:
        super()._flush()
        for hand in list(self.crew.hands):
            if not (hand.flushed or hand.jobs or hand.ended):
                hand.flushed = hand.tell(Flush())

    # -- taking

    def _collect(self) -> None:
        super()._collect()
        moment = time.monotonic()
        for hand, report in self.crew.heard(moment):
            if report is None:
                self._lost(hand)
                continue
            if report.job:
                self._read_by(hand, report, moment)
            for number in report.settled:
                stretch = hand.parts.pop(number)
                if self.tails.settle(stretch, moment):
                    self.progressed = moment
                    tail = self.tails.tails[stretch.owner]
                    tail.behind_since = moment if tail.unsettled else 0.0
            self._count(report)
            self.used[hand.number] = report.cpu, report.resident
            self._warn(hand, report)

    def _read_by(self, hand: Hand, report: Report, moment: float) -> None:
        """Take note of what a worker read of a job."""
        owner, _ = hand.jobs[report.job]
        valid = self._out.get(owner) == report.job
        tail = self.tails.tails.get(owner) if valid else None
        for part in report.parts:
            ahead, earlier, start = (tail.handle.before, tail.stamp, tail.read) if tail else (b"", "", 0)
            stretch = Stretch(owner if tail else 0, tail.path if tail else "", start, hand, ahead, earlier)
            stretch.end, stretch.before = part.end, part.before
            stretch.stamp, stretch.unterminated = part.stamp, part.unterminated
            hand.parts[part.number] = stretch
            if tail is None:
                continue  # it was given to another one since: what is sent twice is met by its id
            tail.handle.offset = tail.read = part.end
            tail.handle.before = part.before
            tail.stamp = part.stamp
            tail.segments.append(stretch)
            tail.behind_since = tail.behind_since or moment
        if not report.done:
            return
        del hand.jobs[report.job]
        if not valid:
            return
        del self._out[owner]
        if tail is None:
            return
        if report.error is not None:
            look = (tail.size, tail.modified)
            self.tails.failed(tail, OSError(report.error), look, moment)
            return
        self.tails.unreadable.cleared(tail.path)
        if report.parts:
            self._due[owner] = None  # behind the others
            self._hot[owner] = moment

    def _warn(self, hand: Hand, report: Report) -> None:
        """Let all look again at the cluster when one of them met a failure: it may be another one after that."""
        if report.reachable is False and hand not in self._missed:
            self._missed.add(hand)
            for other in self.crew.hands:
                if other not in self._missed and not other.ended:
                    other.tell(self._tune())
        elif report.reachable:
            self._missed.discard(hand)

    def _lost(self, hand: Hand) -> None:
        """Let all be read again that a worker had and that was not settled."""
        for number, (owner, _) in hand.jobs.items():
            if self._out.get(owner) == number:
                del self._out[owner]
                self._due[owner] = None
        again = {stretch.owner for stretch in hand.parts.values()}
        for owner in again & self.tails.tails.keys():
            tail = self.tails.tails[owner]
            for kept, stretch in enumerate(tail.segments):
                if isinstance(stretch, Stretch) and stretch.hand is hand and not stretch.done:
                    self._rewind(tail, kept, stretch)
                    break
        hand.jobs.clear()
        hand.parts.clear()
        self._missed.discard(hand)
        self.used.pop(hand.number, None)
        self._show()

    def _rewind(self, tail: Tail, kept: int, stretch: Stretch) -> None:
        """Go back to the beginning of a stretch; what other workers have of the file behind it is read again, too."""
        while len(tail.segments) > kept:
            tail.segments.pop()
        tail.read = stretch.start
        tail.stamp = stretch.earlier
        if tail.reader is not None:
            tail.reader.offset = stretch.start
            tail.reader.before = stretch.ahead
        self._out.pop(tail.number, None)
        self._due[tail.number] = None

    def _count(self, report: Report) -> None:
        """Add a worker's counts."""
        tally = self.tally
        tally.add(**report.counts)
        tally.errors.update(report.errors)
        self.maker.counts.update(report.treatments)
        tally.last_acknowledged = max(tally.last_acknowledged, report.last_acknowledged)
        tally.last_error = report.last_error or tally.last_error
        self._show()

    def _show(self) -> None:
        """Show what troubles the workers."""
        tally = self.tally
        newest = [hand.last for hand in self.crew.hands]
        stuck: dict[str, str] = {}
        for each in newest:
            stuck.update(each.stuck)
        for key in self._shown - stuck.keys():
            tally.stuck.pop(key, None)
        tally.stuck.update(stuck)
        self._shown = set(stuck)
        answers = {each.reachable for each in newest} - {None}
        if answers:
            tally.reachable = all(answers)
