"""Our shipper beside its peers on the same files into the same sink; prints figures, asserts only that all arrived."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import log_files, report
from tests.benchmarks.contenders import CHECKED, Contender, ours, peers
from tests.benchmarks.race import BulkSink, Lap, bulk_sink, run

pytestmark = pytest.mark.bench

LINES = int(os.environ.get("ML_BENCH_LINES", "1000000"))
LONGEST = int(os.environ.get("ML_BENCH_LONGEST", "20000000"))  # lines of the longest file of the scale's curve
ROUNDS = int(os.environ.get("ML_BENCH_ROUNDS", "3"))
NAME = "app-20261124T000000-1-{:06d}.jsonl"
OWN = "ours"
PASSING = ("rsyslog", "syslog-ng")  # pass a line's bytes through without looking whether they are JSON


@pytest.fixture(scope="module")
def sink() -> Iterator[BulkSink]:
    """A sink for all laps."""
    with bulk_sink() as made:
        yield made


def folder(path: Path, lines: int, files: int = 1) -> Path:
    """Return a folder with so many lines in so many files."""
    path.mkdir(parents=True)
    for number in range(files):
        share = lines // files
        log_files.write(path / NAME.format(number + 1), share, first=number * share)
    return path


def laps(contenders: list[Contender], logs: Path, lines: int, sink: BulkSink, rounds: int = ROUNDS) -> list[Lap]:
    """Run each contender alone, in turns, so that what else the machine does meets all alike."""
    made = []
    for turn in range(rounds):
        first = (
            turn * len(contenders) // rounds
        )  # another one goes first each time: whoever follows a long lap is slower
        for contender in [*contenders[first:], *contenders[:first]]:
            lap = run(contender, logs, lines, sink)
            print(
                f"{lap.name:28} {lap.documents:9,} documents {lap.per_cpu_second:9,.0f}/CPU s, CPU {lap.cpu:6.2f} s,"
                f" wall {lap.wall:6.2f} s, peak {lap.peak / 1e6:4.0f} MB",
                flush=True,
            )
            assert lap.counts.malformed == 0
            if contender.name.startswith(OWN):
                assert (lap.documents, lap.counts.ids, lap.counts.duplicates) == (lines, lines, 0)
            made.append(lap)
    return [lap for lap in made if lap.documents == lap.expected]


def ratio(results: list[Lap], name: str, groups: tuple[list[str], list[str]], start: list[Lap] | None = None) -> str:
    """Return how many times the best of all peers, and of those that look at the lines, a contender of ours does."""
    rates = {
        lap.name: report.median(results, lap.name, "per_cpu_second")
        if start is None
        else report.running(results, start, lap.name)
        for lap in results
    }
    said = []
    for what, group in zip(("all", "those that look at the lines"), groups, strict=True):
        winner = max(rates.keys() & set(group), key=lambda peer: rates[peer])
        said.append(f"{rates[name] / rates[winner]:.1f} × the best of {what} ({winner})")
    return ", ".join(said)


def sink_rate(sink: BulkSink, logs: Path) -> float:
    """Return how many documents a second the sink takes from a sender that only sends, ours' bodies made before."""
    lines = next(logs.glob("*.jsonl")).read_bytes().split(b"\n")[:5000]
    bodies = [
        b"".join(
            b'{"create":{"_index":"ml-pipeline-2026.11.24","_id":"%016x-%012d-0123456789abcdef"}}\n%b\n'
            % (part, at, line)
            for at, line in enumerate(lines)
        )
        for part in range(40)
    ]
    sink.reset()
    path = b"/_bulk?filter_path=errors,items.*.status,items.*.error"
    with socket.create_connection(("127.0.0.1", sink.port)) as connection:
        stream = connection.makefile("rb")
        began = time.monotonic()
        for body in bodies:
            connection.sendall(
                b"POST %b HTTP/1.1\r\nhost: sink\r\ncontent-length: %d\r\n\r\n" % (path, len(body)) + body
            )
            length = 0
            while (field := stream.readline()) != b"\r\n":
                if field.lower().startswith(b"content-length"):
                    length = int(field.split(b":")[1])
            stream.read(length)
        return len(bodies) * len(lines) / (time.monotonic() - began)


