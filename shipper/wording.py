"""Counts in sentences: one line is, two lines are."""

from __future__ import annotations


def counted(number: int, noun: str, one: str = "", more: str = "") -> str:
    """Return a number with its noun, and a verb where one follows: `1 line is`, `2,000 lines are`.

    Args:
        number: how many.
        noun: in the singular; its plural ends in s.
        one, more: the verb of one, and that of any other number.
    """
    verb = one if number == 1 else more
    return f"{number:,} {noun}{'' if number == 1 else 's'}" + (f" {verb}" if verb else "")
