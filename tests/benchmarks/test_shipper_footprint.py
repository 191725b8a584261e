"""What the shipper costs at rest and in need: printed, not judged."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from tests.shipper.conftest import Shipping
from tests.shipper.test_commands import environment
from tests.shipper.test_delivery import until


@pytest.mark.bench
def test_ten_thousand_idle_files(shipping: Shipping) -> None:
    """Prints the share of a core that ten thousand idle files and a busy one cost."""
    for number in range(10_000):
        (shipping.logs / f"{number}.log").write_bytes(shipping.lines(number, 1))
    process = subprocess.Popen(
        [sys.executable, "-m", "shipper", "run"], env=environment(shipping), stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: len(shipping.cluster.documents) == 10_000, "all are read once", 120)
        time.sleep(5)
        watched = psutil.Process(process.pid)
        before, began = sum(watched.cpu_times()[:2]), time.monotonic()
        with (shipping.logs / "busy.log").open("ab", buffering=0) as file:
            while time.monotonic() - began < 60:
                file.write(shipping.lines(10_000, 1))
                time.sleep(1)
        spent = sum(watched.cpu_times()[:2]) - before
        share = 100 * spent / (time.monotonic() - began)
        print(f"10,000 idle files and a busy one: {share:.2f} % of a core, {watched.memory_info().rss / 2**20:.0f} MiB")
    finally:
        process.kill()
        process.wait()


@pytest.mark.bench
def test_two_gigabytes_wait(shipping: Shipping) -> None:
    """Prints the memory while the server is away and 2 GB wait."""
    block = shipping.lines(0, 20_000)
    with (shipping.logs / "a.log").open("wb") as file:
        for _ in range(2_000_000_000 // len(block)):
            file.write(block)
    shipping.cluster.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "shipper", "run"], env=environment(shipping), stderr=subprocess.DEVNULL
    )
    try:
        watched = psutil.Process(process.pid)
        sizes = []
        for _ in range(6):
            time.sleep(5)
            sizes.append(watched.memory_info().rss / 2**20)
        print("server away, 2 GB wait: MiB every 5 s:", " ".join(f"{size:.0f}" for size in sizes))
    finally:
        process.kill()
        process.wait()
