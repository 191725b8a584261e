"""One batch, one reply, one verdict per record: Delivery against replies written by hand, without a socket."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from shipper.batch import Batch
from shipper.deadletter import DeadLetter, DeadLetters, read
from shipper.delivery import MASS, PATIENCE, Delivery, Outcome, Tally, pause
from shipper.errors import DeadLetterError, Stopped, SystemicError, Waiting
from shipper.server import RefusedError, Server
from shipper.verdict import Cause

INDEX, OTHER = "ml-pipeline-2026.11.24", "ml-pipeline-2026.11.23"
PARSING = {"type": "document_parsing_exception", "reason": "no such value"}
STRANGE = {"type": "strange_exception", "reason": "who knows"}
Answer = Callable[[list[str]], bytes]


class Replies:
    """A server that answers as written: `bulk` by the next of `answers`, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.found: set[str] | RefusedError = set()

    def bulk(self, body: bytes) -> bytes:
        self.bodies.append(body)
        ids = [json.loads(line)["create"]["_id"] for line in body.splitlines()[::2]]
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(ids)

    def call(self, method: str, path: str, body: Any) -> Any:
        self.asked.append((method, path, body))
        if isinstance(self.found, RefusedError):
            raise self.found
        return {"docs": [{"found": each["_id"] in self.found} for each in body["docs"]]}


def statuses(chosen: dict[str, tuple[int, dict[str, str]]] | None = None, *, usual: int = 201) -> Answer:
    """A bulk reply: `usual` for each id but those chosen, which have a status and an error."""

    def answer(ids: list[str]) -> bytes:
        items: list[dict[str, Any]] = []
        for each in ids:
            status, error = (chosen or {}).get(each, (usual, {}))
            items.append({"create": {"status": status, **({"error": error} if error else {})}})
        errors = any("error" in item["create"] for item in items)
        return json.dumps({"errors": errors, "items": items}, separators=(",", ":")).encode()

    return answer


def everything(status: int, error: dict[str, str]) -> Answer:
    """A bulk reply that says the same of each record."""
    return lambda ids: statuses(dict.fromkeys(ids, (status, error)))(ids)


def refuses(status: int) -> Answer:
    """The request as a whole is refused."""

    def answer(_ids: list[str]) -> bytes:
        raise RefusedError(status, Cause(type="some_exception", reason="because"))

    return answer


def away(_ids: list[str]) -> bytes:
    """Nothing answers."""
    raise Waiting("nobody there")


class Room:
    """A Delivery, what it wrote and what it counted."""

    def __init__(self, folder: Path, *answers: Answer, limit: int = 1_000_000, **more: Any) -> None:
        self.server, self.tally, self.give_up = Replies(*answers), Tally(), threading.Event()
        self.letters = DeadLetters(folder, 1_000_000)
        self.delivery = Delivery(
            cast("Server", self.server),
            self.letters,
            self.tally,
            self.give_up,
            limit,
            now=lambda: 1_764_000_000.5,
            **more,
        )

    def one_pass(self, batch: Batch, pending: list[int] | None = None) -> Outcome:
        """One pass, without waiting for a server that cannot take it."""
        return self.delivery._pass(batch, list(range(len(batch))) if pending is None else pending)

    def dead(self) -> list[DeadLetter]:
        """The dead letters on disk."""
        return [letter for file in self.letters.files() for letter in read(file)]


def batch_of(count: int, index: str = INDEX, batch: Batch | None = None, path: str = "a.jsonl") -> Batch:
    """A batch of records with ids id-0, id-1 … in one stretch of a file."""
    batch = batch or Batch()
    first = len(batch)
    batch.begin(0, path, 0)
    for number in range(first, first + count):
        action = b'{"create":{"_index":"%b","_id":"id-%d"}}' % (index.encode(), number)
        batch.actions.append(action)
        batch.documents.append(b'{"n":%d}' % number)
        batch.offsets.append(number * 10)
        batch.size += len(action) + len(batch.documents[-1]) + 2
    return batch


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
        offset=20,
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
    assert "1 documents for" in room.tally.last_error


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
        assert room.one_pass(batch_of(2)) == Outcome([0], {INDEX: "403 not yours"})
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
    [(401, "correct the login"), (403, "the right to create documents in ml-pipeline"), (404, "correct SHIPPER_URL")],
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
        (b'{"errors":false,"items":[{"create":{"status":201}}]}', "has 1 items for 2 documents"),
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


