"""Wiring and lifecycle: one thread reads and makes batches, a few send them, and acknowledged offsets are kept."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from pathlib import Path

from shipper.batch import Batch
from shipper.checkpoint import Checkpoint
from shipper.deadletter import DeadLetters
from shipper.delivery import Delivery
from shipper.discovery import Watch, find
from shipper.dispatch import Dispatch
from shipper.errors import SettingsError, StateError
from shipper.generation import rewind
from shipper.leaving import Leaving
from shipper.reader import CHUNK, NOTHING, Chunk, open_files, volume_id
from shipper.reload import changes, maker, validated
from shipper.server import Server
from shipper.settings import ShipperSettings
from shipper.tail import Tail
from shipper.tails import Tails
from shipper.tally import Tally
from shipper.target import Target
from shipper.treatments import Treatments
from shipper.unreadable import READ_ERRORS
from shipper.wording import counted

logger = logging.getLogger("shipper.service")

TURN = 2 * 1024 * 1024  # bytes of one file that are read before the next file's turn
HOT_SECONDS = 2.0  # a file that grew so recently is looked at every TICK
TICK = 0.1
SCAN_SHARE = 0.01  # of a core, for looking at folders


class Service:
    """The shipper.

    Args:
        settings: all of them.
        resend: send everything that is on disk again, to a cluster that may be another one.

    Raises:
        SettingsError: a secret cannot be read.
        StateError: the state folder cannot be used.

    Attributes:
        workers, restarts: processes that read and send, and how often one ended and was started again.
        used: by number of a worker, CPU seconds and resident bytes of its process.
    """

    workers: int = 1
    restarts: int = 0

    def __init__(self, settings: ShipperSettings, resend: bool = False) -> None:
        self.settings = settings
        self.used: dict[int, tuple[float, int]] = {}
        self.tally = Tally()
        self.started_at = time.time()
        self.ticked = time.monotonic()
        self.server = Server(settings)
        try:
            self.checkpoint = Checkpoint(settings.state_dir)
        except StateError:
            self.server.close()
            raise
        state = self.checkpoint.state
        if resend:
            state.cluster = ""
            for record in state.records.values():
                rewind(record)
        self.letters = DeadLetters(settings.state_dir, settings.dead_letter_bytes)
        self.tails = Tails(state, settings.volume_id, settings.forget_seconds, open_files())
        self.maker = maker(settings)
        self.target = Target(self.server, settings, state, self.tally, lambda: self.tails.changed.add(""))
        self.give_up = threading.Event()
        self.stopping = threading.Event()
        self.progressed = time.monotonic()
        self.saved_at = time.time()
        self._delivery = Delivery(
            self.server, self.letters, self.tally, self.give_up, settings.batch_bytes, settings.mass_dead_letters,
            prepare=self.target.prepare,
        )  # fmt: skip
        self._wake = threading.Event()
        self.dispatch = Dispatch(self._delivery, self._wake)
        self._batch = Batch()
        self._opened = 0.0
        self._due: dict[int, None] = {}
        self._hot: dict[int, float] = {}
        self._scanned = -1e9
        self._scan_cost = 0.0
        self._bound()
        self._saved = 0.0
        self._watch: Watch | None = None
        self._offered: ShipperSettings | None = None
        self._retired: list[Server] = []
        self._leaving = Leaving(settings.leave_when)
        self._treatments = Treatments()
        self.reloads: Counter[str] = Counter(applied=0, refused=0)

    # -- the life of the process

    def stop(self) -> None:
        """Read to the end, flush, and end; callable from a signal handler."""
        self.stopping.set()
        self._wake.set()

    def offer(self, settings: ShipperSettings) -> None:
        """Use other settings from the next turn on, if they can be used; callable from any thread."""
        self._offered = settings
        self._wake.set()

    def refuse(self, reason: object) -> None:
        """Say that other settings cannot be used, and go on with those in use."""
        self.reloads["refused"] += 1
        logger.error("the settings in use stay: %s", reason)

    def _apply(self, settings: ShipperSettings) -> None:
        """Take on other settings; files under way and batches on their way are kept."""
        try:
            server = validated(self.settings, settings)
        except SettingsError as error:
            self.refuse(error)
            return
        changed = changes(self.settings, settings)
        old, self.settings = self.settings, settings
        self._retired.append(self.server)  # requests may be under way on it
        self.server = server
        self.target.replace(server, settings)
        self._delivery.configure(server, settings.batch_bytes, settings.mass_dead_letters)
        self.letters.limit = settings.dead_letter_bytes
        self.tails.absences.forget_seconds = settings.forget_seconds
        counts, self.maker = self.maker.counts, maker(settings)
        self.maker.counts = counts
        self.dispatch.resize(settings.in_flight)
        self.dispatch.hurry()
        self._bound()
        if settings.leave_when != old.leave_when:
            self._leaving = Leaving(settings.leave_when)
        if self._watch is not None and settings.globs != old.globs:
            self._watch.stop()
            self._watch = Watch(settings.globs, self._wake)
        self._scanned = -1e9
        self.reloads["applied"] += 1
        told = ", ".join(f"SHIPPER_{name.upper()} {was!r} -> {now!r}" for name, (was, now) in changed.items())
        logger.info("settings read again: %s", told or "nothing changed; secrets were read again")

    def _bound(self) -> None:
        """Limit what may be read and not acknowledged, bytes: in all, and of one file."""
        self._budget = (self.settings.in_flight + 1) * self.settings.batch_bytes  # one that is filled meanwhile
        self._per_file = self.settings.in_flight * self.settings.batch_bytes

    def run(self, drain: bool = False, timeout: float = 0.0) -> bool:
        """Ship until stopped, or until all that is there is acknowledged.

        Args:
            drain: end when everything present was acknowledged.
            timeout: seconds after which a drain gives up; 0 for never.

        Returns:
            Whether everything that was read is acknowledged.
        """
        began = time.monotonic()
        logger.info("shipping %s to %s", ", ".join(self.settings.globs), ", ".join(self.settings.urls))
        self._wait_for_volumes()
        self.dispatch.resize(self.settings.in_flight)
        self.dispatch.submit(Batch())  # empty: what it does is to prepare the server
        self._watch = None if drain else Watch(self.settings.globs, self._wake)
        leaving = False
        try:
            while not self.stopping.is_set():
                busy = self._turn()
                quiet = not busy and not self._due and self._idle()
                if not leaving and self._leaving.now():
                    logger.info(
                        "the app is gone (%s): the end comes when all is acknowledged", self.settings.leave_when
                    )
                    leaving = self.tails.ended = True
                    self._scanned = -1e9
                elif (drain or leaving) and quiet and self._seen_all():
                    break
                if timeout and time.monotonic() - began > timeout:
                    break
                idle = self.settings.idle_exit_seconds
                if idle and quiet and time.monotonic() - self.progressed > idle:
                    logger.info("nothing grew for %s s and everything is acknowledged: the end", idle)
                    break
                if not busy:
                    self._wake.wait(self._pause())
            finished = self._finish(0.0 if timeout and time.monotonic() - began > timeout else None)
        finally:
            if self._watch is not None:
                self._watch.stop()
            self._halt()
            self._save()
            for server in (self.server, *self._retired):
                server.close()
            self.tails.close()
            self.checkpoint.close()
        return finished

    def _halt(self) -> None:
        """Let no request be made any more."""
        self.give_up.set()
        self.dispatch.resize(0)

    def _wait_for_volumes(self) -> None:
        """Give the app a moment to leave its `.volume-id`, so that the host name need not stand in."""
        if self.settings.volume_id:
            return
        until = time.monotonic() + self.settings.volume_id_wait
        folders = {Path(glob).parent for glob in self.settings.globs}
        known = self.checkpoint.state.volumes
        while not self.stopping.is_set() and time.monotonic() < until:
            if all(str(folder) in known or volume_id(folder) or "*" in str(folder) for folder in folders):
                return
            self.ticked = time.monotonic()
            self.stopping.wait(TICK)

    def _finish(self, limit: float | None) -> bool:
        """Read to the end and flush, within a limit."""
        until = time.monotonic() + (self.settings.stop_seconds if limit is None else limit)
        self.tails.closing, self._scanned = True, -1e9
        while time.monotonic() < until:
            self._wake.clear()
            busy = self._turn()
            self._flush()
            if not busy and not self._due and self._idle():
                break
            if not busy:
                self._wake.wait(0.02)
        self.give_up.set()
        self._collect()
        left = sum(tail.lag for tail in self.tails.tails.values())
        if not self._idle():
            logger.warning("stopped with %s not acknowledged: sent at the next start", counted(left, "byte"))
        if news := self._treatments.news(self.maker.counts, float("inf")):
            logger.warning("%s", news)
        unread = self.tails.unreadable.troubles
        if unread:
            logger.error("not read, for they cannot be: %s", ", ".join(sorted(unread)))
        return self._idle() and not self._due and not unread

    def _seen_all(self) -> bool:
        """Whether the newest look found nothing that must be read, now or soon."""
        return time.monotonic() - self._scanned < 1 and not self.tails.undecided()

    def _idle(self) -> bool:
        return self.dispatch.idle and not self._batch.segments

    def _pause(self) -> float:
        """Return how long nothing needs to be done, seconds."""
        if self._hot or self._batch.segments or self.dispatch.waiting or self.tails.changed:
            return TICK
        return max(TICK, self.settings.poll_seconds)

    # -- one turn of the reading thread

    def _turn(self) -> bool:
        """Do once all that is due; returns whether anything was read."""
        self.ticked = moment = time.monotonic()
        if self._offered is not None:
            offered, self._offered = self._offered, None
            self._apply(offered)
        self._collect()
        woken = self._wake.is_set()
        self._wake.clear()
        since = moment - self._scanned
        rest = max(TICK, self._scan_cost / SCAN_SHARE)
        if since >= max(rest, self.settings.poll_seconds) or (woken and since >= rest):
            self._scan()
        for number, seen in list(self._hot.items()):
            if moment - seen > HOT_SECONDS:
                del self._hot[number]
            elif number not in self._due:
                self._due[number] = None
        busy = self._fill()
        if self._batch.segments and moment - self._opened >= self.settings.flush_seconds:
            self._flush()
        self.dispatch.release(moment)
        if self.tails.changed and moment - self._saved >= self.settings.checkpoint_seconds:
            self._save()
        return busy

    def _scan(self) -> None:
        began = time.thread_time()
        if self._watch is not None:
            self._watch.refresh()
        now, moment = time.time(), time.monotonic()
        found = find(self.settings.globs, self.settings.exclude)
        for tail in self.tails.look(found, moment, now):
            self._due[tail.number] = None
        self._note_new()
        self.tails.tidy(moment, now, self.settings.delete_acknowledged, lambda path: Path(path).unlink())
        if news := self._treatments.news(self.maker.counts, moment):
            logger.warning("%s", news)
        self._scan_cost = time.thread_time() - began
        self._scanned = time.monotonic()

    def _note_new(self) -> None:
        """Write new generations, and times of lines without one, down before a line is sent: a crash changes none."""
        if self.tails.fresh:
            self._save()

    def _fill(self) -> bool:
        """Read a piece of each file that has something; returns whether anything was read."""
        busy = False
        now = time.time()
        for number in list(self._due):
            if self.dispatch.held + self._batch.size >= self._budget:
                break
            tail = self.tails.tails.get(number)
            if tail is None:
                del self._due[number]
                continue
            if tail.unsettled >= self._per_file:
                continue
            moment = time.monotonic()
            del self._due[number]
            until = tail.read + TURN
            while (chunk := self._read(tail, moment)).lines:
                self._add(tail, chunk, now)
                if tail.read >= until or self.dispatch.held + self._batch.size >= self._budget:
                    break
            if tail.read > until - TURN:
                self._due[number] = None  # behind the others
                self._hot[number] = moment
                busy = True
        return busy

    def _read(self, tail: Tail, moment: float) -> Chunk:
        """Return a tail's next lines; none, and a trouble that is shown, where it cannot be read."""
        look = (tail.size, tail.modified)
        if self.tails.unreadable.rests(tail.path, look, moment):
            return NOTHING
        try:
            chunk = self.tails.refill(tail, CHUNK, moment)
        except READ_ERRORS as error:
            self.tails.failed(tail, error, look, moment)
            return NOTHING
        self.tails.unreadable.cleared(tail.path)
        return chunk

    def _add(self, tail: Tail, chunk: Chunk, now: float) -> None:
        settings = self.settings
        place, total = 0, len(chunk.lines)
        while place < total:
            batch = self._batch
            if not batch.segments:
                self._opened = time.monotonic()
            part = chunk.lines[place : place + settings.batch_lines - len(batch)]
            data = chunk.data if len(part) == total else b"\n".join(part)
            place += len(part)
            segment = batch.begin(tail.number, tail.path, tail.read)
            segment.stamp = tail.stamp
            record = tail.record
            self.maker.add(part, data, batch, segment, record.generation, tail.seed, tail.fallback, now)
            self.tails.took(tail, segment, part, chunk.ended or place < total)
            if not tail.behind_since:
                tail.behind_since = time.monotonic()
            if len(batch) >= settings.batch_lines or batch.size >= settings.batch_bytes:
                self._flush()

    def _flush(self) -> None:
        if self._batch.segments:
            self._note_new()
            self.dispatch.submit(self._batch)
            self._batch = Batch()

    def _collect(self) -> None:
        """Move on what is settled."""
        moment = time.monotonic()
        for segment in self.dispatch.collect():
            if self.tails.settle(segment, moment):
                self.progressed = moment
                tail = self.tails.tails[segment.owner]
                tail.behind_since = moment if tail.unsettled else 0.0

    def _save(self) -> None:
        changed, self.tails.changed = self.tails.changed, set()
        self.tails.fresh, self._saved = False, time.monotonic()
        try:
            if "" in changed:
                self.checkpoint.compact()
            elif changed:
                self.checkpoint.save(changed)
            self.saved_at = time.time()
        except OSError as error:
            self.tails.changed |= changed
            self.tally.trouble("checkpoint", f"{self.settings.state_dir}: the checkpoint cannot be written: {error}")
            self.tally.stuck["checkpoint"] = str(error)
        else:
            self.tally.stuck.pop("checkpoint", None)
