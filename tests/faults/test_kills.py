"""SIGKILL at random moments, while a log is written and rotated and the server fails: no loss, no doubles."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.shipper import cluster as faults
from tests.shipper.conftest import Shipping, until
from tests.shipper.test_commands import environment

ROUNDS = [10, pytest.param(100, marks=pytest.mark.soak)]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_kills_under_load_and_rotation_lose_and_double_nothing(shipping: Shipping, rounds: int) -> None:
    """A writer goes on and rotates through all kills; two requests in ten fail, one of them after it was indexed."""
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
    kinds = {"while it starts": 0, "while it ships": 0, "while it stops": 0}
    try:
        for _ in range(rounds):
            shipper = subprocess.Popen(
                [sys.executable, "-m", "shipper", "run"],
                env=environment(shipping, SHIPPER_FLUSH_SECONDS="0.02", SHIPPER_CHECKPOINT_SECONDS="0.05"),
                stderr=subprocess.DEVNULL,
            )
            kind = chance.choices(list(kinds), [1, 7, 2])[0]
            kinds[kind] += 1
            if kind == "while it starts":
                time.sleep(chance.uniform(0, 0.8))
            else:
                before = len(shipping.cluster.bodies)
                until(lambda before=before: len(shipping.cluster.bodies) > before, "it sends", 60)
                time.sleep(chance.uniform(0, 0.6))
            if kind == "while it stops":
                shipper.send_signal(signal.SIGTERM)
                time.sleep(chance.uniform(0, 0.2))
            shipper.kill()
            shipper.wait()
    finally:
        stop.touch()
        written = int(writer.communicate(timeout=60)[0])
    service = shipping.ship(timeout=120)
    found = shipping.cluster.messages()
    lost = [number for number in range(written) if f"line {number}" not in found]
    doubled = [message for message, times in found.items() if times > 1]
    print(
        f"\n{rounds} kills ({', '.join(f'{count} {kind}' for kind, count in kinds.items())}), seed {seed}: {written}"
        f" lines written in {written // 399} files, {len(found)} there, {len(lost)} lost, {len(doubled)} doubled;"
        f" {sum(shipping.cluster.met.values())} requests failed, {shipping.cluster.refused} documents were sent again"
    )
    assert not lost
    assert not doubled
    assert len(found) == written
    assert service.tails.counts["lost_bytes"] == 0
