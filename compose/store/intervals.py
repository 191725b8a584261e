"""The intervals of a date_histogram: fixed or of a calendar, in a time zone, with an offset."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from compose.store.dates import add, duration, floor, milliseconds, moment_of, parse_date, zone_of
from compose.store.errors import StoreError, illegal_argument
from compose.store.mapping import Field

MAX_BUCKETS = 65_536  # search.max_buckets
_CALENDAR = {
    "1s": "s", "second": "s", "1m": "m", "minute": "m", "1h": "h", "hour": "h", "1d": "d", "day": "d", "1w": "w",
    "week": "w", "1M": "M", "month": "M", "1q": "q", "quarter": "q", "1y": "y", "year": "y",
}  # fmt: skip
# Milliseconds of an interval, and how far the first one begins before 1970: that was a Thursday.
_WIDTHS = {"s": (1000, 0), "m": (60_000, 0), "h": (3_600_000, 0), "d": (86_400_000, 0),
           "w": (7 * 86_400_000, 3 * 86_400_000)}  # fmt: skip


def too_many() -> StoreError:
    """Return the error of a request for too many buckets."""
    return StoreError(
        400, "too_many_buckets_exception",
        f"Trying to create too many buckets. Must be less than or equal to: [{MAX_BUCKETS}].", max_buckets=MAX_BUCKETS,
    )  # fmt: skip


class Steps:
    """The intervals of a date_histogram.

    Args:
        options: of the aggregation.

    Raises:
        StoreError: there is not exactly one interval, or it is none.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.zone = zone_of(options.get("time_zone", "UTC"))
        self._options = options
        self._fixed, self._calendar = options.get("fixed_interval"), options.get("calendar_interval")
        if (self._fixed is None) == (self._calendar is None):
            raise illegal_argument(
                "Invalid interval specified, must be non-null and exactly one of fixed_interval and calendar_interval"
            )
        if self._calendar is not None and self._calendar not in _CALENDAR:
            raise StoreError(
                400, "x_content_parse_exception",
                f"The supplied interval [{self._calendar}] could not be parsed as a calendar interval.",
            )  # fmt: skip
        if self._fixed is not None and not re.fullmatch(r"[1-9]\d*(ms|s|m|h|d)", self._fixed):
            raise illegal_argument(f"failed to parse setting [date_histogram.fixedInterval] with value [{self._fixed}]")
        offset = str(options.get("offset", "0ms"))
        sign = -1 if offset.startswith("-") else 1
        self._offset = sign * (0 if offset.lstrip("+-") in ("0", "0ms") else duration(offset.lstrip("+-"), "offset"))

    def bounds(self, name: str, field: Field) -> list[int]:
        """Return the two ends of an option, milliseconds since 1970; empty where it is not given."""
        given = self._options.get(name)
        if not given:
            return []
        return [
            end
            if isinstance(end, int)
            else parse_date(str(end), self._options.get("format") or field.format, self.zone)
            for end in (given["min"], given["max"])
        ]

    def regular(self) -> tuple[int, int] | None:
        """Return width and shift in milliseconds of intervals that are all alike; None where they are not.

        An interval begins where the moment and the shift add up to a multiple of the width.
        """
        if self.zone.utcoffset(None) != dt.timedelta(0):  # a zone by name has None here
            return None
        if self._fixed is not None:
            return duration(self._fixed, "fixed_interval"), -self._offset
        unit = _CALENDAR[str(self._calendar)]
        if unit not in _WIDTHS:
            return None
        width, shift = _WIDTHS[unit]
        return width, shift - self._offset

    def edges(self, low: int, high: int) -> list[int]:
        """Return where each interval begins, from the one that holds `low` to the one that holds `high`."""
        if self._fixed is not None:
            width = duration(self._fixed, "fixed_interval")
            away = moment_of(low).astimezone(self.zone).utcoffset() or dt.timedelta()
            shift = int(away.total_seconds() * 1000) - self._offset
            start = (low + shift) // width * width - shift
            if (high - start) // width >= MAX_BUCKETS:
                raise too_many()
            return list(range(start, high + 1, width))
        unit = _CALENDAR[str(self._calendar)]
        edges: list[int] = []
        moment = floor(moment_of(low - self._offset).astimezone(self.zone), unit)
        while milliseconds(moment) + self._offset <= high:
            edges.append(milliseconds(moment) + self._offset)
            if len(edges) > MAX_BUCKETS:
                raise too_many()
            moment = add(moment, 1, unit)
        return edges
