"""Lines of every form: each arrives, repaired or wrapped where it must be."""

from __future__ import annotations

import json

import pytest

from shipper.settings import ShipperSettings
from tests.shipper.conftest import Shipping, line


def messages(shipping: Shipping) -> list[str]:
    """The messages that are there, in order of their ids."""
    return [str(document["message"]) for _, document in sorted(shipping.cluster.documents.items())]


def test_a_partial_line_is_completed_later_and_across_a_restart(shipping: Shipping) -> None:
    """The beginning of a line waits for its end, however many starts lie between."""
    log = shipping.logs / "a.log"
    whole = line(1)
    log.write_bytes(line(0) + whole[:20])
    shipping.ship()
    shipping.each_once(1)
    log.write_bytes(line(0) + whole[:40])
    shipping.ship()
    log.write_bytes(line(0) + whole + line(2))
    shipping.ship()
    shipping.each_once(3)


def test_odd_lines_all_arrive(shipping: Shipping) -> None:
    """CRLF, byte order mark, NUL holes, bytes that are no UTF-8, empty lines, text, arrays: none is dropped."""
    odd = [
        line(0).rstrip(b"\n") + b"\r\n",
        b"\xef\xbb\xbf" + line(1),
        b"\0" * 5000 + line(2),
        b"\n",
        b"   \n",
        b"plain text\n",
        b"[1, 2]\n",
        b'"text"\n',
        b'{"message": "cut off\n',
        b'{"@timestamp":"2026-11-20T10:00:00.000000Z","message":"\xff\xfe"}\n',
        line(3),
    ]
    (shipping.logs / "a.log").write_bytes(b"".join(odd))
    service = shipping.ship()
    found = shipping.cluster.messages()
    assert all(found[f"line {number}"] == 1 for number in range(4))
    assert found["plain text"] == found["[1, 2]"] == found['"text"'] == found['{"message": "cut off'] == 1
    assert found["\ufffd\ufffd"] == 1
    assert sum(found.values()) == 9
    counts = service.maker.counts
    assert (counts["wrapped"], counts["empty"], counts["nul"], counts["not_utf8"]) == (4, 2, 1, 1)


def test_a_very_long_line_is_cut_and_its_neighbours_are_kept(shipping: Shipping) -> None:
    """A line above the limit is wrapped and cut, counted, and those around it arrive whole."""
    shipping.set(max_line_bytes=10_000)
    long = b'{"message":"' + b"x" * 3_000_000 + b'"}\n'
    (shipping.logs / "a.log").write_bytes(line(0) + long + line(1))
    service = shipping.ship()
    found = messages(shipping)
    assert {"line 0", "line 1"} <= set(found)
    assert max(map(len, found)) == 10_000
    assert service.maker.counts["cut"] == 1


def test_a_line_without_a_stamp_takes_the_one_before_it(shipping: Shipping) -> None:
    """The same index and the same id at every attempt: never the time of day."""
    (shipping.logs / "a.log").write_bytes(line(1) + b"traceback\n" + line(2))
    shipping.ship()
    shipping.ship(resend=True)
    wrapped = [key for key, document in shipping.cluster.documents.items() if document["message"] == "traceback"]
    assert [index for index, _ in wrapped] == ["ml-pipeline-2026.11.21"]


def test_a_file_named_after_its_day_dates_what_has_no_stamp(shipping: Shipping) -> None:
    """Before the first stamp the date in the file's name counts, and without one the index is undated."""
    (shipping.logs / "old-2026-11-19.log").write_bytes(b"no stamp\n")
    (shipping.logs / "other.log").write_bytes(b"no stamp either\n")
    shipping.ship()
    found = {document["message"]: index for (index, _), document in shipping.cluster.documents.items()}
    assert found == {"no stamp": "ml-pipeline-2026.11.19", "no stamp either": "ml-pipeline-undated"}


def test_expired_lines_are_counted_and_not_sent(shipping: Shipping) -> None:
    """What the lifecycle would delete at once is not sent; the file is done nevertheless."""
    old = b'{"@timestamp":"2020-01-01T10:00:00.000000Z","message":"old"}\n'
    (shipping.logs / "a.log").write_bytes(old * 5 + line(0))
    service = shipping.ship()
    shipping.each_once(1)
    assert service.maker.counts["expired"] == 5


def test_sampling_keeps_whole_requests_and_all_warnings(shipping: Shipping) -> None:
    """One request of N is kept with all its lines; warnings and lines without a request are always kept."""
    shipping.set(sample=4)
    text = b'{"@timestamp":"2026-11-20T10:00:00.000000Z","level":"%b","request_id":"r%d","message":"%b %d"}\n'
    lines = b"".join(text % (b"INFO", number, b"info", number) for number in range(400))
    lines += b"".join(text % (b"WARNING", number, b"warning", number) for number in range(400))
    (shipping.logs / "a.log").write_bytes(lines + line(0))
    service = shipping.ship()
    found = messages(shipping)
    infos = sum(message.startswith("info") for message in found)
    assert 60 <= infos <= 140
    assert sum(message.startswith("warning") for message in found) == 400
    assert "line 0" in found
    assert service.maker.counts["sampled"] == 400 - infos


def test_the_default_settings_redact(shipping: Shipping) -> None:
    """An address in a message does not leave, the line does."""
    assert ShipperSettings().redact
    (shipping.logs / "a.log").write_bytes(
        b'{"@timestamp":"2026-11-20T10:00:00.000000Z","message":"mail to jane@example.org"}\n'
    )
    shipping.ship()
    assert messages(shipping) == ["mail to [email]"]


@pytest.mark.parametrize("chunk", [1, 2, 85, 86, 87, 255, 4096])
def test_the_end_of_a_line_on_the_edge_of_a_buffer(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """However many bytes are read at a time, lines are the same lines."""
    monkeypatch.setattr("shipper.service.CHUNK", chunk)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 40))
    shipping.ship(timeout=60)
    shipping.each_once(40)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_arrives_as_far_as_it_is_ascii(shipping: Shipping, encoding: str) -> None:
    """Not an encoding of logs that is supported: ASCII survives, the rest is replaced, and both are counted."""
    text = "\ufeff" + shipping.lines(0, 3).decode()
    (shipping.logs / "a.log").write_bytes(text.encode(encoding))
    service = shipping.ship()
    found = messages(shipping)
    assert sum("line 1" in message for message in found) == 1
    assert sum("line 2" in message for message in found) == 1
    assert service.maker.counts["nul"] >= 3
    assert service.maker.counts["not_utf8"] == 1


def test_fields_are_dropped_masked_and_hashed_by_name(shipping: Shipping) -> None:
    """A dropped field is gone, a masked one says so, a hashed one stands for its value."""
    shipping.set(redact_drop="token", redact_mask="user", redact_hash="client,absent")
    lines = [
        {"@timestamp": "2026-11-20T10:00:00.000000Z", "message": f"m{n}", "token": "t", "user": "u", "client": client}
        for n, client in enumerate(("10.0.0.1", "10.0.0.2", "10.0.0.1"))
    ]
    (shipping.logs / "a.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shipping.ship()
    documents = {document["message"]: document for document in shipping.cluster.documents.values()}
    assert all("token" not in document and document["user"] == "[masked]" for document in documents.values())
    hashes = [documents[f"m{n}"]["client"] for n in range(3)]
    assert hashes[0] == hashes[2] != hashes[1]
    assert "10.0.0" not in json.dumps(list(documents.values()))
    assert all("absent" not in document for document in documents.values())
