"""Sends realistic requests at a steady rate and shows, in one live line, how they are answered."""

from __future__ import annotations

import collections
import itertools
import math
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait

import httpx
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from compose.stack.labels import LabelPlan, Labels
from compose.stack.schema_requests import requests_for

TIMEOUT_SECONDS = 10.0
KEPT_LATENCIES = 5000
SENDERS = 16


class Tally:
    """What became of the requests.

    Attributes:
        served: 200 to a valid request.
        refused: 4xx to a faulty one.
        wrong: any other answer: a valid request refused, a faulty one served, a 5xx; by status.
        unanswered: no answer at all, by the kind of error.
        latencies: seconds, of the newest answers.
        labels: the true classes that were sent afterwards.
    """

    def __init__(self, labels: Labels | None = None) -> None:
        self.labels = labels
        self.sent = self.served = self.refused = 0
        self.wrong: collections.Counter[int] = collections.Counter()
        self.unanswered: collections.Counter[str] = collections.Counter()
        self.latencies: collections.deque[float] = collections.deque(maxlen=KEPT_LATENCIES)
        self._lock = threading.RLock()

    def answered(self, status: int, *, is_faulty: bool, seconds: float) -> None:
        """Count one answer; the senders do so at once."""
        with self._lock:
            self.latencies.append(seconds)
            if status == 200 and not is_faulty:
                self.served += 1
            elif 400 <= status < 500 and is_faulty:
                self.refused += 1
            else:
                self.wrong[status] += 1

    def missed(self, kind: str) -> None:
        """Count one request without an answer that could be read."""
        with self._lock:
            self.unanswered[kind] += 1

    def as_expected(self) -> bool:
        """Whether every valid request was served and every faulty one refused."""
        return not self.wrong and not self.unanswered and not (self.labels and self.labels.refused)

    def line(self, seconds: float) -> str:
        """Return the counts and latencies in one line; `seconds` since the first request."""
        rate = self.sent / seconds if seconds > 0 else 0.0
        parts = [
            f"{self.sent:,} sent ({rate:.1f}/s)",
            f"{self.served:,} served",
            f"{self.refused:,} refused as they should be",
        ]
        with self._lock:
            wrong, unanswered = self.wrong.copy(), self.unanswered.copy()
        if wrong:
            by_status = ", ".join(f"{count} × {status}" for status, count in sorted(wrong.items()))
            parts.append(f"{wrong.total():,} answered wrongly ({by_status})")
        if unanswered:
            kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(unanswered.items()))
            parts.append(f"{unanswered.total():,} unanswered ({kinds})")
        if self.latencies:
            parts.append(f"p50 {1000 * self.quantile(0.5):.1f} ms, p95 {1000 * self.quantile(0.95):.1f} ms")
        if self.labels and (self.labels.taken or self.labels.refused):
            parts.append(self.labels.line())
        return "  ".join(parts)

    def quantile(self, share: float) -> float:
        """Return the latency in seconds that `share` of the kept answers did not exceed."""
        with self._lock:
            ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        url: base address of the model service.
        rate: requests per second.
        count: how many, or None for no limit.
        seconds: for how long, or None for no limit.
        errors: share of faulty requests, 0 to 1.
        seed: makes the same requests again; None for others each time.
        labels: which predictions are told their true class.
        key: of the model service; empty where it asks for none.
    """

    url: str
    rate: float
    count: int | None
    seconds: float | None
    errors: float
    seed: int | None
    labels: LabelPlan = LabelPlan()
    key: str = ""


def run(plan: Plan, console: Console) -> Tally:
    """Send what the plan says until it is done or Ctrl-C; return what became of it."""
    chance = random.Random(plan.seed)  # noqa: S311 - made-up customers, not secrets
    labels = Labels(plan.labels, random.Random(plan.seed))  # noqa: S311 - as above
    tally = Tally(labels)
    headers = {"X-API-Key": plan.key} if plan.key else {}
    pending: set[Future[None]] = set()
    with (
        httpx.Client(base_url=plan.url, timeout=TIMEOUT_SECONDS, headers=headers) as client,
        ThreadPoolExecutor(SENDERS) as senders,
        Live(console=console, auto_refresh=False, transient=True) as live,
    ):
        made = requests_for(client)
        if made.note:
            console.print(made.note, soft_wrap=True)
        shown = started = time.monotonic()
        try:
            for number in itertools.count() if plan.count is None else range(plan.count):
                due = started + number / plan.rate
                if plan.seconds is not None and due - started >= plan.seconds:
                    break
                labels.send_due(client)
                while (now := time.monotonic()) < due:
                    time.sleep(min(due - now, 0.2))
                # An open loop: a slow service meets the same rate, as in life, up to the number of senders.
                if len(pending) >= 4 * SENDERS:
                    pending = wait(pending, return_when="FIRST_COMPLETED").not_done
                is_faulty = chance.random() < plan.errors
                request = made.valid(chance)
                body = made.faulty(request, chance) if is_faulty else msgspec.json.encode(request)
                agrees = labels.fate()
                pending.add(senders.submit(_send, client, body, is_faulty, None if is_faulty else agrees, tally))
                pending = {future for future in pending if not future.done()}
                tally.sent += 1
                if console.is_terminal:
                    live.update(Text(tally.line(time.monotonic() - started)), refresh=True)
                elif time.monotonic() - shown > 10:
                    shown = time.monotonic()
                    console.print(tally.line(shown - started))
            wait(pending)
            while labels.waiting():  # what was predicted is labelled, however long that takes
                labels.send_due(client)
                time.sleep(0.05)
        except KeyboardInterrupt:
            pass
        wait(pending)
    console.print(tally.line(time.monotonic() - started), soft_wrap=True)
    return tally


def _send(client: httpx.Client, body: bytes, is_faulty: bool, agrees: bool | None, tally: Tally) -> None:
    sent = time.perf_counter()
    try:
        answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    except httpx.HTTPError as error:
        tally.missed(type(error).__name__)
        return
    seconds = time.perf_counter() - sent
    if answer.status_code == 200:
        try:
            made = answer.json()
            request_id, prediction = made["request_id"], made["prediction"]
        except (ValueError, KeyError, TypeError):
            tally.missed("no prediction in the answer")
            return
        if agrees is not None and tally.labels:
            tally.labels.predicted(request_id, prediction, agrees=agrees)
    tally.answered(answer.status_code, is_faulty=is_faulty, seconds=seconds)


def parse_share(text: str) -> float:
    """Return `2%` or `0.02` as 0.02.

    Raises:
        ValueError: it is no number, or not between 0 and 1.
    """
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is not a share between 0 and 1 (or 0% and 100%)")
    return share


def parse_seconds(text: str) -> float:
    """Return `30`, `30s`, `5m` or `1h` in seconds.

    Raises:
        ValueError: it is none of these, or not above 0.
    """
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    try:
        seconds = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text!r} is not a time above zero, such as 30s, 5m or 1h")
    return seconds
