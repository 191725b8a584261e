"""Which indices a request means, and the answers that many routes share."""

from __future__ import annotations

from compose.store.catalogue import Index, Options
from compose.store.engine import Engine
from compose.store.rest.request import Request

ACKNOWLEDGED = {"acknowledged": True}


def indices_of(engine: Engine, request: Request) -> list[Index]:
    """Return the indices that a request's path and options mean."""
    options = Options(request.flag("ignore_unavailable"), request.flag("allow_no_indices", default=True))
    return engine.resolve(request.variables.get("index", ""), options)
