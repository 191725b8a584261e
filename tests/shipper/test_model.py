"""Any order of writes, rotations, truncations, deletions, crashes and faults, against a model of what must arrive."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shipper import tails
from shipper.service import Service
from tests.shipper import cluster as faults
from tests.shipper.cluster import Cluster
from tests.shipper.conftest import Shipping, line


class Rotations(RuleBasedStateMachine):
    """A log that is written and rotated while shippers come and go; every line is different."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.shipping = Shipping(Path(self.folder.name), Cluster())
        self.log = self.shipping.logs / "a.log"
        self.written = 0
        self.at_risk: set[int] = set()  # written into a file that was truncated before a shipper surely read it
        self.unshipped: set[int] = set()
        self.partial = b""
        self.rotations = 0

    def teardown(self) -> None:
        """Stop the cluster."""
        self.shipping.cluster.close()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        """Make files quiet at once."""
        tails.QUIET_SECONDS = 0.05

    @rule(count=st.integers(1, 30))
    def write(self, count: int) -> None:
        """Append whole lines."""
        self._finish_line()
        with self.log.open("ab") as file:
            file.write(self.shipping.lines(self.written, count))
        self.unshipped |= set(range(self.written, self.written + count))
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
            self.unshipped.add(self.written)
            self.written += 1
            self.partial = b""

    @rule()
    def rotate(self) -> None:
        """Rename the file; a line under way is completed first, as loggers do."""
        self._finish_line()
        if self.log.exists():
            self.rotations += 1
            self.log.rename(self.shipping.logs / f"a.log.{self.rotations}")

    @precondition(lambda self: self.log.exists())
    @rule()
    def truncate(self) -> None:
        """Cut the file to nothing; what no shipper read is lost by nature."""
        self._finish_line()
        self.at_risk |= self.unshipped
        with self.log.open("r+b") as file:
            file.truncate(0)

    @rule()
    def pack(self) -> None:
        """Compress the newest rotated file."""
        newest = self.shipping.logs / f"a.log.{self.rotations}"
        if self.rotations and newest.exists():
            import gzip

            newest.with_name(newest.name + ".gz").write_bytes(gzip.compress(newest.read_bytes()))
            newest.unlink()

    @rule(fault=st.sampled_from([faults.UNAVAILABLE, faults.LOST_REPLY, faults.RESET, faults.CUT_REPLY]))
    def fail_next(self, fault: str) -> None:
        """Let the next request meet a fault."""
        self.shipping.cluster.faults.append(fault)

    @rule()
    def ship(self) -> None:
        """Run a shipper to the end."""
        self.shipping.ship()
        self.unshipped.clear()

    @rule()
    def crash(self) -> None:
        """Run a shipper that is gone before its checkpoint says what it sent."""
        service = Service(self.shipping.settings)
        service._save = lambda: None  # type: ignore[method-assign]
        service.run(drain=True, timeout=20)
        self.unshipped.clear()

    @invariant()
    def nothing_doubles(self) -> None:
        """No line is there twice, at any moment."""
        found = self.shipping.cluster.messages()
        assert not found or max(found.values()) == 1

    @rule()
    def all_there(self) -> None:
        """After a whole shipment everything is there that was not at risk."""
        self._finish_line()
        self.shipping.ship()
        self.unshipped.clear()
        found = self.shipping.cluster.messages()
        missing = {number for number in range(self.written) if f"line {number}" not in found}
        assert missing <= self.at_risk
        assert set(found) <= {f"line {number}" for number in range(self.written)}


Rotations.TestCase.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRotations = Rotations.TestCase
