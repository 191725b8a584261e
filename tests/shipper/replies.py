"""A Delivery against replies written by hand, without a socket: the server, its answers, the room they are in."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from shipper.batch import Batch
from shipper.deadletter import DeadLetter, DeadLetters, read
from shipper.delivery import Delivery, Outcome
from shipper.errors import Waiting
from shipper.server import RefusedError, Server
from shipper.tally import Tally
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
        self.answer: Any = None  # of `call`, instead of one made of `found`

    def bulk(self, body: bytes) -> bytes:
        self.bodies.append(body)
        ids = [json.loads(line)["create"]["_id"] for line in body.splitlines()[::2]]
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(ids)

    def call(self, method: str, path: str, body: Any) -> Any:
        self.asked.append((method, path, body))
        if isinstance(self.found, RefusedError):
            raise self.found
        if self.answer is not None:
            return self.answer
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
    """A batch of records with ids id-0, id-1 … in lines at the offsets 0, 1 … in one stretch of a file."""
    batch = batch or Batch()
    first = len(batch)
    batch.begin(0, path, 0)
    for number in range(first, first + count):
        action = b'{"create":{"_index":"%b","_id":"id-%d"}}' % (index.encode(), number)
        batch.add(b'%b\n{"n":%d}\n' % (action, number), 1)
    return batch
