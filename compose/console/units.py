"""Values as a person reads them: the unit ids are Grafana's, as the panels' definitions have them."""

from __future__ import annotations

import math

from compose.provision.panels import Panel, Threshold

SUFFIX = {
    "percentunit": " %", "percent": " %", "reqps": " /s", "s": " s", "decmbytes": " MB", "bytes": " B", "short": "",
    "none": "", "dateTimeFromNow": "",
}  # fmt: skip


def number(value: float, decimals: int | None = None) -> str:
    """Return a number with three significant digits, or with `decimals`; – for none."""
    if not math.isfinite(value):
        return "–"
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if value == 0:
        return "0"
    if abs(value) >= 100 or float(value).is_integer():
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}".rstrip("0").rstrip(".")


def value_text(value: float, unit: str, decimals: int | None = None) -> str:
    """Return a value with its unit.

    Args:
        unit: one of SUFFIX; a percentunit is a share, seconds below one are said in milliseconds.
    """
    if not math.isfinite(value):
        return "no data"
    if unit == "percentunit":
        return number(100 * value, decimals if decimals is None or decimals < 2 else decimals - 1) + " %"
    if unit == "s":
        return seconds_text(value)
    if unit == "bytes":
        return bytes_text(value)
    return number(value, decimals) + SUFFIX[unit]


def seconds_text(value: float) -> str:
    """Return seconds as µs, ms, s, min or h."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size == 0:
        return "0 s"
    if size < 0.001:
        return f"{number(value * 1e6)} µs"
    if size < 1:
        return f"{number(value * 1000)} ms"
    if size < 120:
        return f"{number(value)} s"
    return f"{number(value / 60)} min" if size < 7200 else f"{number(value / 3600)} h"


def bytes_text(value: float) -> str:
    """Return bytes as B, KiB, MiB or GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            return f"{number(value)} {unit}"
        value /= 1024
    raise AssertionError


def colour(value: float, thresholds: tuple[Threshold, ...]) -> str:
    """Return the colour of the last threshold that the value reaches; plain without thresholds or a value."""
    found = "plain"
    for threshold in thresholds:
        if math.isfinite(value) and (threshold.value is None or value >= threshold.value):
            found = threshold.colour
    return found


def scale_text(panel: Panel) -> str:
    """Return the axis's unit in words, for a panel's head."""
    words = {"reqps": "per second", "s": "", "decmbytes": "MB", "bytes": "bytes", "percentunit": "%"}
    # The guide shows a rate per minute under Grafana's unit for requests per second; here the words are right.
    if panel.key == "predictions-per-minute":
        return "per minute"
    return words.get(panel.unit, "")
