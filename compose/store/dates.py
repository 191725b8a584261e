"""Dates as Elasticsearch reads them: milliseconds since 1970 in UTC, formats, date maths such as `now-1h/d`.

Formats: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/mapping-date-format.html;
date maths: .../common-options.html#date-math. A date read for an upper bound is rounded up: parts of the
time that it leaves out have their largest value.
"""

from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from compose.store.errors import StoreError, UnsupportedError, illegal_argument

DEFAULT_FORMAT = "strict_date_optional_time||epoch_millis"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)

_ISO = re.compile(
    r"(?P<year>[+-]?\d{4,9})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?:(?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?)?)?)?)?",
    re.ASCII,
)
_MATH = re.compile(r"([+-])(\d*)([yMwdhHms])|/([yMwdhHms])")
_OFFSET = re.compile(r"([+-])(\d{1,2})(?::?(\d\d))?")

# Java's letters of a pattern → strptime's, as far as they occur in practice.
_JAVA = {
    "yyyy": "%Y", "uuuu": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S", "SSS": "%f", "XXX": "%z",
    "Z": "%z", "MMM": "%b", "EEE": "%a",
}  # fmt: skip
_NAMED = {
    "date": "yyyy-MM-dd", "strict_date": "yyyy-MM-dd", "basic_date": "yyyyMMdd",
    "date_hour_minute_second": "yyyy-MM-dd'T'HH:mm:ss", "strict_date_hour_minute_second": "yyyy-MM-dd'T'HH:mm:ss",
    "year": "yyyy", "strict_year": "yyyy", "year_month": "yyyy-MM", "strict_year_month": "yyyy-MM",
}  # fmt: skip
_ISO_NAMES = {
    "strict_date_optional_time", "date_optional_time", "strict_date_time", "date_time", "iso8601",
    "strict_date_time_no_millis", "date_time_no_millis", "strict_date_optional_time_nanos",
}  # fmt: skip


_YEAR_10000 = 253_402_300_800_000
_CYCLE = 146_097 * 86_400_000  # 400 years of the Gregorian calendar


def milliseconds(moment: dt.datetime) -> int:
    """Return whole milliseconds since 1970, rounded towards the past."""
    return (moment - _EPOCH) // _MILLISECOND


def moment_of(value: int) -> dt.datetime:
    """Return the moment, in UTC, of milliseconds since 1970."""
    return _EPOCH + dt.timedelta(milliseconds=value)


