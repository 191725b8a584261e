"""A guard against slow growth of the hot path's cost, in a measure that does not depend on the machine.

The CPU time of lines to a bulk body, divided by that of a calibration loop in the same process, in turns: the same
kinds of work (bytes split, hashed, joined, formatted) that no change of ours can touch.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

import msgspec
import pytest
import xxhash

from shipper.batch import Batch
from shipper.reader import CHUNK
from shipper.record import RecordMaker
from shipper.redaction import Redaction
from tests.benchmarks import log_files

LINES = 5000
ROUNDS = 15
EXPECTED = 0.70  # see the series in docs/performance.md
BAND = 1.5  # the widest of repeated runs beside other work was far below; the way line by line costs twice as much

START = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)


def least(work: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Return the least CPU seconds of two works, done in turns."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for place, what in enumerate((work, other)):
            began = time.thread_time()
            what()
            best[place] = min(best[place], time.thread_time() - began)
    return best[0], best[1]


def cost() -> float:
    """Return how many calibration loops the hot path costs."""
    data = b"".join(log_files.lines(LINES, 0, START))
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    maker = RecordMaker(Redaction(on=True), 1_048_576, 30, 1)
    now = START.timestamp() + 3600

    def hot() -> bytes:
        batch = Batch()
        segment, place = batch.begin(0, "a.jsonl", 0), 0
        while place < len(data):  # pieces as the shipper reads them
            end = data.rfind(b"\n", place, place + CHUNK)
            piece, place = data[place:end], end + 1
            maker.add(piece.split(b"\n"), piece, batch, segment, "0123456789abcdef", 7, "", now)
        assert len(batch) == LINES
        return batch.body(list(range(len(batch))))

    def calibration() -> bytes:
        lines = data[:-1].split(b"\n")
        return b"\n".join([b"%016x %d" % (xxhash.xxh3_64_intdigest(line), len(decode(line))) for line in lines])

    path, loop = least(hot, calibration)
    return path / loop


def test_the_cost_of_the_hot_path_stays_in_its_band(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines to a bulk body cost what they did, relative to a loop that does not change."""
    found = cost()
    with capsys.disabled():
        print(f"\nhot path: {found:.2f} calibration loops ({EXPECTED:.2f} expected, {EXPECTED * BAND:.2f} at most)")
    assert found < EXPECTED * BAND
