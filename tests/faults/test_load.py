"""Many files that are written and rotated at a steady rate, by several processes: every line once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.shipper.conftest import Shipping, started, until

PROGRAM = """
import sys, time
from pathlib import Path
from tests.shipper.conftest import line
folder, first, files, lines, pause = Path(sys.argv[1]), *map(int, sys.argv[2:5]), float(sys.argv[5])
number = first * 1_000_000
for turn in range(lines):
    for place in range(first, first + files):
        path = folder / f"{place}.log"
        with path.open("ab", buffering=0) as file:
            file.write(line(number))
        number += 1
        if turn % 20 == 19:
            path.rename(folder / f"{place}.log.{turn}")
    time.sleep(pause)
print(number - first * 1_000_000)
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("files", "lines"), [pytest.param(24, 60, id="24"), pytest.param(100, 1200, id="100", marks=pytest.mark.soak)]
)
def test_files_that_rotate_at_a_steady_rate(shipping: Shipping, files: int, lines: int) -> None:
    """Four writers share the files; each file is renamed after each 20 lines; nothing is lost, nothing doubles."""
    shipping.set(poll_seconds=0.2)
    service, thread = started(shipping)
    began = time.monotonic()
    share = files // 4
    try:
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(shipping.logs), str(place * share), str(share), str(lines), "0.02"],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                text=True,
            )
            for place in range(4)
        ]
        written = sum(int(writer.communicate(timeout=1200)[0]) for writer in writers)
        took = time.monotonic() - began
        until(lambda: len(shipping.cluster.documents) >= written, "all arrive", 120)
    finally:
        service.stop()
        thread.join(60)
    found = shipping.cluster.messages()
    print(f"\n{files} files, {written} lines in {took:.0f} s, {files * (lines // 20)} rotations: {len(found)} there")
    assert len(found) == written
    assert max(found.values()) == 1
    assert service.tails.counts["lost_bytes"] == 0
