"""Whose fault a refusal is, and how each is counted and said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from shipper.delivery import MASS, PATIENCE, Outcome
from shipper.errors import Waiting
from tests.shipper.replies import (
    INDEX,
    OTHER,
    PARSING,
    STRANGE,
    Room,
    batch_of,
    everything,
    refuses,
    statuses,
)  # fmt: skip


def test_a_single_record_that_the_server_cannot_read_is_not_taken_for_acknowledged(tmp_path: Path) -> None:
    """A request of one record, refused: a dead letter, nothing acknowledged."""
    room = Room(tmp_path, refuses(400))
    assert room.one_pass(batch_of(1)) == Outcome([], {})
    assert room.tally.counts["acknowledged"] == 0
    assert len(room.dead()) == 1


def test_two_records_above_the_limit_are_two_requests(tmp_path: Path) -> None:
    """Halving goes down to the single record."""
    room = Room(tmp_path, statuses(), limit=1)
    assert room.one_pass(batch_of(2)) == Outcome([], {})
    assert len(room.server.bodies) == 2
    assert room.tally.counts["acknowledged"] == 2


def test_what_two_blocked_indices_hold_is_counted_together(tmp_path: Path) -> None:
    """And many absent ones among more that are present are single faults, named by their index."""
    block = {"type": "cluster_block_exception", "reason": "no writes"}
    room = Room(tmp_path, everything(403, block))
    batch = batch_of(5, OTHER, batch_of(2 * MASS + 3))
    room.server.found = {f"id-{number}" for number in range(MASS + 1, len(batch))}
    assert room.one_pass(batch) == Outcome([], {})
    assert room.tally.counts["already_there"] == MASS + 2 + 5
    assert {letter.index for letter in room.dead()} == {INDEX}
    assert f"{INDEX}: {MASS + 1} to the dead letters: late" in str(room.tally.last_error)


def test_each_record_has_its_own_patience(tmp_path: Path) -> None:
    """Two that fail side by side do not use up each other's."""
    failing = (500, {"type": "x", "reason": "fails"})
    room = Room(tmp_path, statuses({"id-0": failing, "id-1": failing}))
    for _ in range(PATIENCE - 1):
        assert room.one_pass(batch_of(3)).pending == [0, 1]
    assert room.one_pass(batch_of(3)) == Outcome([], {})
    assert f"{INDEX}: 2 to the dead letters" in str(room.tally.last_error)


def test_what_a_judged_reply_takes_is_proof_as_well(tmp_path: Path) -> None:
    """A record that failed alone is at fault once a reply that had to be looked at took others."""
    room = Room(tmp_path, everything(400, STRANGE))
    assert room.one_pass(batch_of(1)).pending == [0]
    room.server.answers = [statuses({"id-1": (409, {"type": "version_conflict_engine_exception"})})]
    assert room.one_pass(batch_of(3), [1, 2]) == Outcome([], {})
    room.server.answers = [everything(400, STRANGE)]
    assert room.one_pass(batch_of(1)) == Outcome([], {})
    assert len(room.dead()) == 1


def test_all_that_waits_is_handed_back_in_order_with_each_index_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Busy ones and refused ones of two indices: none is forgotten, each index has its line at ERROR."""
    bad = {f"id-{number}": (400, PARSING) for number in range(1, MASS + 2)}
    room = Room(tmp_path, statuses({**bad, "id-30": (429, {"type": "x", "reason": "busy"})}))
    batch = batch_of(3, OTHER, batch_of(MASS + 9))
    with caplog.at_level(logging.DEBUG, "shipper.delivery"):
        outcome = room.one_pass(batch)
    assert outcome.pending == [*range(1, MASS + 2), 30]
    assert f"{MASS + 1} of {MASS + 9} documents are refused" in outcome.waits[INDEX]
    assert outcome.waits[OTHER] == "429 busy"
    assert sorted(record.levelno for record in caplog.records) == [logging.ERROR, logging.ERROR]


def test_every_kind_of_dead_letter_is_said_and_counts_add_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each kind; a second batch adds to the counts."""
    strict = {"type": "strict_dynamic_mapping_exception", "reason": "no"}
    room = Room(tmp_path, statuses({"id-1": (400, PARSING), "id-2": (400, strict)}))
    with caplog.at_level(logging.DEBUG, "shipper.delivery"):
        room.one_pass(batch_of(9))
        room.one_pass(batch_of(9))
    assert len(caplog.records) == 2
    assert room.tally.errors == {"document_parsing_exception": 2, "strict_dynamic_mapping_exception": 2}


