"""One batch, one reply, one verdict per record."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from shipper.deadletter import DeadLetter
from shipper.delivery import MASS, PATIENCE, Outcome
from shipper.errors import DeadLetterError, SystemicError, Waiting
from shipper.server import RefusedError, Server
from shipper.verdict import Cause
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


def test_a_batch_that_is_taken_whole_is_one_request(tmp_path: Path) -> None:
    """All acknowledged: counted, dated, and nothing is left."""
    room = Room(tmp_path, statuses())
    batch = batch_of(3)
    assert room.one_pass(batch) == Outcome([], {})
    assert len(room.server.bodies) == 1
    assert room.server.bodies[0].endswith(b'{"n":2}\n')
    counts = room.tally.counts
    assert counts == {"requests": 1, "bytes": len(room.server.bodies[0]), "acknowledged": 3}
    assert room.tally.last_acknowledged == 1_764_000_000.5
    assert room.tally.reachable is True


def test_only_what_is_pending_is_sent(tmp_path: Path) -> None:
    """A part of a batch is a body of that part, and is counted as that."""
    room = Room(tmp_path, statuses())
    assert room.one_pass(batch_of(4), [1, 3]) == Outcome([], {})
    assert room.server.bodies[0].count(b"id-") == 2
    assert b"id-1" in room.server.bodies[0]
    assert b"id-3" in room.server.bodies[0]
    assert room.tally.counts["acknowledged"] == 2


def test_nothing_pending_sends_nothing_but_looks_whether_the_server_is_as_it_must_be(tmp_path: Path) -> None:
    """The probe of a waiting shipper costs no bulk request."""
    looked: list[int] = []
    room = Room(tmp_path, statuses(), prepare=lambda: looked.append(1))
    assert room.one_pass(batch_of(2), []) == Outcome([], {})
    assert (looked, room.server.bodies) == ([1], [])


def test_a_second_copy_is_success(tmp_path: Path) -> None:
    """409 is counted apart and settled."""
    room = Room(tmp_path, statuses({"id-1": (409, {"type": "version_conflict_engine_exception"})}))
    assert room.one_pass(batch_of(3)) == Outcome([], {})
    assert (room.tally.counts["acknowledged"], room.tally.counts["already_there"]) == (2, 1)
    assert room.tally.counts["retries"] == 0


def test_a_busy_item_is_left_with_its_index_as_reason(tmp_path: Path) -> None:
    """429 of one item: it alone is pending, its index is stuck with the words, others are settled."""
    room = Room(tmp_path, statuses({"id-1": (429, {"type": "es_rejected_execution_exception", "reason": "queue"})}))
    outcome = room.one_pass(batch_of(3))
    assert outcome == Outcome([1], {INDEX: "429 queue"})
    assert room.tally.stuck == {INDEX: "429 queue"}
    assert room.tally.counts["retries"] == 1
    assert room.tally.last_error == f"{INDEX} waits, nothing is lost: 429 queue"
    room.server.answers = [statuses()]
    assert room.one_pass(batch_of(3), [1]) == Outcome([], {})
    assert room.tally.stuck == {}


def test_an_index_is_no_longer_stuck_once_all_of_it_is_taken(tmp_path: Path) -> None:
    """Another index that waits stays stuck."""
    batch = batch_of(2, OTHER, batch_of(2))
    room = Room(tmp_path, everything(429, {"type": "x", "reason": "busy"}))
    assert room.one_pass(batch).pending == [0, 1, 2, 3]
    assert set(room.tally.stuck) == {INDEX, OTHER}
    room.server.answers = [statuses({"id-2": (429, {"type": "x", "reason": "busy"})})]
    outcome = room.one_pass(batch)
    assert outcome == Outcome([2], {OTHER: "429 busy"})
    assert set(room.tally.stuck) == {OTHER}
    room.server.answers = [statuses()]
    room.one_pass(batch)
    assert room.tally.stuck == {}


def test_a_refused_document_is_a_dead_letter_with_all_that_is_needed(tmp_path: Path) -> None:
    """File, offset, index, id, status, type, reason, moment and line are kept; the rest of the batch is settled."""
    room = Room(tmp_path, statuses({"id-2": (400, PARSING)}))
    batch = batch_of(2, INDEX, batch_of(2), path="b.jsonl")
    assert room.one_pass(batch) == Outcome([], {})
    (letter,) = room.dead()
    assert letter == DeadLetter(
        file="b.jsonl",
        offset=2,
        index=INDEX,
        id="id-2",
        status=400,
        type="document_parsing_exception",
        reason="no such value",
        at=letter.at,
        line='{"n":2}',
    )
    assert letter.at.startswith("2025-11-24T16:00:00")
    assert room.tally.counts["dead_letter"] == 1
    assert room.tally.errors == {"document_parsing_exception": 1}
    assert room.tally.last_error is not None
    assert ": 1 to the dead letters: " in room.tally.last_error


def test_dead_letters_of_two_kinds_are_counted_by_kind(tmp_path: Path) -> None:
    """Each kind has its own count."""
    strict = {"type": "strict_dynamic_mapping_exception", "reason": "no"}
    room = Room(tmp_path, statuses({"id-1": (400, PARSING), "id-2": (400, PARSING), "id-3": (400, strict)}))
    assert room.one_pass(batch_of(9)) == Outcome([], {})
    assert room.tally.errors == {"document_parsing_exception": 2, "strict_dynamic_mapping_exception": 1}
    assert room.tally.counts["dead_letter"] == 3


def test_an_unknown_error_waits_until_others_of_its_index_are_taken_later(tmp_path: Path) -> None:
    """Alone it may be the index's fault; once others passed after it, it is its own."""
    room = Room(tmp_path, everything(400, STRANGE))
    batch = batch_of(1)
    for _ in range(3):
        assert room.one_pass(batch).pending == [0]
    room.server.answers = [statuses()]
    room.one_pass(batch_of(1, INDEX))  # another record of the index, with the same number
    room.server.answers = [everything(400, STRANGE)]
    assert room.one_pass(batch) == Outcome([], {})
    assert [letter.type for letter in room.dead()] == ["strange_exception"]


