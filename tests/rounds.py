"""How many examples a test of many tries: all of them under `--all` and `--soak`, a fifth in the everyday run."""

from __future__ import annotations

import os

ALL_ROUNDS = "ML_TESTS_ALL_ROUNDS"


def rounds(all_of_them: int) -> int:
    """Return how many to try now, of so many under `--all`."""
    return all_of_them if os.environ.get(ALL_ROUNDS) == "1" else max(1, all_of_them // 5)
