"""Numbers in words."""

from __future__ import annotations

import pytest

from compose.console.pages.logs import total_text
from compose.console.units import bytes_text, seconds_text
from compose.wording import counted


@pytest.mark.parametrize(("count", "said"), [(0, "0 labels"), (1, "1 label"), (2, "2 labels"), (1200, "1,200 labels")])
def test_one_thing_has_no_plural(count: float, said: str) -> None:
    """Counts are said as a person says them."""
    assert counted(count, "label") == said


@pytest.mark.parametrize(("count", "said"), [(0, "No lines"), (1, "1 line"), (12_345, "12,345 lines")])
def test_the_number_of_hits(count: int, said: str) -> None:
    """The Logs page's total."""
    assert total_text(count) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 s"), (0.0000042, "4.2 µs"), (0.0123, "12.3 ms"), (1.5, "1.5 s"), (119, "119 s"), (600, "10 min"),
     (9000, "2.5 h"), (float("nan"), "–")],
)  # fmt: skip
def test_seconds(value: float, said: str) -> None:
    """A duration has the unit in which its figure is short."""
    assert seconds_text(value) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0 B"), (1023, "1,023 B"), (1024, "1 KiB"), (5 * 1024**4, "5,120 GiB")]
)
def test_bytes(value: float, said: str) -> None:
    """Bytes are said in powers of 1,024, under their own names."""
    assert bytes_text(value) == said
