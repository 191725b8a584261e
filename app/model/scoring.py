"""Scores rows with boosted trees, fast and without scikit-learn.

The way is that of QuickScorer (C. Lucchese et al. 2015, "QuickScorer: a fast algorithm to rank documents with
additive ensembles of regression trees"): each tree's leaves are bits, numbered from left to right; a node whose test
is false clears the leaves of its left subtree; the lowest bit left is the exit leaf. Here the nodes of one field are
folded together beforehand: for each interval between two thresholds (each category) one row of masks, one per tree.
Scoring is then one look-up per field, one AND over the fields, and one sum.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from app.schema import FIELDS

CHUNK = 128  # rows at a time in a batch: 128 x 16 x 300 masks of 4 bytes stay below 3 MB
MAX_LEAVES = 32
Masks = npt.NDArray[np.uint32]


class Trees(msgspec.Struct, frozen=True):
    """Boosted trees in the form that is scored.

    Attributes:
        thresholds: per field, ascending; a number x lies in interval k when thresholds[k-1] < x <= thresholds[k].
            Empty for a category, whose interval is its code.
        first: per field, its first row in `masks`; the field's last row is for a missing value.
        masks: shape (rows, trees), the leaves that stay reachable.
        leaves: shape (trees, 32), the value of each leaf in log-odds.
        baseline: log-odds before the first tree.
        slope, intercept: Platt's calibration of the sum of log-odds: slope * score + intercept.
    """

    thresholds: list[list[float]]
    first: list[int]
    masks: Masks
    leaves: npt.NDArray[np.float64]
    baseline: float
    slope: float
    intercept: float


class Scorer:
    """Scores rows; made once per model, used by any number of threads.

    Args:
        trees: what to score with.
    """

    def __init__(self, trees: Trees) -> None:
        self.trees = trees
        self._leaves = np.ascontiguousarray(trees.leaves.ravel())
        self._offsets = np.arange(trees.masks.shape[1], dtype=np.int64) * trees.leaves.shape[1]
        ends = [*trees.first[1:], trees.masks.shape[0]]
        # Per field: thresholds (None for a category), first mask row, row of "missing", number of intervals.
        self._fields = [
            (thresholds if not FIELDS[column].categories else None, first, end - 1, end - 1 - first)
            for column, (thresholds, first, end) in enumerate(zip(trees.thresholds, trees.first, ends, strict=True))
        ]

    def intervals(self, row: Sequence[float]) -> list[int]:
        """Return the mask row of each field's value; a category that training never saw counts as missing."""
        out = []
        for value, (thresholds, first, missing, count) in zip(row, self._fields, strict=True):
            if value != value:
                out.append(missing)
            elif thresholds is None:
                code = int(value)
                out.append(first + code if 0 <= code < count else missing)
            else:
                out.append(first + bisect_left(thresholds, value))
        return out

    def log_odds(self, intervals: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
        """Return the trees' sum for rows given as mask rows, shape (n,), before calibration."""
        masks, leaves, offsets = self.trees.masks, self._leaves, self._offsets
        chunks = []
        for start in range(0, len(intervals), CHUNK):
            index = np.asarray(intervals[start : start + CHUNK])
            left = np.bitwise_and.reduce(masks[index], axis=1)
            # The lowest bit's position: how many bits are below it.
            exits = np.bitwise_count((left & (~left + np.uint32(1))) - np.uint32(1))
            chunks.append(leaves[offsets + exits].sum(axis=1))
        return np.concatenate(chunks) + self.trees.baseline if chunks else np.empty(0)

    def probabilities(self, intervals: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
        """Return the calibrated probability of "subscribes" for rows given as mask rows, shape (n,)."""
        score = self.log_odds(intervals) * self.trees.slope + self.trees.intercept
        return np.asarray(1 / (1 + np.exp(-score)))

    def predict(self, rows: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
        """Return the calibrated probability of "subscribes" for rows of field values, shape (n,)."""
        return self.probabilities([self.intervals(row) for row in rows])


def compile_trees(model: Any, slope: float = 1.0, intercept: float = 0.0) -> Trees:
    """Turn a fitted HistGradientBoostingClassifier into masks.

    Args:
        model: fitted on rows as `app.model.dataset` makes them, categories first, at most 32 leaves a tree.
        slope, intercept: Platt's calibration.

    Raises:
        ValueError: a tree has more than 32 leaves.
    """
    encoded = _encoded_categories(model)
    predictors = [stage[0] for stage in model._predictors]  # noqa: SLF001 - the fitted trees have no public form
    tests: list[list[tuple[int, Any, set[int] | None, bool, int]]] = [[] for _ in FIELDS]
    leaves = np.zeros((len(predictors), MAX_LEAVES))
    for tree, predictor in enumerate(predictors):
        _collect(tree, predictor, encoded, tests, leaves)
    thresholds: list[list[float]] = []
    first: list[int] = []
    rows: list[Masks] = []
    for column, field in enumerate(FIELDS):
        first.append(len(rows))
        cuts = [] if field.categories else sorted({float(test[1]) for test in tests[column]} - {math.inf})
        thresholds.append(cuts)
        count = len(field.categories) or len(cuts) + 1
        for interval in [*range(count), None]:
            mask = np.full(len(predictors), 0xFFFFFFFF, dtype=np.uint32)
            for tree, threshold, categories, missing_left, left_leaves in tests[column]:
                if interval is None:
                    goes_left = missing_left
                elif categories is not None:
                    code = encoded[column].get(interval)
                    goes_left = missing_left if code is None else code in categories
                else:
                    # an infinite threshold parts what is missing from what is not
                    goes_left = (cuts[interval] if interval < len(cuts) else math.inf) <= threshold
                if not goes_left:
                    mask[tree] &= np.uint32(~left_leaves & 0xFFFFFFFF)
            rows.append(mask)
    baseline = float(np.ravel(model._baseline_prediction)[0])  # noqa: SLF001 - as above
    return Trees(thresholds, first, np.vstack(rows), leaves, baseline, slope, intercept)


def _encoded_categories(model: Any) -> list[dict[int, int]]:
    """Return per field how scikit-learn renumbered our category codes; a code it never saw is absent."""
    maps: list[dict[int, int]] = [{} for _ in FIELDS]
    encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001 - as above
    for column, categories in enumerate(encoder.categories_):
        known = [value for value in categories.tolist() if value == value]
        maps[column] = {int(value): position for position, value in enumerate(known)}
    return maps


def _collect(
    tree: int,
    predictor: Any,
    encoded: list[dict[int, int]],
    tests: list[list[tuple[int, Any, set[int] | None, bool, int]]],
    leaves: npt.NDArray[np.float64],
) -> None:
    """Number one tree's leaves from left to right and note each node's test with the leaves of its left side."""
    nodes = predictor.nodes
    numbered = 0

    def visit(index: int) -> int:
        nonlocal numbered
        node = nodes[index]
        if node["is_leaf"]:
            if numbered == MAX_LEAVES:
                raise ValueError(f"tree {tree} has more than {MAX_LEAVES} leaves")
            leaves[tree, numbered] = node["value"]
            numbered += 1
            return 1 << (numbered - 1)
        left = visit(int(node["left"]))
        categories = None
        column = int(node["feature_idx"])
        if node["is_categorical"]:
            bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]]
            size = len(encoded[column])
            categories = {code for code in range(size) if int(bits[code // 32]) >> (code % 32) & 1}
        tests[column].append((tree, node["num_threshold"], categories, bool(node["missing_go_to_left"]), left))
        return left | visit(int(node["right"]))

    visit(0)
