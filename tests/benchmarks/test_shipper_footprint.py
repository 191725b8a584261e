"""What the shipper costs at rest and in need: printed, not judged."""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Callable
from functools import partial

import psutil
import pytest
from isal import igzip

from tests.shipper.conftest import Shipping, until
from tests.shipper.test_commands import environment


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


def bulk_body(size: int) -> bytes:
    """Return a bulk body of our own lines, as large as told, the same each time."""
    chance, parts, length = random.Random(1), [], 0
    while length < size:
        document = {
            "@timestamp": f"2026-11-24T10:{chance.randrange(60):02d}:00.{chance.randrange(10**6):06d}Z",
            "level": "INFO",
            "service": "ml-pipeline",
            "message": "prediction served",
            "request_id": str(uuid.UUID(int=chance.getrandbits(128))),
            "prediction": chance.randrange(2),
            "confidence": round(chance.random(), 6),
            "duration": round(chance.random() / 50, 6),
            "model_type": "gradient_boosting",
            "endpoint": "/predict",
        }
        identity = f"0123456789abcdef-{length:012d}-{chance.getrandbits(64):016x}"
        action = {"create": {"_index": "ml-pipeline-2026.11.24", "_id": identity}}
        parts.append(f"{json.dumps(action)}\n{json.dumps(document)}\n".encode())
        length += len(parts[-1])
    return b"".join(parts)


@pytest.mark.bench
def test_compression() -> None:
    """Prints how much smaller a bulk body becomes, and at what cost, by isal and by what else is installed."""
    body = bulk_body(5_000_000)
    ways: dict[str, Callable[[], bytes]] = {
        f"isal, SHIPPER_COMPRESS={level + 1}": partial(igzip.compress, body, compresslevel=level) for level in (0, 1, 2)
    }
    if importlib.util.find_spec("zlib_ng"):  # not among our dependencies: pip install zlib-ng to compare
        packed = importlib.import_module("zlib_ng.zlib_ng")
        ways |= {f"zlib-ng level {level}": partial(packed.compress, body, level) for level in (1, 2, 3)}
    ways |= {f"zlib level {level}": partial(zlib.compress, body, level) for level in (1, 6)}
    for name, way in ways.items():
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            small = way()
            best = min(best, time.process_time() - began)
        print(f"{name}: {len(body) / len(small):.1f} times smaller at {len(body) / best / 1e6:.0f} MB/s")