def test_a_server_that_is_away_is_waited_for_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`settle` tries again until it is taken; meanwhile `server` is stuck with the reason, afterwards nothing is."""
    stuck: list[dict[str, str]] = []

    def back(ids: list[str]) -> bytes:
        stuck.append(dict(room.tally.stuck))
        return statuses()(ids)

    room = Room(tmp_path, away, away, back)
    with caplog.at_level(logging.WARNING, "shipper.delivery"):
        assert room.delivery.settle(batch_of(2), [0, 1]) == Outcome([], {})
    assert stuck == [{"server": "nobody there"}]
    assert room.tally.stuck == {}
    assert room.tally.counts["retries"] == 2
    assert [record.getMessage() for record in caplog.records] == ["waiting, nothing is lost: nobody there"]
    assert caplog.records[0].levelno == logging.WARNING
    assert room.tally.reachable is True


def test_a_server_that_is_not_as_it_must_be_is_an_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody must act: ERROR, not WARNING; and reachable it is."""
    moments: list[BaseException] = [SystemicError("another cluster"), Waiting("away")]

    def prepare() -> None:
        if moments:
            raise moments.pop(0)

    room = Room(tmp_path, statuses(), prepare=prepare)
    room.tally.reachable = True
    with caplog.at_level(logging.WARNING, "shipper.delivery"):
        room.delivery.settle(batch_of(1), [0])
    levels = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert levels == [
        (logging.ERROR, "waiting, nothing is lost: another cluster"),
        (logging.WARNING, "waiting, nothing is lost: away"),
    ]


def test_only_a_server_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    """SystemicError leaves `reachable` as it was; Waiting says no, from the probe and from a bulk request alike."""

    def raises(error: Waiting) -> Callable[[], None]:
        def prepare() -> None:
            raise error

        return prepare

    for error, reachable in ((SystemicError("x"), True), (Waiting("x"), False)):
        room = Room(tmp_path, statuses(), prepare=raises(error))
        room.tally.reachable = True
        with pytest.raises(Waiting):
            room.one_pass(batch_of(1))
        assert room.tally.reachable is reachable
    room = Room(tmp_path, away)
    with pytest.raises(Waiting):
        room.one_pass(batch_of(1))
    assert room.tally.reachable is False


def test_the_end_of_the_process_ends_the_waiting(tmp_path: Path) -> None:
    """Stopped carries the reason; nothing was settled."""
    room = Room(tmp_path, away)
    room.give_up.set()
    with pytest.raises(Stopped, match="nobody there"):
        room.delivery.settle(batch_of(1), [0])
    assert room.tally.counts["acknowledged"] == 0


def test_another_server_is_tried_at_once(tmp_path: Path) -> None:
    """A changed setting does not wait for the back-off's end, and its limits count."""
    room = Room(tmp_path, away)
    other = Replies(statuses())
    threading.Timer(0.2, lambda: room.delivery.configure(cast("Server", other), 50, mass_allowed=False)).start()
    assert room.delivery.settle(batch_of(3), [0, 1, 2]) == Outcome([], {})
    assert len(other.bodies) > 1


def test_the_same_trouble_is_said_twice_a_minute_at_most(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key has its own clock; the newest text is kept in any case."""
    clock = [1000.0]
    monkeypatch.setattr("shipper.delivery.time.monotonic", lambda: clock[0])
    tally = Tally()
    with caplog.at_level(logging.DEBUG, "shipper.delivery"):
        for at, key, text in (
            (0, "a", "first"), (29.9, "a", "second"), (29.9, "b", "other"), (30, "a", "third"), (59, "a", "fourth"),
        ):  # fmt: skip
            clock[0] = 1000.0 + at
            tally.trouble(key, text)
            assert tally.last_error == text
    assert [record.getMessage() for record in caplog.records] == ["first", "other", "third"]
    clock[0] = 0.0  # a machine that has just booted
    with caplog.at_level(logging.DEBUG, "shipper.delivery"):
        Tally().trouble("a", "fresh")
    assert caplog.records[-1].getMessage() == "fresh"


def test_a_fresh_tally_knows_nothing() -> None:
    """No trouble, no server, no acknowledgement."""
    tally = Tally()
    assert (tally.last_acknowledged, tally.last_error, tally.reachable) == (0.0, None, None)
    assert (tally.counts, tally.errors, tally.stuck) == ({}, {}, {})


def test_a_pause_grows_to_half_a_minute_and_has_chance_in_it() -> None:
    """From a tenth of a second; doubled with each try, 30 seconds at most."""

    class Ends(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return a * 1000 + b

    assert [pause(attempt, Ends()) for attempt in (0, 1, 2, 6, 7, 10, 11, 50)] == [
        100.25, 100.5, 101.0, 116.0, 130.0, 130.0, 130.0, 130.0,
    ]  # fmt: skip
