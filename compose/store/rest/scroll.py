"""Scrolls: an id is the whole state of one, so nothing is kept for them but which were ended."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from compose.store.catalogue import Index, new_uuid
from compose.store.dates import duration
from compose.store.engine import Engine
from compose.store.errors import StoreError, illegal_argument
from compose.store.rest.request import Reply, Request
from compose.store.search import search

ENDED_SCROLLS = 10_000  # so many are known as ended
_LONGEST = 86_400_000  # milliseconds; search.max_keep_alive


class State(msgspec.Struct, frozen=True):
    """How far a scroll is.

    Attributes:
        i: names of the indices.
        b: the search.
        t: sequence number at the beginning; later documents are not seen.
        a: sort values of the last hit; None at the beginning.
        k: of this scroll, for the day it is ended.
    """

    i: list[str]
    b: dict[str, Any]
    t: int
    a: list[Any] | None
    k: str


_decode = msgspec.json.Decoder(State).decode


def _read(text: Any) -> State:
    try:
        return _decode(base64.urlsafe_b64decode(text))
    except (binascii.Error, msgspec.DecodeError, TypeError, ValueError):
        raise illegal_argument("Cannot parse scroll id") from None


def _check_keep_alive(text: str) -> None:
    if duration(text, "scroll") > _LONGEST:
        raise illegal_argument(f"Keep alive for request ({text}) is too large. It must be less than (1d).")


def begin(engine: Engine, indices: list[Index], body: dict[str, Any], keep_alive: str) -> dict[str, Any]:
    """Return the first page of a scroll.

    Raises:
        StoreError: the search is not valid, or none that can be scrolled.
    """
    _check_keep_alive(keep_alive)
    problems = []
    if body.get("from"):
        problems.append("using [from] is not allowed in a scroll context;")
    if body.get("size", 10) == 0:
        problems.append("[size] cannot be [0] in a scroll context;")
    if body.get("track_total_hits", True) is not True:
        problems.append("disabling [track_total_hits] is not allowed in a scroll context;")
    if body.get("search_after") is not None:
        problems.append("`search_after` cannot be used in a scroll context.")
    if problems:
        said = " ".join(f"{number}: {text}" for number, text in enumerate(problems, 1))
        raise StoreError(400, "action_request_validation_exception", f"Validation Failed: {said}")
    given = body.get("sort") or []
    order = given if isinstance(given, list) else [given]
    engine.refresh()
    search_body = {**body, "sort": [*(order if order != ["_doc"] else []), "_shard_doc"]}
    return _page(engine, State([index.name for index in indices], search_body, engine.sequence, None, new_uuid()))


def _page(engine: Engine, state: State) -> dict[str, Any]:
    request = dict(state.b)
    request["track_total_hits"] = True
    if state.a is not None:
        request["search_after"] = state.a
        request.pop("aggs", None)
        request.pop("aggregations", None)
    known = [engine.indices[name] for name in state.i if name in engine.indices]
    # The total must not shrink from page to page: it is counted without search_after.
    result = search(engine, known, request, ("(sequence <= ?)", [state.t]))
    hits = result["hits"]["hits"]
    if hits:
        state = msgspec.structs.replace(state, a=hits[-1]["sort"])
    for hit in hits:
        hit["sort"] = hit["sort"][:-1] or [state.t]
    result["_scroll_id"] = base64.urlsafe_b64encode(msgspec.json.encode(state)).decode()
    return result


def scroll(engine: Engine, request: Request) -> Reply:
    """Return the next page of a scroll."""
    request.allow("scroll", "scroll_id", "rest_total_hits_as_int")
    body = request.json()
    _check_body(body, "scroll", "scroll_id")
    keep_alive = body.get("scroll", request.parameters.get("scroll"))
    if keep_alive is not None:
        _check_keep_alive(str(keep_alive))
    state = _read(body.get("scroll_id", request.parameters.get("scroll_id", "")))
    if state.k in engine.ended_scrolls:
        raise StoreError(404, "search_context_missing_exception", f"No search context found for id [{state.k}]")
    return Reply(_page(engine, state))


def clear_scroll(engine: Engine, request: Request) -> Reply:
    """End scrolls: they cannot be read on."""
    request.allow()
    body = request.json()
    _check_body(body, "scroll_id")
    given = body.get("scroll_id", [])
    keys = [_read(text).k for text in (given if isinstance(given, list) else [given])]
    if not keys:
        raise StoreError(400, "action_request_validation_exception", "Validation Failed: 1: no scroll ids specified;")
    with engine.lock:
        freed = len(set(keys) - engine.ended_scrolls.keys())
        engine.ended_scrolls.update(dict.fromkeys(keys))
        while len(engine.ended_scrolls) > ENDED_SCROLLS:
            del engine.ended_scrolls[next(iter(engine.ended_scrolls))]
    return Reply({"succeeded": True, "num_freed": freed}, 200 if freed else 404)


def _check_body(body: dict[str, Any], *names: str) -> None:
    for key in body:
        if key not in names:
            raise illegal_argument(f"Unknown parameter [{key}] in request body")
