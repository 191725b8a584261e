"""Made-up customers like the real ones: drawn from counts over UCI Bank Marketing, for training without the file.

The counts are a tree-augmented naive Bayes network (N. Friedman, D. Geiger, M. Goldszmidt 1997, "Bayesian Network
Classifiers"): each field depends on the label and on one other field, the tree chosen by conditional mutual
information. That keeps what a classifier can learn from: how each field goes with the label, and the strongest
relation of each field with another (pdays and poutcome, contact and month, job and education ...).
"""

from __future__ import annotations

import importlib.resources

import msgspec
import numpy as np
import numpy.typing as npt

from app.model.dataset import Dataset, Rows
from app.schema import FIELDS, NAMES

SOURCE = (
    "Counts over the rows of UCI Bank Marketing (bank-full.csv; S. Moro, P. Rita, P. Cortez 2014, "
    "doi 10.24432/C5K306, CC BY 4.0), made by `ml-app statistics`. Numbers in bands; a band holds low <= x <= high."
)
BANDS = 24
# Beside those of equal counts: a band that reaches from 58 to 95 years would make as many of 90 as of 60.
TAILS = (0.001, 0.003, 0.01, 0.02, 0.97, 0.98, 0.99, 0.995, 0.999)
ROWS = 45_210


class FieldCounts(msgspec.Struct, frozen=True):
    """How one field is distributed.

    Attributes:
        parent: name of the field it depends on besides the label; None for the root.
        bands: of a number, the lowest and highest value of each band; empty for a category.
        counts: [label][value of the parent, or 0][value]: number of rows.
    """

    parent: str | None
    bands: list[tuple[int, int]]
    counts: list[list[list[int]]]


class Statistics(msgspec.Struct, frozen=True):
    """All counts; the fields stand in an order in which parents come first."""

    source: str
    labels: list[int]
    fields: dict[str, FieldCounts]


def load() -> Statistics:
    """Return the counts that lie beside this module."""
    text = importlib.resources.files("app.model").joinpath("statistics.json").read_bytes()
    return msgspec.json.decode(text, type=Statistics)


def measure(data: Dataset) -> Statistics:
    """Count what `generate` needs.

    Args:
        data: the real rows, none missing.
    """
    bands = [_bands(data.rows[:, column]) if not field.categories else [] for column, field in enumerate(FIELDS)]
    binned = np.empty(data.rows.shape, dtype=np.int64)
    sizes = []
    for column, field in enumerate(FIELDS):
        if field.categories:
            binned[:, column] = data.rows[:, column]
            sizes.append(len(field.categories))
        else:
            lows = np.array([low for low, _ in bands[column]])
            binned[:, column] = np.searchsorted(lows, data.rows[:, column], side="right") - 1
            sizes.append(len(lows))
    order, parent = _tree(binned, data.labels, sizes)
    fields = {}
    for column in order:
        above = parent[column]
        parents = binned[:, above] if above is not None else np.zeros(len(binned), dtype=np.int64)
        counts = np.zeros((2, sizes[above] if above is not None else 1, sizes[column]), dtype=np.int64)
        np.add.at(counts, (data.labels, parents, binned[:, column]), 1)
        fields[NAMES[column]] = FieldCounts(NAMES[above] if above is not None else None, bands[column], counts.tolist())
    return Statistics(SOURCE, np.bincount(data.labels, minlength=2).tolist(), fields)


def generate(statistics: Statistics, rows: int, seed: int) -> Dataset:
    """Draw labelled rows.

    Args:
        rows: how many.
        seed: makes the same rows again.
    """
    chance = np.random.default_rng(seed)
    weights = np.array(statistics.labels, dtype=np.float64)
    labels = (chance.random(rows) < weights[1] / weights.sum()).astype(np.int64)
    drawn: dict[str, npt.NDArray[np.int64]] = {}
    out: Rows = np.empty((rows, len(FIELDS)), dtype=np.float64)
    for name, field in statistics.fields.items():
        counts = np.array(field.counts, dtype=np.float64)
        # A parent's value that never met this label: draw as the label alone says.
        alone = counts.sum(axis=1, keepdims=True)
        counts = np.where(counts.sum(axis=2, keepdims=True) > 0, counts, alone)
        cumulated = np.cumsum(counts, axis=2)
        cumulated /= cumulated[:, :, -1:]
        parents = drawn[field.parent] if field.parent else np.zeros(rows, dtype=np.int64)
        values = (chance.random(rows)[:, None] > cumulated[labels, parents]).sum(axis=1)
        drawn[name] = values
        column = NAMES.index(name)
        if field.bands:
            edges = np.array(field.bands)
            out[:, column] = chance.integers(edges[values, 0], edges[values, 1] + 1)
        else:
            out[:, column] = values
    return Dataset(out, labels, f"generated: {rows:,} rows, seed {seed}")


def _bands(values: Rows) -> list[tuple[int, int]]:
    """Cut whole numbers into bands of about equal counts, finer in the tails, each from lowest to highest value."""
    ordered = np.sort(values).astype(np.int64)
    places = sorted({number / BANDS for number in range(1, BANDS)} | set(TAILS))
    edges = [int(ordered[int(place * len(ordered))]) for place in places]
    lows = [int(ordered[0])]
    for edge, following in zip(edges, [*edges[1:], int(ordered[-1])], strict=True):
        # A value that fills a whole band (pdays = -1) gets a band of its own.
        if edge > lows[-1]:
            lows.append(edge)
        elif edge == lows[-1] and following > edge:
            lows.append(int(ordered[ordered > edge][0]))
    return [
        (low, int(ordered[np.searchsorted(ordered, following, side="left") - 1]))
        for low, following in zip(lows, [*lows[1:], int(ordered[-1]) + 1], strict=True)
    ]


def _tree(
    binned: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], sizes: list[int]
) -> tuple[list[int], dict[int, int | None]]:
    """Return the fields with parents first, and each one's parent: the maximum spanning tree (Chow and Liu 1968)."""
    count = binned.shape[1]
    weight = np.zeros((count, count))
    for one in range(count):
        for other in range(one):
            joint = np.zeros((2, sizes[one], sizes[other]))
            np.add.at(joint, (labels, binned[:, one], binned[:, other]), 1.0)
            joint /= len(labels)
            label = joint.sum(axis=(1, 2), keepdims=True)
            product = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
            filled = joint > 0
            ratio = np.where(filled, joint * label / np.where(product > 0, product, 1), 1)
            weight[one, other] = weight[other, one] = float((joint * np.log(ratio)).sum())
    order, parent = [0], dict[int, int | None]({0: None})
    while len(order) < count:
        left = [column for column in range(count) if column not in parent]
        above, column = max(((a, c) for a in order for c in left), key=lambda pair: weight[pair])
        parent[column] = above
        order.append(column)
    return order, parent
