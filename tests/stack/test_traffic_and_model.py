"""Made-up traffic and the default model belong together."""

from __future__ import annotations

import random

import numpy as np

from app.model import bundle
from app.model.served import ServedBundle
from app.monitoring import drift
from compose.stack import population
from tests.stack.running import trained_models

PEOPLE = population.load()


def test_made_up_traffic_is_what_the_default_model_was_trained_on() -> None:
    """Over 10,000 made-up customers no input and no prediction of the default model drifts."""
    served = ServedBundle(bundle.load_active(trained_models()))
    counts = np.zeros(sum(len(feature.counts) for feature in served.features))
    chance = random.Random(3)
    for _ in range(10_000):
        row, problems = served.schema.encode(population.customer(PEOPLE, chance))
        assert not problems
        prepared = served.prepare(row)
        for number in served.bins(row, prepared, served.probabilities([prepared])[0]):
            counts[number] += 1
    found = drift.measure(served.features, counts, 1000)
    assert [each.feature for each in found if each.drifted] == []
    busy = drift.measure(served.features, counts * 10, 1000)  # an hour of 28 such requests a second
    assert [each.feature for each in busy if each.drifted] == []
    assert {"age", "duration", "prediction_required_fields"} <= {each.feature for each in found if each.psi is not None}
