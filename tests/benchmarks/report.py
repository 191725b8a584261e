"""The figures of a benchmark as a table and a chart, written into docs/performance.md."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.race import Lap

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "performance.md"


def machine() -> str:
    """Return what the figures were made on, in one line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = dt.datetime.now(dt.UTC)
    load = os.getloadavg()[0]
    return (
        f"{today:%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()},"
        f" load average {load:.1f} at the end"
    )


def median(laps: Sequence[Lap], name: str, value: str) -> float:
    """Return the median of a value over the laps of one contender."""
    return statistics.median(float(getattr(lap, value)) for lap in laps if lap.name == name)


def running(laps: Sequence[Lap], start: Sequence[Lap], name: str) -> float:
    """Return the median of the documents per CPU second of one contender, the cost of its start taken off.

    Args:
        laps: of all contenders.
        start: laps with a single line: what a process costs before it ships anything.
        name: of the contender.
    """
    begun = min((lap.cpu for lap in start if lap.name == name), default=0.0)
    return statistics.median(lap.documents / max(lap.cpu - begun, 0.01) for lap in laps if lap.name == name)


def table(laps: Sequence[Lap], ours: str, start: Sequence[Lap]) -> str:
    """Return a Markdown table of medians, ratios first; the fewest documents per CPU second last.

    Args:
        laps: of all contenders, several each.
        ours: name of the one that the ratios refer to.
        start: laps with a single line: what a process costs before it ships anything.
    """
    own = median(laps, ours, "per_cpu_second")
    names = sorted({lap.name for lap in laps}, key=lambda name: -median(laps, name, "per_cpu_second"))
    rows = [
        "| contender | ours is | documents per CPU s (range) | start off | wall, s | peak, MB | requests | MB sent |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        mine = [lap for lap in laps if lap.name == name]
        rates = sorted(lap.per_cpu_second for lap in mine)
        rate = statistics.median(rates)
        last = mine[-1]
        rows.append(
            f"| {name} | {own / rate:.2f} × | {rate:,.0f} ({rates[0]:,.0f}–{rates[-1]:,.0f}) |"
            f" {running(laps, start, name):,.0f} | {median(laps, name, 'wall'):.1f} |"
            f" {median(laps, name, 'peak') / 1e6:.0f} | {last.counts.requests} | {last.counts.wire_bytes / 1e6:.0f} |"
        )
    return "\n".join(rows)


def write(section: str, text: str, target: Path = PAGE) -> None:
    """Put text between the section's two marks of a page.

    Args:
        section: its name in the marks.
        text: Markdown.
        target: the page; docs/performance.md unless told otherwise.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = f"<!-- {section}: begin -->\n", f"<!-- {section}: end -->"
    page = target.read_text(encoding="utf-8")
    before, found, rest = page.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"{target} has no marks of the section {section}")
    target.write_text(f"{before}{begin}{text.strip()}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
    print(f"\n{text}\n", flush=True)


def bars(path: Path, title: str, values: dict[str, float], unit: str) -> None:
    """Draw horizontal bars, the longest on top.

    Args:
        path: of the PNG.
        title: above it.
        values: by label.
        unit: of the axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.5 * len(values) + 1.4), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(values.items(), key=lambda item: item[1])
    drawn = axes.barh([name for name, _ in ordered], [value for _, value in ordered])
    for bar, (name, _) in zip(drawn, ordered, strict=True):
        bar.set_color("#1f77b4" if name.startswith("ours") else "#9a9a9a")
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left")
    axes.margins(x=0.14)
    figure.savefig(path, dpi=110)


def curves(path: Path, title: str, series: dict[str, dict[int, float]], axis: str, unit: str) -> None:
    """Draw lines over a logarithmic axis.

    Args:
        path: of the PNG.
        title: above it.
        series: by label, the values by place on the axis.
        axis, unit: what the axes show.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, points in series.items():
        axes.plot(list(points), list(points.values()), marker="o", label=label)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(axis)
    axes.set_ylabel(unit)
    axes.set_title(title, loc="left")
    axes.legend()
    figure.savefig(path, dpi=110)
