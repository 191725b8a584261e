"""What the service tells of the model that answers, whether it is a stored bundle or one of the user's own."""

from __future__ import annotations

import datetime as dt

import msgspec

from app.model.evaluation import Scores


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a model.

    Attributes:
        version: tells one model from another in log lines, labels and series.
        model_type: what kind it is, e.g. `hist_gradient_boosting`.
        trained_at: None where nobody said.
        data_source: what it was trained on, in words.
        scores: of the hold-out by the fields that were given ("all", "required"); empty where there was no hold-out.
    """

    version: str
    model_type: str
    trained_at: dt.datetime | None
    data_source: str
    scores: dict[str, Scores]


class ModelFailureError(Exception):
    """A model answered something that cannot be used; the message is ours and holds nothing of the request."""
