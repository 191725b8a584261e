"""The recorded run and the alerts' cases as samples for the console's evaluator: the same numbers Prometheus gets."""

from __future__ import annotations

import functools
import re

import numpy as np

from compose.console.evaluation import Curve, Evaluator
from compose.console.promql import Expression
from compose.console.samples import Floats, SampleSet
from tests.provision.alert_cases import Series
from tests.provision.recording import openmetrics

_LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+) (\d+)")
_PAIR = re.compile(r'(\w+)="([^"]*)"')
_SERIES = re.compile(r"(\w+)(?:\{(.*)\})?")
_RUN = re.compile(r"(-?[\d.e]+)(?:([+-][\d.e]+)x(\d+))?")


@functools.cache
def recorded_samples() -> SampleSet:
    """Return the recorded run; it is read, never changed."""
    held = SampleSet()
    for line in openmetrics().splitlines():
        if found := _LINE.fullmatch(line):
            labels = tuple(sorted(_PAIR.findall(found[2] or "")))
            held.point(found[1], labels, float(found[4]), float(found[3]))
    return held


def expanded(notation: str) -> list[float]:
    """Return the values of promtool's notation: `7+0x3` is 7 four times, `0 1 2` three values."""
    values: list[float] = []
    for word in notation.split():
        found = _RUN.fullmatch(word)
        assert found is not None, word
        start = float(found[1])
        if found[2] is None:
            values.append(start)
        else:
            values += [start + float(found[2]) * step for step in range(int(found[3]) + 1)]
    return values


def case_samples(series: Series) -> SampleSet:
    """Return the series of an alert's case, a sample a minute from moment 0."""
    held = SampleSet(60.0)
    for name, notation in series.items():
        found = _SERIES.fullmatch(name)
        assert found is not None
        labels = tuple(sorted(_PAIR.findall(found[2] or "")))
        for minute, value in enumerate(expanded(notation)):
            held.point(found[1], labels, 60.0 * minute, value)
    return held


def evaluate(samples: SampleSet, tree: Expression, times: Floats, *, left_open: bool = False) -> list[Curve]:
    """Evaluate as Prometheus 2 does, which is what Debian has, unless told otherwise."""
    return Evaluator(samples, np.asarray(times, dtype=float), left_open=left_open).vector(tree)
