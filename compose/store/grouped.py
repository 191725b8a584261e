"""What is nested in buckets, computed for all buckets of an aggregation by one statement instead of one for each.

Only for what is asked often: metrics of numbers, and terms, nested in each other. For the rest `buckets.py` asks once a
bucket; the answers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from compose.store.conditions import Fields
from compose.store.mapping import Field

# What is computed of a column, and which of it a metric needs: only that is asked for.
FUNCTIONS = {
    "count": "count({0})",
    "min": "min(({0})::DOUBLE)",
    "max": "max(({0})::DOUBLE)",
    "avg": "avg(({0})::DOUBLE)",
    "sum": "sum(({0})::DOUBLE)",
}
NEEDED = {name: (name,) for name in ("min", "max", "avg", "sum")} | {
    "value_count": ("count",),
    "stats": ("count", "min", "max", "avg", "sum"),
}
METRICS = set(NEEDED)
MAX_GROUPS = 200_000  # more are not held in memory
_TERM_KINDS = {"keyword", "long", "boolean"}
_NUMBERS = {"long", "float", "double"}

Key = tuple[Any, ...]


class TooManyGroupsError(Exception):
    """There are more groups than are held in memory: ask bucket by bucket."""


class Group(msgspec.Struct, gc=False):
    """How many documents have a key, and what is nested there."""

    count: int
    results: dict[str, Any]


class _Part(msgspec.Struct):
    """One aggregation of a body, taken apart."""

    label: str
    kind: str
    options: dict[str, Any]
    field: Field | None
    column: str | None
    below: dict[str, Any]
    order: list[tuple[Any, Any]]


class Grouped:
    """Computes nested aggregations for many buckets at once.

    Args:
        fields: of the request's indices.
        cursor: of the database.
        label: the name that a result gets, from its name, kind and definition.
    """

    def __init__(self, fields: Fields, cursor: Any, label: Callable[[str, str, dict[str, Any]], str]) -> None:
        self._fields = fields
        self._cursor = cursor
        self._label = label

    def can(self, body: dict[str, Any]) -> bool:
        """Return whether all of it can be computed here."""
        return all(self._can_one(definition) for definition in body.values())

    def _can_one(self, definition: Any) -> bool:
        if not isinstance(definition, dict) or "meta" in definition:
            return False
        kinds = [key for key in definition if key not in ("aggs", "aggregations")]
        if len(kinds) != 1 or not isinstance(definition[kinds[0]], dict):
            return False
        kind, options = kinds[0], definition[kinds[0]]
        below = definition.get("aggs") or definition.get("aggregations") or {}
        path = options.get("field")
        found = self._fields.named(path) if isinstance(path, str) and path else []
        if not path or len(found) > 1:
            return False
        if kind in METRICS:
            return options.keys() == {"field"} and not below and (not found or self.column(found[0], _NUMBERS) != "")
        return (
            kind == "terms"
            and options.keys() <= {"field", "size", "order", "shard_size"}
            and isinstance(options.get("size", 10), int)
            and options.get("size", 10) > 0
            and all(by in ("_count", "_key") and way in ("asc", "desc") for by, way in _order(options))
            and (not found or self.column(found[0], _TERM_KINDS) != "")
            and self.can(below)
        )

    def column(self, field: Field, kinds: set[str] = _TERM_KINDS) -> str | None:
        """Return the column of a field with single values; None where no document has one, empty where it is no use."""
        if field.kind not in kinds or field.key in self._fields.columns.many:
            return ""
        return self._fields.columns.single.get(field.key)

    def lone_terms(self, body: dict[str, Any]) -> str | None:
        """Return the column of a body of one terms aggregation with nothing nested in it; None where it is another."""
        parts = self._parts(body)
        return parts[0].column if len(parts) == 1 and parts[0].kind == "terms" and not parts[0].below else None

    def _parts(self, body: dict[str, Any]) -> list[_Part]:
        parts = []
        for name, definition in body.items():
            kind = next(key for key in definition if key not in ("aggs", "aggregations"))
            options = definition[kind]
            found = self._fields.named(options["field"])
            field = found[0] if found else None
            column = self.column(field, _NUMBERS if kind in METRICS else _TERM_KINDS) if field else None
            below = definition.get("aggs") or definition.get("aggregations") or {}
            label = self._label(name, kind, definition)
            order = _order(options) if kind == "terms" else []
            parts.append(_Part(label, kind, options, field, column, below, order))
        return parts

    def compute(
        self, body: dict[str, Any], rows: str, values: list[Any], keys: list[str], known: dict[Key, int] | None = None
    ) -> dict[Key, Group]:
        """Compute a body for each key that there is.

        Args:
            body: name → aggregation; `can` says yes to it.
            rows: what to select from, with its condition; its parameters are `values`. Empty: all are known.
            values: see there.
            keys: expressions that make the buckets, without parameters.
            known: key with the term → how many more documents there are, where the body is one terms aggregation.

        Raises:
            TooManyGroupsError: there are too many.
        """
        parts = self._parts(body)
        terms = [part for part in parts if part.kind == "terms" and part.column]
        metrics = [part for part in parts if part.kind in METRICS and part.column]
        groups: dict[Key, Group] = {}
        if metrics or not terms:
            groups = self._measured(metrics, rows, values, keys, known or {})
        counted_by = None if groups else terms[0].label if terms else None
        for part in terms:
            by_term = [*keys, str(part.column)]
            inner: dict[Key, Any] = (
                self.compute(part.below, rows, values, by_term)
                if part.below
                else self._counted(rows, values, by_term, known or {})
            )
            several: dict[Key, list[tuple[Any, Any]]] = {}
            for key, group in inner.items():
                several.setdefault(key[:-1], []).append((key[-1], group))
            count = _count_of if part.below else int
            for key, found in several.items():
                if part.label == counted_by:
                    groups[key] = Group(sum([count(group) for _, group in found]), {})
                if key in groups:
                    groups[key].results[part.label] = _terms(part, found)
        for group in groups.values() if parts else ():
            known_results = group.results
            group.results = {part.label: known_results.get(part.label) or _empty(part) for part in parts}
        return groups

    def empty(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the results of a bucket without documents."""
        return {part.label: _empty(part) for part in self._parts(body)}

    def _measured(
        self, metrics: list[_Part], rows: str, values: list[Any], keys: list[str], known: dict[Key, int]
    ) -> dict[Key, Group]:
        if not metrics:
            return {key: Group(count, {}) for key, count in self._counted(rows, values, keys, known).items()}
        asked = list(dict.fromkeys((name, str(part.column)) for part in metrics for name in NEEDED[part.kind]))
        texts = [FUNCTIONS[name].format(column) for name, column in asked]
        found = self._rows([*keys, "count(*)", *texts], rows, values, keys)
        groups = {}
        for row in found:
            measured = dict(zip(asked, row[len(keys) + 1 :], strict=True))
            results = {
                part.label: shown(part.kind, {name: measured[name, str(part.column)] for name in NEEDED[part.kind]})
                for part in metrics
            }
            groups[tuple(row[: len(keys)])] = Group(row[len(keys)], results)
        return groups

    def _counted(self, rows: str, values: list[Any], keys: list[str], known: dict[Key, int]) -> dict[Key, int]:
        found = self._rows([*keys, "count(*)"], rows, values, keys)
        if len(found) + len(known) > MAX_GROUPS:
            raise TooManyGroupsError
        return known | {row[:-1]: row[-1] + known.get(row[:-1], 0) for row in found}

    def _rows(self, columns: list[str], rows: str, values: list[Any], keys: list[str]) -> list[Any]:
        if not rows:
            return []
        text = f"SELECT {', '.join(columns)} FROM {rows} GROUP BY {', '.join(keys)}"  # noqa: S608 - see sql
        found: list[Any] = self._cursor.execute(text, values).fetchmany(MAX_GROUPS + 1)
        if len(found) > MAX_GROUPS:
            raise TooManyGroupsError
        return found


