"""Samples as arrays: series by metric and labels, made of the documents that the sampler wrote."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterable, KeysView
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = tuple[tuple[str, str], ...]
_PAIR = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)=("(?:[^"\\]|\\.)*")')


class Series(msgspec.Struct):
    """One series: labels in the order of their names, times (seconds since 1970, ascending), values.

    A NaN marks where the series ended: the target did not answer, or no longer told it (Prometheus's stale marker).
    """

    labels: dict[str, str]
    times: Floats
    values: Floats


@functools.lru_cache(maxsize=20_000)
def read_labels(text: str) -> Labels:
    """Return the pairs of a label text such as `a="1",b="2"`."""
    return tuple((name, msgspec.json.decode(value)) for name, value in _PAIR.findall(text))


@functools.lru_cache(maxsize=20_000)
def series_labels(text: str, job: str, instance: str) -> Labels:
    """Return the labels of a series of a target, in the order of their names: always the same object for the same."""
    return tuple(sorted({**dict(read_labels(text)), "job": job, "instance": instance}.items()))


def moment(text: str) -> float:
    """Return RFC 3339 in UTC as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


class SampleSet:
    """Series by metric; documents are added in the order of their times, by one thread while others read.

    Args:
        spacing: seconds between two scrapes of this set.
    """

    def __init__(self, spacing: float = 15.0) -> None:
        self.spacing = spacing
        self.newest = 0.0
        self._points: dict[str, dict[Labels, tuple[list[float], list[float]]]] = {}
        self._last: dict[tuple[str, str], KeysView[tuple[str, Labels]]] = {}
        self._arrays: dict[tuple[str, Labels], Series] = {}
        self._lock = threading.RLock()

    def add(self, documents: Iterable[dict[str, Any]]) -> int:
        """Add the sampler's documents, oldest first; return how many."""
        count = 0
        for document in documents:
            at = moment(document["@timestamp"])
            identity = job, instance = document["job"], document["instance"]
            own = series_labels("", job, instance)
            told = {("up", own): float(document["up"]), ("scrape_duration_seconds", own): float(document["seconds"])}
            for name, found in document["samples"].items():
                for text, value in found.items():
                    told[name, series_labels(text, job, instance)] = float(value)
            before = self._last.get(identity)
            if before is not None and before != told.keys():
                for name, labels in before - told.keys():
                    self.point(name, labels, at, float("nan"))
            for (name, labels), value in told.items():
                self.point(name, labels, at, value)
            self._last[identity] = told.keys()
            self.newest = max(self.newest, at)
            count += 1
        return count

    def point(self, name: str, labels: Labels, at: float, value: float) -> None:
        """Add one sample."""
        with self._lock:
            of_metric = self._points.get(name)
            if of_metric is None:
                of_metric = self._points[name] = {}
            held = of_metric.get(labels)
            if held is None:
                held = of_metric[labels] = ([], [])
            times, values = held
            if times and at <= times[-1]:
                return
            times.append(at)
            values.append(value)
            self._arrays.pop((name, labels), None)
            self.newest = max(self.newest, at)

    def forget(self, before: float) -> None:
        """Drop samples older than `before`, and series that have none left."""
        with self._lock:
            for name, found in list(self._points.items()):
                for labels, (times, values) in list(found.items()):
                    cut = int(np.searchsorted(times, before))
                    if cut:
                        del times[:cut], values[:cut]
                        self._arrays.pop((name, labels), None)
                    if not times:
                        del found[labels]
                if not found:
                    del self._points[name]

    def series(self, name: str) -> list[Series]:
        """Return the series of a metric."""
        made = []
        with self._lock:
            for labels, (times, values) in self._points.get(name, {}).items():
                known = self._arrays.get((name, labels))
                if known is None:
                    known = self._arrays[name, labels] = Series(dict(labels), np.array(times), np.array(values))
                made.append(known)
        return made
