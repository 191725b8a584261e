"""Tests; `python3 tests` runs them."""
