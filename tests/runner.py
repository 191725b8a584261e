"""What `python3 tests` does in its environment: chooses the tests and hands over to pytest."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_arguments(arguments: list[str]) -> tuple[list[str], bool]:
    """Turn the command line into pytest's arguments, and whether every optional part is required."""
    parser = argparse.ArgumentParser(
        prog="python3 tests", description="Run the tests.", epilog="Anything else is handed to pytest."
    )
    verbs = parser.add_mutually_exclusive_group()
    verbs.add_argument("--all", action="store_true", help="every optional part is required: a skip is a failure")
    verbs.add_argument("--bench", action="store_true", help="run the benchmarks and print their figures")
    verbs.add_argument("--soak", action="store_true", help="run what takes long: many kills, many rounds")
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.bench:
        selection = ["-m", "bench", "-s", "--timeout=0", "-p", "no:randomly"]
    elif chosen.soak:
        selection = ["-m", "soak", "--timeout=0"]
    else:
        selection = ["-m", "not bench and not soak"]
    return [*selection, *rest], chosen.all


def main() -> int:
    """Run pytest from the checkout's root; return its exit code."""
    selection, required = pytest_arguments(sys.argv[1:])
    os.chdir(ROOT)
    if required:
        os.environ["ML_TESTS_REQUIRE_ALL"] = "1"
    return int(pytest.main([f"--rootdir={ROOT}", *selection]))


if __name__ == "__main__":
    sys.exit(main())
