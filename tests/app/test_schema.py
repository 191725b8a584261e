"""Validation of one request object."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.schema import COLUMN, FIELDS, encode
from tests.app.conftest import GUIDE_REQUEST


def test_the_guides_request_fits() -> None:
    """The eight fields are enough; the others are missing."""
    row, problems = encode(GUIDE_REQUEST)
    assert problems == []
    assert row[COLUMN["age"]] == 30
    assert np.isnan(row).sum() == len(FIELDS) - 8


def test_admin_is_admin_with_a_dot() -> None:
    """The guide's `admin` is the data set's `admin.`."""
    assert encode(GUIDE_REQUEST)[0][COLUMN["job"]] == encode({**GUIDE_REQUEST, "job": "admin."})[0][COLUMN["job"]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("age", -1), ("age", 7000), ("age", "30"), ("age", True), ("age", 30.5), ("age", None), ("age", [1]),
        ("age", 1e308), ("job", "astronaut"), ("job", 3), ("job", None), ("duration", "long"), ("campaign", 0),
        ("balance", "x"), ("month", "May"), ("favourite_colour", "blue"),
    ],
)  # fmt: skip
def test_each_fault_is_named_by_its_field(field: str, value: Any) -> None:
    """One wrong field is one problem, with the field and without the value."""
    _, problems = encode({**GUIDE_REQUEST, field: value})
    assert [problem.field for problem in problems] == [field]
    assert str(value) not in problems[0].detail or len(str(value)) < 5
    if field == "favourite_colour":
        assert field not in problems[0].logged


def test_all_missing_fields_are_named_at_once() -> None:
    """An empty object lacks the eight required fields."""
    _, problems = encode({}, "instances[2].")
    assert {problem.field for problem in problems} == {f"instances[2].{name}" for name in GUIDE_REQUEST}


def test_optional_fields_may_be_given_or_null() -> None:
    """Whole numbers may be written with a point; null is missing."""
    row, problems = encode({**GUIDE_REQUEST, "balance": 1500.0, "month": "may", "poutcome": None})
    assert problems == []
    assert row[COLUMN["balance"]] == 1500
    assert np.isnan(row[COLUMN["poutcome"]])
