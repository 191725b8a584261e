"""Names that one JSON object has twice: Elasticsearch refuses them, wherever they stand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np


class _RepeatedError(Exception):
    """Ends the reading; its argument is the name."""


def _checked(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise _RepeatedError(name)
        names.add(name)


_decode = json.JSONDecoder(object_pairs_hook=_checked).decode


def repeated_name(text: bytes) -> str | None:
    """Return the first name that an object of a JSON text has a second time; None where none has, or it is no JSON."""
    try:
        _decode(str(text, "utf-8"))
    except _RepeatedError as found:
        return str(found.args[0])
    except (ValueError, RecursionError):
        return None
    return None


def colons(text: bytes) -> int | None:
    """Return how many colons stand directly behind a quote; None where one stands behind white space.

    Each name of a JSON text has one, and a string may hold more: if there are as many as names are known, there are no
    other names.
    """
    letters = np.frombuffer(text, dtype=np.uint8)
    before = letters[:-1][letters[1:] == ord(":")]
    return None if bool((before <= ord(" ")).any()) else int(np.count_nonzero(before == ord('"')))
