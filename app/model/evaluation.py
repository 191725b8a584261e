"""Measures how good probabilities are, beside the majority-class baseline."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from app.model.dataset import Labels

CALIBRATION_BINS = 10


class CalibrationBin(msgspec.Struct, frozen=True):
    """Rows whose probability lies in one tenth: how many, mean probability, share that subscribed."""

    count: int
    predicted: float
    observed: float


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """How good a model is on labelled rows; the positive class is "subscribes", the cut 0.5.

    Attributes:
        rows: number of rows.
        brier: mean squared error of the probability.
        baseline_accuracy: accuracy of always saying the more frequent class.
        confusion: [[true negatives, false positives], [false negatives, true positives]].
        calibration: one entry per tenth of the probability that holds a row.
    """

    rows: int
    accuracy: float
    precision: float
    recall: float
    f1_score: float
    roc_auc: float
    brier: float
    baseline_accuracy: float
    confusion: list[list[int]]
    calibration: list[CalibrationBin]


def roc_auc(labels: Labels, probabilities: npt.NDArray[np.float64]) -> float:
    """Return the area under the ROC curve: Mann and Whitney's statistic, ties counted half."""
    _, inverse, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    positive = int(labels.sum())
    negative = len(labels) - positive
    return float((ranks[inverse][labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def measure(labels: Labels, probabilities: npt.NDArray[np.float64]) -> Scores:
    """Score probabilities against labels, both of shape (n,); both classes must occur."""
    predicted = (probabilities >= 0.5).astype(np.int64)
    tn, fp, fn, tp = (int(((labels == a) & (predicted == p)).sum()) for a, p in ((0, 0), (0, 1), (1, 0), (1, 1)))
    accuracy, precision, recall, f1 = rates(tn, fp, fn, tp)
    bins = np.minimum((probabilities * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    calibration = [
        CalibrationBin(int(inside.sum()), float(probabilities[inside].mean()), float(labels[inside].mean()))
        for number in range(CALIBRATION_BINS)
        if (inside := bins == number).any()
    ]
    share = float(labels.mean())
    return Scores(
        rows=len(labels),
        accuracy=accuracy,
        precision=precision,
        recall=recall,
        f1_score=f1,
        roc_auc=roc_auc(labels, probabilities),
        brier=float(((probabilities - labels) ** 2).mean()),
        baseline_accuracy=max(share, 1 - share),
        confusion=[[tn, fp], [fn, tp]],
        calibration=calibration,
    )


def rates(tn: float, fp: float, fn: float, tp: float) -> tuple[float, float, float, float]:
    """Return accuracy, precision, recall and F1 of a confusion matrix; 0 where a denominator is 0."""
    total = tn + fp + fn + tp
    return (
        (tn + tp) / total if total else 0.0,
        tp / (tp + fp) if tp + fp else 0.0,
        tp / (tp + fn) if tp + fn else 0.0,
        2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0,
    )
