"""One, two and four workers on the same hundred files into the same sink; prints figures, asserts that all arrived."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.contenders import ours
from tests.benchmarks.race import BulkSink, bulk_sink
from tests.benchmarks.test_shippers import LINES, OWN, ROUNDS, folder, laps

pytestmark = pytest.mark.bench

NAMES = {OWN: 1, "ours, 2 workers": 2, "ours, 4 workers": 4}
MANY = 4 * LINES  # for a worker's start to weigh little
HEAD = """| | wall, s | speed-up | documents a second, start off | per CPU s | per CPU s, start off | peak of all, MB |
| --- | --- | --- | --- | --- | --- | --- |
"""


@pytest.fixture(scope="module")
def sink() -> Iterator[BulkSink]:
    """A sink for all laps."""
    with bulk_sink() as made:
        yield made


def measured(logs: Path, start: Path, sink: BulkSink, lines: int, **settings: object) -> str:
    """Return a table of one, two and four workers on the same files, with some SHIPPER_ settings."""
    contenders = [ours(name, workers=workers, **settings) for name, workers in NAMES.items()]
    begun = laps(contenders, start, 1, sink, ROUNDS)
    before = sink.cpu()
    made = laps(contenders, logs, lines, sink)
    each = (sink.cpu() - before) / len(made)
    rows = []
    for name in NAMES:
        wall = report.median(made, name, "wall")
        shipping = wall - report.median(begun, name, "wall")
        rate = f"{lines / shipping:,.0f}" if shipping > 0.2 else "–"  # too short to say
        rows.append(
            f"| {name} | {wall:.1f} | {report.median(made, OWN, 'wall') / wall:.2f} × | {rate} |"
            f" {report.median(made, name, 'per_cpu_second'):,.0f} | {report.running(made, begun, name):,.0f} |"
            f" {report.median(made, name, 'peak') / 1e6:.0f} |\n"
        )
    return f"{HEAD}{''.join(rows)}\nThe sink used {each:.1f} CPU s of each run."


def test_workers_on_a_hundred_files(tmp_path: Path, sink: BulkSink) -> None:
    """Wall time, documents per CPU second of all processes together, and memory, beside those of one process."""
    start = folder(tmp_path / "start", 1)
    plain = measured(folder(tmp_path / "many", MANY, 100), start, sink, MANY)
    shutil.rmtree(tmp_path / "many")
    hashed = measured(folder(tmp_path / "fewer", LINES, 100), start, sink, LINES, redact_hash="request_id")
    report.write(
        "workers",
        f"""{report.machine()}. Medians of {ROUNDS} rounds. The sink runs on the same {os.cpu_count()} cores: what it
leaves of them is the most that more workers can use.

{MANY:,} lines in 100 files, the default settings:

{plain}

{LINES:,} lines in 100 files with `SHIPPER_REDACT_HASH=request_id`, for which each line is taken apart and made anew:

{hashed}""",
    )
