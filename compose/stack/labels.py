"""True classes that made-up traffic sends after its predictions: delayed, and wrong at a rate that is known."""

from __future__ import annotations

import collections
import random
import threading
import time

import httpx
import msgspec

from compose.wording import counted

BATCH = 500  # labels of one request; the service takes 1,000


class Label(msgspec.Struct, frozen=True):
    """What the service is told about one of its predictions."""

    due: float
    request_id: str
    predicted: int
    actual: int


class LabelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Which predictions are labelled.

    Attributes:
        share: of the predictions that get a label, 0 to 1.
        delay: seconds from the prediction to its label.
        noise: share of labels that contradict the prediction; the accuracy they show is 1 - noise.
    """

    share: float = 0.0
    delay: float = 0.0
    noise: float = 0.1


class Labels:
    """Labels that wait for their time, and those that the service took.

    Attributes:
        taken: number of labels that the service recorded, by (predicted, actual): the truth of its live figures.
        refused: labels that it did not record, by its answer or the kind of error.
    """

    def __init__(self, plan: LabelPlan, chance: random.Random) -> None:
        self.taken: collections.Counter[tuple[int, int]] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self._plan, self._chance = plan, chance
        self._waiting: collections.deque[Label] = collections.deque()
        self._lock = threading.Lock()

    def fate(self) -> bool | None:
        """Draw for one request whether its label will be true to the prediction; None: it gets none."""
        labelled = self._chance.random() < self._plan.share
        agrees = self._chance.random() >= self._plan.noise
        return agrees if labelled else None

    def predicted(self, request_id: str, prediction: int, *, agrees: bool) -> None:
        """Note an answered prediction, whose label is due after the delay."""
        actual = prediction if agrees else 1 - prediction
        with self._lock:
            self._waiting.append(Label(time.monotonic() + self._plan.delay, request_id, prediction, actual))

    def waiting(self) -> int:
        """Return how many labels are not sent yet."""
        return len(self._waiting)

    def send_due(self, client: httpx.Client) -> None:
        """Send the labels whose time has come, at most one request's worth."""
        now = time.monotonic()
        batch: list[Label] = []
        with self._lock:
            while self._waiting and len(batch) < BATCH and self._waiting[0].due <= now:
                batch.append(self._waiting.popleft())
        if not batch:
            return
        body = {"feedback": [{"request_id": label.request_id, "actual": label.actual} for label in batch]}
        try:
            answer = client.post("/feedback", json=body)
        except httpx.HTTPError as error:
            self.refused[type(error).__name__] += len(batch)
            return
        if answer.status_code != 200:
            self.refused[str(answer.status_code)] += len(batch)
            return
        for label, done in zip(batch, answer.json()["feedback"], strict=True):
            if done["status"] == "recorded":
                self.taken[label.predicted, label.actual] += 1
            else:
                self.refused[done["status"]] += 1

    def line(self) -> str:
        """Return the counts in words."""
        right = self.taken[0, 0] + self.taken[1, 1]
        total = self.taken.total()
        text = f"{total:,} labelled ({right / total:.1%} true to the prediction)" if total else "0 labelled"
        return f"{text}, {counted(self.refused.total(), 'label')} not taken" if self.refused else text
