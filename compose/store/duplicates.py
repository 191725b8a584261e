"""Names that one JSON object has twice: Elasticsearch refuses them, wherever they stand."""

from __future__ import annotations

import json
from typing import Any


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
