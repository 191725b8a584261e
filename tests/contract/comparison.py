"""Compares the two servers' replies field by field; each difference that is allowed stands here with its reason."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from tests.contract.server import Reply, Request

RELATIVE = 1e-9  # sums are added up in another order
SKETCH = 0.02  # of the larger value: Elasticsearch's percentiles are sketches (t-digest), the store's are exact


class Allowed(msgspec.Struct, frozen=True):
    """A difference that is no fault.

    Attributes:
        pattern: matched against the field's path; list positions are `[]`.
        kind: `any` value, `absent` on one side or any value, `score` (both null or both numbers), `sketch`.
        reason: why it is allowed.
    """

    pattern: str
    kind: str
    reason: str


ALLOWED = [
    Allowed(
        r"(.*\.)?(start_time|end_time|start_time_in_millis|end_time_in_millis|duration_in_millis)", "any", "a moment"
    ),
    Allowed(r"(.*\.)?snapshots?(\[\])?\.(version|version_id)", "any", "the version of the server that made a snapshot"),
    Allowed(r"(.*\.)?took", "any", "a duration"),
    Allowed(r"(.*\.)?_shards\.skipped", "any", "an optimisation of shards; the store has none"),
    Allowed(r"(.*\.)?(_score|max_score)", "score", "the store computes no relevance: 1.0"),
    Allowed(r"(.*\.)?sort\.\[\]_score", "score", "the store computes no relevance: 1.0"),
    Allowed(r"(.*\.)?(_seq_no|_primary_term)", "any", "numbering of a shard's operations"),
    Allowed(r"(.*\.)?doc_count_error_upper_bound", "any", "shards estimate, the store counts"),
    Allowed(r"(.*\.)?pct[^.]*\.values\..*", "sketch", "t-digest against exact percentiles"),
    Allowed(r"_scroll_id", "any", "opaque"),
    Allowed(
        r"(.*\.)?(index_uuid|uuid|creation_date|provided_name|version\.created)", "absent", "identity of one index"
    ),
]

# Of an error, status and type are compared; its words and nested causes are not, each server says it its own way.
# Elasticsearch wraps a shard's failure; the store has no shards, its failure is the cause itself.
WRAPPERS = {"search_phase_execution_exception"}


def differences(request: Request, real: Reply, embedded: Reply) -> list[str]:
    """Return what differs between the replies beyond what is allowed, one sentence each; empty if they are the same."""
    if real.status != embedded.status:
        bodies = f"{real.body!s:.600} / {embedded.body!s:.600}"
        return [f"status: real {real.status}, embedded {embedded.status}; bodies {bodies}"]
    left, right = real.body, embedded.body
    if request.unordered:
        left, right = _by_id(left), _by_id(right)
    return list(_compare(left, right, ""))


def _by_id(body: Any) -> Any:
    if not isinstance(body, dict) or "hits" not in body:
        return body
    hits = sorted(body["hits"]["hits"], key=lambda hit: (hit["_index"], hit["_id"]))
    return {**body, "hits": {**body["hits"], "hits": hits}}


def _compare(real: Any, embedded: Any, path: str) -> list[str]:
    rule = next((rule for rule in ALLOWED if re.fullmatch(rule.pattern, path)), None)
    if rule is not None and _permitted(rule.kind, real, embedded):
        return []
    if isinstance(real, dict) and isinstance(embedded, dict):
        return _compare_objects(real, embedded, path)
    if isinstance(real, list) and isinstance(embedded, list):
        found = [] if len(real) == len(embedded) else [f"{path}: real has {len(real)} items, embedded {len(embedded)}"]
        for position, (left, right) in enumerate(zip(real, embedded, strict=False)):
            found += [f"#{position} {each}" for each in _compare(left, right, f"{path}[]")]
        return found
    return [] if _equal(real, embedded) else [f"{path}: real {real!r}, embedded {embedded!r}"]


def _compare_objects(real: dict[str, Any], embedded: dict[str, Any], path: str) -> list[str]:
    if path.endswith("error") and "type" in real and "type" in embedded:
        return _same_error(real, embedded, path)
    found = []
    if real.get("hits") == [] == embedded.get("hits"):
        # Of nothing there is no best score: null or 0.0 says whether Elasticsearch's shards could skip the query.
        real, embedded = (
            {key: value for key, value in side.items() if key != "max_score"} for side in (real, embedded)
        )
    for key in sorted(real.keys() | embedded.keys()):
        inner = f"{path}.{key}" if path else key
        if key in real and key in embedded:
            found += _compare(real[key], embedded[key], inner)
        elif not any(rule.kind == "absent" and re.fullmatch(rule.pattern, inner) for rule in ALLOWED):
            side, value = ("embedded lacks", real[key]) if key in real else ("only embedded has", embedded[key])
            found.append(f"{inner}: {side} it: {value!r}")
    return found


def _same_error(real: dict[str, Any], embedded: dict[str, Any], path: str) -> list[str]:
    """Compare the types of two errors; a shard's failure counts as the type of its root cause."""
    causes = real.get("root_cause") or [
        real.get("caused_by", real)
    ]  # what fails while shards are joined has no root cause
    types = {real["type"], *(cause["type"] for cause in causes)} - WRAPPERS
    if embedded["type"] in types or embedded["type"] == real["type"]:
        return []
    return [f"{path}.type: real {sorted(types)}, embedded {embedded['type']!r} ({embedded.get('reason')!s:.200})"]


def _permitted(kind: str, real: Any, embedded: Any) -> bool:
    if kind in ("any", "absent"):
        return True
    if kind == "score":
        return (real is None) == (embedded is None)
    if kind == "sketch" and _number(real) and _number(embedded):
        return math.isclose(real, embedded, rel_tol=SKETCH, abs_tol=1e-9)
    return False


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(real: Any, embedded: Any) -> bool:
    if _number(real) and _number(embedded):
        return math.isclose(real, embedded, rel_tol=RELATIVE, abs_tol=1e-12)
    return type(real) is type(embedded) and bool(real == embedded)
