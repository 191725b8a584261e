"""The model that answers, as the endpoints see it; and a stored bundle in that form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from app.model.about import About
from app.model.bundle import Bundle
from app.model.reference import Feature, output_bin
from app.schema import BANK, OPTIONAL, Schema


class Served(Protocol):
    """A model, its schema and its reference bins.

    Attributes:
        about: what the service tells of it.
        schema: what a request may hold.
        features: reference distributions, their bins numbered through; empty: drift is off.
    """

    about: About
    schema: Schema
    features: list[Feature]

    def prepare(self, row: list[Any]) -> Sequence[Any]:
        """Return a row of the schema in the form that is scored."""

    def probabilities(self, prepared: Sequence[Sequence[Any]]) -> list[float]:
        """Return the probability of class 1 of each prepared row.

        Raises:
            ModelFailureError: the model gave something else.
        """

    def bins(self, row: list[Any], prepared: Sequence[Any], probability: float) -> list[int]:
        """Return the bins in which a served row and its probability are counted."""


class ServedBundle:
    """A stored bundle.

    Args:
        bundle: as loaded.
    """

    schema = BANK

    def __init__(self, bundle: Bundle) -> None:
        self.about: About = bundle.manifest
        self.scorer = bundle.scorer
        self._reference = bundle.manifest.reference
        self.features = self._reference.features
        self._missing = self._reference.bins()

    def prepare(self, row: list[Any]) -> Sequence[Any]:
        """Return the row of masks of each value."""
        return self.scorer.intervals(row)

    def probabilities(self, prepared: Sequence[Sequence[Any]]) -> list[float]:
        """Return the calibrated probability of "subscribes" of each row."""
        found: list[float] = self.scorer.probabilities(prepared).tolist()
        return found

    def bins(self, row: list[Any], prepared: Sequence[Any], probability: float) -> list[int]:
        """Return the bins of the values that are given, and of the output."""
        bin_of, missing = self._reference.bin_of, self._missing
        bins = [number for place in prepared if (number := bin_of[place]) != missing]
        given = any(row[column] == row[column] for column in OPTIONAL)
        bins.append(output_bin(self._reference, probability, all_fields=given))
        return bins
