"""The order of a search: its keys, read from `sort`, and what comes behind the values of `search_after`."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from compose.store.conditions import Condition, Fields
from compose.store.dates import parse_date
from compose.store.document import single
from compose.store.errors import StoreError, UnsupportedError, illegal_argument, parsing
from compose.store.mapping_checks import KINDS
from compose.store.values import METADATA, check_doc_values

_OPTIONS = {"order", "missing", "unmapped_type", "format", "mode"}


class Sort(msgspec.Struct, frozen=True):
    """One key of an order.

    Attributes:
        expression: of SQL.
        descending: its direction.
        missing_first: where documents without a value go.
        kind: of the column.
        format: of dates, as they are shown.
        narrow: whether the field has 32 bits at most.
    """

    expression: str | None
    descending: bool
    missing_first: bool
    kind: str
    format: str | None = None
    narrow: bool = False


def missing_value(key: Sort) -> Any:
    """Return what stands in `sort` of a hit that has no value: the end of its type, None for a text."""
    high = key.descending == key.missing_first
    if key.narrow:
        return 2**31 - 1 if high else -(2**31)
    if key.kind in ("long", "date", "boolean"):
        return 2**63 - 1 if high else -(2**63)
    if key.kind in ("float", "double"):
        return math.inf if high else -math.inf
    return None


def read_sort(body: Any, fields: Fields) -> list[Sort]:
    """Read an order; empty where it is by score alone.

    Raises:
        StoreError: a field has no order, or is not there.
    """
    found = []
    for name, options in _entries(body):
        descending = _descending(name, options)
        if name == "_score":
            if options.keys() - {"order"}:
                raise StoreError(400, "x_content_parse_exception", "[_score] takes [order] alone")
            continue
        if name in ("_doc", "_shard_doc"):
            _check_options(name, options)
            found.append(Sort("sequence", descending, False, "long"))
            continue
        _check_options(name, options)
        fitting = fields.named(name)
        if not fitting:
            if "unmapped_type" in options:
                found.append(Sort("NULL::BIGINT", descending, options.get("missing") == "_first", "long"))
                continue
            if name in METADATA:
                raise UnsupportedError(f"sorting by [{name}]")
            raise StoreError(
                400, "query_shard_exception", f"No mapping found for [{name}] in order to sort on",
                index=fields.indices[0].name, index_uuid=fields.indices[0].uuid,
            )  # fmt: skip
        check_doc_values(fitting[0], fields)
        if len(fitting) > 1:
            raise UnsupportedError(f"sorting by [{name}], which has several types in these indices,")
        field = fitting[0]
        if field.kind == "keyword" and options.get("mode", "min").lower() not in ("min", "max"):
            text = "we only support AVG, MEDIAN and SUM on number based fields"
            raise StoreError(400, "query_shard_exception", text, index=fields.indices[0].name)
        expression = fields.columns.single.get(field.key)
        many = fields.columns.many.get(field.key)
        if many:
            modes = {"min": "list_min", "max": "list_max"}
            mode = options.get("mode", "max" if descending else "min").lower()
            if mode not in modes:
                raise UnsupportedError(f"the mode [{mode}] in a sort")
            expression = f"coalesce({expression or 'NULL'}, {modes[mode]}({many}))"
        missing = options.get("missing")
        missing = "_last" if missing is None else missing
        if missing not in ("_last", "_first"):
            expression = f"coalesce({expression or 'NULL'}, {_literal(missing, field.kind)})"
        shown = options.get("format")
        if shown is not None and field.kind != "date":
            raise UnsupportedError(f"[format] in a sort by [{name}], which is no date,")
        found.append(
            Sort(
                expression or "NULL::BIGINT",
                descending,
                missing == "_first",
                field.kind,
                shown,
                field.type in ("integer", "short", "byte"),
            )
        )
    return found


def _entries(body: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the keys of an order as names and options.

    Raises:
        StoreError: it is no order.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for entry in body if isinstance(body, list) else [] if body is None else [body]:
        if not isinstance(entry, str | dict):
            raise illegal_argument(
                "malformed sort format, within the sort array, an object, or an actual string are allowed"
            )
        for name, given in {entry: {}}.items() if isinstance(entry, str) else entry.items():
            options = {"order": given} if isinstance(given, str) else given
            if not isinstance(options, dict):
                raise StoreError(400, "x_content_parse_exception", f"[field_sort] [{name}] Expected START_OBJECT")
            found.append((name, options))
    return found


def _descending(name: str, options: dict[str, Any]) -> bool:
    order = options.get("order", "desc" if name == "_score" else "asc")
    if not isinstance(order, str):
        raise StoreError(400, "x_content_parse_exception", f"[field_sort] order doesn't support such values: [{order}]")
    if order.lower() not in ("asc", "desc"):
        raise illegal_argument(f"No enum constant org.elasticsearch.search.sort.SortOrder.{order.upper()}")
    return order.lower() == "desc"


def _check_options(name: str, options: dict[str, Any]) -> None:
    for key in ("numeric_type", "nested"):
        if key in options:
            raise UnsupportedError(f"[{key}] in a sort")
    for key, value in options.items():
        if key not in _OPTIONS:
            raise StoreError(400, "x_content_parse_exception", f"[field_sort] unknown field [{key}] of [{name}]")
        if isinstance(value, dict | list) or (
            key in ("mode", "format", "unmapped_type") and not isinstance(value, str)
        ):
            raise StoreError(400, "x_content_parse_exception", f"[field_sort] failed to parse field [{key}]")
    if options.get("mode", "min").lower() not in ("min", "max", "avg", "sum", "median"):
        raise StoreError(400, "x_content_parse_exception", f"[field_sort] failed to parse field [mode] of [{name}]")
    if "unmapped_type" in options and options["unmapped_type"] not in KINDS:
        raise UnsupportedError(f"[unmapped_type: {options['unmapped_type']}] in a sort")


def _literal(value: Any, kind: str) -> str:
    """Return a value that stands in for a missing one, as SQL; it is made of a number or quoted here."""
    if kind in ("long", "float", "double", "date", "boolean"):
        if isinstance(value, bool):
            raise illegal_argument(f"[missing] of a sort cannot be [{value}]")
        try:
            return f"'{float(value)}'::DOUBLE" if kind in ("float", "double") else str(int(value))
        except (TypeError, ValueError):
            raise illegal_argument(f"[missing] of a sort cannot be [{value}]") from None
    return "'" + str(value).replace("'", "''") + "'"


def after(values: Any, order: list[Sort]) -> Condition:
    """Return the condition that a document comes behind the values of `search_after`.

    Raises:
        StoreError: they do not fit the order.
    """
    if not isinstance(values, list):
        raise parsing("Unknown key in [search_after]: a list is wanted.", line=1, col=1)
    if len(values) != len(order) or not order:
        raise illegal_argument(f"search_after has {len(values)} value(s) but sort has {len(order)}.")
    branches: list[str] = []
    parameters: list[Any] = []
    same, same_values = "", list[Any]()
    for key, given in zip(order, values, strict=True):
        text, value = key.expression, _bound(given, key)
        if value is None:
            beyond, beyond_values = (f"{text} IS NOT NULL" if key.missing_first else "false"), list[Any]()
            equal, equal_values = f"{text} IS NULL", list[Any]()
        else:
            sign = "<" if key.descending else ">"
            cast = "CAST(? AS FLOAT)" if key.kind == "float" else "?"
            beyond, beyond_values = (
                f"({text} {sign} {cast}{'' if key.missing_first else f' OR {text} IS NULL'})",
                [value],
            )
            equal, equal_values = f"{text} = {cast}", [value]
        branches.append(f"({same}{beyond})")
        parameters += [*same_values, *beyond_values]
        same, same_values = f"{same}{equal} AND ", [*same_values, *equal_values]
    return "(" + " OR ".join(branches) + ")", parameters


def _bound(value: Any, key: Sort) -> Any:
    """Return a value of `search_after` as the column has it; None where it stands for a missing one.

    Raises:
        StoreError: it does not fit.
    """
    if isinstance(value, list | dict):
        raise parsing("Expected [VALUE_STRING] or [VALUE_NUMBER] inside search_after", line=1, col=1)
    if key.kind == "keyword":
        return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()
    if value is None:
        raise illegal_argument(f"[search_after] value cannot be null for a sort field of type [{key.kind.upper()}].")
    try:
        number = _date(value) if key.kind == "date" and isinstance(value, str) else _number(value, key)
    except (ValueError, OverflowError):
        raise illegal_argument(f"Failed to parse search_after value [{value}] of type [{key.kind}].") from None
    return None if number == missing_value(key) else number


def _date(text: str) -> int:
    try:
        return parse_date(text)
    except StoreError:
        if text != str(2**63 - 1):
            raise
        return 2**63 - 1  # the end of its type, which stands for no value, has no place in a calendar


def _number(value: Any, key: Sort) -> int | float:
    """Return a number as the column of its kind has it.

    Raises:
        ValueError: it is none.
    """
    if key.kind == "boolean" and isinstance(value, str | bool):
        return ("false", "true").index(str(value).lower())
    if isinstance(value, bool):
        raise ValueError("a boolean is no number")  # noqa: TRY004 - as a text that is none
    if key.kind == "float":
        return single(float(value))
    if key.kind == "double":
        return float(value)
    whole = not isinstance(value, str) or re.fullmatch(r"[+-]?\d+", value) is not None
    if key.narrow and isinstance(value, str) and not (whole and -(2**31) <= int(value) < 2**31):
        raise ValueError("out of range")
    number = int(value) if whole else float(value)
    if number in (math.inf, -math.inf):
        number = 2**63 - 1 if number > 0 else -(2**63)
    if not -(2**63) <= number < 2**63:
        raise ValueError("out of range")
    return int(number)
