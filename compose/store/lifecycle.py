"""Index lifecycle policies: checked, the phase of an index by its age, and the deletion of those that are old enough.

Phases without effect on a single table (set_priority, forcemerge, readonly) are shown by `_ilm/explain`;
`delete` deletes.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from typing import Any

from compose.store.catalogue import Index
from compose.store.dates import duration, milliseconds
from compose.store.errors import StoreError, UnsupportedError, illegal_argument

_PHASES = ("hot", "warm", "cold", "frozen", "delete")
# Action → what it may say.
_ACTIONS: dict[str, set[str]] = {
    "set_priority": {"priority"}, "forcemerge": {"max_num_segments", "index_codec"}, "readonly": set(),
    "delete": {"delete_searchable_snapshot"}, "unfollow": set(),
    "allocate": {"number_of_replicas", "total_shards_per_node", "include", "exclude", "require"},
    "migrate": {"enabled"},
}  # fmt: skip
# Phase → the actions that Elasticsearch takes in it; readonly and forcemerge of hot only beside a rollover.
_OF_PHASE: dict[str, set[str]] = {
    "hot": {"set_priority", "unfollow"},
    "warm": {"set_priority", "unfollow", "readonly", "allocate", "migrate", "forcemerge"},
    "cold": {"set_priority", "unfollow", "readonly", "allocate", "migrate"}, "frozen": {"unfollow"},
    "delete": {"delete"},
}  # fmt: skip
_DAY = re.compile(r"-(\d{4})\.(\d\d)\.(\d\d)(?:-\d+)?$")


def check_policy_name(name: str) -> None:
    """Refuse what Elasticsearch refuses as the name of a policy.

    Raises:
        StoreError: saying why.
    """
    for bad, why in ((",", "must not contain ','"), (" ", "must not contain ' '")):
        if bad in name:
            raise illegal_argument(f"invalid policy name [{name}]: {why}")
    if name.startswith("_"):
        raise illegal_argument(f"invalid policy name [{name}]: must not start with '_'")


def check_policy(body: dict[str, Any]) -> dict[str, Any]:
    """Return the policy of a request.

    Raises:
        StoreError: it is not valid, or has an action that is not supported.
    """
    policy = body.get("policy")
    if not isinstance(policy, dict) or not isinstance(policy.get("phases"), dict):
        raise _malformed("policy with phases is required")
    _known("put_lifecycle_request", body, {"policy"})
    _known("lifecycle_policy", policy, {"phases", "_meta", "deprecated"})
    for name, phase in policy["phases"].items():
        if name not in _PHASES:
            raise illegal_argument(f"Timeseries lifecycle does not support phase [{name}]")
        _check_phase(name, phase)
    ages = [(_age(policy["phases"][name]), name) for name in _PHASES if name in policy["phases"]]
    for (before, earlier), (after, later) in itertools.pairwise(ages):
        if after < before and after:  # a phase without an age follows the one before it
            raise StoreError(
                400,
                "action_request_validation_exception",
                f"Validation Failed: 1: Your policy is configured to run the {later} phase before the {earlier} phase: "
                "change the min_age of one, so that they run in the order hot, warm, cold, frozen, delete;",
            )
    phases = {
        name: {"min_age": "0ms", **phase, "actions": _with_defaults(phase.get("actions", {}))}
        for name, phase in policy["phases"].items()
    }
    return {**policy, "phases": phases}


def _malformed(reason: str) -> StoreError:
    return StoreError(400, "x_content_parse_exception", f"[put_lifecycle_request] {reason}")


def _known(what: str, value: dict[str, Any], allowed: set[str]) -> None:
    unknown = sorted(value.keys() - allowed)
    if unknown:
        raise _malformed(f"[{what}] unknown field [{unknown[0]}]")


def _age(phase: dict[str, Any]) -> int:
    """Return from which age of an index on a phase is, in milliseconds."""
    return duration(str(phase.get("min_age", "0ms")), "min_age")


def _check_phase(name: str, phase: Any) -> None:
    if not isinstance(phase, dict) or not isinstance(phase.get("actions"), dict):
        raise _malformed(f"the phase [{name}] and its actions are objects")
    _known("phase", phase, {"min_age", "actions"})
    _age(phase)
    for action, options in phase["actions"].items():
        if action == "wait_for_snapshot":
            raise UnsupportedError("the lifecycle action [wait_for_snapshot]: nothing would wait, so it")
        if action not in _ACTIONS:
            raise UnsupportedError(f"the lifecycle action [{action}]")
        if not isinstance(options, dict):
            raise _malformed(f"[{action}] Expected START_OBJECT")
        _known(action, options, _ACTIONS[action])
        if action == "forcemerge" and not _whole(options.get("max_num_segments")):
            raise _malformed("[forcemerge] max_num_segments must be a positive integer")
        if action == "set_priority" and not (options.get("priority", 0) is None or _whole(options.get("priority"))):
            raise _malformed("[set_priority] priority must be a non-negative integer or null")
        if action not in _OF_PHASE[name]:
            raise illegal_argument(f"invalid action [{action}] defined in phase [{name}]")
        for flag in ("delete_searchable_snapshot", "enabled"):
            if not isinstance(options.get(flag, True), bool):
                raise _malformed(f"[{action}] {flag} must be true or false")


def _whole(value: Any) -> bool:
    return re.fullmatch(r"\d{1,9}", str(value)) is not None


def _with_defaults(actions: dict[str, Any]) -> dict[str, Any]:
    if "delete" in actions:
        return {**actions, "delete": {"delete_searchable_snapshot": True, **actions["delete"]}}
    return actions


def origin(index: Index) -> int:
    """Return the moment from which an index's age counts: the day in its name where it says so, else its creation."""
    given = index.settings.get("index.lifecycle.origination_date", "-1")
    if given != "-1":
        return int(given)
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
        if phase is not None and age >= _age(phase):
            current = name
    return current


def to_delete(indices: list[Index], policies: dict[str, Any], now: int) -> list[Index]:
    """Return the indices whose policy deletes them now; a delete phase without the action deletes nothing."""
    found = []
    for index in indices:
        kept = policies.get(index.settings.get("index.lifecycle.name", ""))
        if not kept or "delete" not in kept["policy"]["phases"].get("delete", {}).get("actions", {}):
            continue
        if phase_of(index, kept["policy"], now) == "delete":
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