def test_an_unknown_error_beside_good_ones_is_a_dead_letter_at_once(tmp_path: Path) -> None:
    """The same reply shows that the index takes documents."""
    room = Room(tmp_path, statuses({"id-0": (400, STRANGE)}))
    assert room.one_pass(batch_of(2)) == Outcome([], {})
    assert len(room.dead()) == 1


def test_a_good_document_of_another_index_proves_nothing(tmp_path: Path) -> None:
    """Only others of the same index do."""
    room = Room(tmp_path, statuses({"id-0": (400, STRANGE)}))
    batch = batch_of(1, OTHER, batch_of(1))
    for _ in range(PATIENCE + 1):
        assert room.one_pass(batch).pending == [0]
    assert room.dead() == []


def test_a_server_error_of_one_item_has_patience(tmp_path: Path) -> None:
    """5xx is tried again PATIENCE times while others pass, then it is the document's fault; 429 never is."""
    room = Room(tmp_path, statuses({"id-0": (500, {"type": "x", "reason": "fails"})}))
    for _ in range(PATIENCE - 1):
        assert room.one_pass(batch_of(2)).pending == [0]
    assert room.dead() == []
    assert room.one_pass(batch_of(2)) == Outcome([], {})
    assert [letter.status for letter in room.dead()] == [500]
    assert room.one_pass(batch_of(2)).pending == [0]  # what became of one is forgotten: the next has patience again
    room = Room(tmp_path / "busy", statuses({"id-0": (429, {"type": "x", "reason": "busy"})}))
    for _ in range(3 * PATIENCE):
        assert room.one_pass(batch_of(2)).pending == [0]
    assert room.dead() == []


def test_what_concerns_an_index_never_is_a_documents_fault(tmp_path: Path) -> None:
    """Rights, a missing index: however often, and with others taken, the record waits."""
    room = Room(tmp_path, statuses({"id-0": (403, {"type": "security_exception", "reason": "not yours"})}))
    for _ in range(2 * PATIENCE):
        outcome = room.one_pass(batch_of(2))
        assert outcome.pending == [0]
        assert outcome.waits[INDEX].startswith("403 not yours; give the shipper's user or key the right to create")
    assert room.dead() == []


def test_more_than_twenty_refused_and_most_of_a_batch_wait(tmp_path: Path) -> None:
    """A wrong mapping must not turn a day into dead letters; a setting allows it."""
    count = MASS + 1
    room = Room(tmp_path, everything(400, PARSING))
    outcome = room.one_pass(batch_of(count))
    assert outcome.pending == list(range(count))
    assert f"{count} of {count} documents are refused (no such value): too many" in outcome.waits[INDEX]
    assert f"mapping of {INDEX}; SHIPPER_MASS_DEAD_LETTERS=true" in outcome.waits[INDEX]
    assert room.dead() == []
    room.delivery.configure(cast("Server", room.server), 1_000_000, mass_allowed=True)
    assert room.one_pass(batch_of(count)) == Outcome([], {})
    assert len(room.dead()) == count


