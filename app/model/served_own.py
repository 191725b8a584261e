"""A model of the user's own in the form that answers: its schema, its answers checked, its drift and its scores."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.model.about import About, ModelFailureError
from app.model.evaluation import Scores, measure
from app.model.reference import BINS, Feature, merge_neighbours, merge_rare, thresholded
from app.own_model import OwnModel, OwnModelError
from app.schema import Field, Schema

OUTPUT = "prediction"
REFERENCE_ROWS = 200
CLOSE = 1e-3  # how far the sum of two float32 probabilities may be from 1
ROUNDING = 1e-6  # how far beyond 0 or 1 a probability may be by rounding

Place = Callable[[Any], int | None]
Probabilities = npt.NDArray[np.float64]


class ServedOwn:
    """The user's own model.

    Args:
        model: as its module made it.

    Raises:
        OwnModelError: its reference or hold-out rows cannot be used, or it gives no probabilities for them.
    """

    def __init__(self, model: OwnModel) -> None:
        fields = tuple(model.fields)
        codes = {field.name: {text: text for text in field.categories} for field in fields if field.categories}
        self.schema = Schema(fields, codes, [None if field.categories else math.nan for field in fields])
        self._predict = model.predict_proba
        self.features: list[Feature] = []
        self._places: list[Place] = []
        try:
            self._try_out(f"{model.type} {model.version}", fields)
            if model.reference is not None:
                self._learn(_rows(model.reference, fields, "reference"))
            scores = {} if model.holdout is None else {"all": self._score(*_holdout(model.holdout, fields))}
        except OwnModelError:
            raise
        except ModelFailureError as error:
            raise OwnModelError(f"{model.type} {model.version}: {error}") from None
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise OwnModelError(f"{model.type} {model.version}: predict_proba raised {text}") from error
        self.about = About(
            version=model.version,
            model_type=model.type,
            trained_at=model.trained_at,
            data_source=model.data,
            scores=scores,
        )

    def prepare(self, row: list[Any]) -> Sequence[Any]:
        """Return the row as it is: encoding is the model's own."""
        return row

    def probabilities(self, prepared: Sequence[Sequence[Any]]) -> list[float]:
        """Return the probability of class 1 of each row.

        Raises:
            ModelFailureError: the model gave another shape, or what is no probability.
        """
        found: list[float] = self._probabilities(prepared).tolist()
        return found

    def bins(self, row: list[Any], prepared: Sequence[Any], probability: float) -> list[int]:  # noqa: ARG002 - is the row
        """Return the bins of the values that are given, and of the probability; none where drift is off."""
        if not self._places:
            return []
        found = [place(value) for place, value in zip(self._places, [*row, probability], strict=True)]
        return [number for number in found if number is not None]

    def _probabilities(self, rows: Sequence[Any]) -> Probabilities:
        try:
            answer = self._predict([list(row) for row in rows])
        except SystemExit:  # no Exception: it would end the request's thread without an answer
            raise ModelFailureError("predict_proba called sys.exit") from None
        try:
            numbers = np.asarray(answer, dtype=np.float64)
        except (TypeError, ValueError):
            raise ModelFailureError("predict_proba gave something that is no array of numbers") from None
        count = len(rows)
        if numbers.shape == (count, 2):
            if (np.abs(numbers.sum(axis=1) - 1) > CLOSE).any():
                raise ModelFailureError("predict_proba gave two columns that do not add up to 1")
            numbers = numbers[:, 1]
        elif numbers.shape != (count,):
            wanted = f"({count},) or ({count}, 2) is wanted"
            if numbers.ndim == 2 and numbers.shape[1] > 2:
                wanted += "; of more than two classes give one against the rest: predict_proba(rows)[:, 2] for class 2"
            raise ModelFailureError(f"predict_proba gave shape {numbers.shape} for {_rows_of(count)}; {wanted}")
        if not ((numbers >= -ROUNDING) & (numbers <= 1 + ROUNDING)).all():  # NaN fails this too
            raise ModelFailureError("predict_proba gave a number that is no probability: below 0, above 1, or NaN")
        return np.clip(numbers, 0.0, 1.0)

    def _try_out(self, name: str, fields: Sequence[Field]) -> None:
        """Ask for one row, then for two, the second without what may be missing: so the first client need not.

        Args:
            name: of the model, for the message.
            fields: what the rows are made from.

        Raises:
            OwnModelError: the model fails on what a request may hold.
        """
        full = [_middle(field) for field in fields]
        bare = [
            value if field.required else None if field.categories else math.nan
            for field, value in zip(fields, full, strict=True)
        ]
        missing = [field.name for field in fields if not field.required]
        for rows, words in (([full], ""), ([full, bare], f", the second without {', '.join(missing)}" * bool(missing))):
            try:
                self._probabilities(rows)
            except ModelFailureError:
                raise
            except Exception as error:
                raise OwnModelError(
                    f"{name}: predict_proba raised {type(error).__name__}: {error}"
                    f" (asked for {_rows_of(len(rows))} made up from the fields{words})"
                ) from error

    def _score(self, rows: list[list[Any]], labels: npt.NDArray[np.int64]) -> Scores:
        return measure(labels, self._probabilities(rows))

    def _learn(self, rows: list[list[Any]]) -> None:
        """Make the reference bins of each field and of the output."""
        outputs = self._probabilities(rows)
        named: list[tuple[str, list[int]]] = []
        start = 0
        for column, field in enumerate(self.schema.fields):
            values = [row[column] for row in rows]
            fine = _categories(field) if field.categories else _quantiles(values)
            counts, place = _merged(fine, values, start, is_category=bool(field.categories))
            named.append((field.name, counts))
            self._places.append(place)
            start += len(counts)
        values = outputs.tolist()
        counts, place = _merged(_quantiles(values), values, start, is_category=False)
        named.append((OUTPUT, counts))
        self._places.append(place)
        self.features = thresholded(named)


