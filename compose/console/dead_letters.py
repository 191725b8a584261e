"""Reads the newest dead letters from the shipper's state folder: bounded, and without disturbing the shipper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

PATTERN = "dead-letters-*.jsonl"
TAIL_BYTES = 256 * 1024
SHOWN = 30
OTHER_TYPE = "a field has another type than the index: change the mapping, or the writer, then replay"
# What a refusal usually means, by the error's type; see docs/shipper.md.
HINTS = {
    "document_parsing_exception": OTHER_TYPE,
    "mapper_parsing_exception": OTHER_TYPE,
    "strict_dynamic_mapping_exception": "a field is not in the mapping: add it, then replay",
    "late": "the index was closed for writing: open it, then replay",
}
ANY_HINT = "mend the cause, then replay"


def newest(folder: Path | None) -> tuple[list[dict[str, Any]], str]:
    """Return the newest dead letters, newest first, and why there is none to be read (empty where they could be).

    Args:
        folder: the shipper's state folder; None where the console was told of none.
    """
    if folder is None:
        return [], "CONSOLE_DEAD_LETTERS is not set: the console does not know the shipper's state folder."
    found: list[dict[str, Any]] = []
    try:
        for path in sorted(folder.glob(PATTERN), reverse=True):
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - TAIL_BYTES))
                lines = file.read().splitlines()
            for line in reversed(lines[1:] if size > TAIL_BYTES else lines):
                if len(found) >= SHOWN:
                    return found, ""
                try:
                    found.append(msgspec.json.decode(line, type=dict[str, Any]))
                except msgspec.MsgspecError:
                    continue  # a line under way
    except OSError as error:
        return found, f"{folder} cannot be read: {error.strerror}."
    return found, ""


def hint(letter: dict[str, Any]) -> str:
    """Return what to do about a letter."""
    return HINTS.get(str(letter.get("type")), ANY_HINT)
