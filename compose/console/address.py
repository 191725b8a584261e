"""The address as the pages' state: reading and writing its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode


def parameters(search: str | None) -> dict[str, str]:
    """Return the parameters of `?a=1&b=2`; the last of two of a name counts."""
    return dict(parse_qsl((search or "").removeprefix("?"), max_num_fields=30))


def written(values: Mapping[str, str]) -> str:
    """Return `?a=1&b=2` without empty values; empty for none."""
    kept = {name: value for name, value in values.items() if value}
    return f"?{urlencode(kept)}" if kept else ""
