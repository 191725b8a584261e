"""Lines without a time of their own: which time they take, and that it stays the same whatever comes between."""

from __future__ import annotations

import gzip
import time
from collections import Counter

import pytest

from shipper import tails
from shipper.dating import AHEAD_BYTES, date_of_name, first_stamp
from shipper.service import Service
from tests.shipper.cluster import LOST_REPLY
from tests.shipper.conftest import Shipping, line, started, until

CUT = b'd","message":"cut"}\n'  # a line whose beginning is not there


def indices(shipping: Shipping, message: str) -> list[str]:
    """The indices that hold a message."""
    return [index for (index, _), document in shipping.cluster.documents.items() if document["message"] == message]


def stop(service: Service, runner: object) -> None:
    """End a shipper and wait for it."""
    service.stop()
    runner.join(60)  # type: ignore[attr-defined]  # a thread


@pytest.mark.parametrize(
    ("data", "stamp"),
    [
        (line(3), "2026-11-23T10:00:00.000003Z"),
        (b"\n" + line(3), "2026-11-23T10:00:00.000003Z"),
        (CUT + b"\n" + line(3), "2026-11-23T10:00:00.000003Z"),
        (b'{"@timestamp":"soon"}\n{"@timestamp":null}\n' + line(1) + line(2), "2026-11-21T10:00:00.000001Z"),
        (b'\xef\xbb\xbf{"@timestamp":1764000000,"a":"\xff"}\n', "2025-11-24T16:00:00.000000Z"),
        (b'\0\0{"@timestamp":"2026-11-20 10:00:00"}\r\n', "2026-11-20T10:00:00.000000Z"),
        (b'"@timestamp" ' + b"[" * 5000 + b"\n" + line(0), "2026-11-20T10:00:00.000000Z"),
        (line(3)[:-1], ""),
        (CUT, ""),
        (b"", ""),
    ],
)
def test_the_first_time_in_a_files_first_lines(data: bytes, stamp: str) -> None:
    """Of complete lines in any notation, repaired as they are repaired when they are sent."""
    assert first_stamp(data) == stamp


@pytest.mark.parametrize(
    ("path", "stamp"),
    [
        ("/logs/a-2026-11-19.log", "2026-11-19T00:00:00.000000Z"),
        ("/logs/a.log-20261119", "2026-11-19T00:00:00.000000Z"),
        ("/logs/2026-11-19/a.log", ""),
        ("/logs/a-120261119.log", ""),
        ("/logs/a-2026-13-19.log", ""),
    ],
)
def test_the_date_in_a_files_name(path: str, stamp: str) -> None:
    """With or without signs between; not in a folder's name, not inside a longer number."""
    assert date_of_name(path) == stamp


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_first_line_takes_the_time_of_the_next_one(shipping: Shipping, workers: int, packed: bool) -> None:
    """Also where several without a time come first, and before the date in the file's name."""
    shipping.set(workers=workers, paths=f"{shipping.logs}/*")
    data = CUT + b"text\n" + line(2)
    if packed:
        (shipping.logs / "a-2026-11-19.log.gz").write_bytes(gzip.compress(data))
    else:
        (shipping.logs / "a-2026-11-19.log").write_bytes(data)
    service = shipping.ship()
    assert Counter(index for index, _ in shipping.cluster.documents) == {"ml-pipeline-2026.11.22": 3}
    assert service.maker.counts["stamp_inherited"] == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_first_lines_wait_a_moment_for_the_next_one(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """A shipper that runs meets the cut line alone; the line that follows it tells its day."""
    monkeypatch.setattr(tails, "NEXT_SECONDS", 60.0)
    shipping.set(poll_seconds=0.05, workers=workers)
    service, runner = started(shipping)
    log = shipping.logs / "a.log"
    log.write_bytes(CUT)
    until(lambda: service.tails.tails, "the file is seen")
    time.sleep(0.3)
    assert not shipping.cluster.documents
    with log.open("ab") as file:
        file.write(line(3))
    shipping.arrived(2)
    stop(service, runner)
    assert {index for index, _ in shipping.cluster.documents} == {"ml-pipeline-2026.11.23"}


def test_a_stop_does_not_leave_them_waiting(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is read at the end, whether or not the next line has come."""
    monkeypatch.setattr(tails, "NEXT_SECONDS", 60.0)
    shipping.set(poll_seconds=0.05)
    (shipping.logs / "a.log").write_bytes(b"text\n")
    service, runner = started(shipping)
    until(lambda: service.tails.tails, "the file is seen")
    stop(service, runner)
    assert indices(shipping, "text") == ["ml-pipeline-undated"]


def test_much_text_does_not_wait(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no time is in so much of a file's beginning, it is undated, and a time that comes later changes nothing."""
    monkeypatch.setattr(tails, "NEXT_SECONDS", 60.0)
    (shipping.logs / "a.log").write_bytes(b"text\n" * (AHEAD_BYTES // 5 + 1) + line(3))
    shipping.set(batch_lines=5000)
    shipping.ship()
    assert set(indices(shipping, "text")) == {"ml-pipeline-undated"}
    assert indices(shipping, "line 3") == ["ml-pipeline-2026.11.23"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["a.log", "a.log-20261120"])
def test_what_was_decided_stays_when_lines_are_sent_again(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch, workers: int, name: str
) -> None:
    """Sent without a time, not acknowledged, killed; the next line or another name comes: no line is there twice."""
    monkeypatch.setattr(tails, "NEXT_SECONDS", 0.0)
    shipping.set(workers=workers, paths=f"{shipping.logs}/*", stop_seconds=0.1, request_timeout=60.0)
    log = shipping.logs / "a.log"
    log.write_bytes(b"first words of this file, no time in them\n" * 10)
    shipping.cluster.faults = [LOST_REPLY] * 1000
    service, runner = started(shipping)
    shipping.arrived(10)
    stop(service, runner)
    assert not any(record.offset for record in service.checkpoint.state.records.values())
    shipping.cluster.faults = []
    with log.open("ab") as file:
        file.write(line(1))
    log.rename(shipping.logs / name)
    shipping.ship()
    assert Counter(index for index, _ in shipping.cluster.documents) == {
        "ml-pipeline-undated": 10,
        "ml-pipeline-2026.11.21": 1,
    }


@pytest.mark.parametrize("sample", [1, 1_000_000_000])
def test_a_line_that_is_not_sent_dates_those_after_it(shipping: Shipping, sample: int) -> None:
    """Expired or left out by sampling: whether it was sent, now or at an earlier attempt, moves no line after it."""
    shipping.set(sample=sample, retention_days=100_000 if sample > 1 else 30)
    old = b'{"@timestamp":"2020-01-01T10:00:00.000000Z","level":"INFO","request_id":"r1","message":"old"}\n'
    (shipping.logs / "a.log").write_bytes(line(1) + old + b"traceback of the old line\n" + line(2))
    service = shipping.ship()
    counts = service.maker.counts
    assert (counts["expired"], counts["sampled"]) == ((2, 0) if sample == 1 else (0, 1))
    expected = [] if sample == 1 else ["ml-pipeline-2020.01.01"]
    assert indices(shipping, "traceback of the old line") == expected
