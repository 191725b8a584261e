"""One raw line to the day of its index, its id, and the line as it is sent: repaired or wrapped where needed."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import msgspec
import xxhash

from shipper.batch import Batch, Segment
from shipper.redaction import Redaction

INDEX = "ml-pipeline"
UNDATED = "undated"
ERROR_CHARACTERS = 1000
_intdigest = xxhash.xxh3_64_intdigest
_DAY = dt.timedelta(days=1)
_LOW = ("DEBUG", "INFO")


class Head(msgspec.Struct, rename={"timestamp": "@timestamp"}):
    """The fields that decide; decoding them also checks that the whole line is JSON."""

    timestamp: str = ""
    message: str = ""
    error: str | None = None


class SampledHead(Head, rename={"timestamp": "@timestamp"}):
    """With what sampling asks for."""

    level: str = ""
    request_id: str = ""


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


class RecordMaker:
    """Makes records of lines.

    Args:
        redaction: what is masked.
        max_line_bytes: a longer line is cut.
        retention_days: older lines are expired.
        sample: keep one INFO line of so many.
    """

    def __init__(self, redaction: Redaction, max_line_bytes: int, retention_days: int, sample: int) -> None:
        self.counts: Counter[str] = Counter()
        self._redaction = redaction
        self._max_line = max_line_bytes
        self._retention = retention_days
        self._sample = sample
        self._decode = msgspec.json.Decoder(SampledHead if sample > 1 else Head).decode
        self._fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._days: dict[str, bytes | None] = {}
        self._today = dt.date.min

    def day(self, date: str, now: float) -> bytes | None:
        """Return the name of a date's index, or None when the date is older than retention.

        Args:
            date: YYYY-MM-DD, or empty where none is known.
            now: seconds since 1970.
        """
        today = dt.datetime.fromtimestamp(now, dt.UTC).date()
        if today != self._today:
            self._today = today
            self._days.clear()
        if date in self._days:
            return self._days[date]
        name: bytes | None = f"{INDEX}-{UNDATED}".encode()
        if date:
            day = dt.date.fromisoformat(date)
            if day < today - self._retention * _DAY:
                name = None
            elif day <= today + _DAY:
                name = f"{INDEX}-{day:%Y.%m.%d}".encode()
        self._days[date] = name
        return name

    def add(
        self, lines: list[bytes], batch: Batch, segment: Segment, generation: str, seed: int, fallback: str, now: float
    ) -> None:
        """Add complete lines to a batch, and move the segment's end and stamp on.

        Args:
            lines: without their newlines.
            segment: of the batch, open; its stamp is the nearest earlier valid one of the file.
            generation, seed: of the id.
            fallback: stamp or date for lines before the first valid stamp, empty for none.
            now: seconds since 1970.
        """
        decode, clean, redacting = self._decode, self._redaction.clean, self._redaction.on
        append, place = batch.pieces.append, batch.offsets.append
        offset, size, stamp = segment.end, batch.size, segment.stamp
        second, prefix = "", b""
        joined_plain = not self._redaction.fields and self._sample == 1
        self.day("", now)
        for line in lines:
            start = offset
            offset += len(line) + 1
            try:
                if not joined_plain or len(line) > self._max_line or not (line.isascii() or _utf8(line)):
                    raise ValueError  # noqa: TRY301 - a call per line would cost more than the check
                head = decode(line)
                text = head.timestamp
                if head.error is not None and (len(head.error) > ERROR_CHARACTERS or head.error not in clean):
                    raise ValueError  # noqa: TRY301 - a call per line would cost more than the check
                if redacting and head.message not in clean and self._redaction.text(head.message) != head.message:
                    raise ValueError  # noqa: TRY301 - a call per line would cost more than the check
                if text[:19] != second:
                    if len(text) != 27 or text[10] != "T" or text[26] != "Z":
                        raise ValueError  # noqa: TRY301 - a call per line would cost more than the check
                    dt.datetime.fromisoformat(text)
                    name = self.day(text[:10], now)
                    if name is None or name.endswith(b"d"):
                        raise ValueError  # noqa: TRY301 - a call per line would cost more than the check
                    second = text[:19]
                    prefix = b'{"create":{"_index":"%b","_id":"%b-' % (name, generation.encode())
                elif len(text) != 27 or text[26] != "Z" or not (text[20:26].isascii() and text[20:26].isdigit()):
                    raise ValueError  # noqa: TRY301 - a call per line would cost more than the check
                stamp = text
                if line[-1] == 13:
                    raise ValueError  # noqa: TRY301 - a call per line would cost more than the check
            except (ValueError, msgspec.DecodeError):  # whatever is unusual goes the careful way
                made = self._careful(line, stamp or fallback, now)
                if made is None:
                    continue
                name, document, own = made
                stamp = own or stamp
                piece = b'{"create":{"_index":"%b","_id":"%b-%012d-%016x"}}\n%b\n' % (
                    name, generation.encode(), start, _intdigest(line, seed), document,
                )  # fmt: skip
            else:
                piece = b'%b%012d-%016x"}}\n%b\n' % (prefix, start, _intdigest(line, seed), line)
            size += len(piece)
            append(piece)
            place(start)
        segment.end, segment.stamp, batch.size = offset, stamp, size

    def _careful(self, line: bytes, nearest: str, now: float) -> tuple[bytes, bytes, str] | None:
        """Return index, document and own stamp of any line; None when there is nothing to send."""
        counts = self.counts
        text = line.rstrip(b"\r")
        if b"\0" in text:
            counts["nul"] += 1
            text = text.strip(b"\0").replace(b"\0", b"")
        text = text.removeprefix(b"\xef\xbb\xbf")
        if not text.strip():
            counts["empty"] += 1
            return None
        cut = len(text) > self._max_line
        if cut:
            counts["cut"] += 1
            text = text[: self._max_line]
        if not text.isascii() and not _utf8(text):
            counts["not_utf8"] += 1
            text = text.decode(errors="replace").encode()
        try:
            fields: dict[str, Any] = {} if cut else self._fields(text)
            wrap = cut
        except (ValueError, msgspec.DecodeError, RecursionError):
            fields, wrap = {}, True
        own = ""
        if wrap:
            counts["wrapped"] += 1
            message = self._redaction.text(text.decode(errors="replace"))
            fields = {"level": "WARNING", "logger": "shipper", "message": message}
        else:
            values: dict[str, Any] = {
                name: msgspec.json.decode(fields[name])
                for name in ("@timestamp", "message", "error", "level", "request_id")
                if name in fields
            }
            if self._skipped(values):
                counts["sampled"] += 1
                return None
            own = self._stamped(values, fields)
            self._cleaned(values, fields)
        if not own and nearest:
            counts["stamp_inherited"] += 1
            fields["@timestamp"] = nearest
        elif not own:
            counts["undated"] += 1
        name = self.day((own or nearest)[:10], now)
        if name is None:
            counts["expired"] += 1
            return None
        if own and name.endswith(b"d"):
            counts["future"] += 1
        return name, msgspec.json.encode(fields), own

    def _stamped(self, values: dict[str, Any], fields: dict[str, Any]) -> str:
        """Normalise the line's own timestamp, and return it; empty where it has no valid one."""
        if "@timestamp" not in values:
            return ""
        moment, reason = normalise(values["@timestamp"])
        if moment is None:
            self.counts["stamp_invalid"] += 1
            fields["timestamp_text"] = str(values["@timestamp"])[:ERROR_CHARACTERS]
            fields.pop("@timestamp")
            return ""
        own = stamp_text(moment)
        if own != values["@timestamp"]:
            self.counts[f"stamp_{reason}"] += 1
            fields["@timestamp"] = own
        return own

    def _cleaned(self, values: dict[str, Any], fields: dict[str, Any]) -> None:
        """Cut and redact."""
        redaction = self._redaction
        for name in ("message", "error"):
            value = values.get(name)
            if not isinstance(value, str):
                continue
            text = redaction.text(value)
            if text != value:
                self.counts["redacted"] += 1
            if name == "error" and len(text) > ERROR_CHARACTERS:
                self.counts["error_cut"] += 1
                text = text[:ERROR_CHARACTERS]
            if text != value:
                fields[name] = text
        if redaction.fields:
            for name in fields.keys() & redaction.drop:
                del fields[name]
            for name in fields.keys() & redaction.masked:
                fields[name] = "[masked]"
            for name in fields.keys() & redaction.hashed:
                fields[name] = redaction.keyed(msgspec.json.encode(fields[name]))

    def _skipped(self, values: dict[str, Any]) -> bool:
        """Whether sampling leaves the line out."""
        if self._sample == 1 or values.get("level") not in _LOW:
            return False
        request = values.get("request_id")
        return isinstance(request, str) and request != "" and _intdigest(request.encode()) % self._sample != 0


def _utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
