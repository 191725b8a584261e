"""What a person on call reads in the shipper's log: what waits, what to do, that it is over, what was changed."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections import Counter
from pathlib import Path

import pytest

from shipper import own_log
from shipper.replay import alike
from shipper.tally import Tally
from shipper.treatments import MEANING, Treatments
from shipper.verdict import Cause, remedy
from tests.shipper.conftest import Shipping
from tests.shipper.replies import INDEX, Room, away, batch_of, statuses

FLOOD = "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark];"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged."""
    return [record.getMessage() for record in caplog.records]


def test_the_end_of_a_wait_is_told_as_its_beginning_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last line of a log is no alarm that is over: the wait's length and reason follow it."""
    room = Room(tmp_path, away, away, statuses())
    with caplog.at_level(logging.INFO, "shipper.delivery"):
        room.delivery.settle(batch_of(2), [0, 1])
        room.delivery.settle(batch_of(2), [0, 1])
    first, second = messages(caplog)
    assert first == "waiting, nothing is lost: nobody there"
    assert second.startswith("server goes on; it waited ")
    assert second.endswith(" s, last for: nobody there")


def test_a_wait_that_was_not_told_ends_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """A server that is away every other second fills no log: two lines the first time, none soon after."""
    tally = Tally()
    with caplog.at_level(logging.INFO, "shipper.delivery"):
        for _ in range(5):
            tally.waits(INDEX, "429 busy", "it waits", logging.ERROR)
            tally.over(INDEX)
        tally.over(INDEX)
    assert [line.split(";")[0] for line in messages(caplog)] == ["it waits", f"{INDEX} goes on"]
    assert tally.stuck == {}


def test_another_reason_for_a_wait_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """A number that differs is no other reason."""
    tally = Tally()
    with caplog.at_level(logging.INFO, "shipper.delivery"):
        for reason in ("100 of 100 refused", "120 of 120 refused", f"429 {FLOOD}", "130 of 130 refused"):
            tally.waits(INDEX, reason, reason, logging.ERROR)
    assert messages(caplog) == ["100 of 100 refused", f"429 {FLOOD}"]
    assert tally.stuck == {INDEX: "130 of 130 refused"}


def test_an_index_with_a_write_block_is_not_taken_for_a_wrong_mapping(tmp_path: Path) -> None:
    """The cure that is named is the block's."""
    block = {"type": "cluster_block_exception", "reason": "index [x] blocked by: [FORBIDDEN/8/index write]"}
    room = Room(tmp_path, statuses({f"id-{number}": (403, block) for number in range(30)}))
    outcome = room.one_pass(batch_of(30))
    assert f'PUT /{INDEX}/_settings {{"index.blocks.write": null}}' in outcome.waits[INDEX]
    assert "mapping" not in outcome.waits[INDEX]
    assert room.dead() == []


def test_a_full_disk_of_the_server_is_told_with_its_cure(tmp_path: Path) -> None:
    """The flood-stage block waits, and names what lifts it."""
    flood = {"type": "cluster_block_exception", "reason": FLOOD}
    outcome = Room(tmp_path, statuses({"id-0": (429, flood)})).one_pass(batch_of(2))
    assert outcome.waits[INDEX] == (
        f"429 {FLOOD}; free room on the disks of Elasticsearch, or delete old indices: it lifts the block itself then"
    )


SHARDS = "this action would add [2] shards, but this cluster has [1000]/[1000] maximum normal shards open"


@pytest.mark.parametrize(
    ("kind", "reason", "cure"),
    [
        ("validation_exception", SHARDS, "cluster.max_shards_per_node"),
        ("index_closed_exception", "closed", f"POST /{INDEX}/_open"),
        ("security_exception", "action [x] is unauthorized", "the right to create"),
    ],
)
def test_what_keeps_an_index_waiting_has_a_cure(kind: str, reason: str, cure: str) -> None:
    """Elasticsearch's errors that somebody must act on say what to do; an unknown one says nothing made up."""
    assert cure in remedy(Cause(type=kind, reason=reason), INDEX)
    assert remedy(Cause(type="strange", reason="?"), INDEX) == ""
    assert remedy(None, INDEX) == ""


def test_changed_lines_are_told_at_the_first_one_and_then_once_a_minute() -> None:
    """Each kind with its number since the last time; a line that was cut is not also told as wrapped."""
    treatments, counts = Treatments(), Counter[str](empty=7)
    assert treatments.news(counts, 0.0) == ""
    counts.update(cut=1, wrapped=3)
    assert treatments.news(counts, 1.0) == (
        f"lines that are not as they should be: 1 {MEANING['cut']}; 2 {MEANING['wrapped']}"
    )
    counts.update(expired=1000)
    assert treatments.news(counts, 60.0) == ""
    assert treatments.news(counts, 61.0).endswith(f": 1,000 {MEANING['expired']}")
    assert treatments.news(counts, 1000.0) == ""


def test_a_shipper_tells_what_it_did_not_send(shipping: Shipping, caplog: pytest.LogCaptureFixture) -> None:
    """An expired line is counted, and stands in the log: nothing is silent."""
    old = json.dumps({"@timestamp": "2020-01-01T00:00:00Z", "message": "old"}).encode()
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 3) + b"no json\n" + old + b"\n")
    with caplog.at_level(logging.WARNING, "shipper.service"):
        shipping.ship()
    told = [line for line in messages(caplog) if line.startswith("lines that are not as they should be: ")]
    assert told == [f"lines that are not as they should be: 1 {MEANING['expired']}; 1 {MEANING['wrapped']}"]


def test_the_shippers_own_lines_have_the_time_that_it_asks_of_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """RFC 3339, UTC, whatever the zone of the machine."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    level = logging.getLogger().level
    own_log.log_to_stderr()
    try:
        logging.getLogger("shipper.x").warning("hello")
    finally:
        logging.captureWarnings(False)
        logging.getLogger().setLevel(level)
    line = json.loads(capsys.readouterr().err)
    assert line["@timestamp"].endswith("Z")
    assert abs((dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(line["@timestamp"])).total_seconds()) < 3600
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "shipper.x", "hello")


def test_refusals_that_differ_only_in_place_id_and_value_are_one() -> None:
    """A day of one mistake is one line of `replay --dry-run`, not a hundred thousand."""
    text = (
        "[1:{}] failed to parse field [duration] of type [float] in document with id '{}'."
        " Preview of field's value: '{}'; Cannot parse object as number"
    )
    found = {alike("document_parsing_exception", text.format(n, f"74-{n}", f"{{a={n}}}")) for n in (82, 91, 300)}
    assert found == {
        "document_parsing_exception: failed to parse field [duration] of type [float]; Cannot parse object as number"
    }
    assert alike("late", "the index x takes no writes any more") == "late: the index x takes no writes any more"
