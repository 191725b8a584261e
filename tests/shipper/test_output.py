"""Replies of a cluster in trouble: full, too many fields, read-only, busy for long, and what is asked of it."""

from __future__ import annotations

import threading

import pytest

from shipper.deadletter import read
from tests.shipper import cluster as faults
from tests.shipper.conftest import Shipping, started, until


def test_only_what_is_needed_of_a_reply_is_asked_for(shipping: Shipping) -> None:
    """A bulk reply is filtered to errors, statuses and reasons: it stays small however large the batch is."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
    shipping.ship()
    (path,) = {path for path in shipping.cluster.paths if path.startswith("/_bulk")}
    asked = set(path.partition("filter_path=")[2].replace("%2C", ",").split(","))
    assert {"errors", "items.*.status", "items.*.error.type", "items.*.error.reason"} <= asked
    assert not {"items", "took"} & asked


def test_a_flood_stage_block_waits_and_goes_on_when_it_is_freed(shipping: Shipping) -> None:
    """A disk above its flood stage blocks writes with 429: no dead letter, no end of trying, all arrive."""
    reason = "index [ml-pipeline] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark"
    shipping.cluster.judge = lambda *_: (429, "cluster_block_exception", reason)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 100))
    service, thread = started(shipping)
    try:
        until(lambda: any("flood-stage" in text for text in service.tally.stuck.values()), "it says so", 60)
        shipping.cluster.judge = None
        until(lambda: len(shipping.cluster.documents) == 100, "all arrive", 60)
    finally:
        service.stop()
        thread.join(30)
    assert service.tally.counts["dead_letter"] == 0


def test_too_many_fields_is_a_dead_letter_for_the_document_that_brings_them(shipping: Shipping) -> None:
    """A mapping at its limit refuses documents with new fields; the others of the same index arrive."""
    shipping.cluster.judge = lambda _index, _id, document: (
        (400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded while adding new fields")
        if document["message"] == "line 8"
        else None
    )
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 40))
    service = shipping.ship()
    assert len(shipping.cluster.documents) == 39
    (letter,) = [letter for path in service.letters.files() for letter in read(path)]
    assert "Limit of total fields" in letter.reason


def test_files_that_close_while_the_output_is_blocked(shipping: Shipping) -> None:
    """Filebeat's case: everything is answered by 429, files are more than handles, they grow: all 5,008 arrive."""
    shipping.cluster.item_odds = {429: 1.0}
    shipping.set(poll_seconds=0.05, batch_lines=100)
    service = shipping.service()
    service.tails._open_files = 3
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        for number in range(8):
            (shipping.logs / f"{number}.log").write_bytes(shipping.lines(number * 600, 600))
        until(lambda: service.tally.counts["retries"] > 5, "it is refused", 60)
        for number in range(8):
            with (shipping.logs / f"{number}.log").open("ab") as file:
                file.write(shipping.lines(4800 + number * 26, 26))
        shipping.cluster.item_odds = {}
        until(lambda: len(shipping.cluster.documents) == 5008, "all arrive", 60)
    finally:
        service.stop()
        thread.join(30)
    shipping.each_once(5008)


@pytest.mark.parametrize("fault", [faults.BAD_REQUEST, faults.TOO_LARGE])
def test_a_request_that_is_refused_as_a_whole_is_halved_and_taken(shipping: Shipping, fault: str) -> None:
    """Once refused: two halves go out, and all arrive; nothing is a dead letter."""
    shipping.cluster.faults = [fault]
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
    service = shipping.ship()
    shipping.each_once(50)
    assert service.tally.counts["dead_letter"] == 0


def test_a_poison_record_does_not_hold_its_neighbours(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that fails again and again, each time with 500, is a dead letter in the end; the rest never waits."""
    shipping.cluster.judge = lambda _index, _id, document: (
        (500, "strange_exception", "no") if document["message"] == "line 5" else None
    )
    monkeypatch.setattr("shipper.delivery.PATIENCE", 3)
    shipping.set(poll_seconds=0.05)
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 20))
    service, thread = started(shipping)
    try:
        until(lambda: len(shipping.cluster.documents) == 19, "its neighbours arrive", 60)
        count = 20

        def buried() -> bool:
            """Others of its index go on being taken meanwhile."""
            nonlocal count
            with log.open("ab") as file:
                file.write(shipping.lines(count, 4))
            count += 4
            return service.tally.counts["dead_letter"] == 1

        until(buried, "it is given up", 120)
    finally:
        service.stop()
        thread.join(30)
    shipping.ship()
    assert len(shipping.cluster.documents) == count - 1
