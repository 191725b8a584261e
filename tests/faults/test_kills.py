"""SIGKILL at random moments, while a log is written and rotated and the server fails: no loss, no doubles."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.writer import LINES_PER_FILE
from tests.shipper import cluster as faults
from tests.shipper.conftest import Shipping, until
from tests.shipper.test_commands import environment

PROCESSES = {"a worker": 6, "all workers": 2, "the first process": 2, "all at once": 1}


def start(shipping: Shipping, **settings: str) -> subprocess.Popen[bytes]:
    """Start a shipper that sends and saves often."""
    often = {"SHIPPER_FLUSH_SECONDS": "0.02", "SHIPPER_CHECKPOINT_SECONDS": "0.05"}
    return subprocess.Popen(
        [sys.executable, "-m", "shipper", "run"],
        env=environment(shipping, **often, **settings),
        stderr=subprocess.DEVNULL,
    )


def sends(shipping: Shipping) -> None:
    """Wait until one more request has come."""
    before = len(shipping.cluster.bodies)
    until(lambda: len(shipping.cluster.bodies) > before, "it sends", 120)


def end(shipper: subprocess.Popen[bytes]) -> None:
    """SIGKILL it, and know that it is gone."""
    shipper.kill()
    shipper.wait()


@contextlib.contextmanager
def each_line_once(shipping: Shipping, met: dict[str, int]) -> Iterator[random.Random]:
    """Have a log written and rotated, and requests fail, all the while; at the end each line was sent once.

    Args:
        shipping: the folder and the cluster; one request in five fails, half of these after it was indexed.
        met: what was killed, counted by the caller; for the line that is printed.
    """
    seed = int(os.environ.get("ML_TESTS_SEED", random.randrange(10**6)))
    shipping.cluster.odds = {faults.LOST_REPLY: 0.1, faults.UNAVAILABLE: 0.05, faults.RESET: 0.05}
    stop = shipping.logs.parent / "stop"
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.writer", str(shipping.logs), str(stop), "0.005"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield random.Random(seed)
    finally:
        stop.touch()
        written = int(writer.communicate(timeout=60)[0])
    service = shipping.ship(timeout=120)
    found = shipping.cluster.messages()
    lost = [number for number in range(written) if f"line {number}" not in found]
    doubled = [message for message, times in found.items() if times > 1]
    print(
        f"\n{sum(met.values())} kills ({', '.join(f'{count} {kind}' for kind, count in met.items())}), seed {seed}:"
        f" {written} lines written in {written // LINES_PER_FILE} files, {len(found)} there, {len(lost)} lost,"
        f" {len(doubled)} doubled; {sum(shipping.cluster.met.values())} requests failed,"
        f" {shipping.cluster.refused} documents were sent again"
    )
    assert not lost
    assert not doubled
    assert len(found) == written
    assert service.tails.counts["lost_bytes"] == 0


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.soak)])
def test_kills_under_load_and_rotation_lose_and_double_nothing(shipping: Shipping, rounds: int) -> None:
    """A shipper is killed while it starts, while it ships and while it stops."""
    met = {"while it starts": 0, "while it ships": 0, "while it stops": 0}
    with each_line_once(shipping, met) as chance:
        for _ in range(rounds):
            shipper = start(shipping)
            kind = chance.choices(list(met), [1, 7, 2])[0]
            met[kind] += 1
            try:
                if kind == "while it starts":
                    time.sleep(chance.uniform(0, 0.8))
                else:
                    sends(shipping)
                    time.sleep(chance.uniform(0, 0.6))
                if kind == "while it stops":
                    shipper.send_signal(signal.SIGTERM)
                    time.sleep(chance.uniform(0, 0.2))
            finally:
                end(shipper)


def kill(kind: str, shipper: subprocess.Popen[bytes], place: int) -> None:
    """Kill what a kind of PROCESSES says; what is gone already is."""
    with contextlib.suppress(psutil.NoSuchProcess):
        workers = psutil.Process(shipper.pid).children()
        if kind == "a worker":
            workers = workers[place % 2 : place % 2 + 1]
        if kind != "the first process":
            for worker in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
    if kind in ("the first process", "all at once"):
        end(shipper)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", [8, pytest.param(50, marks=pytest.mark.soak)])
def test_kills_of_any_process_lose_and_double_nothing(shipping: Shipping, rounds: int) -> None:
    """Of a shipper with several workers one is killed, all are, the first process is, or all at once."""
    met = dict.fromkeys(PROCESSES, 0)
    shipper: subprocess.Popen[bytes] | None = None
    with each_line_once(shipping, met) as chance:
        try:
            for turn in range(rounds):
                if shipper is None:
                    shipper = start(shipping, SHIPPER_WORKERS=str(chance.choice((2, 2, 3))))
                sends(shipping)
                time.sleep(chance.uniform(0, 0.6))
                kind = chance.choices(list(PROCESSES), list(PROCESSES.values()))[0]
                met[kind] += 1
                kill(kind, shipper, turn)
                if shipper.returncode is not None:
                    shipper = None
        finally:
            if shipper is not None:
                end(shipper)
