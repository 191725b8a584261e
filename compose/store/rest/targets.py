"""Which indices a request means, and the answers that many routes share."""

from __future__ import annotations

from compose.store.catalogue import Index, Options
from compose.store.engine import Engine
from compose.store.errors import illegal_argument
from compose.store.rest.request import Request

ACKNOWLEDGED = {"acknowledged": True}
_EXPANDED = {"open", "closed", "hidden", "all", "none"}


def indices_of(engine: Engine, request: Request, *, expand: str = "open", allow_no_indices: bool = True) -> list[Index]:
    """Return the indices that a request's path and options mean.

    Args:
        engine: that has them.
        request: with an `index` in its path, and options.
        expand: `expand_wildcards` of a request that does not say it.
        allow_no_indices: likewise.

    Raises:
        StoreError: an index is missing, or an option has no such value.
    """
    kinds = set(request.parameters.get("expand_wildcards", expand).split(","))
    if kinds - _EXPANDED:
        raise illegal_argument(f"No valid expand wildcard value [{min(kinds - _EXPANDED)}]")
    options = Options(
        ignore_unavailable=request.flag("ignore_unavailable"),
        allow_no_indices=request.flag("allow_no_indices", default=allow_no_indices),
        wildcards="none" not in kinds,
        open=bool(kinds & {"open", "all"}),
        hidden=bool(kinds & {"hidden", "all"}),
    )
    return engine.resolve(request.variables.get("index", ""), options)