_count_of = attrgetter("count")


def shown(kind: str, measured: dict[str, Any]) -> dict[str, Any]:
    """Return a metric as a reply has it, from what `NEEDED` says that it needs."""
    if kind == "stats":
        return {name: measured[name] for name in ("count", "min", "max", "avg")} | {"sum": measured["sum"] or 0.0}
    value = measured["count" if kind == "value_count" else kind]
    return {"value": value or 0.0 if kind == "sum" else value}


def _empty(part: _Part) -> dict[str, Any]:
    if part.kind == "terms":
        return {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}
    return shown(part.kind, dict.fromkeys(FUNCTIONS) | {"count": 0})


def _order(options: dict[str, Any]) -> list[tuple[Any, Any]]:
    given = options.get("order", {"_count": "desc"})
    entries = given if isinstance(given, list) else [given]
    return [pair for entry in entries for pair in (entry.items() if isinstance(entry, dict) else [("", "")])]


def _terms(part: _Part, found: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Return an aggregation's result from its terms, each with its group, or its count where nothing is nested."""
    ordered = sorted([pair for pair in found if pair[0] is not None], key=itemgetter(0))
    count = _count_of if part.below else int
    for by, way in reversed(part.order):
        if by == "_count":
            ordered.sort(key=lambda pair: count(pair[1]), reverse=way == "desc")
        else:
            ordered.sort(key=itemgetter(0), reverse=way == "desc")
    shown = ordered[: part.options.get("size", 10)]
    if part.below:
        buckets = [{"key": term, "doc_count": group.count, **group.results} for term, group in shown]
    else:
        buckets = [{"key": term, "doc_count": amount} for term, amount in shown]
    if part.field is not None and part.field.kind == "boolean":
        names = [{"key": int(term), "key_as_string": "true" if term else "false"} for term, _ in shown]
        buckets = [{**name, **bucket, "key": name["key"]} for name, bucket in zip(names, buckets, strict=True)]
    others = sum([count(group) for _, group in ordered[len(shown) :]]) if len(ordered) > len(shown) else 0
    return {"doc_count_error_upper_bound": 0, "sum_other_doc_count": others, "buckets": buckets}
