"""Drift of inputs and outputs against the training data, and performance estimated without labels.

PSI is the population stability index, sum((p - q) * ln(p / q)) over bins. Without drift it is distributed as
(1/n + 1/m) * chi-square(bins - 1) (B. Yurdakul 2018, "Statistical properties of population stability index"), which
gives the threshold; fixed limits such as 0.1 fire always on small windows and never on large ones. From some thousand
rows on that test would find differences of no importance, so the threshold is never below NEGLIGIBLE.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from app.model.reference import Feature
from app.monitoring.shared import Numbers

SMOOTHING = 0.5  # rows added to each bin, so that an empty one has a logarithm
NEGLIGIBLE = 0.01  # a PSI below this moves no decision: in ten bins, a tenth more or less in each
ESTIMATES = ("tn", "fp", "fn", "tp")


class Drift(msgspec.Struct, frozen=True):
    """How far one feature is from its reference; `psi` is None below the minimum of samples."""

    feature: str
    samples: int
    psi: float | None
    threshold: float | None

    @property
    def drifted(self) -> bool:
        """Whether the PSI is above its threshold."""
        return self.psi is not None and self.threshold is not None and self.psi > self.threshold


def psi(reference: npt.NDArray[np.float64], window: npt.NDArray[np.float64]) -> float:
    """Return the population stability index of counts in the same bins."""
    p = (reference + SMOOTHING) / (reference + SMOOTHING).sum()
    q = (window + SMOOTHING) / (window + SMOOTHING).sum()
    return float(((q - p) * np.log(q / p)).sum())


def measure(features: list[Feature], counts: Numbers, minimum: int) -> list[Drift]:
    """Compare a window with the reference.

    Args:
        features: reference distributions, their bins numbered through.
        counts: per bin, as many as there are bins or more; missing values are not counted.
        minimum: samples below which nothing is said.
    """
    out = []
    start = 0
    for feature in features:
        size = len(feature.counts)
        window = counts[start : start + size]
        start += size
        samples = int(window.sum())
        if samples < minimum or size < 2:
            out.append(Drift(feature.name, samples, None, None))
            continue
        known = np.array(feature.counts, dtype=np.float64)
        threshold = max(NEGLIGIBLE, float((1 / samples + 1 / known.sum()) * feature.chi_square))
        out.append(Drift(feature.name, samples, psi(known, window), threshold))
    return out


def expected_cells(probability: float) -> tuple[int, float, int, float]:
    """Return what one prediction adds to the expected confusion matrix: position and amount, twice.

    With calibrated probabilities the sum over many is what labels would show (confidence-based performance
    estimation); positions are those of ESTIMATES.
    """
    if probability >= 0.5:
        return 1, 1 - probability, 3, probability
    return 0, 1 - probability, 2, probability


def finite(number: float | None) -> float:
    """Return a number for Prometheus, which writes what is not known as NaN."""
    return math.nan if number is None else number