def test_twenty_refused_are_dead_letters_and_more_too_among_as_many_good_ones(tmp_path: Path) -> None:
    """Twenty are single faults; above, it needs more good ones than bad ones."""
    room = Room(tmp_path / "twenty", everything(400, PARSING))
    assert room.one_pass(batch_of(MASS)) == Outcome([], {})
    bad = {f"id-{number}": (400, PARSING) for number in range(MASS + 1)}
    room = Room(tmp_path / "more good", statuses(bad))
    assert room.one_pass(batch_of(2 * MASS + 3)) == Outcome([], {})
    room = Room(tmp_path / "as many", statuses(bad))
    assert len(room.one_pass(batch_of(2 * MASS + 2)).pending) == MASS + 1


def test_refusals_in_a_row_add_up_until_one_is_taken(tmp_path: Path) -> None:
    """Small batches cannot slip a wrong mapping through; one good document ends the row."""
    room = Room(tmp_path, everything(400, PARSING))
    assert room.one_pass(batch_of(MASS)) == Outcome([], {})
    assert room.one_pass(batch_of(1)).pending == [0]
    room.server.answers = [statuses({"id-0": (400, PARSING)})]
    assert room.one_pass(batch_of(3)) == Outcome([], {})
    room.server.answers = [everything(400, PARSING)]
    assert room.one_pass(batch_of(MASS - 1)) == Outcome([], {})
    assert room.one_pass(batch_of(1)).pending == [0]


def test_dead_letters_that_cannot_be_written_leave_their_records_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing moves on over a letter that is not on the disk, and nothing is counted as dead."""
    room = Room(tmp_path, statuses({"id-1": (400, PARSING)}))

    def full(_letters: list[DeadLetter]) -> None:
        raise DeadLetterError("dead letters are full")

    monkeypatch.setattr(room.letters, "write", full)
    assert room.one_pass(batch_of(3)) == Outcome([1], {INDEX: "dead letters are full"})
    assert room.tally.counts["dead_letter"] == 0
    assert room.tally.counts["acknowledged"] == 2


def test_an_index_that_takes_no_writes_is_asked_for_each_id(tmp_path: Path) -> None:
    """What it holds is settled as already there; what it lacks is a dead letter `late`."""
    block = {"type": "cluster_block_exception", "reason": "index [x] blocked by: [FORBIDDEN/8/index write]"}
    room = Room(tmp_path, statuses({"id-0": (403, block), "id-1": (403, block)}))
    room.server.found = {"id-0"}
    assert room.one_pass(batch_of(3)) == Outcome([], {})
    ((method, path, body),) = room.server.asked
    assert (method, path) == ("POST", "/_mget")
    assert body["docs"][0] == {"_index": INDEX, "_id": "id-0", "_source": False}
    assert (room.tally.counts["acknowledged"], room.tally.counts["already_there"]) == (1, 1)
    (letter,) = room.dead()
    assert (letter.id, letter.status, letter.type) == ("id-1", 403, "late")
    assert letter.reason == f"the index {INDEX} takes no writes any more"
    room.server.found = RefusedError(401, Cause(type="security_exception", reason="who are you"))
    with pytest.raises(SystemicError, match=r"who are you; correct the login: SHIPPER_USERNAME"):
        room.one_pass(batch_of(3))


def test_what_to_do_names_the_index(tmp_path: Path) -> None:
    """The command that opens a closed index, and the one that lets an index take writes again."""
    closed = {"type": "index_closed_exception", "reason": "closed"}
    room = Room(tmp_path, everything(400, closed))
    assert room.one_pass(batch_of(1)).waits == {INDEX: f"400 closed; open it again: POST /{INDEX}/_open"}
    block = {"type": "cluster_block_exception", "reason": "index [x] blocked by: [FORBIDDEN/8/index write]"}
    room = Room(tmp_path / "late", everything(403, block))
    (told,) = room.one_pass(batch_of(2 * MASS)).waits.values()
    assert f"too many to be single faults; allow writing again: PUT /{INDEX}/_settings " in told


def test_a_body_above_the_limit_is_sent_in_halves(tmp_path: Path) -> None:
    """Each request is within the limit, each record is sent once, and all are settled."""
    batch = batch_of(10)
    room = Room(tmp_path, statuses(), limit=batch.size // 3)
    assert room.one_pass(batch) == Outcome([], {})
    assert all(len(body) <= batch.size // 3 for body in room.server.bodies)
    assert sum(body.count(b"id-") for body in room.server.bodies) == 10
    assert room.tally.counts["acknowledged"] == 10
    single = Room(tmp_path, statuses(), limit=1)
    assert single.one_pass(batch_of(1)) == Outcome([], {})
    exact = Room(tmp_path, statuses(), limit=batch.size)
    exact.one_pass(batch)
    assert len(exact.server.bodies) == 1


def test_413_halves_and_is_remembered(tmp_path: Path) -> None:
    """The server's limit is learnt: the next batch is halved before it is sent, but never below 4 KiB."""
    batch = batch_of(400)
    room = Room(tmp_path, refuses(413), statuses())
    assert room.one_pass(batch) == Outcome([], {})
    assert room.tally.counts["acknowledged"] == 400
    assert room.delivery._limit == batch.size // 2
    sent = len(room.server.bodies)
    assert room.one_pass(batch_of(400)) == Outcome([], {})
    assert len(room.server.bodies[sent]) <= batch.size // 2
    small = Room(tmp_path, refuses(413), statuses())
    small.one_pass(batch_of(4))
    assert small.delivery._limit == 4096


