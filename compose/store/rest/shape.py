"""What the common parameters do to any reply: `filter_path` and `rest_total_hits_as_int`."""

from __future__ import annotations

from typing import Any

import msgspec

from compose.store.patterns import fits
from compose.store.rest.request import Reply, Request


def shaped(reply: Reply, request: Request) -> Reply:
    """Return a reply as the request's common parameters want it."""
    if reply.text is not None or reply.status >= 400 or not isinstance(reply.value, dict):
        return reply
    reply.value = with_total(reply.value, request)
    paths = request.parameters.get("filter_path")
    if paths:
        plain = msgspec.json.decode(msgspec.json.encode(reply.value))
        wanted = [path.split(".") for path in paths.split(",") if not path.startswith("-")]
        unwanted = [path[1:].split(".") for path in paths.split(",") if path.startswith("-")]
        kept = _kept(plain, wanted) if wanted else plain
        reply.value = _without(kept, unwanted) if unwanted else kept
        if reply.value is None:
            reply.value = {}
    return reply


def with_total(value: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return what a search found, its total as a number where `rest_total_hits_as_int` asks for that."""
    hits = value.get("hits")
    if not hits or not request.flag("rest_total_hits_as_int"):
        return value
    total = hits.get("total")
    return {**value, "hits": {**hits, "total": total["value"] if total else -1}, "terminated_early": False}


def _deeper(paths: list[list[str]], name: str) -> list[list[str]]:
    """Return what is left of the paths that lead into a member."""
    found = []
    for path in paths:
        if path and path[0] == "**":
            found.append(path)
            if len(path) > 1 and fits(path[1], name):
                found.append(path[2:])
        elif path and fits(path[0], name):
            found.append(path[1:])
    return found


def _kept(value: Any, paths: list[list[str]]) -> Any:
    """Return the part that any path leads to; None where there is none."""
    if [] in paths:
        return value
    if isinstance(value, list):
        items = [part for item in value if (part := _kept(item, paths)) is not None]
        return items or None
    if not isinstance(value, dict):
        return None
    members = {}
    for name, item in value.items():
        below = _deeper(paths, name)
        part = _kept(item, below) if below else None
        if part is not None:
            members[name] = part
    return members or None


def _without(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_without(item, paths) for item in value]
    if not isinstance(value, dict):
        return value
    members = {}
    for name, item in value.items():
        below = _deeper(paths, name)
        if [] not in below:
            members[name] = _without(item, below) if below else item
    return members