def zone_of(name: str) -> dt.tzinfo:
    """Return a time zone by its name or its offset, such as `Europe/Vienna` or `+01:00`.

    Raises:
        StoreError: there is no such zone.
    """
    if name in ("Z", "UTC", "z"):
        return dt.UTC
    found = _OFFSET.fullmatch(name)
    if found:
        offset = dt.timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
        if offset > dt.timedelta(hours=18):  # Java's widest
            raise illegal_argument(f"Zone offset not in valid range: -18:00 to +18:00: {name}")
        return dt.timezone(-offset if found[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise illegal_argument(f"Unknown time-zone ID: {name}") from None


def parse_date(text: str, formats: str = DEFAULT_FORMAT, zone: dt.tzinfo = dt.UTC, *, round_up: bool = False) -> int:
    """Read one date.

    Args:
        text: the date as written.
        formats: names or patterns, separated by `||`; the first that fits wins.
        zone: of dates that name none.
        round_up: fill what is left out with its largest value.

    Returns:
        Milliseconds since 1970.

    Raises:
        StoreError: no format fits.
    """
    for name in formats.split("||"):
        try:
            return _parse_one(text, name, zone, round_up)
        except (ValueError, OverflowError):
            continue
    raise StoreError(
        400,
        "parse_exception",
        f"failed to parse date field [{text}] with format [{formats}]",
        cause={"type": "date_time_parse_exception", "reason": "Failed to parse with all enclosed parsers"},
    )


def _parse_one(text: str, name: str, zone: dt.tzinfo, round_up: bool) -> int:
    if name in _ISO_NAMES:
        return _parse_iso(text, zone, round_up)
    if name == "epoch_millis":
        return _epoch(text, 1)
    if name == "epoch_second":
        return _epoch(text, 1000)
    moment = dt.datetime.strptime(text, _pattern(name))  # noqa: DTZ007 - the zone follows
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    if round_up and "H" not in _NAMED.get(name, name):
        moment += dt.timedelta(days=1) - _MILLISECOND
    return milliseconds(moment)


def check_formats(formats: str) -> None:
    """Refuse formats, separated by `||`, of which one is not known.

    Raises:
        StoreError: naming it.
    """
    for name in formats.split("||"):
        if name not in _ISO_NAMES and name not in ("epoch_millis", "epoch_second"):
            _pattern(name)


def _epoch(text: str, factor: int) -> int:
    if not re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", text):
        raise ValueError(text)
    whole, _, fraction = text.partition(".")
    value = int(whole) * factor
    if fraction and factor > 1:
        part = int((fraction + "000")[:3])
        value += -part if text.startswith("-") else part
    return value


def _pattern(name: str) -> str:
    java = _NAMED.get(name, name)
    if not re.search(r"[yu]{4}", java):
        raise UnsupportedError(f"date format [{name}]")
    result = ""
    for piece in re.finditer(r"'([^']*)'|(([A-Za-z])\3*)|([^A-Za-z'])", java):
        if piece[1] is not None:
            result += piece[1].replace("%", "%%")
        elif piece[2]:
            if piece[2] not in _JAVA:
                raise UnsupportedError(f"date format [{name}]")
            result += _JAVA[piece[2]]
        else:
            result += piece[4].replace("%", "%%")
    return result


def _parse_iso(text: str, zone: dt.tzinfo, round_up: bool) -> int:
    found = _ISO.fullmatch(text)
    if not found:
        raise ValueError(text)
    part = found.groupdict()
    if part["zone"] and not part["hour"]:
        raise ValueError(text)
    if part["zone"]:
        zone = zone_of(part["zone"])
    fraction = part["fraction"]
    start = dt.datetime(
        int(part["year"]),
        int(part["month"] or 1),
        int(part["day"] or 1),
        int(part["hour"] or 0),
        int(part["minute"] or 0),
        int(part["second"] or 0),
        int((fraction + "000000")[:6]) if fraction else 0,
        tzinfo=zone,
    )
    if not round_up or fraction:
        return milliseconds(start)
    # Only parts of the time are rounded up; a month or a day left out is the first, as the real server has it.
    for name, unit in (("second", "s"), ("minute", "m"), ("hour", "h")):
        if part[name]:
            return milliseconds(add(start, 1, unit)) - 1
    return milliseconds(add(start, 1, "d")) - 1


def format_date(value: int, name: str | None = None, zone: dt.tzinfo = dt.UTC) -> str:
    """Write milliseconds since 1970 in a format; by default as `2026-11-24T10:00:00.000Z`.

    Raises:
        StoreError: the format is not supported.
    """
    first = (name or "strict_date_optional_time").split("||")[0]
    if value >= _YEAR_10000:
        # Sums of dates lie there; the calendar repeats itself every 400 years.
        cycles = (value - _YEAR_10000) // _CYCLE + 1
        text = format_date(value - cycles * _CYCLE, name, zone)
        return f"+{int(text[:4]) + 400 * cycles}{text[4:]}" if first in _ISO_NAMES else text
    if zone is dt.UTC and first in _ISO_NAMES and "no_millis" not in first:  # nearly every one
        return moment_of(value).isoformat(timespec="milliseconds")[:23] + "Z"
    moment = moment_of(value).astimezone(zone)
    if first == "epoch_millis":
        return str(value)
    if first == "epoch_second":
        return str(value // 1000)
    if first in _ISO_NAMES:
        offset = moment.strftime("%z")
        ending = "Z" if not moment.utcoffset() else f"{offset[:3]}:{offset[3:]}"
        fraction = "" if "no_millis" in first else f".{moment.microsecond // 1000:03d}"
        return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{ending}"
    pattern = _pattern(first).replace("%f", f"{moment.microsecond // 1000:03d}")
    if "%z" in pattern and ("XXX" in first):
        offset = moment.strftime("%z")
        pattern = pattern.replace("%z", "Z" if not moment.utcoffset() else f"{offset[:3]}:{offset[3:]}")
    return moment.strftime(pattern)


def date_math(
    text: str, now: int, formats: str = DEFAULT_FORMAT, zone: dt.tzinfo = dt.UTC, *, round_up: bool = False
) -> int:
    """Read a date with maths: `now-1h`, `2026-11-24||/M`, or a plain date.

    Args:
        text: the expression.
        now: milliseconds since 1970.
        formats: for the date in it.
        zone: for dates that name none, and for rounding.
        round_up: round to the end of the unit, not to its beginning.

    Raises:
        StoreError: it cannot be read.
    """
    if text.startswith("now"):
        value, maths = now, text[3:]
    else:
        anchor, bar, maths = text.partition("||")
        value = parse_date(anchor, formats, zone, round_up=round_up and not bar)
    try:
        return milliseconds(_moved(moment_of(value).astimezone(zone), maths, round_up))
    except (OverflowError, ValueError) as error:
        raise StoreError(400, "parse_exception", f"[{text}] is no date between the years 1 and 9999: {error}") from None


def _moved(moment: dt.datetime, maths: str, round_up: bool) -> dt.datetime:
    position = 0
    while position < len(maths):
        step = _MATH.match(maths, position)
        if not step:
            raise StoreError(400, "parse_exception", f"operator not supported for date math [{maths[position:]}]")
        position = step.end()
        if step[4]:
            moment = floor(moment, step[4])
            if round_up:
                moment = add(moment, 1, step[4]) - _MILLISECOND
        else:
            count = int(step[2] or 1)
            moment = add(moment, -count if step[1] == "-" else count, step[3])
    return moment


def floor(moment: dt.datetime, unit: str) -> dt.datetime:
    """Return the beginning of the moment's year, quarter (`q`), month, week (Monday), day, hour, minute or second."""
    if unit == "s":
        return moment.replace(microsecond=0)
    if unit == "m":
        return moment.replace(second=0, microsecond=0)
    if unit in "hH":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if unit == "w":
        return day - dt.timedelta(days=day.weekday())
    if unit == "M":
        return day.replace(day=1)
    if unit == "q":
        return day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
    if unit == "y":
        return day.replace(day=1, month=1)
    return day


def add(moment: dt.datetime, count: int, unit: str) -> dt.datetime:
    """Return the moment moved by so many units; a quarter (`q`) is three months."""
    if unit in "yqM":
        months = moment.year * 12 + moment.month - 1 + count * {"y": 12, "q": 3, "M": 1}[unit]
        year, month = divmod(months, 12)
        last = (dt.date(year + (month == 11), (month + 1) % 12 + 1, 1) - dt.timedelta(days=1)).day
        return moment.replace(year=year, month=month + 1, day=min(moment.day, last))
    if unit in "wd":
        return moment + dt.timedelta(days=count * (7 if unit == "w" else 1))
    seconds = count * {"h": 3600, "H": 3600, "m": 60, "s": 1}[unit]
    return (moment.astimezone(dt.UTC) + dt.timedelta(seconds=seconds)).astimezone(moment.tzinfo)


_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(nanos|micros|ms|s|m|h|d)")
_UNITS = {"nanos": 1e-6, "micros": 1e-3, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration(text: str, name: str) -> int:
    """Read a time value such as `30s` or `1d`.

    Args:
        text: the value.
        name: of the setting, for the error.

    Returns:
        Milliseconds.

    Raises:
        StoreError: it is no time value.
    """
    if text in ("0", "-1"):
        return int(text)
    found = _DURATION.fullmatch(text)
    if not found:
        raise illegal_argument(
            f"failed to parse setting [{name}] with value [{text}] as a time value: unit is missing or unrecognized"
        )
    return int(float(found[1]) * _UNITS[found[2]])
