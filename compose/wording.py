"""Numbers of things in sentences: one line, two lines."""

from __future__ import annotations


def counted(count: float, one: str, more: str = "") -> str:
    """Return a number of things: `1 line`, `1,200 lines`, `2 retries`.

    Args:
        one: the thing in the singular.
        more: its plural, where that does not end in a mere s.
    """
    return f"{count:,.0f} {one if count == 1 else more or f'{one}s'}"