def test_a_refusal_without_a_reason_is_kept_as_unknown(tmp_path: Path) -> None:
    """A status alone is little, and is passed on as it is."""
    room = Room(tmp_path, statuses({"id-0": (400, {})}))
    batch = batch_of(2)
    assert room.one_pass(batch, [0]) == Outcome([0], {INDEX: "400 "})
    assert room.one_pass(batch) == Outcome([], {})
    (letter,) = room.dead()
    assert (letter.status, letter.type, letter.reason) == (400, "unknown", "unknown")
    assert room.tally.errors == {"unknown": 1}
    assert str(room.tally.last_error).endswith("unknown: 400")


def test_mass_dead_letters_can_be_allowed_from_the_start(tmp_path: Path) -> None:
    """SHIPPER_MASS_DEAD_LETTERS is heard."""
    room = Room(tmp_path, everything(400, PARSING), mass_allowed=True)
    assert room.one_pass(batch_of(MASS + 1)) == Outcome([], {})


def test_a_blocked_index_that_holds_everything_has_no_dead_letters(tmp_path: Path) -> None:
    """All of it is there already: settled, and nothing else happens."""
    room = Room(tmp_path, everything(403, {"type": "cluster_block_exception", "reason": "no writes"}))
    room.server.found = {"id-0", "id-1"}
    assert room.one_pass(batch_of(2)) == Outcome([], {})
    assert room.tally.counts["already_there"] == 2
    assert room.dead() == []


@pytest.mark.parametrize("answer", [{"docs": [{"found": True}]}, {"docs": None}, {}, []])
def test_an_answer_that_does_not_name_each_document_settles_nothing(tmp_path: Path, answer: object) -> None:
    """A record that was not spoken of is neither acknowledged nor dead: it waits, as for any odd reply."""
    room = Room(tmp_path, everything(403, {"type": "cluster_block_exception", "reason": "no writes"}))
    room.server.answer = answer
    with pytest.raises(Waiting, match="does not name 2 documents"):
        room.one_pass(batch_of(2))
    assert room.dead() == []
    assert room.tally.counts["already_there"] == 0


def test_what_a_blocked_index_holds_counts_as_good_beside_what_was_taken(tmp_path: Path) -> None:
    """More than twenty refused among more good ones, taken or there already, are dead letters and no mass refusal."""
    block = {"type": "cluster_block_exception", "reason": "no writes"}
    chosen = {f"id-{number}": (403, block) for number in range(10)}
    chosen |= {f"id-{number}": (400, PARSING) for number in range(10, 35)}
    room = Room(tmp_path, statuses(chosen))
    room.server.found = {f"id-{number}" for number in range(10)}
    assert room.one_pass(batch_of(55)) == Outcome([], {})
    assert len(room.dead()) == 25


def test_a_record_refused_singly_in_a_half_of_a_large_body_is_a_dead_letter(tmp_path: Path) -> None:
    """Halved for its size first, then for a 400: the one record is found all the same."""

    def picky(ids: list[str]) -> bytes:
        return refuses(400)(ids) if "id-2" in ids else statuses()(ids)

    room = Room(tmp_path, picky, limit=150)
    assert room.one_pass(batch_of(8)) == Outcome([], {})
    assert [letter.id for letter in room.dead()] == ["id-2"]
