"""The daily and the weekly check against a running local stack, and what they make of what they see."""

from __future__ import annotations

import datetime as dt

import pytest

from compose.stack.check import Finding, exit_code, old_indices, render

NOW = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("states", "code"), [(["ok", "left out"], 0), (["ok", "warning"], 1), (["warning", "bad", "ok"], 2)]
)
def test_the_exit_code_is_the_worst_finding(states: list[str], code: int) -> None:
    """0 well, 1 warnings, 2 bad."""
    assert exit_code(Finding(state, "x", "y") for state in states) == code


def test_an_index_is_old_a_day_after_its_retention() -> None:
    """Only daily indices of ours count; the lifecycle has a day to act."""
    names = [f"ml-pipeline-{NOW - dt.timedelta(days=age):%Y.%m.%d}" for age in (0, 30, 31, 32, 400)]
    others = ["ml-pipeline-undated", "ml-metrics-2020.01.01", "ml-pipeline-2020.01.01-copy"]
    assert old_indices([*names, *others], NOW, 30) == sorted(names[3:])


def test_a_finding_keeps_its_words_on_the_screen() -> None:
    """What was found and what to do are both shown."""
    from io import StringIO

    from rich.console import Console

    screen = StringIO()
    Console(file=screen, width=160).print(
        render([Finding("bad", "app", "no answer", "docker compose logs app")], "daily")
    )
    assert "no answer" in screen.getvalue()
    assert "docker compose logs app" in screen.getvalue()
