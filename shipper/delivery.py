"""A batch to one verdict per record: sent, halved where too large, tried again for as long as it takes."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set
from tenacity import wait_random_exponential as exponential

from shipper.batch import Batch
from shipper.deadletter import DeadLetter, DeadLetters, moment
from shipper.errors import DeadLetterError, Stopped, SystemicError, Waiting
from shipper.server import RefusedError, Server
from shipper.settings import LOGIN
from shipper.tally import Tally
from shipper.verdict import LATE, REFUSED, Cause, Item, Reply, Verdict, judge, remedy
from shipper.wording import counted

logger = logging.getLogger("shipper.delivery")
T = TypeVar("T")

MASS = 20  # so many refused in a row, or most of a batch, is no fault of single documents
PATIENCE = 8  # a record that failed so often while others of its index were taken is its own fault
_OK = b'{"errors":false'
LONGEST_PAUSE = 30.0


class Outcome(msgspec.Struct):
    """What one pass left.

    Attributes:
        pending: numbers of the records that are not settled.
        waits: why, by index.
    """

    pending: list[int]
    waits: dict[str, str]


class Delivery:
    """Sends batches.

    Args:
        server: where to.
        letters: where refused documents go.
        tally: what is counted.
        give_up: set when the process ends and waiting must, too.
        limit: bytes of one request's body.
        prepare: called before each attempt; raises Waiting while the server is not as it must be.
        mass_allowed: whether even most of a batch may become dead letters.
        now: seconds since 1970.
    """

    def __init__(
        self,
        server: Server,
        letters: DeadLetters,
        tally: Tally,
        give_up: threading.Event,
        limit: int,
        mass_allowed: bool = False,
        prepare: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._letters = letters
        self.tally = tally
        self._give_up = give_up
        self._limit = limit
        self._mass_allowed = mass_allowed
        self._prepare = prepare
        self._now = now
        self._streak: Counter[str] = Counter()
        self._good: Counter[str] = Counter()
        self._failures: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._configured = 0
        self._retrying = Retrying(
            retry=retry_if_exception_type(Waiting),
            wait=exponential(multiplier=0.25, max=LONGEST_PAUSE, min=0.05),
            stop=stop_when_event_set(give_up),
            sleep=self._rest,
            before_sleep=self._pausing,
            reraise=True,
        )

    def configure(self, server: Server, limit: int, mass_allowed: bool) -> None:
        """Use another server, or other limits, from the next request on."""
        self._server, self._limit, self._mass_allowed = server, limit, mass_allowed
        self._configured += 1

    def _rest(self, seconds: float) -> None:
        """Pause; cut short when the process ends or another server is to be tried."""
        until, before = time.monotonic() + seconds, self._configured
        while (left := until - time.monotonic()) > 0 and self._configured == before:
            if self._give_up.wait(min(left, 0.25)):
                return

    def persist(self, attempt: Callable[[], T]) -> T:
        """Try again and again while the server cannot take it.

        Raises:
            Stopped: the process ends.
        """
        try:
            result = self._retrying.copy()(attempt)
        except Waiting as error:
            raise Stopped(str(error)) from None
        self.tally.over("server")
        return result

    def _pausing(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.tally.add(retries=1)
        level = logging.ERROR if isinstance(error, SystemicError) else logging.WARNING
        self.tally.waits("server", str(error), f"waiting, nothing is lost: {error}", level)

    def settle(self, batch: Batch, pending: Sequence[int]) -> Outcome:
        """Send the records and settle as many as can be.

        Args:
            batch: the records.
            pending: numbers of those to send, ascending.

        Returns:
            What must be tried again later; waiting for the server as a whole happens in here.

        Raises:
            Stopped: the process ends.
        """
        return self.persist(lambda: self._pass(batch, pending))

    def _pass(self, batch: Batch, pending: Sequence[int]) -> Outcome:
        self._reach()
        if not pending:
            return Outcome([], {})
        items: dict[int, Item] = {}
        singles = [0]
        plain = self._send(batch, pending, items, singles)
        if plain:
            self._settled(acknowledged=len(pending))
            if self.tally.stuck or self._failures:  # what is taken now may prove that a record is its own fault
                taken = Counter(batch.address(number)[0] for number in pending)
                with self._lock:
                    self._good.update(taken)
                for index in taken:
                    self.tally.over(index)
            return Outcome([], {})
        return self._judge(batch, pending, items)

    def _reach(self) -> None:
        try:
            self._prepare()
        except SystemicError:
            raise
        except Waiting:
            self.tally.reachable = False
            raise

    def _send(self, batch: Batch, numbers: Sequence[int], items: dict[int, Item], singles: list[int]) -> bool:
        """Send records, halving what the server finds too large or cannot read; fill in the items.

        Returns:
            True when all were taken and no item had to be looked at.
        """
        whole = len(numbers) == len(batch)
        size = batch.size_of(numbers)
        if size > self._limit and len(numbers) > 1:
            return self._halves(batch, numbers, items, singles)
        body = batch.body(numbers)
        try:
            data = self._server.bulk(body)
        except Waiting:
            self.tally.reachable = False
            raise
        except RefusedError as refused:
            self.tally.reachable = True
            if refused.status not in (400, 413):
                raise SystemicError(_advice(refused)) from None
            if len(numbers) > 1:
                if refused.status == 413:
                    self._limit = max(4096, min(self._limit, size // 2))
                return self._halves(batch, numbers, items, singles)
            singles[0] += 1
            if singles[0] > MASS and not any(item.status < 300 for item in items.values()):
                raise SystemicError(_advice(refused)) from None
            items[numbers[0]] = Item(status=refused.status, error=Cause(type=REFUSED, reason=str(refused)))
            return False
        self.tally.reachable = True
        self.tally.add(requests=1, bytes=len(body))
        if data.startswith(_OK) and data.count(b'"status":20') == len(numbers):
            if not whole:
                items.update((number, Item(status=201)) for number in numbers)
            return whole
        try:
            reply = msgspec.json.decode(data, type=Reply)
        except msgspec.MsgspecError:
            raise Waiting("POST /_bulk: the reply is not a bulk reply; is a proxy in between?") from None
        if len(reply.items) != len(numbers):
            told = f"{counted(len(reply.items), 'item')} for {counted(len(numbers), 'document')}"
            raise Waiting(f"POST /_bulk: the reply has {told}")
        for number, item in zip(numbers, reply.items, strict=True):
            items[number] = next(iter(item.values()))
        return False

    def _halves(self, batch: Batch, numbers: Sequence[int], items: dict[int, Item], singles: list[int]) -> bool:
        middle = len(numbers) // 2
        for part in (numbers[:middle], numbers[middle:]):
            self._send(batch, part, items, singles)
        return False

    def _judge(self, batch: Batch, pending: Sequence[int], items: dict[int, Item]) -> Outcome:
        """Turn items into verdicts and act on them."""
        taken, there = 0, 0
        good: Counter[str] = Counter()
        unsure: list[tuple[int, str, Item, Verdict]] = []
        dead: dict[str, list[tuple[int, Item]]] = {}
        blocked: dict[str, list[int]] = {}
        for number in pending:
            item = items[number]
            verdict = judge(item.status, item.error)
            index = batch.address(number)[0]
            if verdict is Verdict.ACKNOWLEDGED or verdict is Verdict.ALREADY_THERE:
                taken += verdict is Verdict.ACKNOWLEDGED
                there += verdict is Verdict.ALREADY_THERE
                good[index] += 1
            elif verdict is Verdict.BLOCKED:
                blocked.setdefault(index, []).append(number)
            elif verdict is Verdict.DEAD:
                dead.setdefault(index, []).append((number, item))
            else:
                unsure.append((number, index, item, verdict))
        for index, numbers in blocked.items():
            present = self._present(batch, numbers)
            there += len(present)
            good[index] += len(present)
            late = Item(status=403, error=Cause(type=LATE, reason=f"the index {index} takes no writes any more"))
            if absent := [(number, late) for number in numbers if number not in present]:
                dead.setdefault(index, []).extend(absent)
        self._settled(acknowledged=taken, already_there=there)
        waits: dict[str, str] = {}
        left: list[int] = []
        with self._lock:
            self._good.update(good)
            for number, index, item, verdict in unsure:
                if self._own_fault(batch.address(number)[1], index, item.status, verdict, good[index]):
                    dead.setdefault(index, []).append((number, item))
                else:
                    left.append(number)
                    told = item.error.text() if item.error else ""
                    waits[index] = f"{item.status} {told}{remedy(item.error, index)}"
            for index, refused in dead.items():
                left += self._bury(batch, index, refused, good[index], waits)
        for index in good.keys() - waits.keys():
            self.tally.over(index)
        for index, reason in waits.items():
            self.tally.waits(index, reason, f"{index} waits, nothing is lost: {reason}", logging.ERROR)
        if left:
            self.tally.add(retries=1)
        return Outcome(sorted(left), waits)

    def _own_fault(self, identity: str, index: str, status: int, verdict: Verdict, good: int) -> bool:
        """Whether a record that failed again is itself the reason: others of its index were taken meanwhile."""
        if verdict is Verdict.SYSTEMIC or status == 429:
            return False
        count, before = self._failures.get(identity, (0, self._good[index] - good))
        patience = 1 if verdict is Verdict.SUSPECT else PATIENCE
        if count + 1 >= patience and self._good[index] > before:
            self._failures.pop(identity, None)
            return True
        if len(self._failures) < 100_000:
            self._failures[identity] = (count + 1, before)
        return False

    def _bury(
        self, batch: Batch, index: str, refused: list[tuple[int, Item]], good: int, waits: dict[str, str]
    ) -> list[int]:
        """Write dead letters; return the numbers of the records that wait instead."""
        count = len(refused)
        first = refused[0][1].error
        reason = first.text() if first else str(refused[0][1].status)
        streak = count if good else self._streak[index] + count
        if not self._mass_allowed and streak > MASS and count >= good:
            cure = remedy(first, index).removeprefix("; ") or f"correct the mapping of {index}"
            waits[index] = (
                f"{count:,} of {count + good:,} documents are refused ({reason}): too many to be single faults;"
                f" {cure}; SHIPPER_MASS_DEAD_LETTERS=true lets them become dead letters"
            )
            return [number for number, _ in refused]
        try:
            self._letters.write([self._letter(batch, number, item) for number, item in refused])
        except DeadLetterError as error:
            waits[index] = str(error)
            return [number for number, _ in refused]
        self._streak[index] = streak
        for kind, amount in Counter(item.error.type if item.error else "unknown" for _, item in refused).items():
            self.tally.errors[kind] += amount
            self.tally.add(dead_letter=amount)
            self.tally.trouble(f"dead:{kind}", f"{index}: {amount:,} to the dead letters: {kind}: {reason}")
        return []

    def _letter(self, batch: Batch, number: int, item: Item) -> DeadLetter:
        index, identity = batch.address(number)
        cause = item.error or Cause(type="unknown", reason="")
        return DeadLetter(
            file=batch.segment_of(number).path,
            offset=batch.offset(number),
            index=index,
            id=identity,
            status=item.status,
            type=cause.type,
            reason=cause.text(),
            at=moment(self._now()),
            line=batch.document(number).decode(),
        )

    def _present(self, batch: Batch, numbers: list[int]) -> set[int]:
        """Return which records an index that takes no writes holds already."""
        wanted = [batch.address(number) for number in numbers]
        body = {"docs": [{"_index": index, "_id": identity, "_source": False} for index, identity in wanted]}
        try:
            reply = self._server.call("POST", "/_mget", body)
        except RefusedError as refused:
            raise SystemicError(_advice(refused)) from None
        docs = reply.get("docs") if isinstance(reply, dict) else None
        if not isinstance(docs, list) or len(docs) != len(numbers):
            raise Waiting(
                f"POST /_mget: the reply does not name {counted(len(numbers), 'document')}; is a proxy in between?"
            )
        return {number for number, doc in zip(numbers, docs, strict=True) if doc.get("found")}

    def _settled(self, **amounts: int) -> None:
        if sum(amounts.values()):
            self.tally.add(**amounts)
            self.tally.last_acknowledged = self._now()


def pause(attempt: int, chance: random.Random) -> float:
    """Return how long single records wait before they are tried again, seconds."""
    return chance.uniform(0.1, min(LONGEST_PAUSE, 0.25 * 2 ** min(attempt, 10)))


def _advice(refused: RefusedError) -> str:
    what = {
        401: f"correct {LOGIN}",
        403: "give the shipper's user or key the right to create documents in ml-pipeline-*",
        404: "correct SHIPPER_URL",
        413: "even a single document is too large for the server: raise http.max_content_length",
        407: "a proxy in between wants a login: let it pass what goes to SHIPPER_URL, or name an address behind it",
    }.get(refused.status, "see the server's log")
    if 300 <= refused.status < 400:
        what = "what answers sends everybody elsewhere: write the address of Elasticsearch itself in SHIPPER_URL"
    return f"POST /_bulk: {refused}; {what}"
