"""When a line was written: its own timestamp in any notation, and for lines without one the time of another one."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import msgspec

AHEAD_BYTES = 64 * 1024  # of a file's beginning are looked through for its first time
_MARK = b"\xef\xbb\xbf"
_DATE = re.compile(r"(?<!\d)(20\d\d)[-.]?(0[1-9]|1[0-2])[-.]?(0[1-9]|[12]\d|3[01])(?!\d)")


class _Stamped(msgspec.Struct, rename={"timestamp": "@timestamp"}, gc=False):
    timestamp: Any = None


_stamped = msgspec.json.Decoder(_Stamped).decode


def normalise(value: Any) -> tuple[dt.datetime | None, str]:
    """Return a timestamp in UTC and what had to be done to it.

    Args:
        value: RFC 3339 or ISO 8601 text, zone-less text (taken as UTC), or seconds, milli-, micro- or nanoseconds
            since 1970 told apart by their size.

    Returns:
        The moment, None where it is none; the reason, empty when nothing but its notation changed.
    """
    if isinstance(value, bool) or value is None:
        return None, "invalid"
    try:
        if isinstance(value, (int, float)):
            number = float(value)
            for scale in (1.0, 1e3, 1e6, 1e9):
                if abs(number) < 1e11 * scale:
                    return dt.datetime.fromtimestamp(number / scale, dt.UTC), "number"
            return None, "invalid"
        if not isinstance(value, str):
            return None, "invalid"
        moment = dt.datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            return moment.replace(tzinfo=dt.UTC), "zoneless"
        return moment.astimezone(dt.UTC), "notation"
    except (ValueError, OverflowError, OSError):
        return None, "invalid"


def stamp_text(moment: dt.datetime) -> str:
    """Return a moment as the contract writes it: RFC 3339, UTC, microseconds, Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0") + "Z"


def first_stamp(data: bytes) -> str:
    """Return the first valid timestamp of a file's first lines as the contract writes it; empty where there is none.

    Args:
        data: from the beginning of the file; what follows the last newline is left out.
    """
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        line = data[start:end].replace(b"\0", b"").removeprefix(_MARK)
        start = end + 1
        if b'"@timestamp"' not in line:
            continue
        try:
            moment, _ = normalise(_stamped(line.decode(errors="replace")).timestamp)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            continue
        if moment is not None:
            return stamp_text(moment)
    return ""


def date_of_name(path: str) -> str:
    """Return midnight of the date in a file's name, as the contract writes it; empty where it has none."""
    date = _DATE.search(Path(path).name)
    return f"{date[1]}-{date[2]}-{date[3]}T00:00:00.000000Z" if date else ""
