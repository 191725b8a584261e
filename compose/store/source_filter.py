"""Which part of a source `_source` asks for.

Elasticsearch filters in two ways. Where an exclusion has a `*`, that stands for any text, dots included, and an object
that loses all its members stays, but in a list. Else `*` is a part of one name, `**` is any path, and what loses all
that it had goes.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

from compose.store.errors import parsing
from compose.store.patterns import fits

_NOTHING = object()  # no part of a value; null is one


def check(chosen: Any) -> None:
    """Refuse what `_source` cannot be.

    Raises:
        StoreError: saying what it can be.
    """
    if isinstance(chosen, bool):
        return
    lists = list(chosen.values()) if isinstance(chosen, dict) else [chosen]
    if isinstance(chosen, dict) and chosen.keys() - {"includes", "include", "excludes", "exclude"}:
        raise parsing(f"Unknown key in [_source]: {sorted(chosen)}", line=1, col=1)
    if not all(
        isinstance(name, str) for listed in lists for name in (listed if isinstance(listed, list) else [listed])
    ):
        raise parsing("[_source] wants names of fields, true or false", line=1, col=1)


def filtered(source: bytes, chosen: Any) -> Any:
    """Return the part of a source that `_source` asks for; None where it asks for none."""
    if chosen is True:
        return msgspec.Raw(source)
    if chosen is False:
        return None
    if not isinstance(chosen, dict):
        chosen = {"includes": chosen}
    wanted = chosen.get("includes", chosen.get("include", []))
    unwanted = chosen.get("excludes", chosen.get("exclude", []))
    wanted = [wanted] if isinstance(wanted, str) else wanted
    unwanted = [unwanted] if isinstance(unwanted, str) else unwanted
    return _Filter(wanted, unwanted).members(msgspec.json.decode(source), "", whole=not wanted)


class _Filter:
    def __init__(self, wanted: list[str], unwanted: list[str]) -> None:
        self.loose = any("*" in pattern for pattern in unwanted)
        self.wanted = wanted
        self.unwanted = unwanted

    def members(self, value: dict[str, Any], prefix: str, *, whole: bool) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, item in value.items():
            path = prefix + name
            if self._covered(path, self.unwanted):
                continue
            part = self._part(item, path + ".", whole=whole or self._covered(path, self.wanted))
            if part is not _NOTHING:
                kept[name] = part
        return kept

    def _part(self, value: Any, prefix: str, *, whole: bool) -> Any:
        inner: dict[str, Any] | list[Any]
        if whole and not self._filters(prefix):
            return value
        if isinstance(value, dict):
            inner = self.members(value, prefix, whole=whole)
        elif isinstance(value, list):
            parts = [self._part(item, prefix, whole=whole) for item in value]
            inner = [part for part in parts if part is not _NOTHING and not (self.loose and part in ({}, []))]
        else:
            return value if whole else _NOTHING
        return inner if inner or (whole and (self.loose or not value)) else _NOTHING

    def _filters(self, prefix: str) -> bool:
        """Return whether anything below could be left out."""
        begins = [pattern.partition("*")[0] for pattern in self.unwanted]
        return any(begin.startswith(prefix) or prefix.startswith(begin) for begin in begins)

    def _covered(self, path: str, patterns: list[str]) -> bool:
        if self.loose:
            return any(fits(pattern, path) or fits(f"{pattern}.*", path) for pattern in patterns)
        return any(_compiled(pattern).match(path) for pattern in patterns)


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the expression of a path and all below it; see `patterns.py` for the groups."""
    names = []
    for name in pattern.split("."):
        first, *rest = (re.escape(part) for part in name.split("*"))
        middle = "".join(f"(?>[^.]*?{part})" for part in rest[:-1])
        names.append(".*" if name == "**" else f"{first}{middle}[^.]*{rest[-1]}" if rest else first)
    return re.compile(r"\.".join(names) + r"(?:\.|\Z)", re.DOTALL)
