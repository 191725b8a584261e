"""One raw line to the day of its index, its id, and the line as it is sent: repaired or wrapped where needed."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from itertools import accumulate, repeat
from operator import add
from typing import Any

import msgspec
import xxhash

from shipper.batch import Batch, Segment
from shipper.dating import normalise, stamp_text
from shipper.redaction import Redaction

INDEX = "ml-pipeline"
UNDATED = "undated"
ERROR_CHARACTERS = 1000
_intdigest, _hexdigest = xxhash.xxh3_64_intdigest, xxhash.xxh3_64_hexdigest
_DAY = dt.timedelta(days=1)
_SHAPE = b"0000-00-00T00:00:00.000000Z\n"  # of a stamp as the contract writes it
_SHAPES = bytes.maketrans(b"123456789", b"000000000")
_ROW = len(_SHAPE)
_HOURS_KEPT = 10_000
_LOW = ("DEBUG", "INFO")


class Head(msgspec.Struct, rename={"timestamp": "@timestamp"}, gc=False):
    """The fields that decide; decoding them also checks that the whole line is JSON."""

    timestamp: str = ""
    message: str = ""
    error: str | None = None


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
        self._decode_lines = msgspec.json.Decoder(Head).decode_lines
        self._fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._plain = not redaction.fields and sample == 1
        self._days: dict[str, bytes | None] = {}
        self._hours: dict[str, bytes | None] = {}
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
            self._hours.clear()
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
        self, lines: list[bytes], data: bytes, batch: Batch, segment: Segment, generation: str, seed: int,
        fallback: str, now: float,
    ) -> None:  # fmt: skip
        """Add complete lines to a batch, and move the segment's end and stamp on.

        Args:
            lines: without their newlines.
            data: the same, with newlines between them.
            segment: of the batch, open; its stamp is the nearest earlier valid one of the file.
            generation, seed: of the id.
            fallback: stamp or date for lines before the first valid stamp, empty for none.
            now: seconds since 1970.
        """
        self.day("", now)
        pieces = [(lines, data)]
        while pieces:
            piece, data = pieces.pop()
            if self._plain and self._together(piece, data, batch, segment, generation, seed, now):
                continue
            if len(piece) > 1:
                middle = len(piece) // 2
                pieces += ((half, b"\n".join(half)) for half in (piece[middle:], piece[:middle]))
                continue
            self._alone(piece[0], batch, segment, generation, seed, fallback, now)

    def _together(
        self, lines: list[bytes], data: bytes, batch: Batch, segment: Segment, generation: str, seed: int, now: float
    ) -> bool:
        """Add lines that go out as they are, into one index; returns False, with nothing done, where one does not.

        Each step is one call for all lines: whether all is JSON (by decoding) in UTF-8, has a stamp of the contract's
        form, and holds nothing to redact or to cut.
        """
        count = len(lines)
        if (
            b"\r" in data
            or not (data.isascii() or _utf8(data))
            or (len(data) > self._max_line and max(map(len, lines)) > self._max_line)
        ):
            return False
        try:
            heads = self._decode_lines(data)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return False
        # As many objects as lines: none is empty and none spans two, for each object ends at a newline.
        if len(heads) != count or not self._unredacted(heads):
            return False
        stamps = [head.timestamp for head in heads]
        name = self._one_index(stamps, now)
        if name is None:
            return False
        last = segment.end + len(data) - len(lines[-1])
        rows = b'{"create":{"_index":"%b","_id":"%b-%b-%%b"}}\n%%b\n' % (
            name,
            generation.encode(),
            _place(segment.end, last),
        )
        values: list[int | bytes] = [0] * (3 * count)
        values[0::3] = map(add, accumulate(map(len, lines), initial=segment.end), range(count))
        values[1::3] = map(str.encode, map(_hexdigest, lines, repeat(seed)))
        values[2::3] = lines
        batch.add(rows * count % tuple(values), count)  # one call instead of one for each line
        segment.end += len(data) + 1
        segment.stamp = stamps[-1]
        return True

    def _unredacted(self, heads: list[Head]) -> bool:
        """Whether nothing in these is to be masked or cut."""
        errors = {head.error for head in heads}
        if any(error is not None and len(error) > ERROR_CHARACTERS for error in errors):
            return False
        redaction = self._redaction
        if not redaction.on:
            return True
        texts = ({head.message for head in heads} | errors) - redaction.clean
        return all(text is None or redaction.text(text) == text for text in texts)

    def _one_index(self, stamps: list[str], now: float) -> bytes | None:
        """Return the index that all stamps belong to; None where they differ or are not of the contract's form."""
        count, text = len(stamps), "\n".join(stamps)
        if not text.isascii():
            return None
        rows = text.encode()
        # Digits are all alike in the shape: each stamp has the form, and none has a newline in it.
        if rows.translate(_SHAPES) + b"\n" != _SHAPE * count:
            return None
        if rows[14::_ROW].translate(None, b"012345") or rows[17::_ROW].translate(None, b"012345"):
            return None  # a minute or a second above 59
        hour = rows[:13]
        if rows.count(hour) == count:  # it can only be where the shape has it
            return self._index_of(stamps[0][:13], now)
        names = {self._index_of(hour, now) for hour in {stamp[:13] for stamp in stamps}}
        return names.pop() if len(names) == 1 else None

    def _index_of(self, hour: str, now: float) -> bytes | None:
        """Return the index of an hour, written as the contract does; None where it is another notation, or undated."""
        try:
            return self._hours[hour]
        except KeyError:
            pass
        try:
            dt.datetime.fromisoformat(hour)  # may still be no such day or hour
            name = self.day(hour[:10], now)
        except ValueError:
            name = None
        if name is not None and name.endswith(UNDATED.encode()):
            name = None
        if len(self._hours) >= _HOURS_KEPT:
            self._hours.clear()
        self._hours[hour] = name
        return name

    def _alone(
        self, line: bytes, batch: Batch, segment: Segment, generation: str, seed: int, fallback: str, now: float
    ) -> None:
        """Add one line of any kind."""
        start = segment.end
        segment.end += len(line) + 1
        made = self._careful(line, segment.stamp or fallback, now)
        if made is None:
            return
        name, document, own = made
        segment.stamp = own or segment.stamp
        if name is None:
            return
        digest = _hexdigest(line, seed).encode()
        action = b'{"create":{"_index":"%b","_id":"%b-%012d-%b"}}' % (name, generation.encode(), start, digest)
        batch.add(b"%b\n%b\n" % (action, document), 1)

    def _careful(self, line: bytes, nearest: str, now: float) -> tuple[bytes | None, bytes, str] | None:
        """Return index, document and own stamp of any line; no index where it is not sent, None where it is empty.

        A line that is expired or left out by sampling is not sent, but dates those after it: which index those are in
        must depend neither on the time of day nor on a setting.
        """
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
                moment, _ = normalise(values.get("@timestamp"))
                return None, b"", "" if moment is None else stamp_text(moment)
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
            return None, b"", own
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


def _place(first: int, last: int) -> bytes:
    """Return the format of offsets from a first to a last one, twelve digits each.

    Where all have as many digits their zeros are written into it: `%d` costs half a `%012d`.
    """
    digits = len(str(first))
    return b"0" * (12 - digits) + b"%d" if digits == len(str(last)) else b"%012d"


def _utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
