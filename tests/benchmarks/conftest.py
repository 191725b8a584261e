"""The fixtures that benchmarks share with the rooms' tests."""

from __future__ import annotations

import pytest

from tests.shipper.conftest import shipping

__all__ = ["shipping"]


@pytest.fixture(scope="session")
def java_options() -> tuple[str, ...]:
    """None: the real Elasticsearch runs here as its users run it, with all of Java's compilers."""
    return ()