def _middle(field: Field) -> Any:
    """Return a value that the field may have: its first category, or a number in the middle."""
    if field.categories:
        return field.categories[0]
    middle = field.low / 2 + field.high / 2
    return float(max(math.floor(middle), math.ceil(field.low))) if field.whole else middle


def _rows_of(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _rows(given: Any, fields: Sequence[Field], what: str) -> list[list[Any]]:
    """Return rows as a request would give them.

    Raises:
        OwnModelError: they are no table, or a value does not fit its field.
    """
    try:
        table = np.asarray(given, dtype=object)
    except ValueError:
        table = np.empty(0, dtype=object)
    if table.ndim != 2 or table.shape[1] != len(fields):
        raise OwnModelError(f"{what}: rows of {len(fields)} values are wanted, one for each field in order")
    if len(table) < REFERENCE_ROWS and what == "reference":
        raise OwnModelError(f"reference: {len(table)} rows are too few to compare with; {REFERENCE_ROWS} are wanted")
    rows: list[list[Any]] = table.tolist()
    for number, row in enumerate(rows):
        for column, (field, value) in enumerate(zip(fields, row, strict=True)):
            if value is None or value != value:
                row[column] = None if field.categories else math.nan
            elif field.categories:
                if value not in field.categories:
                    raise OwnModelError(f"{what}: row {number}, {field.name}: it {field.wanted()}")
            else:
                try:
                    row[column] = float(value)
                except (TypeError, ValueError):
                    raise OwnModelError(f"{what}: row {number}, {field.name}: it {field.wanted()}") from None
    return rows


def _holdout(given: Any, fields: Sequence[Field]) -> tuple[list[list[Any]], npt.NDArray[np.int64]]:
    try:
        table, classes = given
        labels = np.asarray(classes).astype(np.int64)
    except (TypeError, ValueError):
        raise OwnModelError("holdout: a pair of rows and their classes is wanted") from None
    rows = _rows(table, fields, "holdout")
    if labels.shape != (len(rows),):
        raise OwnModelError(
            f"holdout: {len(rows)} classes are wanted, one for each row; shape {labels.shape} was given"
        )
    if (found := set(labels.tolist())) != {0, 1}:
        given_classes = ", ".join(map(str, sorted(found)[:10]))
        raise OwnModelError(f"holdout: classes must be 0 or 1, and both must occur; given: {given_classes}")
    return rows, labels


def _categories(field: Field) -> tuple[int, Place]:
    position = {text: number for number, text in enumerate(field.categories)}
    return len(position), position.get


def _quantiles(values: Sequence[float]) -> tuple[int, Place]:
    known = [value for value in values if value == value]
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS)).tolist() if known else []

    def place(value: float) -> int | None:
        return bisect_left(edges, value) if value == value else None

    return len(edges) + 1, place


def _merged(
    fine: tuple[int, Place], values: Sequence[Any], start: int, *, is_category: bool
) -> tuple[list[int], Place]:
    """Join what is rare; return the counts of the bins, and the place of a value among all bins."""
    size, fine_place = fine
    places = [number for value in values if (number := fine_place(value)) is not None]
    counts = np.bincount(np.array(places, dtype=np.int64), minlength=size)
    merged = merge_rare(counts) if is_category else merge_neighbours(counts)
    bins = (merged + start).tolist()

    def place(value: Any) -> int | None:
        number = fine_place(value)
        return None if number is None else bins[number]

    return np.bincount(merged, weights=counts).astype(int).tolist(), place
