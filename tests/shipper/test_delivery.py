"""What becomes of records while the server fails in every way: each arrives once, or is a dead letter."""

from __future__ import annotations

from typing import Any

import pytest

from shipper.deadletter import read
from tests.shipper import cluster as faults
from tests.shipper.cluster import Cluster
from tests.shipper.conftest import Shipping, started, until


@pytest.mark.parametrize(
    "fault",
    [faults.UNAVAILABLE, faults.BUSY, faults.RESET, faults.LOST_REPLY, faults.HTML, faults.CUT_REPLY, faults.FORBIDDEN,
     faults.UNAUTHORISED],
)  # fmt: skip
def test_a_failed_request_is_made_again(shipping: Shipping, fault: str) -> None:
    """Whatever a request meets, it is made again until the server takes it, and nothing doubles."""
    shipping.cluster.faults = [fault, fault]
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
    service = shipping.ship()
    shipping.each_once(50)
    assert shipping.cluster.met[fault] == 2
    assert service.tally.counts["retries"] >= 2
    assert service.tally.counts["dead_letter"] == 0


def test_a_reply_that_was_lost_is_met_by_the_ids(shipping: Shipping) -> None:
    """A batch that was indexed although its reply was lost is found to be there already."""
    shipping.cluster.faults = [faults.LOST_REPLY]
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
    service = shipping.ship()
    shipping.each_once(50)
    assert service.tally.counts["already_there"] == 50


def test_faults_by_chance_lose_and_double_nothing(shipping: Shipping) -> None:
    """With a third of the requests and a tenth of the items failing, each line arrives once."""
    shipping.set(batch_lines=40)
    kinds = (faults.UNAVAILABLE, faults.RESET, faults.LOST_REPLY, faults.HTML, faults.CUT_REPLY)
    shipping.cluster.odds = dict.fromkeys(kinds, 0.06)
    shipping.cluster.item_odds = {429: 0.05, 503: 0.05}
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 800))
    service = shipping.ship(timeout=60)
    shipping.each_once(800)
    assert len(shipping.cluster.met) >= 3
    assert service.tally.counts["dead_letter"] == 0


def refuse(message: str, kind: str = "document_parsing_exception") -> Any:
    """Return a judge that refuses one message."""
    return lambda _index, _id, document: (400, kind, "no such value") if document["message"] == message else None


def test_a_refused_document_is_a_dead_letter_and_its_neighbours_arrive(shipping: Shipping) -> None:
    """One document of many is refused: it is kept with all that is needed to send it again."""
    shipping.cluster.judge = refuse("line 7")
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    service = shipping.ship()
    assert shipping.cluster.messages() == {f"line {number}": 1 for number in range(20) if number != 7}
    assert service.tally.counts["dead_letter"] == 1
    (letter,) = read(service.letters.files()[0])
    assert letter.file == str(shipping.logs / "a.log")
    assert letter.offset == len(shipping.lines(0, 7))
    assert (letter.status, letter.type, letter.reason) == (400, "document_parsing_exception", "no such value")
    assert "line 7" in letter.line
    assert service.letters.files()[0].stat().st_mode & 0o777 == 0o600
    shipping.ship()
    assert len(list(read(service.letters.files()[0]))) == 1  # it is settled, not sent again


def test_an_error_without_a_name_of_ours_is_the_documents_fault_once_others_pass(shipping: Shipping) -> None:
    """A 400 of a kind that is not known is a dead letter, because others of the same index are taken."""
    shipping.cluster.judge = refuse("line 7", "strange_exception")
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    assert shipping.ship().tally.counts["dead_letter"] == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, "security_exception"), (404, "index_not_found_exception"), (400, "validation_exception"),
     (400, "document_parsing_exception")],
)  # fmt: skip
def test_what_concerns_all_waits_and_becomes_no_dead_letter(shipping: Shipping, status: int, kind: str) -> None:
    """A whole index that is refused waits, says so, and arrives when the fault is gone."""
    shipping.cluster.judge = lambda *_: (status, kind, "everything is refused")
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 200))
    service, thread = started(shipping)
    try:
        until(lambda: any("refused" in text for text in service.tally.stuck.values()), "it says why it waits")
        assert service.tally.counts["dead_letter"] == 0
        shipping.cluster.judge = None
        until(lambda: len(shipping.cluster.documents) == 200, "all arrive")
    finally:
        service.stop()
        thread.join(20)
    shipping.each_once(200)
    assert not service.tally.stuck


