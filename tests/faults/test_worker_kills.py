"""SIGKILL of workers, of the first process, and of all at once, while a log is written and rotated: each line once."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.shipper import cluster as faults
from tests.shipper.conftest import Shipping, until
from tests.shipper.test_commands import environment

ROUNDS = [8, pytest.param(50, marks=pytest.mark.soak)]
KINDS = {"a worker": 6, "all workers": 2, "the first process": 2, "all at once": 1}


def kill(kind: str, shipper: subprocess.Popen[bytes], place: int) -> None:
    """Kill what a kind says; what is gone already is."""
    with contextlib.suppress(psutil.NoSuchProcess):
        workers = psutil.Process(shipper.pid).children()
        if kind == "a worker":
            workers = workers[place % 2 : place % 2 + 1]
        if kind != "the first process":
            for worker in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
    if kind in ("the first process", "all at once"):
        shipper.kill()
        shipper.wait()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_kills_of_any_process_lose_and_double_nothing(shipping: Shipping, rounds: int) -> None:
    """A writer goes on and rotates through all kills; one request in five fails, some after they were indexed."""
    seed = int(os.environ.get("ML_TESTS_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    shipping.cluster.odds = {faults.LOST_REPLY: 0.1, faults.UNAVAILABLE: 0.05, faults.RESET: 0.05}
    stop = shipping.logs.parent / "stop"
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.writer", str(shipping.logs), str(stop), "0.005"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    shipper: subprocess.Popen[bytes] | None = None
    met = dict.fromkeys(KINDS, 0)
    try:
        for turn in range(rounds):
            if shipper is None:
                workers = str(chance.choice((2, 2, 3)))
                quick = {"SHIPPER_FLUSH_SECONDS": "0.02", "SHIPPER_CHECKPOINT_SECONDS": "0.05"}
                shipper = subprocess.Popen(
                    [sys.executable, "-m", "shipper", "run"],
                    env=environment(shipping, SHIPPER_WORKERS=workers, **quick),
                    stderr=subprocess.DEVNULL,
                )
            before = len(shipping.cluster.bodies)
            until(lambda before=before: len(shipping.cluster.bodies) > before, "it sends", 120)
            time.sleep(chance.uniform(0, 0.6))
            kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
            met[kind] += 1
            kill(kind, shipper, turn)
            if shipper.returncode is not None:
                shipper = None
    finally:
        stop.touch()
        written = int(writer.communicate(timeout=60)[0])
        if shipper is not None:
            shipper.kill()
            shipper.wait()
    service = shipping.ship(timeout=120)
    found = shipping.cluster.messages()
    lost = [number for number in range(written) if f"line {number}" not in found]
    doubled = [message for message, times in found.items() if times > 1]
    print(
        f"\n{rounds} kills ({', '.join(f'{count} of {kind}' for kind, count in met.items())}), seed {seed}: {written}"
        f" lines written in {written // 399} files, {len(found)} there, {len(lost)} lost, {len(doubled)} doubled;"
        f" {sum(shipping.cluster.met.values())} requests failed, {shipping.cluster.refused} documents were sent again"
    )
    assert not lost
    assert not doubled
    assert len(found) == written
    assert service.tails.counts["lost_bytes"] == 0
