"""Log lines as the pages show them: unusual fields, and text that would hide something."""

from __future__ import annotations

from typing import Any

import pytest
from dash import html

from compose.console import parts
from compose.console.log_line import line
from compose.console.pages.dashboard import errors_table
from compose.console.timerange import Zone, moment_of

BERLIN = Zone("Europe/Berlin")


def texts(component: Any) -> list[str]:
    """Return all texts of a component."""
    if isinstance(component, list | tuple):
        return [text for each in component for text in texts(each)]
    return [component] if isinstance(component, str) else texts(getattr(component, "children", None) or [])


def row(**fields: Any) -> tuple[list[str], str]:
    """Return the texts of a line's row, and its JSON."""
    shown = line({"_index": "i", "_id": "1", "_source": fields}, BERLIN)
    (summary,) = (each for each in shown._traverse() if isinstance(each, html.Summary))
    (whole,) = (each for each in shown._traverse() if isinstance(each, html.Pre))
    return texts(summary), whole.children


def test_what_would_hide_is_written_out() -> None:
    """Characters that turn the direction or move a terminal are shown as such; words from right to left stay."""
    message = "paid \u202e001\u202c \x1b[31m שלום"
    said, whole = row(message=message)
    assert "paid \\u202e001\\u202c \\u001b[31m שלום" in said
    assert "\u202e" not in whole
    assert "\\u202e" in whole
    table = texts(errors_table([{"request_id": "1", "error": message}], BERLIN))
    assert "paid \\u202e001\\u202c \\u001b[31m שלום" in table


def test_a_long_text_is_cut_in_rows_and_whole_in_the_json() -> None:
    """Ten kilobytes make no row that fills a screen; the JSON has all of them."""
    said, whole = row(message="x" * 10_000, error="y" * 900, request_id="z" * 500, extra="e")
    assert max(map(len, said)) == parts.LONGEST_TEXT
    assert "x" * 10_000 in whole
    failed = {"@timestamp": "2026-11-25T12:00:00Z", "message": "x" * 10_000, "error": "", "request_id": "z" * 500}
    assert max(map(len, texts(errors_table([failed], BERLIN)))) == parts.LONGEST_TEXT


@pytest.mark.parametrize(
    ("told", "moment", "shown"),
    [
        ("2026-11-25T12:00:00Z", 1_795_608_000, "25 Nov 13:00:00.000"),
        (1_795_608_000_000, 1_795_608_000, "25 Nov 13:00:00.000"),
        ("yesterday", None, "no time"),
        ("now-1h", None, "no time"),
        (1e300, None, "no time"),
        ([], None, "no time"),
        (None, None, "no time"),
    ],
)
def test_a_line_with_an_odd_time_is_shown(told: object, moment: float | None, shown: str) -> None:
    """What another program wrote as a time is read where it is one, and never takes the page away."""
    assert moment_of(told) == moment
    said, _ = row(**{"@timestamp": told, "message": "m"})
    assert said[0] == shown
    assert shown.removesuffix(".000") in texts(errors_table([{"@timestamp": told, "request_id": "1"}], BERLIN))
