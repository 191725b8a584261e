"""PromQL's functions over a window of a series, for many moments at once: rate, increase, changes, mean, straight line.

The extrapolation is Prometheus's own (promql/functions.go, extrapolatedRate); version 3 made windows open on the left
and changed the order of two limits, so both are here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compose.console.samples import Floats, Series

Indices = npt.NDArray[np.intp]


def bounds(series: Series, times: Floats, window: float, *, left_open: bool) -> tuple[Indices, Indices]:
    """Return, for each moment, the index of the first sample of its window and the one after the last."""
    first = np.searchsorted(series.times, times - window, side="right" if left_open else "left")
    return first, np.searchsorted(series.times, times, side="right")


def without_gaps(series: Series) -> Series:
    """Return the series without its end markers."""
    kept = ~np.isnan(series.values)
    return series if kept.all() else Series(series.labels, series.times[kept], series.values[kept])


def extrapolated(series: Series, times: Floats, window: float, *, left_open: bool, per_second: bool) -> Floats:
    """Return rate() or increase() of a counter at each moment; NaN where fewer than two samples are in the window.

    Args:
        series: a counter without end markers.
        times: moments, seconds since 1970, an offset already taken off.
        window: seconds.
        left_open: a sample on the window's left edge does not count, as from Prometheus 3 on.
        per_second: rate rather than increase.
    """
    result = np.full(len(times), np.nan)
    first, after = bounds(series, times, window, left_open=left_open)
    enough = after - first >= 2
    if not enough.any():
        return result
    drops = np.where(np.diff(series.values, prepend=series.values[:1]) < 0, np.roll(series.values, 1), 0.0)
    whole = series.values + np.cumsum(drops)  # a counter that began anew goes on from where it was
    low, high = first[enough], after[enough] - 1
    at = times[enough]
    grown = whole[high] - whole[low]
    to_start = series.times[low] - (at - window)
    to_end = at - series.times[high]
    covered = series.times[high] - series.times[low]
    mean = covered / (high - low)
    limit = mean * 1.1
    with np.errstate(divide="ignore", invalid="ignore"):
        to_zero = np.where(grown > 0, covered * (series.values[low] / grown), np.inf)
    if left_open:
        to_start = np.where(to_start >= limit, mean / 2, to_start)
        to_start = np.minimum(to_start, to_zero)
    else:
        to_start = np.minimum(to_start, to_zero)
        to_start = np.where(to_start < limit, to_start, mean / 2)
    to_end = np.where(to_end < limit, to_end, mean / 2)
    factor = (covered + to_start + to_end) / covered
    result[enough] = grown * factor / (window if per_second else 1.0)
    return result


def mean(series: Series, times: Floats, window: float, *, left_open: bool) -> Floats:
    """Return avg_over_time() at each moment; NaN where the window is empty."""
    first, after = bounds(series, times, window, left_open=left_open)
    sums = np.concatenate(([0.0], np.cumsum(series.values)))
    with np.errstate(divide="ignore", invalid="ignore"):
        means: Floats = np.where(after > first, (sums[after] - sums[first]) / (after - first), np.nan)
    return means


def changes(series: Series, times: Floats, window: float, *, left_open: bool) -> Floats:
    """Return changes() at each moment: how often the value became another one; NaN where the window is empty."""
    first, after = bounds(series, times, window, left_open=left_open)
    if not len(series.values):
        return np.full(len(times), np.nan)
    other = np.concatenate(([0], np.cumsum(np.diff(series.values) != 0)))  # up to and with each sample
    return np.where(after > first, other[after - 1] - other[np.minimum(first, len(other) - 1)], np.nan).astype(float)


def line(series: Series, times: Floats, window: float, ahead: Floats, *, left_open: bool) -> Floats:
    """Return predict_linear(): the least-squares line through each window, `ahead` seconds after its moment."""
    result = np.full(len(times), np.nan)
    first, after = bounds(series, times, window, left_open=left_open)
    for place, (low, high) in enumerate(zip(first, after, strict=True)):
        if high - low < 2:
            continue
        x, y = series.times[low:high] - times[place], series.values[low:high]
        spread = x - x.mean()
        square = float(spread @ spread)
        slope = float(spread @ y) / square if square else 0.0
        result[place] = y.mean() + slope * (ahead[place] - x.mean())
    return result


def quantile(share: float, edges: Floats, counts: Floats) -> Floats:
    """Return histogram_quantile() at each moment.

    Args:
        share: 0 to 1.
        edges: upper edges of the buckets, ascending, the last one infinite.
        counts: cumulative counts or rates, one row a bucket, one column a moment.
    """
    rising = np.maximum.accumulate(np.nan_to_num(counts), axis=0)
    total = rising[-1]
    result = np.full(counts.shape[1], np.nan)
    if len(edges) < 2 or not np.isinf(edges[-1]):
        return result
    rank = share * total
    place = np.argmax(rising >= rank, axis=0)
    columns = np.arange(counts.shape[1])
    below = np.where(place > 0, rising[place - 1, columns], 0.0)
    start = np.where(place > 0, edges[place - 1], 0.0)
    inside = rising[place, columns] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        value = start + (edges[place] - start) * ((rank - below) / inside)
    value = np.where(place == len(edges) - 1, edges[-2], value)
    return np.where(total > 0, value, np.nan)
