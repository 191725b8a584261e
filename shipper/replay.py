"""`replay`: dead letters sent again, oldest first; what is taken now is removed from its file."""

from __future__ import annotations

import re
from collections import Counter

import msgspec

from shipper.deadletter import DeadLetter, DeadLetters, read
from shipper.server import Server
from shipper.verdict import Reply, Verdict, judge

BATCH = 500
_PLACE = re.compile(r"^\[\d+:\d+\] ")
_IDENTITY = re.compile(r" in document with id '[^']*'\.?( Preview of field's value: '.*?')?(?=;|$)", re.DOTALL)


class Outcome(msgspec.Struct):
    """What became of the letters.

    Attributes:
        taken: indexed now.
        there: were in the index already.
        kept: refused again; they stay in their files.
        reasons: how many were kept, by type and reason.
    """

    taken: int = 0
    there: int = 0
    kept: int = 0
    reasons: Counter[str] = msgspec.field(default_factory=Counter)


def alike(kind: str, reason: str) -> str:
    """Return a refusal without what differs from document to document: place, id, value."""
    return f"{kind}: {_IDENTITY.sub('', _PLACE.sub('', reason))}"[:160]


def listed(letters: DeadLetters) -> tuple[int, Counter[str]]:
    """Return how many letters there are, and how many by type and reason."""
    reasons: Counter[str] = Counter()
    for path in letters.files():
        for letter in read(path):
            reasons[alike(letter.type, letter.reason)] += 1
    return reasons.total(), reasons


def replay(letters: DeadLetters, server: Server) -> Outcome:
    """Send all letters again.

    Raises:
        RefusedError: the server does not take the requests.
        Waiting: it cannot be reached; what was not sent stays.
    """
    outcome = Outcome()
    for path in letters.files():
        found = list(read(path))
        for place in range(0, len(found), BATCH):
            settled = _sent(found[place : place + BATCH], server, outcome)
            if settled:
                letters.remove(path, settled)
    return outcome


def _sent(part: list[DeadLetter], server: Server, outcome: Outcome) -> set[tuple[str, str]]:
    body = b"".join(
        msgspec.json.encode({"create": {"_index": letter.index, "_id": letter.id}})
        + b"\n"
        + letter.line.encode()
        + b"\n"
        for letter in part
    )
    reply = msgspec.json.decode(server.bulk(body), type=Reply)
    settled = set()
    for letter, item in zip(part, reply.items, strict=True):
        (answer,) = item.values()
        verdict = judge(answer.status, answer.error)
        outcome.taken += verdict is Verdict.ACKNOWLEDGED
        outcome.there += verdict is Verdict.ALREADY_THERE
        if verdict in (Verdict.ACKNOWLEDGED, Verdict.ALREADY_THERE):
            settled.add((letter.index, letter.id))
            continue
        outcome.kept += 1
        error = answer.error
        outcome.reasons[alike(error.type, error.text()) if error else str(answer.status)] += 1
    return settled
