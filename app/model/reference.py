"""Reference bins for drift: how the model's inputs and outputs were distributed in training."""

from __future__ import annotations

from bisect import bisect_left

import msgspec
import numpy as np
import numpy.typing as npt

from app.model.dataset import Rows
from app.model.scoring import Scorer
from app.schema import FIELDS, NAMES, OPTIONAL

BINS = 10
RARE = 0.02  # a bin with a smaller share is merged: PSI's distribution is known only where bins are filled
FALSE_ALARMS = 0.001  # over all features together, per check
OUTPUTS = ("prediction_all_fields", "prediction_required_fields")


class Feature(msgspec.Struct, frozen=True):
    """One distribution that is watched.

    Attributes:
        name: a field, or one of OUTPUTS.
        counts: rows of the reference in each bin.
        chi_square: quantile of the chi-square distribution with (bins - 1) degrees of freedom that gives the threshold.
    """

    name: str
    counts: list[int]
    chi_square: float


class Reference(msgspec.Struct, frozen=True):
    """All distributions, and where a row is counted.

    Attributes:
        features: in the order of FIELDS, then OUTPUTS; bins are numbered through over all of them.
        bin_of: per mask row of the scorer, the bin it is counted in; the number of bins for "missing".
        edges: per output, ascending probabilities between the bins.
    """

    features: list[Feature]
    bin_of: list[int]
    edges: list[list[float]]

    def bins(self) -> int:
        """Return how many bins there are in all."""
        return sum(len(feature.counts) for feature in self.features)


def build(scorer: Scorer, rows: Rows) -> Reference:
    """Make the bins from the training rows, given with all fields."""
    fine = np.array([scorer.intervals(row) for row in rows.tolist()])
    ends = [*scorer.trees.first[1:], scorer.trees.masks.shape[0]]
    groups: list[list[int]] = []
    names: list[str] = []
    bin_of: list[int] = []
    for column, field in enumerate(FIELDS):
        first, missing = scorer.trees.first[column], ends[column] - 1
        counts = np.bincount(fine[:, column] - first, minlength=missing - first + 1)[: missing - first]
        merged = merge_rare(counts) if field.categories else merge_neighbours(counts)
        start = sum(map(len, groups))
        groups.append(np.bincount(merged, weights=counts).astype(int).tolist())
        names.append(NAMES[column])
        bin_of.extend((merged + start).tolist())
        bin_of.append(-1)
    few = rows.copy()
    few[:, OPTIONAL] = np.nan
    edges = []
    for given in (rows, few):
        probabilities = scorer.predict(given.tolist())
        cut = np.unique(np.quantile(probabilities, np.arange(1, BINS) / BINS))
        edges.append(cut.tolist())
        groups.append(np.bincount(np.searchsorted(cut, probabilities), minlength=len(cut) + 1).tolist())
    total = sum(map(len, groups))
    features = thresholded(list(zip([*names, *OUTPUTS], groups, strict=True)))
    return Reference(features, [total if number < 0 else number for number in bin_of], edges)


def thresholded(counted: list[tuple[str, list[int]]]) -> list[Feature]:
    """Return distributions, given by name and counts, with the quantiles that keep false alarms rare."""
    from scipy.stats import chi2  # type: ignore[import-untyped]  # scipy ships no types

    alpha = FALSE_ALARMS / len(counted)
    return [Feature(name, counts, float(chi2.isf(alpha, max(1, len(counts) - 1)))) for name, counts in counted]


def output_bin(reference: Reference, probability: float, *, all_fields: bool) -> int:
    """Return the bin in which a prediction is counted; `all_fields` where any optional field was given."""
    output = 0 if all_fields else 1
    before = sum(len(feature.counts) for feature in reference.features[: len(FIELDS) + output])
    return before + bisect_left(reference.edges[output], probability)


def merge_rare(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give each frequent category a bin of its own and the rare ones one together."""
    frequent = counts >= RARE * counts.sum()
    if not frequent.all() and counts[~frequent].sum() < RARE * counts.sum():
        frequent[np.argmin(np.where(frequent, counts, counts.sum() + 1))] = False
    return np.where(frequent, np.cumsum(frequent) - 1, frequent.sum()).astype(np.int64)


def merge_neighbours(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Join neighbouring intervals to at most BINS bins, each with at least a rare bin's share."""
    total = counts.sum()
    out = np.zeros(len(counts), dtype=np.int64)
    number, inside, left = 0, 0, int(total)
    for position, count in enumerate(counts.tolist()):
        # A new bin where this one is full and what is left can fill another.
        if inside >= total / BINS and left >= RARE * total:
            number, inside = number + 1, 0
        out[position] = number
        inside += count
        left -= count
    return out