def test_one_stuck_index_does_not_hold_the_others(shipping: Shipping) -> None:
    """While one day's index refuses everything, the other days arrive."""
    shipping.cluster.judge = lambda index, *_: (
        (403, "security_exception", "not this day") if index.endswith("21") else None
    )
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 200))
    service, thread = started(shipping)
    try:
        until(lambda: len(shipping.cluster.documents) == 150, "the other three days are there")
        (shipping.logs / "b.log").write_bytes(shipping.lines(200, 200))
        until(lambda: len(shipping.cluster.documents) == 300, "later lines arrive as well")
        assert list(service.tally.stuck) == ["ml-pipeline-2026.11.21"]
        shipping.cluster.judge = None
        until(lambda: len(shipping.cluster.documents) == 400, "the stuck day arrives")
    finally:
        service.stop()
        thread.join(20)
    shipping.each_once(400)


def test_a_body_that_is_too_large_is_halved(shipping: Shipping) -> None:
    """413 halves the body, down to the one document that is too large by itself."""
    shipping.cluster.limit = 4096
    big = b'{"@timestamp":"2026-11-20T10:00:00.000000Z","message":"%b"}\n' % (b"x" * 8000)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 100) + big + shipping.lines(100, 100))
    service = shipping.ship()
    shipping.each_once(200)
    assert service.tally.counts["dead_letter"] == 1


def test_a_closed_index_is_asked_for_what_it_has(shipping: Shipping) -> None:
    """Of documents for an index without writes those that are there count, the others are late dead letters."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 40))
    shipping.ship()
    shipping.cluster.judge = lambda index, *_: (
        (403, "cluster_block_exception", "blocked by: [FORBIDDEN/8/index write (api)];")
        if index.endswith("21")
        else None
    )
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 44))
    service = shipping.ship(resend=True)
    assert service.tally.counts["already_there"] == 40
    assert service.tally.counts["acknowledged"] == 3
    assert service.tally.errors == {"late": 1}


def test_another_address_takes_over(shipping: Shipping) -> None:
    """Of several addresses those that are away are left out."""
    other = Cluster()
    away = other.url
    other.close()
    shipping.set(url=f"{away},{shipping.cluster.url}")
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
    shipping.ship()
    shipping.each_once(50)


def test_another_cluster_is_an_alarm(shipping: Shipping) -> None:
    """A replaced cluster gets nothing until it is told to be right; then it gets what is still there."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
    shipping.ship()
    shipping.cluster.documents.clear()
    shipping.cluster.uuid = "second-cluster"
    (shipping.logs / "b.log").write_bytes(shipping.lines(10, 10))
    service = shipping.service()
    assert not service.run(drain=True, timeout=1)
    assert "another cluster" in str(service.tally.last_error)
    assert not shipping.cluster.documents
    shipping.ship(resend=True)
    shipping.each_once(20)


def test_bodies_are_bounded_and_compressed(shipping: Shipping) -> None:
    """No body has more lines or bytes than set; compressed ones say so."""
    shipping.set(batch_lines=64, batch_bytes=4096, compress=1)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 500))
    shipping.ship()
    shipping.each_once(500)
    assert max(shipping.cluster.bodies) <= 4096
    assert any(headers.get("content-encoding") == "gzip" for headers in shipping.cluster.headers)


def test_secrets_are_sent_and_never_shown(shipping: Shipping, caplog: pytest.LogCaptureFixture) -> None:
    """An API key from a file is in the requests and in no log line."""
    key = shipping.logs.parent / "key"
    key.write_text("c2VjcmV0LWtleQ==\n")
    shipping.set(api_key_file=key)
    shipping.cluster.faults = [faults.UNAUTHORISED]
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 5))
    shipping.ship()
    assert {headers["authorization"] for headers in shipping.cluster.headers} == {"ApiKey c2VjcmV0LWtleQ=="}
    assert "c2VjcmV0" not in caplog.text
