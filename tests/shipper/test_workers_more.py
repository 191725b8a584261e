"""Truncation, discovery, lines, replies and foreign writers, once more with two workers: the tests of one process."""

from __future__ import annotations

import pytest

from tests.shipper import test_discovery, test_lines, test_output, test_truncation, test_writers
from tests.shipper.test_workers_scenarios import _impatient, shipping

__all__ = ["_impatient", "shipping"]

pytestmark = pytest.mark.soak

OTHERWISE = (
    "test_a_file_of_two_gigabytes",
    "test_the_signature_grows_with_the_file",  # a thousand starts
    "test_an_idle_shipper_looks_less_often_where_a_look_costs_more",  # of the one process that looks
)
for room in (test_truncation, test_discovery, test_lines, test_output, test_writers):
    globals().update(
        {
            name: test
            for name, test in vars(room).items()
            if name.startswith("test_") and callable(test) and name not in OTHERWISE
        }
    )
