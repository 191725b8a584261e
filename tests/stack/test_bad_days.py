"""The bad days of docs/contributing.md: each brought about, and its message compared with the table there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.stack.settings import CHECKOUT
from tests.stack import bad_days

DAYS: list[Callable[[Path], str]] = [
    bad_days.old_python,
    bad_days.no_venv,
    bad_days.no_index,
    bad_days.full_for_environment,
    bad_days.taken_port,
    bad_days.full_for_stack,
    bad_days.full_for_model,
    bad_days.full_for_shipper,
    bad_days.full_for_backup,
    bad_days.read_only_stack,
    bad_days.read_only_shipper,
    bad_days.mistyped_setting,
    bad_days.url_without_scheme,
    bad_days.wrong_url,
    bad_days.wrong_password,
    bad_days.wrong_password_for_setup,
    bad_days.expired_certificate,
    bad_days.expired_for_setup,
    bad_days.clock_behind,
    bad_days.clock_ahead,
    bad_days.killed_in_first_start,
]


def table() -> dict[str, str]:
    """The table's first two columns: what happened, and the words that are seen."""
    section = (CHECKOUT / "docs" / "contributing.md").read_text().partition("## Bad days")[2]
    return dict(re.findall(r"^\| ([^|]+) \| `([^|]+)` \|", section, re.MULTILINE))


def test_the_table_has_a_row_for_each_day_and_no_other() -> None:
    """Each day's first sentence is a row."""
    assert set(table()) == {(inspect.getdoc(day) or "").splitlines()[0] for day in DAYS}


@pytest.mark.parametrize(
    "day", [*DAYS[:-1], pytest.param(DAYS[-1], marks=pytest.mark.long)], ids=lambda day: day.__name__
)
def test_the_message_of_a_bad_day(
    day: Callable[[Path], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed has the table's words in their order, `…` standing for what differs, and no traceback."""
    said = day(tmp_path)
    with capsys.disabled():
        print(f"\n--- {inspect.getdoc(day)}\n{said.strip()}")
    wanted = table()[(inspect.getdoc(day) or "").splitlines()[0]]
    pattern = ".*?".join(re.escape(part.strip()) for part in wanted.split("…"))
    assert re.search(pattern, re.sub(r"\s+", " ", said), re.DOTALL), said
    assert "Traceback" not in said
