"""Made-up traffic and the default model belong together."""

from __future__ import annotations

import random

import numpy as np

from app.model import bundle
from app.model.reference import output_bin
from app.monitoring import drift
from app.monitoring.drift import drop_missing
from app.schema import encode
from compose.stack import population
from tests.stack.running import trained_models

PEOPLE = population.load()


def test_made_up_traffic_is_what_the_default_model_was_trained_on() -> None:
    """Over 10,000 made-up customers no input and no prediction of the default model drifts."""
    active = bundle.load_active(trained_models())
    reference, scorer = active.manifest.reference, active.scorer
    counts = np.zeros(reference.bins() + 1)
    chance = random.Random(3)
    for _ in range(10_000):
        row, problems = encode(population.customer(PEOPLE, chance))
        assert not problems
        for number in drop_missing([reference.bin_of[place] for place in scorer.intervals(row)], reference.bins()):
            counts[number] += 1
        counts[output_bin(reference, float(scorer.predict([row])[0]), all_fields=False)] += 1
    found = drift.measure(reference, counts, 1000)
    assert [each.feature for each in found if each.drifted] == []
    assert {"age", "duration", "prediction_required_fields"} <= {each.feature for each in found if each.psi is not None}
