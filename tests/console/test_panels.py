"""What lies behind a point of a panel."""

from __future__ import annotations

import pytest

from compose.console.pages.panels import window


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("ml_model_accuracy", 0),
        ("rate(ml_predictions_total[1m]) * 60", 60),
        ("increase(a[30s]) / increase(b[2h])", 7200),
        ("rate(a[$__rate_interval])", 0),
    ],
)
def test_a_point_of_a_rate_tells_of_its_window(expression: str, seconds: float) -> None:
    """The longest window of an expression is how far back the lines behind a point lie."""
    assert window(expression) == seconds