def test_documents_per_cpu_second(tmp_path: Path, sink: BulkSink) -> None:
    """One file of a million lines; then the same lines in a hundred files."""
    others, absent = peers()
    variants = [
        ours(),
        ours("ours, gzip", compress=1),
        ours("ours, no redaction", redact="false"),
        ours("ours, no checkpoint", checkpoint_seconds=100_000),
    ]
    logs = folder(tmp_path / "one", LINES)
    size = sum(file.stat().st_size for file in logs.iterdir()) / LINES
    rate = sink_rate(sink, logs)
    one = laps([*variants, *others], logs, LINES, sink)
    every = [peer.name for peer in others]
    groups = every, [name for name in every if name not in PASSING]
    start = laps([*variants, *others], folder(tmp_path / "start", 1), 1, sink, 1)
    spread = [ours(), *(peer for peer in others if not peer.name.endswith(CHECKED))]
    many = laps(spread, folder(tmp_path / "many", LINES, 100), LINES, sink, max(1, ROUNDS // 2))
    share = {
        what: report.median(one, OWN, "cpu") / report.median(one, f"ours, no {what}", "cpu") - 1
        for what in ("redaction", "checkpoint")
    }
    memory = report.median(many, OWN, "peak") / 1e6
    fastest = max(lap.documents / lap.wall for lap in [*one, *many])
    report.bars(
        report.PAGE.with_name("performance.png"),
        f"{LINES:,} lines of one file, whole process from start to end",
        {name: report.median(one, name, "per_cpu_second") for name in sorted({lap.name for lap in one})},
        "documents per CPU second, median",
    )
    versions = "; ".join(sorted({f"{p.name.removesuffix(CHECKED)}: {p.version}" for p in [ours(), *others]}))
    report.write(
        "race",
        f"""{report.machine()}. Medians of {ROUNDS} rounds, {LINES:,} lines of {size:.0f} bytes. {versions}.
Not on PATH: {", ".join(absent) or "none"}.

| goal | measured |
| --- | --- |
| documents per CPU second, at least 5 × the best peer | {ratio(one, OWN, groups)} |
| the same, each process's start taken off | {ratio(one, OWN, groups, start)} |
| with compression at least 3 × | {ratio(one, "ours, gzip", groups)}; these do not compress |
| with 100 files at least 4 × | {ratio(many, OWN, groups)} |
| peak memory at most 100 MB | {report.median(one, OWN, "peak") / 1e6:.0f} MB, 100 files {memory:.0f} MB |
| redaction at most 15 % when nothing matches | {share["redaction"]:+.1%} |
| checkpoint at most 5 % | {share["checkpoint"]:+.1%} |

![documents per CPU second](performance.png)

One file:

{report.table(one, OWN, start)}

The same lines in 100 files:

{report.table(many, OWN, start)}

The sink took {rate:,.0f} documents a second from a sender that only sends; the fastest contender brought {fastest:,.0f}
a second. All documents of {len(every) + 4} contenders had ids, and the sink counted each once.""",
    )


def test_the_cost_of_a_document_stays_the_same(tmp_path: Path, sink: BulkSink) -> None:
    """From ten thousand lines to millions, and from one file to a thousand; the start of the process taken off."""
    start = min(lap.cpu for lap in laps([ours()], folder(tmp_path / "start", 1), 1, sink))
    by_lines: dict[int, float] = {}
    by_files: dict[int, float] = {}
    for lines in (10_000, 100_000, 1_000_000, 5_000_000, 20_000_000):
        if lines > LONGEST:
            break
        logs = folder(tmp_path / "lines", lines)
        made = laps([ours()], logs, lines, sink, 2)
        shutil.rmtree(logs)
        by_lines[lines] = (min(lap.cpu for lap in made) - start) / lines * 1e6
    count = min(LINES, 500_000)
    for files in (1, 10, 100, 1000):
        made = laps([ours()], folder(tmp_path / f"files-{files}", count, files), count, sink, 2)
        by_files[files] = (min(lap.cpu for lap in made) - start) / count * 1e6
    unit = "CPU µs per document"
    path = report.PAGE.with_name("performance-scale.png")
    report.curves(
        path,
        "The cost of a document, the process's start taken off",
        {"lines in one file": by_lines, f"files, {count:,} lines together": by_files},
        "lines, or files",
        unit,
    )
    rows = [f"| {number:,} lines | {cost:.2f} |" for number, cost in by_lines.items()]
    rows += [f"| {number:,} files, {count:,} lines together | {cost:.2f} |" for number, cost in by_files.items()]
    report.write(
        "scale",
        f"{report.machine()}. The better of two runs; the start of the process ({start:.2f} CPU s) is taken off.\n\n"
        f"| | {unit} |\n| --- | --- |\n" + "\n".join(rows) + "\n\n![cost of a document](performance-scale.png)",
    )
