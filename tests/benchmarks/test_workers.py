"""One, two and four workers on the same hundred files into the same sink; prints figures, asserts that all arrived."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.contenders import ours
from tests.benchmarks.race import BulkSink, bulk_sink
from tests.benchmarks.test_shippers import LINES, OWN, ROUNDS, folder, laps

pytestmark = pytest.mark.bench

NAMES = {OWN: 1, "ours, 2 workers": 2, "ours, 4 workers": 4}


@pytest.fixture(scope="module")
def sink() -> Iterator[BulkSink]:
    """A sink for all laps."""
    with bulk_sink() as made:
        yield made


def test_workers_on_a_hundred_files(tmp_path: Path, sink: BulkSink) -> None:
    """Wall time, documents per CPU second of all processes together, and memory, beside those of one process."""
    contenders = [ours(name, workers=workers) for name, workers in NAMES.items()]
    start = laps(contenders, folder(tmp_path / "start", 1), 1, sink, ROUNDS)
    before = sink.cpu()
    made = laps(contenders, folder(tmp_path / "many", LINES, 100), LINES, sink)
    each = (sink.cpu() - before) / len(made)
    begun = {name: report.median(start, name, "wall") for name in NAMES}
    rows = []
    for name in NAMES:
        wall = report.median(made, name, "wall")
        shipping = wall - begun[name]
        rate = f"{LINES / shipping:,.0f}" if shipping > 0.2 else "–"  # too short to say
        rows.append(
            f"| {name} | {wall:.1f} | {report.median(made, OWN, 'wall') / wall:.2f} × | {rate} |"
            f" {report.median(made, name, 'per_cpu_second'):,.0f} | {report.running(made, start, name):,.0f} |"
            f" {report.median(made, name, 'peak') / 1e6:.0f} |"
        )
    report.write(
        "workers",
        f"""{report.machine()}. Medians of {ROUNDS} rounds, {LINES:,} lines in 100 files.

| | wall, s | speed-up | documents a second, start off | per CPU s | per CPU s, start off | peak of all processes, MB |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

The sink shares the {os.cpu_count()} cores, and used {each:.1f} CPU s of each run: what is left of them is the most
that more workers can use.""",
    )