def test_400_for_a_request_halves_down_to_the_record_and_is_not_remembered(tmp_path: Path) -> None:
    """The one record that the server cannot read is a dead letter with our own word for it."""

    def unreadable(ids: list[str]) -> bytes:
        if "id-5" in ids:
            raise RefusedError(400, Cause(type="illegal_argument_exception", reason="malformed"))
        return statuses()(ids)

    room = Room(tmp_path, unreadable)
    assert room.one_pass(batch_of(8)) == Outcome([], {})
    assert [(letter.id, letter.type, letter.status) for letter in room.dead()] == [("id-5", "refused_request", 400)]
    assert "malformed" in room.dead()[0].reason
    assert room.tally.counts["acknowledged"] == 7
    assert room.delivery._limit == 1_000_000
    assert room.tally.reachable is True


def test_more_than_twenty_records_refused_singly_and_none_taken_is_the_servers_fault(tmp_path: Path) -> None:
    """Then it waits loudly; up to twenty are judged one by one."""
    room = Room(tmp_path, refuses(400))
    with pytest.raises(SystemicError, match="see the server's log"):
        room.one_pass(batch_of(MASS + 1))
    room = Room(tmp_path, refuses(413))
    with pytest.raises(SystemicError, match=r"even a single document is too large.*http\.max_content_length"):
        room.one_pass(batch_of(2 * MASS))
    room = Room(tmp_path / "twenty", refuses(400))
    assert room.one_pass(batch_of(MASS)) == Outcome([], {})
    assert len(room.dead()) == MASS


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (302, "the address of Elasticsearch itself in SHIPPER_URL"),
        (401, "correct the login"),
        (403, "the right to create documents in ml-pipeline"),
        (404, "correct SHIPPER_URL"),
        (407, "a proxy in between wants a login"),
        (410, "see the server's log"),
    ],
)
def test_a_refusal_that_waiting_does_not_cure_says_what_to_do(tmp_path: Path, status: int, words: str) -> None:
    """The advice fits the status; the server is known to be reachable."""
    room = Room(tmp_path, refuses(status))
    with pytest.raises(SystemicError, match=rf"POST /_bulk: .*because.*; .*{words}"):
        room.one_pass(batch_of(2))
    assert room.tally.reachable is True
    assert len(room.server.bodies) == 1


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"<html>", "not a bulk reply; is a proxy in between"),
        (b'{"errors":false,"items":[]}', "has 0 items for 2 documents"),
        (b'{"errors":false,"items":[{"create":{"status":201}}]}', "has 1 item for 2 documents"),
    ],
)
def test_a_reply_that_does_not_fit_settles_nothing(tmp_path: Path, reply: bytes, words: str) -> None:
    """It is waited for a proper one."""
    room = Room(tmp_path, lambda _ids: reply)
    with pytest.raises(Waiting, match=words):
        room.one_pass(batch_of(2))
    assert room.tally.counts["acknowledged"] == 0


def test_a_reply_without_errors_but_with_a_409_is_looked_at(tmp_path: Path) -> None:
    """The quick way counts only statuses of success."""
    room = Room(
        tmp_path, lambda _ids: b'{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":409}}]}'
    )
    assert room.one_pass(batch_of(2)) == Outcome([], {})
    assert (room.tally.counts["acknowledged"], room.tally.counts["already_there"]) == (1, 1)
