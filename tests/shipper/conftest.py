"""A folder of logs, a cluster, and a shipper that ships what is there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shipper.service import Service
from shipper.settings import ShipperSettings
from shipper.sharing import Sharing
from tests.shipper.cluster import Cluster
from tests.shipper.threads import thread

VOLUME = "4d1c7f30-5b1f-4a57-9d0e-6f6f0f0a9c11"


class Shipping:
    """A log folder, its state folder and a cluster.

    Attributes:
        logs: the folder.
        cluster: where it goes.
        settings: of the shipper; change them by `set`.
        last: the service of the last shipment.
    """

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.cluster = cluster
        self.settings = ShipperSettings(
            paths=f"{self.logs}/*.log*:{self.logs}/*.jsonl",
            url=cluster.url,
            state_dir=folder / "state",
            setup="off",
            volume_id=VOLUME,
            flush_seconds=0.01,
            checkpoint_seconds=0.01,
            stop_seconds=5.0,
            request_timeout=5.0,
        )
        self.last: Service | None = None

    def set(self, **values: object) -> None:
        """Change settings."""
        self.settings = msgspec.structs.replace(self.settings, **values)

    def service(self, resend: bool = False) -> Service:
        """Return a shipper that has not begun; several workers are threads here, for a process takes long to start."""
        if self.settings.workers > 1:
            return Sharing(self.settings, resend, thread)
        return Service(self.settings, resend)

    def ship(self, timeout: float = 60.0, resend: bool = False) -> Service:
        """Ship what is there, as a new process would; it must all be acknowledged."""
        self.last = self.service(resend)
        assert self.last.run(drain=True, timeout=timeout), self.last.tally.last_error
        return self.last

    def lines(self, first: int, count: int) -> bytes:
        """Return lines with messages `line <number>`."""
        return b"".join(line(number) for number in range(first, first + count))

    def arrived(self, count: int) -> None:
        """Wait until so many documents are in the cluster."""
        found = self.cluster.documents
        until(lambda: len(found) >= count, f"{count} documents arrive")

    def each_once(self, count: int) -> None:
        """Lines 0 to count are in the cluster, each once, and nothing else is."""
        assert self.cluster.messages() == {f"line {number}": 1 for number in range(count)}


def until(condition: Any, what: str, seconds: float = 60.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def started(shipping: Shipping) -> tuple[Service, threading.Thread]:
    """Run a service in a thread."""
    service = shipping.service()
    runner = threading.Thread(target=service.run)
    runner.start()
    return service, runner


def line(number: int) -> bytes:
    """Return one line of the contract."""
    stamp = f"2026-11-{20 + number % 4:02d}T10:00:00.{number % 1_000_000:06d}Z"
    return json.dumps({"@timestamp": stamp, "level": "INFO", "message": f"line {number}"}).encode() + b"\n"


@pytest.fixture
def shipping(tmp_path: Path) -> Iterator[Shipping]:
    """A log folder, a cluster and a shipper for them."""
    cluster = Cluster()
    yield Shipping(tmp_path, cluster)
    cluster.close()


@pytest.fixture
def running(shipping: Shipping) -> Iterator[Service]:
    """A shipper that runs and looks often."""
    shipping.set(poll_seconds=0.05)
    service, runner = started(shipping)
    yield service
    service.stop()
    runner.join(60)
