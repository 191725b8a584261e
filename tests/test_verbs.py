"""The verbs of `python3 tests`: what they hand to pytest, and that their plugins fail what they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runner import pytest_arguments, read_verb
from tests.scheduling import rooms_together

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python3 tests` in this environment."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "tests.runner", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("verb", ["fast", "all", "coverage", "bench", "soak", "mutate"])
def test_a_verb_is_read_and_the_rest_goes_to_pytest(verb: str) -> None:
    """Unknown words and options are pytest's."""
    assert read_verb([f"--{verb}", "tests/app", "-x", "-k", "drift"]) == (verb, ["tests/app", "-x", "-k", "drift"])
    assert read_verb(["-x"]) == ("", ["-x"])


def test_each_verb_chooses_its_tests() -> None:
    """Benchmarks and soak are run only when asked for; a named room wins over the fast ones."""
    everyday = pytest_arguments("", ["-x"])
    assert everyday[:3] == ["-m", "not bench and not soak and not long", "-n"]
    assert {"--ignore=tests/docker", "--dist", "loadgroup", "-x"} <= set(everyday)
    assert "--ignore=tests/docker" in pytest_arguments("", ["-k", "drift"])
    assert pytest_arguments("", ["tests/docker"]) == ["-m", "not bench and not soak", "tests/docker"]
    assert pytest_arguments("all", []) == ["-m", "not bench and not soak"]
    assert pytest_arguments("soak", [])[:2] == ["-m", "soak"]
    assert pytest_arguments("bench", [])[:2] == ["-m", "bench"]
    assert "tests/shipper" in pytest_arguments("fast", [])
    assert "tests/shipper" not in pytest_arguments("fast", ["tests/app"])


def test_a_rooms_files_run_one_after_the_other(request: pytest.FixtureRequest) -> None:
    """Whatever order chance gives them: what a room starts, such as ten containers, would idle through the others."""
    items = [
        pytest.Function.from_parent(request.node.parent, name=f"{room}-{number}", callobj=lambda: None)
        for number in range(3)
        for room in ("b", "a", "c")
    ]
    for item in items:
        item.path = ROOT / item.name[0] / "test_it.py"
    rooms_together(items)  # type: ignore[arg-type]  # functions are items
    assert [item.name for item in items] == ["b-0", "b-1", "b-2", "a-0", "a-1", "a-2", "c-0", "c-1", "c-2"]


def test_the_seed_is_printed_and_the_slowest_tests_are() -> None:
    """A failure can be repeated in its order, and what costs time is seen."""
    done = run("tests/stack/test_traffic.py", "--randomly-seed=7")
    assert done.returncode == 0, done.stdout
    assert "--randomly-seed=7" in done.stdout
    assert "slowest 10 durations" in done.stdout


def test_fast_leaves_out_what_starts_processes() -> None:
    """A module whose text says so is not even imported."""
    done = run("--fast", "tests/stack", "--collect-only", "-q")
    assert done.returncode == 0, done.stdout
    assert "test_traffic.py" in done.stdout
    assert "test_end_to_end.py" not in done.stdout
    assert "test_bad_days.py" not in done.stdout, "what it imports starts them"
    assert "modules that start processes" in done.stdout


def test_all_fails_where_something_was_skipped(tmp_path: Path) -> None:
    """A skip is no success under --all, and is one without."""
    (tmp_path / "test_skipped.py").write_text("import pytest\n\ndef test_it():\n    pytest.skip('not today')\n")
    assert run(str(tmp_path), "-q").returncode == 0
    done = run("--all", str(tmp_path), "-q")
    assert done.returncode == 1
    assert "--all requires every test, skipped was:" in done.stdout


def test_coverage_below_its_floor_is_a_failure() -> None:
    """One module alone is far below; the table has columns for branches."""
    done = run("--coverage", "tests/stack/test_traffic.py")
    assert done.returncode == 1, done.stdout
    assert "the floor is" in done.stdout
    assert "Branch" in done.stdout
