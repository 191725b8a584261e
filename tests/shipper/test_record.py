"""Lines to records: index, id, repair, wrapping, redaction."""

from __future__ import annotations

import datetime as dt
import random
import time
from typing import Any

import msgspec
import pytest

from shipper.batch import Batch
from shipper.record import RecordMaker
from shipper.redaction import Redaction

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC).timestamp()
GOOD = b'{"@timestamp":"2026-11-24T10:00:00.000001Z","level":"INFO","message":"prediction served"}'


def made(*lines: bytes, **changes: int) -> tuple[RecordMaker, Batch]:
    """Records of lines, with the settings' defaults."""
    given = {"max_line_bytes": 4096, "retention_days": 30, "sample": 1, **changes}
    maker, batch = RecordMaker(Redaction(on=True), **given), Batch()
    maker.add(list(lines), b"\n".join(lines), batch, batch.begin(0, "a.jsonl", 0), "0123456789abcdef", 7, "", NOW)
    return maker, batch


def documents(batch: Batch) -> list[Any]:
    """What the batch sends, decoded."""
    return [msgspec.json.decode(batch.document(number)) for number in range(len(batch))]


def test_a_good_line_goes_out_unchanged_into_the_index_of_its_own_day() -> None:
    """The index is the event's day, the id is generation, offset and hash, the document is the line."""
    _, batch = made(GOOD, GOOD)
    index, first = batch.address(0)
    assert (index, batch.document(0)) == ("ml-pipeline-2026.11.24", GOOD)
    assert first.startswith("0123456789abcdef-000000000000-")
    assert batch.address(1)[1].startswith(f"0123456789abcdef-{len(GOOD) + 1:012d}-")
    assert batch.size == len(batch.body([0, 1]))
    assert batch.segments[0].end == 2 * (len(GOOD) + 1)


def test_a_broken_line_is_wrapped_with_the_nearest_earlier_stamp_and_its_neighbours_are_kept() -> None:
    """Nothing is dropped for its form."""
    maker, batch = made(GOOD, b"Traceback (most recent call last)", b"[1]", b'{"a":"\xff"}', GOOD)
    found = documents(batch)
    assert len(found) == 5
    assert found[1]["message"] == "Traceback (most recent call last)"
    assert (found[1]["level"], found[1]["logger"]) == ("WARNING", "shipper")
    assert found[1]["@timestamp"] == "2026-11-24T10:00:00.000001Z"
    assert maker.counts["wrapped"] == 2
    assert maker.counts["not_utf8"] == 1


@pytest.mark.parametrize(
    ("stamp", "index"),
    [
        (b'"2026-11-23 23:30:00"', "ml-pipeline-2026.11.23"),
        (b'"2026-11-24T00:30:00+02:00"', "ml-pipeline-2026.11.23"),
        (b"1795478400", "ml-pipeline-2026.11.24"),
        (b"1795478400000", "ml-pipeline-2026.11.24"),
        (b'"2027-01-01T00:00:00Z"', "ml-pipeline-undated"),
        (b'"yesterday"', "ml-pipeline-undated"),
    ],
)
def test_the_day_is_that_of_the_stamp_in_utc(stamp: bytes, index: str) -> None:
    """Zone-less is UTC, numbers are epochs, the far future and the unreadable are undated."""
    _, batch = made(b'{"@timestamp":%b,"message":"m"}' % stamp)
    assert batch.address(0)[0] == index


def test_expired_empty_and_long_lines_are_counted() -> None:
    """An expired line is not sent, an empty one neither, a long one is cut."""
    old = b'{"@timestamp":"2026-01-01T00:00:00.000000Z"}'
    maker, batch = made(b"x" * 5000, b"", old)
    assert len(batch) == 1
    assert (maker.counts["expired"], maker.counts["empty"], maker.counts["cut"]) == (1, 1, 1)


