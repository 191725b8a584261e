"""Many dates of one form read at once, such as the `@timestamp` of every line of a bulk body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_SHAPE = np.frombuffer(b"0000-00-00T00:00:00.000000", dtype=np.uint8)
_SIZES = {20, 24, 27}  # characters with the Z: seconds, milliseconds, microseconds
_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])  # days


def read_timestamps(texts: Sequence[str | None]) -> list[int] | None:
    """Return dates as milliseconds since 1970, rounded down.

    Args:
        texts: of the form 2026-11-25T10:00:00.123456Z, with six, three or no digits behind the point, all alike.

    Returns:
        None where one is of another form, or is no date.
    """
    known = [text for text in texts if text is not None]
    sizes = set(map(len, known))
    size = sizes.pop() if len(known) == len(texts) and len(sizes) == 1 else 0
    text = "".join(known) if size in _SIZES else ""
    if not text.isascii() or not text:
        return None
    # One row for each character, so that each step runs over all dates.
    rows = np.frombuffer(text.encode(), dtype=np.uint8).reshape(-1, size).T.astype(np.int64)
    end = 19 if size == 20 else size - 1
    for place in range(end):
        letter = _SHAPE[place]
        if letter == ord("0"):
            rows[place] -= ord("0")
            if rows[place].min() < 0 or rows[place].max() > 9:
                return None
        elif (rows[place] != letter).any():
            return None
    if (rows[-1] != ord("Z")).any():
        return None
    year = ((rows[0] * 10 + rows[1]) * 10 + rows[2]) * 10 + rows[3]
    month, day, hour, minute, second = (rows[at] * 10 + rows[at + 1] for at in (5, 8, 11, 14, 17))
    if min(year.min(), month.min(), day.min()) < 1 or month.max() > 12 or hour.max() > 23:
        return None
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    if (day > _MONTH[month] + (leap & (month == 2))).any() or max(minute.max(), second.max()) > 59:
        return None
    milliseconds = (rows[20] * 10 + rows[21]) * 10 + rows[22] if size > 20 else 0
    minutes = (_days(year, month, day) * 24 + hour) * 60 + minute
    found: list[int] = ((minutes * 60 + second) * 1000 + milliseconds).tolist()
    return found


def _days(year: Any, month: Any, day: Any) -> Any:
    """Return days since 1970 of dates of the Gregorian calendar: years that begin in March, in eras of 400 of them."""
    year = year - (month <= 2)
    of_era = year % 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year // 400 * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
