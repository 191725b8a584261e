"""Where panels and alerts get their numbers: Prometheus while it answers, else the samples that the stack keeps."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
import msgspec
import numpy as np

from compose.console import definitions
from compose.console.evaluation import Curve, Evaluator
from compose.console.samples import Floats, SampleSet
from compose.console.settings import ConsoleSettings
from compose.console.store import AwayError, Store, brief

TICK = 15.0
# step in scrapes → how far back such a set reaches, seconds
LEVELS = {1: 2.5 * 3600, 4: 10 * 3600, 20: 50 * 3600, 120: 8 * 86400}
PAGE = 600  # documents a request
METRICS = "ml-metrics-*"
FRESH = 4.0  # seconds for which an answer of the store counts as new, also the answer that it gives none
PATIENT = 10.0  # a slow one longer, so many times the time that it took: a page has dozens of questions


Answer = TypeVar("Answer")


class NeedsPrometheusError(Exception):
    """An expression cannot be had from samples; the message says why."""


def moments(start: float, end: float, points: int) -> Floats:
    """Return about `points` moments from start to end, on whole steps of at least 15 s, the end included."""
    step = max(TICK, (end - start) / max(1, points))
    step = TICK * np.ceil(step / TICK)
    count = int((end - start) // step)
    grid: Floats = end - step * np.arange(count, -1, -1)
    return grid


class SampleHistory:
    """The samples in the store, kept in memory at four spacings and brought up to date by what is new.

    Args:
        store: where they are.
        clock: seconds since 1970.
    """

    name = "samples in the store"

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._levels = {step: SampleSet(step * TICK) for step in LEVELS}
        self._stale_from = dict.fromkeys(LEVELS, 0.0)
        self._lost, self._lost_until = "", 0.0
        self._lock = threading.Lock()

    def level(self, age: float) -> SampleSet:
        """Return the finest set that reaches `age` seconds back, up to date.

        Raises:
            AwayError: the store is away.
        """
        step = next((step for step, reach in LEVELS.items() if age <= reach), max(LEVELS))
        with self._lock:
            began = self._clock()
            if began < self._lost_until:  # one question waits for a store that hangs, not each of a page's
                raise AwayError(self._lost)
            if began >= self._stale_from[step]:
                try:
                    self._update(step, began)
                except AwayError as error:
                    self._lost, self._lost_until = str(error), self._clock() + FRESH
                    raise
                now = self._clock()
                self._stale_from[step] = now + min(TICK, max(FRESH, PATIENT * (now - began)))
        return self._levels[step]

    def _update(self, step: int, now: float) -> None:
        held = self._levels[step]
        since = max(held.newest, now - LEVELS[step])
        while True:
            body = {
                "size": PAGE,
                "sort": [{"@timestamp": "asc"}],
                "track_total_hits": False,
                "query": {
                    "bool": {
                        "filter": [
                            # From the newest on, which is read again: others of its millisecond may follow it.
                            {"range": {"@timestamp": {"gte": math.floor(since * 1000), "format": "epoch_millis"}}},
                            {"range": {"every": {"gte": step}}},
                        ]
                    }
                },
            }
            hits = self._store.search(METRICS, body)["hits"]["hits"]
            held.add(hit["_source"] for hit in hits)
            if len(hits) < PAGE:
                break
            since = held.newest
        held.forget(now - LEVELS[step])

    def age(self) -> float | None:
        """Return how many seconds old the newest sample is; None where there is none.

        Raises:
            AwayError: the store is away.
        """
        newest = self.level(0).newest
        return self._clock() - newest if newest else None

    def curves(self, expr: str, times: Floats) -> list[Curve]:
        """Return the series of an expression at each moment.

        Raises:
            AwayError: the store is away.
            NeedsPrometheusError: the expression needs Prometheus.
        """
        if why := definitions.needs_prometheus(expr):
            raise NeedsPrometheusError(f"needs Prometheus: {why}")
        tree = definitions.tree(expr)
        back = self._clock() + definitions.longest_window(tree)
        coarse, fine = (self.level(back - float(times[at])) for at in (0, -1))
        found = Evaluator(coarse, times).vector(tree)
        return found if fine is coarse else with_newest(found, Evaluator(fine, times[-1:]).vector(tree), len(times))


def with_newest(curves: list[Curve], newest: list[Curve], count: int) -> list[Curve]:
    """Return curves whose last moment is that of others: a long range ends with the figure that a short one shows.

    Args:
        curves: over `count` moments, from samples up to half an hour apart; changed in place.
        newest: the same expression at the last moment alone, from samples that lie closer.
    """
    told = {tuple(sorted(curve.labels.items())): curve for curve in newest}
    for curve in curves:
        one = told.pop(tuple(sorted(curve.labels.items())), None)
        curve.there[-1] = one is not None
        curve.values[-1] = math.nan if one is None else one.values[0]
    for one in told.values():
        values, there = np.full(count, np.nan), np.zeros(count, bool)
        values[-1], there[-1] = one.values[0], True
        curves.append(Curve(one.labels, values, there))
    return [curve for curve in curves if curve.there.any()]


class PrometheusHistory:
    """A Prometheus, asked over its HTTP API.

    Args:
        url: its base address.
        timeout: seconds.

    Attributes:
        lost: why it gave no answer when it was last asked, in words; empty while it answers. A page has many questions:
            after one that got no answer the others are not put, until `missing` looks again.
    """

    name = "Prometheus"

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self.lost = ""
        self._client = httpx.Client(base_url=url, timeout=timeout)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def missing(self) -> str:
        """Look whether it answers and has our service as a target; return why it cannot be used, empty if it can."""
        self.lost = ""
        try:
            known = self._ask("/api/v1/query", {"query": 'up{job="app"}'})["result"]
        except AwayError as error:
            return str(error)
        return "" if known else f'Prometheus at {self.url} does not scrape our service (job="app")'

    def curves(self, expr: str, times: Floats) -> list[Curve]:
        """Return the series of an expression at each moment.

        Raises:
            AwayError: it is away, or refuses the query.
        """
        expr = definitions.without_rules(expr)
        if len(times) == 1:
            found = self._ask("/api/v1/query", {"query": expr, "time": float(times[0])})
            rows = [(each["metric"], [each["value"]]) for each in found["result"]]
        else:
            step = float(times[1] - times[0])
            found = self._ask(
                "/api/v1/query_range",
                {"query": expr, "start": float(times[0]), "end": float(times[-1]), "step": step},
            )
            rows = [(each["metric"], each["values"]) for each in found["result"]]
        curves = []
        for labels, pairs in rows:
            values, there = np.full(len(times), np.nan), np.zeros(len(times), bool)
            places = np.searchsorted(times, [float(pair[0]) - 0.5 for pair in pairs])
            for place, (_, text) in zip(places, pairs, strict=True):
                if place < len(times):
                    values[place], there[place] = float(text), True
            curves.append(Curve(dict(labels), values, there))
        return curves

    def alerts(self) -> list[dict[str, Any]]:
        """Return Prometheus's own active alerts, as /api/v1/alerts tells them.

        Raises:
            AwayError: it is away.
        """
        found: list[dict[str, Any]] = self._ask("/api/v1/alerts", {})["alerts"]
        return found

    def rules(self) -> set[str]:
        """Return the names of the alerting rules that it evaluates.

        Raises:
            AwayError: it is away.
        """
        groups = self._ask("/api/v1/rules", {"type": "alert"})["groups"]
        return {rule["name"] for group in groups for rule in group["rules"]}

    def _ask(self, path: str, parameters: dict[str, Any]) -> Any:
        if self.lost:
            raise AwayError(self.lost)
        try:
            answer = self._client.get(path, params=parameters)
        except httpx.HTTPError as error:
            self.lost = f"Prometheus at {self.url} is away ({brief(error)})"
            raise AwayError(self.lost) from None
        try:
            told = msgspec.json.decode(answer.content)
            if told["status"] == "success":
                return told["data"]
            reason = str(told["error"]) if told["status"] == "error" else ""
        except (msgspec.DecodeError, KeyError, TypeError):
            reason = ""
        if reason:
            raise AwayError(f"Prometheus at {self.url} says: {reason}")
        raise AwayError(f"{self.url} is no Prometheus (status {answer.status_code})")


class History:
    """Chooses: Prometheus while it answers and knows our service, else the samples.

    Args:
        settings: addresses.
        store: where the samples are.
        clock: seconds since 1970.
    """

    RECHECK = 15.0  # seconds

    why: str = ""
    """Why Prometheus is not the source, in words; empty while it is."""

    def __init__(self, settings: ConsoleSettings, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.prometheus = PrometheusHistory(settings.prometheus_url, min(settings.request_seconds, 3.0))
        self.samples = SampleHistory(store, clock)
        self._clock, self._checked, self._there = clock, -math.inf, False
        self._lock = threading.Lock()

    def source(self) -> PrometheusHistory | SampleHistory:
        """Return the one to ask now."""
        with self._lock:
            if self._clock() - self._checked > self.RECHECK or (self._there and self.prometheus.lost):
                self.why = self.prometheus.missing()
                self._there = not self.why
                self._checked = self._clock()
            return self.prometheus if self._there else self.samples

    def warm(self) -> None:
        """Read what the samples hold, the last hours first, where they are the source; a store that is away is left."""
        if isinstance(self.source(), SampleHistory):
            with contextlib.suppress(AwayError):
                for reach in LEVELS.values():
                    self.samples.level(reach)

    def ask(self, question: Callable[[PrometheusHistory | SampleHistory], Answer]) -> Answer:
        """Return what the question gives; it is put to the samples where Prometheus goes away under it.

        Args:
            question: is handed the source; may be called twice.
        """
        source = self.source()
        if isinstance(source, SampleHistory):
            return question(source)
        try:
            found = question(source)
        except AwayError:
            if not self.prometheus.lost:
                raise
        else:
            if not self.prometheus.lost:
                return found
        return question(self.source())