def test_personal_data_in_message_and_error_is_masked() -> None:
    """E-mail, IBAN, card and phone numbers do not leave."""
    line = (
        b'{"@timestamp":"2026-11-24T10:00:00.000000Z","message":"mail a.b@example.org card 4111 1111 1111 1111",'
        b'"error":"iban DE89370400440532013000 call +49 30 1234567"}'
    )
    _, batch = made(line)
    document = msgspec.json.decode(batch.document(0))
    assert document["message"] == "mail [email] card [card]"
    assert document["error"] == "iban [iban] call [phone]"


def test_the_same_line_at_the_same_place_has_the_same_id() -> None:
    """A re-sent line meets its first copy."""
    assert made(GOOD)[1].action(0) == made(GOOD)[1].action(0)


LATER = GOOD.replace(b"2026-11-24T10", b"2026-11-23T10")
LONG = b"e" * 1001
ODD = (
    GOOD.replace(b"T10:00", b"T10:60"), GOOD.replace(b"00.0", b"60.0"), GOOD.replace(b"T10", b"T11"),
    GOOD.replace(b"2026-11-24", b"2026-02-30"), GOOD.replace(b"01Z", b"0\\nZ"),
    GOOD.replace(b'T10:00:00.000001Z"', b'T1"'),
    b"", b"\r", b"{}", b"[]", b"{} {}", b'{"a":1', b'"x":2}', b"no json", LATER,
    GOOD.replace(b"2026-11-24", b"2026-W48-2"), GOOD.replace(b"T10", b"T25"), GOOD.replace(b"T10", b" 10"),
    GOOD.replace(b"01Z", b"1Z"), GOOD.replace(b"01Z", b"010Z"), GOOD.replace(b"00.0", b"00,0"),
    GOOD.replace(b"2026", b"2020"), GOOD.replace(b"2026", b"2027"), GOOD.replace(b"2026", "\uff12026".encode()),
    GOOD.replace(b"served", b"to a.b@example.org"), GOOD.replace(b"{", b'{"error":"to a.b@example.org",'),
    GOOD.replace(b"{", b'{"error":"' + LONG + b'",'), GOOD.replace(b"{", b'{"error":5,'),
    GOOD.replace(b"served", b"\xff"), GOOD.replace(b"served", "für".encode()), GOOD + b"\r", b"\xef\xbb\xbf" + GOOD,
    b"\0\0" + GOOD, b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", GOOD.replace(b"served", b"long " * 1000),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_lines_looked_at_together_give_the_records_of_the_careful_way(seed: int) -> None:
    """The fast way for many lines misses nothing that the careful way for each line does."""
    chance = random.Random(seed)
    lines = [chance.choice(ODD) if chance.random() < 0.1 else GOOD for _ in range(1200)]
    maker, batch = made(*lines)
    careful, other = RecordMaker(Redaction(on=True), max_line_bytes=4096, retention_days=30, sample=1), Batch()
    careful._plain = False
    segment = other.begin(0, "a.jsonl", 0)
    careful.add(lines, b"\n".join(lines), other, segment, "0123456789abcdef", 7, "", NOW)
    everything = range(len(other))
    assert len(batch) == len(other)
    assert list(map(batch.action, everything)) == list(map(other.action, everything))
    assert documents(batch) == documents(other)
    assert batch.size == len(batch.body(everything))
    assert maker.counts == careful.counts
    assert (batch.segments[0].end, batch.segments[0].stamp) == (segment.end, segment.stamp)
    assert segment.end == sum(map(len, lines)) + len(lines)
    assert batch.size == len(batch.body(list(range(len(batch)))))


STRETCHES = {
    "plain": [GOOD] * 3,
    "hours of one day": [GOOD, GOOD.replace(b"T10", b"T11"), GOOD],
    "UTF-8": [GOOD.replace(b"served", "für".encode()), GOOD],
    "long together, short alone": [GOOD] * 100,
    "as long as may be": [GOOD.replace(b"served", b"x" * (4096 - len(GOOD) + 6)), GOOD],
    "an error of a thousand characters": [GOOD.replace(b"{", b'{"error":"' + b"e" * 1000 + b'",')] * 2,
    "texts with digits": [GOOD.replace(b"served", b"took 5551234567 steps"), GOOD.replace(b"served", b"at 1.5 %")],
}


@pytest.mark.parametrize("stretch", STRETCHES)
@pytest.mark.parametrize("on", [True, False], ids=["redaction", "no redaction"])
def test_lines_of_the_contract_go_the_fast_way(stretch: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, the first time and later: none is looked at alone; their documents are the lines."""
    added: list[int] = []
    add = Batch.add

    def noted(self: Batch, data: bytes, count: int) -> None:
        added.append(count)
        add(self, data, count)

    monkeypatch.setattr(Batch, "add", noted)
    maker = RecordMaker(Redaction(on=on), max_line_bytes=4096, retention_days=30, sample=1)
    lines = STRETCHES[stretch]
    for _ in range(2):
        batch = Batch()
        maker.add(lines, b"\n".join(lines), batch, batch.begin(0, "a", 0), "0123456789abcdef", 7, "", NOW)
        assert [batch.document(number) for number in range(len(batch))] == lines
    assert added == [len(lines)] * 2


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_machines_own_time_zone_changes_nothing(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamps are normalised to UTC, and retention ends at UTC's midnight, fourteen hours east and eleven west."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        _, batch = made(b'{"@timestamp":"2026-11-24T01:30:00+02:00","message":"m"}')
        assert documents(batch)[0]["@timestamp"] == "2026-11-23T23:30:00.000000Z"
        assert batch.address(0)[0] == "ml-pipeline-2026.11.23"
        maker = RecordMaker(Redaction(on=True), max_line_bytes=4096, retention_days=1, sample=1)
        assert maker.day("2026-11-23", NOW) == b"ml-pipeline-2026.11.23"
        assert maker.day("2026-11-22", NOW) is None
        assert maker.day("2026-11-26", NOW) == b"ml-pipeline-undated"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("sample", [2, 10])
def test_sampling_keeps_about_one_request_of_so_many(sample: int) -> None:
    """Of a thousand requests; the others are counted, and all lines of one share its fate."""
    lines = [
        msgspec.json.encode({"@timestamp": "2026-11-24T10:00:00.000001Z", "level": "INFO", "request_id": f"r{number}"})
        for number in range(1000)
    ]
    maker, batch = made(*lines, *lines, sample=sample)
    kept = [document["request_id"] for document in documents(batch)]
    assert kept[: len(kept) // 2] == kept[len(kept) // 2 :]
    assert 0.8 * 1000 / sample < len(kept) / 2 < 1.2 * 1000 / sample
    assert maker.counts["sampled"] == 2000 - len(kept)


@pytest.mark.parametrize(
    ("line", "message"),
    [(b"plain X\r", "plain X"), (b"\r\rplain", "\r\rplain"), (b"\0X plain X\0", "X plain X")],
)
def test_a_wrapped_line_loses_the_end_of_its_line_and_nothing_else(line: bytes, message: str) -> None:
    """A carriage return at the end and NULs are no text; every letter is."""
    assert documents(made(line)[1])[0]["message"] == message


def test_an_error_of_exactly_a_thousand_characters_is_whole_also_the_careful_way() -> None:
    """Nothing is cut, and no cut is counted."""
    maker, batch = made(b'{"@timestamp":"2026-11-24 10:00:00","error":"%b"}' % (b"e" * 1000))
    assert documents(batch)[0]["error"] == "e" * 1000
    assert maker.counts["error_cut"] == 0


@pytest.mark.parametrize("power", range(14))
@pytest.mark.parametrize("before", [0, 1, 300])
def test_an_offset_has_twelve_digits_wherever_it_is(power: int, before: int) -> None:
    """Lines on both sides of each power of ten, and beyond twelve digits, have the ids that lines alone have."""
    start = max(0, 10**power - before)
    maker, batch = RecordMaker(Redaction(on=True), max_line_bytes=4096, retention_days=30, sample=1), Batch()
    segment = batch.begin(0, "a.jsonl", start)
    maker.add([GOOD] * 9, b"\n".join([GOOD] * 9), batch, segment, "0123456789abcdef", 7, "", NOW)
    places = [batch.address(number)[1].split("-")[1] for number in range(9)]
    assert places == [f"{start + number * (len(GOOD) + 1):012d}" for number in range(9)]
