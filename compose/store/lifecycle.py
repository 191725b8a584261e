"""Index lifecycle policies: checked, the phase of an index by its age, and the deletion of those that are old enough.

Phases without effect on a single table (set_priority, forcemerge, readonly) are shown by `_ilm/explain`;
`delete` deletes.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from compose.store.catalogue import Index
from compose.store.dates import duration, milliseconds
from compose.store.errors import StoreError, UnsupportedError, illegal_argument

_PHASES = ("hot", "warm", "cold", "frozen", "delete")
_ACTIONS = {"set_priority", "forcemerge", "readonly", "delete", "wait_for_snapshot", "unfollow", "allocate", "migrate"}
_DAY = re.compile(r"-(\d{4})\.(\d\d)\.(\d\d)(?:-\d+)?$")


def check_policy(body: dict[str, Any]) -> dict[str, Any]:
    """Return the policy of a request.

    Raises:
        StoreError: it is not valid, or has an action that is not supported.
    """
    policy = body.get("policy")
    if not isinstance(policy, dict) or not isinstance(policy.get("phases"), dict):
        raise StoreError(400, "x_content_parse_exception", "[put_lifecycle_request] policy with phases is required")
    for name, phase in policy["phases"].items():
        if name not in _PHASES:
            raise illegal_argument(f"Timeseries lifecycle does not support phase [{name}]")
        duration(str(phase.get("min_age", "0ms")), "min_age")
        for action in phase.get("actions", {}):
            if action not in _ACTIONS:
                raise UnsupportedError(f"the lifecycle action [{action}]")
        if "delete" in phase.get("actions", {}) and name != "delete":
            raise illegal_argument(f"invalid action [delete] defined in phase [{name}]")
    phases = {
        name: {"min_age": "0ms", **phase, "actions": _with_defaults(phase.get("actions", {}))}
        for name, phase in policy["phases"].items()
    }
    return {**policy, "phases": phases}


def _with_defaults(actions: dict[str, Any]) -> dict[str, Any]:
    if "delete" in actions:
        return {**actions, "delete": {"delete_searchable_snapshot": True, **actions["delete"]}}
    return actions


def origin(index: Index) -> int:
    """Return the moment from which an index's age counts: the day in its name where it says so, else its creation."""
    if "index.lifecycle.origination_date" in index.settings:
        return int(index.settings["index.lifecycle.origination_date"])
    found = _DAY.search(index.name)
    if found and index.settings.get("index.lifecycle.parse_origination_date") == "true":
        try:
            return milliseconds(dt.datetime(int(found[1]), int(found[2]), int(found[3]), tzinfo=dt.UTC))
        except ValueError:
            return index.created
    return index.created


def phase_of(index: Index, policy: dict[str, Any], now: int) -> str:
    """Return the last phase whose age the index has."""
    age, current = now - origin(index), "new"
    for name in _PHASES:
        phase = policy["phases"].get(name)
        if phase is not None and age >= duration(str(phase.get("min_age", "0ms")), "min_age"):
            current = name
    return current


def to_delete(indices: list[Index], policies: dict[str, Any], now: int) -> list[Index]:
    """Return the indices whose policy deletes them now."""
    found = []
    for index in indices:
        kept = policies.get(index.settings.get("index.lifecycle.name", ""))
        if kept and phase_of(index, kept["policy"], now) == "delete":
            found.append(index)
    return found


def explain(index: Index, policies: dict[str, Any], now: int) -> dict[str, Any]:
    """Return what `_ilm/explain` says of an index."""
    name = index.settings.get("index.lifecycle.name")
    if not name:
        return {"index": index.name, "managed": False}
    result: dict[str, Any] = {
        "index": index.name,
        "managed": True,
        "policy": name,
        "index_creation_date_millis": index.created,
        "lifecycle_date_millis": origin(index),
        "age": f"{(now - origin(index)) / 86_400_000:.2f}d",
    }
    if name not in policies:
        return {**result, "step": "ERROR", "step_info": {"type": "illegal_argument_exception",
                "reason": f"policy [{name}] does not exist"}}  # fmt: skip
    return {**result, "phase": phase_of(index, policies[name]["policy"], now), "action": "complete", "step": "complete"}
