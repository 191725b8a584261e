"""Evaluates an expression's tree over samples at many moments at once, as Prometheus would."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from compose.console import windows
from compose.console.promql import COMPARISONS, Aggregate, Binary, Call, Expression, Matcher, Number, Selector
from compose.console.samples import Floats, SampleSet, Series

LOOKBACK = 300.0  # seconds that an instant vector looks back, as Prometheus does by default


class Curve(msgspec.Struct):
    """One series of a result: labels, and a value for each moment; `there` is false where it has none."""

    labels: dict[str, str]
    values: Floats
    there: Any  # bool array


Vector = list[Curve]
Value = Floats | Vector  # one number a moment, or series
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide,
}  # fmt: skip
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip


class Evaluator:
    """Evaluates trees over one set of samples.

    Args:
        samples: where the series are.
        times: the moments, seconds since 1970, ascending.
        left_open: windows as from Prometheus 3 on.
    """

    def __init__(self, samples: SampleSet, times: Floats, *, left_open: bool = True) -> None:
        self.samples, self.times, self.left_open = samples, times, left_open
        # A set of every 120th scrape has less than one sample in five minutes.
        self.lookback = max(LOOKBACK, 1.5 * samples.spacing)

    def vector(self, tree: Expression) -> Vector:
        """Return the series of an expression; a number becomes one series without labels."""
        found = self._value(tree)
        if isinstance(found, list):
            return [curve for curve in found if curve.there.any()]
        return [Curve({}, found, np.ones(len(self.times), bool))]

    def _value(self, tree: Expression) -> Value:
        match tree:
            case Number():
                return np.full(len(self.times), tree.value)
            case Selector():
                return self._instant(tree)
            case Call():
                return self._call(tree)
            case Aggregate():
                return self._aggregate(tree)
            case Binary():
                return self._binary(tree)

    def _matching(self, selector: Selector) -> list[Series]:
        found = self.samples.series(selector.name)
        return [series for series in found if all(_matches(each, series.labels) for each in selector.matchers)]

    def _instant(self, selector: Selector) -> Vector:
        result = []
        moments = self.times - selector.offset
        for series in self._matching(selector):
            if not len(series.times):
                continue
            place = np.searchsorted(series.times, moments, side="right") - 1
            clipped = np.maximum(place, 0)
            values = series.values[clipped]
            there = (place >= 0) & (series.times[clipped] > moments - self.lookback) & ~np.isnan(values)
            result.append(Curve({"__name__": selector.name, **series.labels}, values, there))
        return result

    def _window(self, tree: Expression, compute: Callable[[Series, Floats, float], Floats]) -> Vector:
        if not isinstance(tree, Selector) or tree.window is None:
            raise TypeError("a range such as metric[5m] is wanted")
        width = max(tree.window, 2.5 * self.samples.spacing) if self.samples.spacing > 60 else tree.window
        result = []
        for series in map(windows.without_gaps, self._matching(tree)):
            values = compute(series, self.times - tree.offset, width)
            result.append(Curve(series.labels, values, ~np.isnan(values)))
        return result

    def _call(self, tree: Call) -> Value:
        arguments = tree.arguments
        match tree.name:
            case "time":
                return self.times.copy()
            case "vector":
                return [Curve({}, self._number(arguments[0]), np.ones(len(self.times), bool))]
            case "rate" | "increase":
                asked = arguments[0]
                window = asked.window if isinstance(asked, Selector) else None

                def grown(series: Series, times: Floats, width: float) -> Floats:
                    found = windows.extrapolated(series, times, width, left_open=self.left_open, per_second=True)
                    return found if tree.name == "rate" else found * (window or width)

                return self._window(asked, grown)
            case "avg_over_time":
                return self._window(arguments[0], lambda s, t, w: windows.mean(s, t, w, left_open=self.left_open))
            case "changes":
                return self._window(arguments[0], lambda s, t, w: windows.changes(s, t, w, left_open=self.left_open))
            case "predict_linear":
                ahead = self._number(arguments[1])
                return self._window(
                    arguments[0], lambda s, t, w: windows.line(s, t, w, ahead, left_open=self.left_open)
                )
            case "histogram_quantile":
                return self._quantile(float(self._number(arguments[0])[0]), self.vector(arguments[1]))
            case "absent":
                return self._absent(arguments[0])
        raise TypeError(f"{tree.name} is not evaluated here")

    def _number(self, tree: Expression) -> Floats:
        found = self._value(tree)
        if isinstance(found, list):
            raise TypeError("a number is wanted, not series")
        return found

    def _absent(self, tree: Expression) -> Vector:
        seen = np.zeros(len(self.times), bool)
        for curve in self.vector(tree):
            seen |= curve.there
        equal = tree.matchers if isinstance(tree, Selector) else ()
        labels = {each.label: each.text for each in equal if each.operator == "="}
        return [Curve(labels, np.ones(len(self.times)), ~seen)]

    def _quantile(self, share: float, buckets: Vector) -> Vector:
        groups: dict[tuple[tuple[str, str], ...], list[Curve]] = {}
        for curve in buckets:
            rest = {name: value for name, value in curve.labels.items() if name not in ("le", "__name__")}
            if "le" in curve.labels:
                groups.setdefault(tuple(sorted(rest.items())), []).append(curve)
        result = []
        for labels, curves in groups.items():
            curves.sort(key=lambda curve: float(curve.labels["le"]))
            edges = np.array([float(curve.labels["le"]) for curve in curves])
            counts = np.array([np.where(curve.there, curve.values, np.nan) for curve in curves])
            there = np.logical_or.reduce([curve.there for curve in curves])
            result.append(Curve(dict(labels), windows.quantile(share, edges, counts), there))
        return result

    def _aggregate(self, tree: Aggregate) -> Vector:
        groups: dict[tuple[tuple[str, str], ...], list[Curve]] = {}
        for curve in self.vector(tree.operand):
            kept = tuple((name, curve.labels[name]) for name in sorted(tree.by) if name in curve.labels)
            groups.setdefault(kept, []).append(curve)
        result = []
        for labels, curves in groups.items():
            there = np.array([curve.there for curve in curves])
            values = np.array([curve.values for curve in curves])
            some = there.any(axis=0)
            match tree.name:
                case "sum":
                    combined = np.where(there, values, 0.0).sum(axis=0)
                case "count":
                    combined = there.sum(axis=0).astype(float)
                case "min":
                    combined = np.fmin.reduce(np.where(there, values, np.nan), axis=0)
                case _:
                    combined = np.fmax.reduce(np.where(there, values, np.nan), axis=0)
            result.append(Curve(dict(labels), combined, some))
        return result

    def _binary(self, tree: Binary) -> Value:
        left, right = self._value(tree.left), self._value(tree.right)
        if tree.operator in ("and", "unless", "or"):
            return self._sets(tree, _as_vector(left), _as_vector(right))
        with np.errstate(divide="ignore", invalid="ignore"):
            if not isinstance(left, list) and not isinstance(right, list):
                return np.asarray(_operation(tree.operator)(left, right), dtype=float)
            if isinstance(left, list) and isinstance(right, list):
                return _matched(tree, left, right)
            return [_with_number(tree.operator, *pair) for pair in _pairs(left, right)]

    def _sets(self, tree: Binary, left: Vector, right: Vector) -> Vector:
        def seen(vector: Vector) -> dict[tuple[tuple[str, str], ...], Any]:
            found: dict[tuple[tuple[str, str], ...], Any] = {}
            for curve in vector:
                key = _signature(curve.labels, tree.on)
                found[key] = found.get(key, np.zeros(len(self.times), bool)) | curve.there
            return found

        nowhere = np.zeros(len(self.times), bool)
        if tree.operator in ("and", "unless"):
            known = seen(right)
            both = [known.get(_signature(c.labels, tree.on), nowhere) for c in left]
            return [
                Curve(c.labels, c.values, c.there & (there if tree.operator == "and" else ~there))
                for c, there in zip(left, both, strict=True)
            ]
        known = seen(left)
        more = [Curve(c.labels, c.values, c.there & ~known.get(_signature(c.labels, tree.on), nowhere)) for c in right]
        return merged([*left, *(curve for curve in more if curve.there.any())])


def merged(curves: Vector, *, named: bool = True) -> Vector:
    """Return the curves with those of the same labels put together: of two at one moment the earlier one's value.

    Args:
        named: the metric's name is one of the labels.
    """
    found: dict[tuple[tuple[str, str], ...], Curve] = {}
    for curve in curves:
        key = tuple(sorted((name, value) for name, value in curve.labels.items() if named or name != "__name__"))
        first = found.get(key)
        if first is None:
            found[key] = Curve(dict(key), curve.values, curve.there)
        else:
            found[key] = Curve(dict(key), np.where(first.there, first.values, curve.values), first.there | curve.there)
    return list(found.values())


def _as_vector(value: Value) -> Vector:
    if not isinstance(value, list):
        raise TypeError("`and`, `unless` and `or` stand between series, not numbers")
    return value


def _operation(operator: str) -> Callable[[Any, Any], Any]:
    return _ARITHMETIC.get(operator) or _COMPARE[operator]


def _pairs(left: Value, right: Value) -> list[tuple[Curve, Floats, bool]]:
    if isinstance(left, list):
        assert not isinstance(right, list)  # noqa: S101 - the caller looked
        return [(curve, right, False) for curve in left]
    assert isinstance(right, list)  # noqa: S101 - the caller looked
    return [(curve, left, True) for curve in right]


def _with_number(operator: str, curve: Curve, number: Floats, number_first: bool) -> Curve:
    first, second = (number, curve.values) if number_first else (curve.values, number)
    if operator in COMPARISONS:
        return Curve(curve.labels, curve.values, curve.there & _COMPARE[operator](first, second))
    labels = {name: value for name, value in curve.labels.items() if name != "__name__"}
    return Curve(labels, _ARITHMETIC[operator](first, second), curve.there)


def _matched(tree: Binary, left: Vector, right: Vector) -> Vector:
    others: dict[tuple[tuple[str, str], ...], list[Curve]] = {}
    for curve in right:
        others.setdefault(_signature(curve.labels, tree.on), []).append(curve)
    result = []
    for curve in left:
        key = _signature(curve.labels, tree.on)
        for other in others.get(key, ()):
            there = curve.there & other.there
            if tree.operator in COMPARISONS:
                there = there & _COMPARE[tree.operator](curve.values, other.values)
                result.append(Curve(curve.labels, curve.values, there))
            else:
                result.append(Curve(dict(key), _ARITHMETIC[tree.operator](curve.values, other.values), there))
    return [curve for curve in result if curve.there.any()]


def _signature(labels: dict[str, str], on: tuple[str, ...] | None) -> tuple[tuple[str, str], ...]:
    if on is not None:
        return tuple((name, labels[name]) for name in sorted(on) if name in labels)
    return tuple(sorted((name, value) for name, value in labels.items() if name != "__name__"))


def _matches(matcher: Matcher, labels: dict[str, str]) -> bool:
    value = labels.get(matcher.label, "")
    match matcher.operator:
        case "=":
            return value == matcher.text
        case "!=":
            return value != matcher.text
        case "=~":
            return re.fullmatch(matcher.text, value) is not None
        case _:
            return re.fullmatch(matcher.text, value) is None
