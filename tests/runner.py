"""What `python3 tests` does in its environment: chooses the tests and hands over to pytest."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


class NothingSkipped:
    """A pytest plugin for `--all`: a skipped test is a failed run."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note each skipped test."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note each module skipped as a whole."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run where something was skipped."""
        if self.skipped and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which."""
        for node in self.skipped:
            terminalreporter.write_line(f"--all requires every test, skipped was: {node}", red=True)


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
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # as `ml-app train` does: spinning threads starve a busy machine
    plugins: list[object] = []
    if required:
        os.environ["ML_TESTS_REQUIRE_ALL"] = "1"
        plugins.append(NothingSkipped())
    return int(pytest.main([f"--rootdir={ROOT}", *selection], plugins=plugins))


if __name__ == "__main__":
    sys.exit(main())
