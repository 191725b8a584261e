"""What the verbs of `python3 tests` add to pytest: nothing skipped, no process started, coverage, mutation."""

from __future__ import annotations

import ast
import functools
import io
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).resolve().parent.parent
FAST_ROOMS = [
    "tests/app",
    "tests/shipper",
    "tests/store",
    "tests/provision",
    "tests/stack",
    "tests/console",
    "tests/test_docs.py",
]
LONG_ROOMS = ("tests/docker", "tests/browser")  # minutes each: a daemon with ten containers, a real browser
LEFT_OUT = f"left out: {', '.join(LONG_ROOMS)} and each test marked `long`; python3 tests --all runs all of them"
STAND_INS = ROOT / "tests/shipper/threads.py"  # names multiprocessing, for it stands in for it
_STARTS_PROCESSES = re.compile(
    r"\bsubprocess\b|\bmultiprocessing\b|\breal_(?:elasticsearch|client)\b|\bembedded_store\b|from tests\.contract"
)
# Per cent of lines and branches together, over the fast tests; measured, less a small margin. Raise it, never lower it.
COVERAGE_FLOOR = 67.0


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


@functools.cache
def starts_processes(path: Path) -> bool:
    """Whether the text of a test module, or of one of ours that it imports, says that it starts processes."""
    text = path.read_text()
    if _STARTS_PROCESSES.search(text):
        return True
    imported = [
        ROOT / f"{name.replace('.', '/')}.py"
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests")
        for name in (str(node.module), *(f"{node.module}.{each.name}" for each in node.names))
    ]
    return any(starts_processes(module) for module in imported if module.exists() and module != STAND_INS)


class StartsNoProcess:
    """A pytest plugin for `--fast`: leaves out the modules that start processes."""

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Leave a test module out; None lets pytest decide as usual."""
        if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
            return None
        if starts_processes(collection_path):
            self.left_out.append(collection_path.name)
            return True
        return None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what trains on the whole data set, where that is here."""
        slow = [item for item in items if "bank" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how much was left out."""
        terminalreporter.write_line(f"left out {len(self.left_out)} modules that start processes")


class Covered:
    """A pytest plugin for `--coverage`: measures in this process and fails below the floor."""

    def __init__(self) -> None:
        (ROOT / ".test").mkdir(exist_ok=True)
        self._coverage = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
        self._coverage.start()
        self._table, self._total = io.StringIO(), 0.0

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Sum up; fail a good run that is below the floor."""
        self._coverage.stop()
        self._coverage.save()
        self._total = self._coverage.report(file=self._table)
        if self._total < COVERAGE_FLOOR and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, each file with its lines and branches, and the verdict."""
        terminalreporter.section("coverage: the fast tests alone, lines and branches")
        terminalreporter.write(self._table.getvalue())
        reached = self._total >= COVERAGE_FLOOR
        words = f"coverage {self._total:.1f} %, the floor is {COVERAGE_FLOOR:.0f} %"
        terminalreporter.write_line(words, green=reached, red=not reached)


def mutate(rest: list[str]) -> int:
    """Run mutmut as [tool.mutmut] in pyproject.toml says; print a table and the change that each survivor is.

    Args:
        rest: names of mutants to try again, as mutmut prints them; empty for all.

    Returns:
        mutmut's own exit code: survivors are for a person to judge, not a failure.
    """
    program = [sys.executable, "-m", "mutmut"]
    code = subprocess.run([*program, "run", *rest], cwd=ROOT, check=False).returncode
    listed = subprocess.run(
        [*program, "results", "--all", "true"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    verdicts = re.findall(r"^\s*(\S+): (.+)$", listed, re.MULTILINE)
    table: dict[str, Counter[str]] = {}
    for name, verdict in verdicts:
        table.setdefault(".".join(name.split(".")[:2]), Counter())[verdict] += 1
    for name, verdict in verdicts:
        if verdict in ("survived", "no tests", "suspicious"):
            change = subprocess.run([*program, "show", name], cwd=ROOT, check=True, capture_output=True, text=True)
            lines = [line for line in change.stdout.splitlines() if re.match(r"[-+](?![-+])", line)]
            print(f"\n{name}: {verdict}", *lines, sep="\n  ")
    print()
    for module, counts in sorted(table.items()):
        print(f"{module}: {sum(counts.values())} mutants,", ", ".join(f"{n} {v}" for v, n in counts.most_common()))
    return code
