"""The fixtures of the shipper's tests, for what befalls a shipper from outside."""

from __future__ import annotations

from tests.shipper.conftest import shipping

__all__ = ["shipping"]
