"""One of several sending processes: reads the stretches it is told to, makes batches, sends them, and reports."""

from __future__ import annotations

import logging
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path

from shipper.batch import Batch
from shipper.checkpoint import State
from shipper.deadletter import DeadLetters
from shipper.delivery import Delivery
from shipper.dispatch import Dispatch
from shipper.errors import SettingsError
from shipper.generation import digest
from shipper.memory import keep_freed, keep_imported
from shipper.own_log import log_to_stderr
from shipper.reader import CHUNK, Reader, Source, unpacking
from shipper.reload import maker
from shipper.server import Server
from shipper.settings import ShipperSettings
from shipper.tally import Tally
from shipper.target import Target
from shipper.unreadable import READ_ERRORS
from shipper.wire import NUMBERS_TOGETHER, PARTS_TOGETHER, TEXT, Flush, Job, Part, Report, Tune, orders, send

logger = logging.getLogger("shipper.worker")

BEAT = 5.0  # seconds between two reports where there is nothing to say
PACKED_KEPT = 4


class Handed(Source):
    """The bytes of a file that another process opened.

    Args:
        handle: of the file; it belongs to this object from now on.
        packed: bytes of a `.gz` when it is unpacked, -1 for a plain file.
    """

    def __init__(self, handle: int, packed: int) -> None:
        self.packed = packed >= 0
        self.unpacked = packed
        self._handle = handle
        self._stream = None
        if self.packed:
            os.lseek(handle, 0, os.SEEK_SET)
            self._stream = unpacking(os.dup(handle), handle)


