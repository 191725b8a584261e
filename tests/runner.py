"""What `python3 tests` does in its environment: chooses the tests and hands over to pytest."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from tests.rounds import ALL_ROUNDS
from tests.verbs import FAST_ROOMS, LEFT_OUT, LONG_ROOMS, Covered, NothingSkipped, StartsNoProcess, mutate

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = 2 * (os.cpu_count() or 1) + 1  # most tests wait for a server or a moment


def read_verb(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the verb of the command line (empty for the ordinary run), and what is handed to pytest."""
    parser = argparse.ArgumentParser(
        prog="python3 tests",
        description="Run the tests, in random order: the seed is printed, `--randomly-seed=N` repeats it. Without a"
        " verb several processes share the work, and what is long is left to --all.",
        epilog="Anything else is handed to pytest: `python3 tests tests/shipper -x`.",
    )
    verbs = parser.add_mutually_exclusive_group()
    for verb, words in (
        ("fast", "only tests that start no process: under a minute"),
        ("all", "all rooms, and every optional part is required: a skip is a failure"),
        ("coverage", "the fast tests with line and branch figures; fails below the floor"),
        ("bench", "run the benchmarks and print their figures"),
        ("soak", "run what takes long: many kills, many rounds"),
        ("mutate", "change the shipper's core in small ways and see which changes no test notices"),
    ):
        verbs.add_argument(f"--{verb}", dest="verb", action="store_const", const=verb, default="", help=words)
    chosen, rest = parser.parse_known_args(arguments)
    return chosen.verb, rest


def names_tests(rest: list[str]) -> bool:
    """Whether the person names files or folders of tests; `-k drift` alone does not."""
    return any((ROOT / word.partition("::")[0]).exists() for word in rest if not word.startswith("-"))


def pytest_arguments(verb: str, rest: list[str]) -> list[str]:
    """Return pytest's command line for a verb; the person's own arguments come last and win."""
    ordinary = ["-m", "not bench and not soak"]
    named = names_tests(rest)
    together = [
        "-n",
        str(PROCESSES),
        "--dist",
        "loadgroup",
        "--no-loadscope-reorder",
        *(f"--ignore={room}" for room in LONG_ROOMS),
    ]
    quick = ["-m", "not bench and not soak and not long"]
    chosen = {
        "": ordinary if named else [*quick, *together],
        "bench": ["-m", "bench", "-s", "--timeout=0", "-p", "no:randomly"],
        "soak": ["-m", "soak", "--timeout=0"],
        "fast": [*quick, *([] if named else FAST_ROOMS)],
        "coverage": [*quick, *([] if named else FAST_ROOMS)],
    }
    return [*chosen.get(verb, ordinary), *rest]


def main() -> int:
    """Run pytest from the checkout's root; return its exit code."""
    verb, rest = read_verb(sys.argv[1:])
    os.chdir(ROOT)
    # As `ml-app train` does: spinning threads starve a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Images of Python switch bytecode off: each of hundreds of started programs would compile all of it again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if verb == "mutate":
        return mutate(rest)
    if not verb and not names_tests(rest):
        print(LEFT_OUT)
    plugins: list[object] = []
    if verb in ("all", "soak"):
        os.environ[ALL_ROUNDS] = "1"
    if verb == "all":
        os.environ["ML_TESTS_REQUIRE_ALL"] = "1"
        plugins.append(NothingSkipped())
    if verb in ("fast", "coverage"):
        plugins.append(StartsNoProcess())
    if verb == "coverage":
        plugins.append(Covered())
    return int(pytest.main([f"--rootdir={ROOT}", *pytest_arguments(verb, rest)], plugins=plugins))


if __name__ == "__main__":
    sys.exit(main())
