"""What `status` shows in terminals of any width."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from compose.stack.settings import read_settings
from compose.stack.status import PartStatus, app_trouble, render

PARTS = [
    PartStatus(name="app", state="ready", url="u", pid=1234567, up_seconds=7199, detail="model gradient-boosting v1"),
    PartStatus(
        name="shipper", state="ready", url="u", pid=9, lag_bytes=123_456_789, lag_seconds=1234.5, detail="3 dead"
    ),
]


@pytest.mark.parametrize("width", [60, 80, 119, 120, 200])
def test_nothing_is_cut(width: int, tmp_path: Path) -> None:
    """Every word and figure is there, on the screen's lines or wrapped to the next one."""
    shown = io.StringIO()
    console = Console(file=shown, width=width)
    console.print(render(PARTS, read_settings({"STACK_DIR": str(tmp_path)}), console.width))
    words = shown.getvalue().split()
    for wanted in ("1234567", "gradient-boosting", "v1", "123,456,789", "1234.5", "dead", "59"):
        assert any(wanted in word for word in words), (wanted, shown.getvalue())
    assert max(map(len, shown.getvalue().splitlines())) <= width


def test_what_lasts_is_not_told_as_over(tmp_path: Path) -> None:
    """A service that answers and cannot log says so as of now; what it complained of before is told as earlier."""
    lasting = {"log": {"failing": True, "last_error": "disk full"}, "feedback": {"last_error": "no labels"}}
    over = {"log": {"failing": False, "last_error": "disk full"}, "feedback": {"last_error": None}}
    assert (app_trouble(lasting), app_trouble(over), app_trouble({})) == ("disk full; no labels", "", "")
    shown = io.StringIO()
    parts = [
        PartStatus(name="app", state="ready", url="u", last_error="disk full", lasting=True),
        PartStatus(name="store", state="ready", url="u", last_error="disk full"),
    ]
    console = Console(file=shown, width=200)
    console.print(render(parts, read_settings({"STACK_DIR": str(tmp_path)}), console.width))
    assert "app: disk full" in shown.getvalue()
    assert "store, earlier: disk full" in shown.getvalue()
