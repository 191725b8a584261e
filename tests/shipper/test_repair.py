"""Odd lines, one by one: what each becomes, and what is counted of it; two of each, so that counts are sums."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from shipper.batch import Batch
from shipper.dating import normalise, stamp_text
from shipper.record import RecordMaker
from shipper.redaction import Redaction

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC).timestamp()
STAMP = "2026-11-24T10:00:00.000001Z"
MOMENT = dt.datetime(2026, 11, 24, 10, 0, 0, 1, tzinfo=dt.UTC)


def twice(
    line: bytes, *, redaction: Redaction | None = None, fallback: str = "", **changes: int
) -> tuple[dict[str, int], list[dict[str, Any]], Batch]:
    """Counts and documents of a line that comes twice."""
    given = {"max_line_bytes": 200, "retention_days": 30, "sample": 1, **changes}
    maker, batch = RecordMaker(redaction or Redaction(on=True), **given), Batch()
    maker.add(
        [line, line], b"\n".join([line, line]), batch, batch.begin(0, "a", 0), "0123456789abcdef", 7, fallback, NOW
    )
    assert batch.segments[0].end == 2 * (len(line) + 1)
    return dict(maker.counts), [msgspec.json.decode(batch.document(number)) for number in range(len(batch))], batch


@pytest.mark.parametrize(
    ("value", "moment", "reason"),
    [
        (STAMP, MOMENT, "notation"),
        (f"  {STAMP} ", MOMENT, "notation"),
        ("2026-11-24 10:00:00.000001", MOMENT, "zoneless"),
        ("2026-11-24T11:00:00.000001+01:00", MOMENT, "notation"),
        (99_999_999_999, dt.datetime(5138, 11, 16, 9, 46, 39, tzinfo=dt.UTC), "number"),
        (100_000_000_000, dt.datetime(1973, 3, 3, 9, 46, 40, tzinfo=dt.UTC), "number"),
        (1_795_478_400, dt.datetime(2026, 11, 24, tzinfo=dt.UTC), "number"),
        (1_795_478_400_000, dt.datetime(2026, 11, 24, tzinfo=dt.UTC), "number"),
        (1_795_478_400_000_000, dt.datetime(2026, 11, 24, tzinfo=dt.UTC), "number"),
        (1_795_478_400_000_000_000, dt.datetime(2026, 11, 24, tzinfo=dt.UTC), "number"),
        (1_795_478_400.5, dt.datetime(2026, 11, 24, 0, 0, 0, 500_000, tzinfo=dt.UTC), "number"),
        (-1.0, dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC), "number"),
        (1e20, None, "invalid"),
        (-1e20, None, "invalid"),
        (True, None, "invalid"),
        (None, None, "invalid"),
        ([1], None, "invalid"),
        ("yesterday", None, "invalid"),
        ("0001-01-01T00:00:00+23:00", None, "invalid"),
    ],
)
def test_a_timestamp_in_any_notation(value: Any, moment: dt.datetime | None, reason: str) -> None:
    """Numbers are told apart by their size, zone-less text is UTC, what is no moment is None."""
    assert normalise(value) == (moment, reason)


def test_a_moment_is_written_as_the_contract_has_it() -> None:
    """27 characters, also in the first millennium."""
    assert stamp_text(MOMENT) == STAMP
    assert stamp_text(dt.datetime(5, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)) == "0005-01-02T03:04:05.000006Z"


@pytest.mark.parametrize(
    ("line", "counts", "document"),
    [
        (b'\0\0{"@timestamp":"%b"}\0' % STAMP.encode(), {"nul": 2}, {"@timestamp": STAMP}),
        (b'\xef\xbb\xbf{"@timestamp":"%b"}\r' % STAMP.encode(), {}, {"@timestamp": STAMP}),
        (b'{"@timestamp":"%b","message":"a\0b"}' % STAMP.encode(), {"nul": 2}, {"@timestamp": STAMP, "message": "ab"}),
        (b'{"@timestamp":"2026-11-24T10:00:00.000001"}', {"stamp_zoneless": 2}, {"@timestamp": STAMP}),
        (b'{"@timestamp":"2026-11-24T11:00:00.000001+01:00"}', {"stamp_notation": 2}, {"@timestamp": STAMP}),
        (b'{"@timestamp":1795514400.000001}', {"stamp_number": 2}, {"@timestamp": STAMP}),
        (
            b'{"@timestamp":"soon","a":1}',
            {"stamp_invalid": 2, "undated": 2},
            {"a": 1, "timestamp_text": "soon"},
        ),
        (
            b"plain text",
            {"wrapped": 2, "undated": 2},
            {"level": "WARNING", "logger": "shipper", "message": "plain text"},
        ),
        (
            b"from a.b@example.org \xff",
            {"not_utf8": 2, "wrapped": 2, "undated": 2},
            {"level": "WARNING", "logger": "shipper", "message": "from [email] \ufffd"},
        ),
        (
            b"x" * 201,
            {"cut": 2, "wrapped": 2, "undated": 2},
            {"level": "WARNING", "logger": "shipper", "message": "x" * 200},
        ),
        (
            b"x" * 200,
            {"wrapped": 2, "undated": 2},
            {"level": "WARNING", "logger": "shipper", "message": "x" * 200},
        ),
        (b'{"@timestamp":"2027-01-01T00:00:00.000000Z"}', {"future": 2}, {"@timestamp": "2027-01-01T00:00:00.000000Z"}),
        (
            b'{"@timestamp":"%b","message":"to a.b@example.org","error":"a.b@example.org"}' % STAMP.encode(),
            {"redacted": 4},
            {"@timestamp": STAMP, "message": "to [email]", "error": "[email]"},
        ),
        (
            b'{"@timestamp":"%b","message":5,"error":null}' % STAMP.encode(),
            {},
            {"@timestamp": STAMP, "message": 5, "error": None},
        ),
    ],
)  # fmt: skip
def test_what_an_odd_line_becomes(line: bytes, counts: dict[str, int], document: dict[str, Any]) -> None:
    """Repaired or wrapped, and each repair is counted each time."""
    found, documents, _batch = twice(line)
    assert (found, documents) == (counts, [document, document])


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (b"", {"empty": 2}),
        (b" \t\r", {"empty": 2}),
        (b"\0\0\0", {"nul": 2, "empty": 2}),
        (b'{"@timestamp":"2026-10-24T23:59:59.999999Z"}', {"expired": 2}),
    ],
)
def test_what_is_not_sent_is_counted(line: bytes, counts: dict[str, int]) -> None:
    """Nothing goes out, the offset moves on."""
    assert twice(line)[:2] == (counts, [])


@pytest.mark.parametrize(
    ("day", "index"),
    [
        ("2026-10-24", None),
        ("2026-10-25", "ml-pipeline-2026.10.25"),
        ("2026-11-25", "ml-pipeline-2026.11.25"),
        ("2026-11-26", "ml-pipeline-undated"),
        ("", "ml-pipeline-undated"),
    ],
)
def test_days_at_both_ends(day: str, index: str | None) -> None:
    """Thirty days back and one ahead have indices; older is expired, newer is undated."""
    maker = RecordMaker(Redaction(on=True), max_line_bytes=200, retention_days=30, sample=1)
    found = maker.day(day, NOW)
    assert found == (None if index is None else index.encode())
    assert maker.day(day, NOW) == found


def test_days_move_on_with_the_clock() -> None:
    """What was ahead has an index the next day, and what was the last day is expired."""
    maker = RecordMaker(Redaction(on=True), max_line_bytes=200, retention_days=30, sample=1)
    assert maker.day("2026-11-26", NOW) == b"ml-pipeline-undated"
    assert maker.day("2026-10-25", NOW) is not None
    assert maker.day("2026-11-26", NOW + 86_400) == b"ml-pipeline-2026.11.26"
    assert maker.day("2026-10-25", NOW + 86_400) is None


@pytest.mark.parametrize(
    "line",
    [
        b" two spaces and a tab  \t",
        b"\0\0 two spaces and a tab  \t\0",
        b" two spaces\0 and a tab  \t",
        b" two spaces and a tab  \t\r",
    ],
)
def test_a_text_keeps_the_blanks_around_it(line: bytes) -> None:
    """Only what ends a line in another system, and NULs, are taken away."""
    _counts, documents, _batch = twice(line)
    assert [each["message"] for each in documents] == [" two spaces and a tab  \t"] * 2


def test_good_lines_that_end_as_in_another_system_are_sent_as_others() -> None:
    """The document is the line without its carriage return, also among many."""
    line = b'{"@timestamp":"%b","message":"m"}' % STAMP.encode()
    _counts, _documents, batch = twice(line + b"\r")
    assert [batch.document(number) for number in (0, 1)] == [line] * 2


def test_a_line_without_a_stamp_takes_the_nearest_before_it_or_the_fallback() -> None:
    """Counted each time; the fallback counts only until the file has a stamp of its own."""
    counts, documents, batch = twice(b'{"a":1}', fallback="2026-11-20")
    assert counts == {"stamp_inherited": 2}
    assert [each["@timestamp"] for each in documents] == ["2026-11-20"] * 2
    assert {batch.address(number)[0] for number in (0, 1)} == {"ml-pipeline-2026.11.20"}
    assert batch.segments[0].stamp == ""
    maker, batch = RecordMaker(Redaction(on=True), max_line_bytes=200, retention_days=30, sample=1), Batch()
    lines = [b'{"@timestamp":"%b"}' % STAMP.encode(), b'{"a":1}']
    maker.add(lines, b"\n".join(lines), batch, batch.begin(0, "a", 0), "g", 7, "2026-11-20", NOW)
    assert msgspec.json.decode(batch.document(1))["@timestamp"] == STAMP


@pytest.mark.parametrize(("length", "kept", "cut"), [(1000, 1000, 0), (1001, 1000, 2)])
def test_an_error_has_a_thousand_characters_at_most(length: int, kept: int, cut: int) -> None:
    """One more is cut and counted."""
    line = msgspec.json.encode({"@timestamp": STAMP, "error": "e" * length})
    counts, documents, _batch = twice(line, max_line_bytes=5000)
    assert counts.get("error_cut", 0) == cut
    assert [len(each["error"]) for each in documents] == [kept, kept]


def test_fields_are_dropped_masked_and_hashed_by_name() -> None:
    """The hash is keyed and the same for the same value; other fields stay."""
    redaction = Redaction(on=True, drop="a,no", masked="b", hashed="c", seed=3)
    line = msgspec.json.encode({"@timestamp": STAMP, "a": 1, "b": 2, "c": "3", "d": 4})
    counts, documents, _batch = twice(line, redaction=redaction)
    assert counts == {}
    assert documents[0] == documents[1]
    assert documents[0] == {"@timestamp": STAMP, "b": "[masked]", "c": redaction.keyed(b'"3"'), "d": 4}


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"level": "INFO", "request_id": "r1"}, None),
        ({"level": "DEBUG", "request_id": "r1"}, None),
        ({"level": "WARNING", "request_id": "r1"}, True),
        ({"level": "ERROR", "request_id": "r1"}, True),
        ({"level": "INFO", "request_id": ""}, True),
        ({"level": "INFO", "request_id": 5}, True),
        ({"level": "INFO"}, True),
        ({"request_id": "r1"}, True),
    ],
)
def test_sampling_keeps_one_of_n_requests_and_all_warnings(fields: dict[str, Any], kept: bool | None) -> None:
    """All lines of a request share its fate; lines of no request are kept; None: by the request's hash."""
    outcomes = set()
    for number in range(200):
        own = {**fields, **({"request_id": f"r{number}"} if kept is None else {})}
        counts, documents, _batch = twice(msgspec.json.encode({"@timestamp": STAMP, **own}), sample=4)
        assert (counts.get("sampled", 0), len(documents)) in ((0, 2), (2, 0))
        outcomes.add(len(documents))
        if kept is not None:
            break
    assert outcomes == ({0, 2} if kept is None else {2})


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-24T10:00:00.00000aZ", "2026-11-24T10:00:00,000001Z", "2026-11-24T10:00:00.000001z",
        "2026-11-24 10:00:00.000001Z", "2026-11-24T10:00:00.0000010", "2026-11-24T24:00:00.000001Z",
        "2026-02-30T10:00:00.000001Z",
    ],
)  # fmt: skip
def test_a_stamp_that_only_looks_right_goes_the_careful_way(stamp: str) -> None:
    """One in a piece of good ones: it is normalised or called invalid, and the others go out as they are."""
    good = b'{"@timestamp":"%b"}' % STAMP.encode()
    lines = [good, good, b'{"@timestamp":"%b"}' % stamp.encode(), good]
    maker, batch = RecordMaker(Redaction(on=True), max_line_bytes=200, retention_days=30, sample=1), Batch()
    maker.add(lines, b"\n".join(lines), batch, batch.begin(0, "a", 0), "g", 7, "", NOW)
    assert [batch.document(number) for number in (0, 1, 3)] == [good] * 3
    moment, _reason = normalise(stamp)
    own = msgspec.json.decode(batch.document(2))
    assert own["@timestamp"] == (STAMP if moment is None else stamp_text(moment))
    assert sum(maker.counts[kind] for kind in maker.counts if kind.startswith("stamp_")) >= 1
