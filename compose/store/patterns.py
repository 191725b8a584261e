"""Names with `*`, Elasticsearch's only wildcard in names of indices, fields, templates and snapshots."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    first, *rest = (re.escape(part) for part in pattern.split("*"))
    # The first place of each part is as good as any later one: nothing is tried twice, so no pattern takes long.
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)


def fits(pattern: str, name: str) -> bool:
    """Return whether a name fits a pattern, in which `*` stands for any text and all else for itself."""
    return _compiled(pattern).fullmatch(name) is not None if "*" in pattern else pattern == name


def fits_any(patterns: Iterable[str], name: str) -> bool:
    """Return whether a name fits one of several patterns."""
    return any(fits(pattern, name) for pattern in patterns)
