"""The numbers that alerts, panels and the console share: floors, ceilings, objectives; OBJECTIVE_* settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import msgspec

from compose.environment import read

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Objectives(msgspec.Struct, frozen=True, kw_only=True):
    """What is promised, and from where on somebody is told.

    Attributes:
        accuracy: below this share of right predictions a warning is given (the guide's 90 %).
        accuracy_critical: below this one it is critical (the guide's red, 85 %).
        error_rate_warning, error_rate: share of prediction requests that failed (the guide's 5 % and 10 %).
        latency: seconds; the 95th percentile objective (500 ms). It has to be a bucket edge of the histogram.
        latency_critical: seconds; the guide's 1 s. It has to be a bucket edge too.
        latency_share: share of requests that are to be faster than `latency`.
        availability: share of prediction requests that are to be answered without a 5xx.
        memory_growth, memory_growth_critical: resident memory over its own mean of the last hour.
        memory_floor: bytes; below this a jump of the memory is nobody's trouble.
        predictions_per_minute: the volume that is expected (the guide's 10).
        burn_requests: a burn rate is judged only with this many requests in its long window.
        lag, lag_critical: seconds; age of the oldest line that is not acknowledged.
        feedback_samples: labelled predictions that are enough to judge the model live.
    """

    accuracy: Share = 0.90
    accuracy_critical: Share = 0.85
    error_rate_warning: Share = 0.05
    error_rate: Share = 0.10
    latency: Seconds = 0.5
    latency_critical: Seconds = 1.0
    latency_share: Share = 0.95
    availability: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.999
    memory_growth: Annotated[float, msgspec.Meta(gt=1)] = 1.5
    memory_growth_critical: Annotated[float, msgspec.Meta(gt=1)] = 2.0
    memory_floor: Annotated[int, msgspec.Meta(ge=0)] = 256 * 1024 * 1024
    predictions_per_minute: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    burn_requests: Annotated[int, msgspec.Meta(ge=1)] = 300
    lag: Seconds = 60.0
    lag_critical: Seconds = 600.0
    feedback_samples: Annotated[int, msgspec.Meta(ge=1)] = 200


def read_objectives(environment: Mapping[str, str] = os.environ) -> Objectives:
    """Read the objectives from OBJECTIVE_* variables, for example OBJECTIVE_ACCURACY=0.88.

    Raises:
        SettingsError: a variable is not known, or its value does not fit.
    """
    return read("OBJECTIVE", Objectives, environment)[0]
