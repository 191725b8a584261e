"""Validation of one request object."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.schema import BANK, COLUMN, FIELDS, Field, Schema
from tests.app.conftest import GUIDE_REQUEST


def test_the_guides_request_fits() -> None:
    """The eight fields are enough; the others are missing."""
    row, problems = BANK.encode(GUIDE_REQUEST)
    assert problems == []
    assert row[COLUMN["age"]] == 30
    assert np.isnan(row).sum() == len(FIELDS) - 8


def test_admin_is_admin_with_a_dot() -> None:
    """The guide's `admin` is the data set's `admin.`."""
    assert (
        BANK.encode(GUIDE_REQUEST)[0][COLUMN["job"]]
        == BANK.encode({**GUIDE_REQUEST, "job": "admin."})[0][COLUMN["job"]]
    )


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
    _, problems = BANK.encode({**GUIDE_REQUEST, field: value})
    assert [problem.field for problem in problems] == [field]
    assert str(value) not in problems[0].detail or len(str(value)) < 5
    if field == "favourite_colour":
        assert field not in problems[0].logged


def test_all_missing_fields_are_named_at_once() -> None:
    """An empty object lacks the eight required fields."""
    _, problems = BANK.encode({}, "instances[2].")
    assert {problem.field for problem in problems} == {f"instances[2].{name}" for name in GUIDE_REQUEST}


def test_optional_fields_may_be_given_or_null() -> None:
    """Whole numbers may be written with a point; null is missing."""
    row, problems = BANK.encode({**GUIDE_REQUEST, "balance": 1500.0, "month": "may", "poutcome": None})
    assert problems == []
    assert row[COLUMN["balance"]] == 1500
    assert np.isnan(row[COLUMN["poutcome"]])


def test_a_schema_of_ones_own_takes_fractions_and_keeps_texts() -> None:
    """A number may have a fraction unless it is whole; a category stays its text; what is missing is NaN or None."""
    fields = [
        Field(name="weight", low=0.5, high=9.5),
        Field(name="count", low=0, high=3, whole=True),
        Field(name="colour", categories=("red", "blue"), required=False),
        Field(name="depth", low=-1, high=1, required=False),
    ]
    schema = Schema(fields, {"colour": {"red": "red", "blue": "blue"}}, [np.nan, np.nan, None, np.nan])
    row, problems = schema.encode({"weight": 0.75, "count": 2.0, "colour": "blue", "depth": None})
    assert (row[:3], np.isnan(row[3]), problems) == ([0.75, 2.0, "blue"], True, [])
    assert schema.encode({"weight": 1, "count": 1})[0][2] is None
    _, problems = schema.encode({"weight": 0.25, "count": 1.5, "colour": "green"}, "instances[0].")
    assert {problem.field: problem.detail for problem in problems} == {
        "instances[0].weight": "must be a number from 0.5 to 9.5",
        "instances[0].count": "must be a whole number from 0 to 3",
        "instances[0].colour": "must be one of red, blue",
    }
