"""The time range that a page shows, from the address: `now-1h`, or RFC 3339; and times in the viewer's zone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

DEFAULT = "now-1h"
LONGEST = 31 * 86400.0
LATEST = 2e14  # milliseconds since 1970 that are still a date
PRESETS = (
    ("15 min", "now-15m"),
    ("1 h", "now-1h"),
    ("6 h", "now-6h"),
    ("24 h", "now-24h"),
    ("3 d", "now-3d"),
    ("7 d", "now-7d"),
)
LONG = {"15 min": "Last 15 minutes", "1 h": "Last hour", "6 h": "Last 6 hours", "24 h": "Last 24 hours",
        "3 d": "Last 3 days", "7 d": "Last 7 days"}  # fmt: skip
_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?")
_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class RangeError(ValueError):
    """A time cannot be read; the message says what is wanted."""


class TimeRange(msgspec.Struct, frozen=True, kw_only=True):
    """From start to end, seconds since 1970; with the texts they were made of."""

    start: float
    end: float
    start_text: str = DEFAULT
    end_text: str = "now"

    @property
    def span(self) -> float:
        """Length in seconds."""
        return self.end - self.start

    @property
    def is_live(self) -> bool:
        """Whether it ends now."""
        return self.end_text == "now"

    def label(self, zone: Zone) -> str:
        """Return what the picker says."""
        for short, text in PRESETS:
            if (self.start_text, self.end_text) == (text, "now"):
                return LONG[short]
        return (
            f"{zone.text(self.start, seconds=False)} – {'now' if self.is_live else zone.text(self.end, seconds=False)}"
        )

    def filter(self) -> dict[str, object]:
        """Return Elasticsearch's range filter."""
        return {"range": {"@timestamp": {"gte": rfc3339(self.start), "lte": rfc3339(self.end)}}}


def parse_moment(text: str, now: float) -> float:
    """Return a time as seconds since 1970: `now`, `now-6h`, or RFC 3339 (without a zone: UTC).

    Raises:
        RangeError: it is neither.
    """
    text = text.strip()
    if found := _RELATIVE.fullmatch(text):
        return now - (int(found[1]) * _UNIT[found[2]] if found[1] else 0)
    try:
        moment = datetime.fromisoformat(text.replace(" ", "T", 1) if "T" not in text else text)
    except ValueError:
        raise RangeError(f"{text[:40]!r} is no time: now-6h or 2026-11-25T13:00:00Z is wanted") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def moment_of(value: object) -> float | None:
    """Return a document's @timestamp as seconds since 1970: RFC 3339 or milliseconds; None for anything else."""
    if isinstance(value, int | float):
        return value / 1000 if abs(value) < LATEST else None
    if not isinstance(value, str) or value.startswith("now"):
        return None
    try:
        return parse_moment(value, 0.0)
    except RangeError:
        return None


def parse_range(parameters: Mapping[str, str], now: float) -> TimeRange:
    """Return the range that the address asks for; the last hour where it asks for none.

    Raises:
        RangeError: a time cannot be read, the end is before the start, or it is longer than 31 days.
    """
    first, last = parameters.get("from") or DEFAULT, parameters.get("to") or "now"
    start, end = parse_moment(first, now), parse_moment(last, now)
    if end <= start:
        raise RangeError("the end is not after the start")
    if end - start > LONGEST:
        raise RangeError("longer than 31 days; choose a shorter range")
    return TimeRange(start=start, end=end, start_text=first, end_text=last)


def rfc3339(at: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Zone:
    """The viewer's time zone.

    Args:
        name: an IANA name, as the browser tells; an unknown one becomes UTC.
        mark: what stands behind each time, where the viewer cannot know its zone.
    """

    def __init__(self, name: str, *, mark: str = "") -> None:
        self.mark = mark
        self.name, self._info = "UTC", ZoneInfo("UTC") if name == "UTC" else None
        try:
            self._info = ZoneInfo(name)
            self.name = name
        except (ValueError, OSError, KeyError):
            self._info = None

    def _local(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, self._info or UTC)

    def steady(self, spread: TimeRange) -> Zone:
        """Return the zone of a chart's axis: UTC where the clocks change, for an hour that comes twice has no place."""
        changes = self._local(spread.start).utcoffset() != self._local(spread.end).utcoffset()
        return Zone("UTC", mark=" UTC") if changes else self

    def abbreviation(self, at: float) -> str:
        """Return the zone's short name at a time, such as CET; empty where the times carry it anyway."""
        return "" if self.mark else self._local(at).strftime("%Z")

    def wall(self, at: float) -> str:
        """Return the wall-clock time as a chart's axis takes it."""
        return self._local(at).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

    def text(self, at: float, *, seconds: bool = True, millis: bool = False) -> str:
        """Return a time as a person reads it: 25 Nov 13:04:05."""
        moment = self._local(at)
        clock = moment.strftime("%H:%M:%S" if seconds else "%H:%M")
        fraction = f".{moment.microsecond // 1000:03d}" if millis else ""
        return f"{moment.day} {moment.strftime('%b')} {clock}{fraction}{self.mark}"


def utc_text(at: float) -> str:
    """Return a time in UTC, for the hover."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def ago(seconds: float) -> str:
    """Return a length of time as a person says it: 3 s, 4 min, 2 h 5 min, 3 d."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.0f} min"
    hours, rest = divmod(round(minutes), 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours / 24:.0f} d"
