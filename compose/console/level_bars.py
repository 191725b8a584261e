"""Bars of log lines over time by level, from a date histogram with the levels in each of its buckets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from compose.console import figures
from compose.console.timerange import TimeRange, Zone

OTHER = "other"  # lines without a level, and levels beyond those that were asked for


def series(buckets: list[dict[str, Any]], only: Collection[str] = ()) -> list[figures.Line]:
    """Return one series for each level, the gravest last; together they hold all lines of the buckets.

    Args:
        buckets: of the aggregation `time`, each with the aggregation `level`.
        only: levels to keep; empty for all.
    """
    found: dict[str, tuple[list[float], list[float | None]]] = {}
    for bucket in buckets:
        counts = {str(level["key"]): level["doc_count"] for level in bucket["level"]["buckets"]}
        rest = bucket["doc_count"] - sum(counts.values())
        for name, count in [*counts.items(), *([(OTHER, rest)] if rest > 0 else [])]:
            if not only or name in only:
                times, values = found.setdefault(name, ([], []))
                times.append(bucket["key"] / 1000)
                values.append(count)
    order = list(figures.LEVEL_COLOURS)
    names = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
    return [
        figures.Line(
            name=name, times=found[name][0], values=found[name][1], colour=figures.LEVEL_COLOURS.get(name, "#7d8590")
        )
        for name in names
    ]


def figure(
    answer: dict[str, Any], spread: TimeRange, zone: Zone, width: int, *, only: Collection[str] = (), height: int
) -> dict[str, Any]:
    """Return the stacked bars of a search's answer.

    Args:
        width: of a bar, seconds.
        only: levels to draw; empty for all.
        height: pixels.
    """
    return figures.bars(series(answer["aggregations"]["time"]["buckets"], only), spread, zone, width, height=height)
