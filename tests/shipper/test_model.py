"""Any order of writes, rotations, truncations, deletions, crashes and faults, against a model of what must arrive."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shipper import tails
from shipper.batch import Batch
from shipper.service import Service
from shipper.sharing import Sharing
from tests.shipper import cluster as faults
from tests.shipper.cluster import Cluster
from tests.shipper.conftest import Shipping, line


class Rotations(RuleBasedStateMachine):
    """A log that is written and rotated while shippers come and go; every line is different."""

    workers = 1

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.shipping = Shipping(Path(self.folder.name), Cluster())
        self.shipping.set(workers=self.workers)
        self.log = self.shipping.logs / "a.log"
        self.written = 0
        self.at_risk: set[int] = set()  # were in a file that was cut or deleted before a shipper surely read them
        self.current: set[int] = set()  # are in the file that is written, and perhaps not read
        self.held: set[int] = set()  # are only in a deleted file that a running shipper holds open
        self.service: Service | None = None
        self.partial = b""
        self.rotations = 0

    def teardown(self) -> None:
        """Stop the cluster."""
        self._abandon()
        self.shipping.cluster.close()
        self.folder.cleanup()
        tails.QUIET_SECONDS = self.quiet

    @initialize()
    def begin(self) -> None:
        """Make files quiet at once."""
        self.quiet, tails.QUIET_SECONDS = tails.QUIET_SECONDS, 0.05

    def _abandon(self) -> None:
        """Let a running shipper go as a kill does: nothing more is written down."""
        service, self.service = self.service, None
        if service is not None:
            service._halt()
            service.tails.close()
            service.checkpoint.close()
            service.server.close()
        self.at_risk |= self.held
        self.held.clear()

    @precondition(lambda self: self.service is None)
    @rule()
    def start(self) -> None:
        """Start a shipper that goes on turn by turn, beside all that happens."""
        self.service = self.shipping.service()
        self.service.dispatch.resize(2)
        self.service.dispatch.submit(Batch())

    @precondition(lambda self: self.service is not None)
    @rule(count=st.integers(1, 4))
    def turn(self, count: int) -> None:
        """Let the running shipper look and read."""
        assert self.service is not None
        for _ in range(count):
            self.service._scanned = -1e9
            self.service._turn()
            time.sleep(0.01)

    @precondition(lambda self: self.service is not None)
    @rule()
    def kill(self) -> None:
        """Kill the running shipper, with whatever is in flight."""
        self._abandon()

    @precondition(lambda self: self.service is not None)
    @rule()
    def stop(self) -> None:
        """Let the running shipper read to the end and flush."""
        service = self.service
        assert service is not None
        service.stopping.set()
        assert service._finish(None), service.tally.last_error
        service._save()
        self.held.clear()
        self.current.clear()
        self._abandon()

    @rule(count=st.integers(1, 30))
    def write(self, count: int) -> None:
        """Append whole lines."""
        self._finish_line()
        with self.log.open("ab") as file:
            file.write(self.shipping.lines(self.written, count))
        self.current |= set(range(self.written, self.written + count))
        self.written += count

    @rule(cut=st.integers(1, 60))
    def write_half(self, cut: int) -> None:
        """Append the beginning of a line."""
        self._finish_line()
        whole = line(self.written)
        with self.log.open("ab") as file:
            file.write(whole[:cut])
        self.partial = whole[cut:]

    def _finish_line(self) -> None:
        if self.partial:
            with self.log.open("ab") as file:
                file.write(self.partial)
            self.current.add(self.written)
            self.written += 1
            self.partial = b""

    @rule()
    def rotate(self) -> None:
        """Rename the file; a line under way is completed first, as loggers do."""
        self._finish_line()
        if self.log.exists():
            self.rotations += 1
            self.log.rename(self.shipping.logs / f"a.log.{self.rotations}")
            self.current.clear()

    @precondition(lambda self: self.log.exists())
    @rule()
    def truncate(self) -> None:
        """Cut the file to nothing; what no shipper read is lost by nature."""
        self._finish_line()
        self.at_risk |= self.current
        self.current.clear()
        with self.log.open("r+b") as file:
            file.truncate(0)

    @precondition(lambda self: self.log.exists())
    @rule()
    def delete(self) -> None:
        """Delete the file; a running shipper that has it open reads it to its end."""
        self._finish_line()
        seen = self.log.stat()
        open_there = self.service is not None and any(
            tail.key == (seen.st_dev, seen.st_ino) and not tail.orphaned and not tail.shrunk()
            for tail in self.service.tails.tails.values()
        )
        if open_there:
            self.held |= self.current
        else:
            self.at_risk |= self.current
        self.current.clear()
        self.log.unlink()

    @rule()
    def pack(self) -> None:
        """Compress the newest rotated file."""
        newest = self.shipping.logs / f"a.log.{self.rotations}"
        if self.rotations and newest.exists():
            import gzip

            newest.with_name(newest.name + ".gz").write_bytes(gzip.compress(newest.read_bytes()))
            newest.unlink()

    @precondition(lambda self: len(self.shipping.cluster.faults) < 3)
    @rule(fault=st.sampled_from([faults.UNAVAILABLE, faults.LOST_REPLY, faults.RESET, faults.CUT_REPLY]))
    def fail_next(self, fault: str) -> None:
        """Let the next request meet a fault."""
        self.shipping.cluster.faults.append(fault)

    @precondition(lambda self: self.service is None)
    @rule()
    def ship(self) -> None:
        """Run a shipper to the end."""
        self.shipping.ship(timeout=60)
        self.current.clear()

    @precondition(lambda self: self.service is None)
    @rule()
    def crash(self) -> None:
        """Run a shipper that is gone before its checkpoint says what it sent, beyond that it knew the file."""
        service = self.shipping.service()

        def note_new() -> None:
            if service.tails.fresh:
                service.tails.fresh = False
                Service._save(service)

        service._save = lambda: None  # type: ignore[method-assign]
        service._note_new = note_new  # type: ignore[method-assign]
        service.run(drain=True, timeout=60)
        self.current.clear()

    @invariant()
    def nothing_doubles(self) -> None:
        """No line is there twice, at any moment."""
        found = self.shipping.cluster.messages()
        assert not found or max(found.values()) == 1

    @rule()
    def all_there(self) -> None:
        """After a whole shipment everything is there that was not at risk."""
        self._finish_line()
        if self.service is not None:
            self.stop()
        self.shipping.ship(timeout=60)
        self.current.clear()
        found = self.shipping.cluster.messages()
        missing = {number for number in range(self.written) if f"line {number}" not in found}
        assert missing <= self.at_risk
        assert set(found) <= {f"line {number}" for number in range(self.written)}


class Shared(Rotations):
    """The same with two workers, of which one may be killed at any moment, and with three or one at each start."""

    workers = 2

    @precondition(lambda self: isinstance(self.service, Sharing) and bool(self.service.crew.hands))
    @rule(place=st.integers(0, 1))
    def kill_worker(self, place: int) -> None:
        """Kill a worker with whatever it has."""
        assert isinstance(self.service, Sharing)
        hands = self.service.crew.hands
        hands[place % len(hands)].process.kill()

    @precondition(lambda self: self.service is None)
    @rule(workers=st.integers(1, 3))
    def resize(self, workers: int) -> None:
        """Have so many workers from the next start on."""
        self.shipping.set(workers=workers)


class LongRotations(Rotations):
    """The same, for long."""


class LongShared(Shared):
    """The same, for long."""


for machine in (Rotations, Shared):
    machine.TestCase.settings = settings(
        max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
for machine in (LongRotations, LongShared):
    machine.TestCase.settings = settings(
        max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
TestRotations = Rotations.TestCase
TestShared = Shared.TestCase
TestLongRotations = pytest.mark.soak(LongRotations.TestCase)
TestLongShared = pytest.mark.soak(LongShared.TestCase)
