"""The fixtures that benchmarks share with the rooms' tests."""

from __future__ import annotations

from tests.shipper.conftest import shipping

__all__ = ["shipping"]