class Worker:
    """Does jobs until the other side is gone.

    Args:
        end: of the way to the reading process.
        tune: the first settings.
        gone: called at once, by another thread, when the reading process is gone.
    """

    def __init__(self, end: socket.socket, tune: Tune, gone: Callable[[], None]) -> None:
        self._end = end
        self._gone = gone
        settings = self._settings = tune.settings
        self._tally = Tally()
        self._server = Server(settings)
        self._retired: list[Server] = []
        self._maker = maker(settings)
        self._state = State(cluster=tune.cluster)
        self._target = Target(self._server, settings, self._state, self._tally, lambda: None)
        self._letters = DeadLetters(settings.state_dir, settings.dead_letter_bytes)
        self._give_up = threading.Event()
        self._delivery = Delivery(
            self._server, self._letters, self._tally, self._give_up, settings.batch_bytes, settings.mass_dead_letters,
            prepare=self._target.prepare,
        )  # fmt: skip
        self._wake = threading.Event()
        self._dispatch = Dispatch(self._delivery, self._wake)
        self._dispatch.resize(settings.in_flight)
        self._batch = Batch()
        self._opened = 0.0
        self._parts = 0
        self._packed: OrderedDict[int, Source] = OrderedDict()
        self._orders: queue.SimpleQueue[tuple[Job | Tune | Flush, int] | None] = queue.SimpleQueue()
        self._told: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
        self._said = Report()
        self._spoke = 0.0

    def serve(self) -> None:
        """Do what is ordered until the other side is gone."""
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        try:
            while self._turn():
                pass
        except OSError as error:
            if not self._give_up.is_set():
                logger.info("the reading process is gone (%s)", error)
        finally:
            self._give_up.set()
            self._dispatch.resize(0)
            for source in self._packed.values():
                source.close()
            for server in (self._server, *self._retired):
                server.close()

    def _listen(self) -> None:
        while (order := orders(self._end)) is not None:
            self._orders.put(order)
            self._wake.set()
        self._give_up.set()
        self._orders.put(None)
        self._wake.set()
        self._gone()

    def _turn(self) -> bool:
        """Do one order, and all that is due; returns False at the end."""
        order = None
        try:
            order = self._orders.get_nowait()
            if order is None:
                return False
        except queue.Empty:
            self._wake.wait(0.05 if self._batch.segments or self._dispatch.waiting else BEAT)
            self._wake.clear()
        if order is not None:
            self._obey(*order)
        settled = [segment.owner for segment in self._dispatch.collect()]
        moment = time.monotonic()
        if self._batch.segments and moment - self._opened >= self._settings.flush_seconds:
            self._flush()
        self._dispatch.release(moment)
        for place in range(0, len(settled), NUMBERS_TOGETHER):
            self._report(Report(settled=settled[place : place + NUMBERS_TOGETHER]))
        if not settled:
            self._speak(moment)
        return True

    def _obey(self, order: Job | Tune | Flush, handle: int) -> None:
        if isinstance(order, Job):
            self._do(order, handle)
        elif isinstance(order, Flush):
            self._flush()
        else:
            self._state.cluster = order.cluster
            self._tally.reachable = None  # so that cluster and templates are looked at before the next write
            if order.settings != self._settings or order.again:
                self._apply(order.settings)

    def _apply(self, settings: ShipperSettings) -> None:
        """Take on other settings, which the reading process found to be usable."""
        try:
            server = Server(settings)
        except SettingsError as error:
            logger.warning("the settings in use stay: %s", error)
            return
        self._retired.append(self._server)  # requests may be under way on it
        self._server, self._settings = server, settings
        self._target.replace(server, settings)
        self._delivery.configure(server, settings.batch_bytes, settings.mass_dead_letters)
        self._letters.limit = settings.dead_letter_bytes
        counts, self._maker = self._maker.counts, maker(settings)
        self._maker.counts = counts
        self._dispatch.resize(settings.in_flight)
        self._dispatch.hurry()

    # -- reading

    def _source(self, job: Job, handle: int) -> Source:
        """Return the file of a job; packed ones stay open, for each opening unpacks them from the beginning."""
        if job.packed < 0:
            return Handed(handle, job.packed)
        kept = self._packed.pop(job.source, None)
        if kept is not None and os.path.sameopenfile(kept.fileno(), handle):
            os.close(handle)
        else:
            if kept is not None:
                kept.close()
            kept = Handed(handle, job.packed)
        self._packed[job.source] = kept
        if len(self._packed) > PACKED_KEPT:
            self._packed.popitem(last=False)[1].close()
        return kept

    def _do(self, job: Job, handle: int) -> None:
        """Read a stretch into batches, and say what was read before it is sent."""
        parts: list[Part] = []
        error = None
        source = None
        try:
            source = self._source(job, handle)
            self._read(job, source, parts)
        except READ_ERRORS as failed:
            error = failed.strerror or str(failed) if isinstance(failed, OSError) else str(failed)
        finally:
            if source is None:
                os.close(handle)
            elif not source.packed:
                source.close()
        while len(parts) > PARTS_TOGETHER:
            self._report(Report(job=job.number, parts=parts[:PARTS_TOGETHER]))
            del parts[:PARTS_TOGETHER]
        self._report(Report(job=job.number, parts=parts, done=True, error=error))

    def _read(self, job: Job, source: Source, parts: list[Part]) -> None:
        reader = Reader(source, job.offset)
        reader.before = job.before
        length, signature = job.begins
        if not job.offset and length and digest(source.head()[:length]) != signature:
            return
        if source.size() < job.offset or not reader.unchanged():
            return  # replaced since the job was given: the reading process looks again
        stamp, now = job.stamp, time.time()
        while reader.offset - job.offset < job.limit:
            chunk = reader.read(CHUNK, job.whole)
            if not chunk.lines:
                return
            place, total = 0, len(chunk.lines)
            while place < total:
                batch = self._batch
                if not batch.segments:
                    self._opened = time.monotonic()
                lines = chunk.lines[place : place + self._settings.batch_lines - len(batch)]
                data = chunk.data if len(lines) == total else b"\n".join(lines)
                place += len(lines)
                self._parts += 1
                segment = batch.begin(self._parts, job.path, reader.offset)
                segment.stamp = stamp
                self._maker.add(lines, data, batch, segment, job.generation, job.seed, job.fallback, now)
                stamp = segment.stamp
                ended = chunk.ended or place < total
                segment.end -= not ended
                reader.advance(lines, ended, segment.end)
                parts.append(Part(self._parts, reader.offset, reader.before, stamp, not ended))
                if len(batch) >= self._settings.batch_lines or batch.size >= self._settings.batch_bytes:
                    self._flush()

    def _flush(self) -> None:
        if self._batch.segments:
            self._dispatch.submit(self._batch)
            self._batch = Batch()

    # -- reporting

    def _speak(self, moment: float) -> None:
        """Report what changed although nothing was settled, and that this process lives."""
        said, tally = self._said, self._tally
        if (
            moment - self._spoke > BEAT
            or said.stuck != _short(tally.stuck)
            or said.reachable != tally.reachable
            or said.last_error != tally.last_error
        ):
            self._report(Report())

    def _report(self, report: Report) -> None:
        tally = self._tally
        report.held = self._dispatch.held + self._batch.size
        now = (Counter(tally.counts), Counter(tally.errors), Counter(self._maker.counts))
        report.counts, report.errors, report.treatments = (
            dict(new - old) for new, old in zip(now, self._told, strict=True)
        )
        self._told = now
        report.stuck = _short(tally.stuck)
        report.reachable = tally.reachable
        report.last_acknowledged = tally.last_acknowledged
        report.last_error = tally.last_error
        report.cpu, report.resident = time.process_time(), _resident()
        self._said = report
        self._spoke = time.monotonic()
        send(self._end, report)


def _short(stuck: dict[str, str]) -> dict[str, str]:
    return {key: text[:TEXT] for key, text in list(stuck.items())[:20]}


def _resident() -> int:
    """Return the bytes of memory that this process holds (proc_pid_statm(5)); 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def work(end: socket.socket, gone: Callable[[], None]) -> None:
    """Serve as a worker at one end of a way, until the other end is closed."""
    first = orders(end)
    if first is not None and isinstance(first[0], Tune):
        Worker(end, first[0], gone).serve()
    end.close()


def main() -> None:
    """Serve as a worker process; its socket and its number are its arguments."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the reading process says when, also where the whole group is told
    log_to_stderr(worker=int(sys.argv[2]))
    keep_freed()
    keep_imported()
    work(socket.socket(fileno=int(sys.argv[1])), lambda: os._exit(0))


if __name__ == "__main__":
    main()
