"""Whether the aggregations of a search are some: names, one kind each, and what kind of value each option has.

Which options a kind has is said where it is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compose.store.errors import StoreError, parsing

Check = Callable[[Any], bool]


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _order(value: Any) -> bool:
    entries = value if isinstance(value, list) else [value]
    return all(isinstance(entry, dict) and len(entry) == 1 and all(map(_text, entry.values())) for entry in entries)


def _bounds(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and value.keys() == {"min", "max"} and all(map(check, value.values()))


def _ranges(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and all(_number(entry[end]) for end in ("from", "to") if entry.get(end) is not None)
        and isinstance(entry.get("key"), str | None)
        for entry in value
    )


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


_OPTIONS: dict[str, Check] = {
    "field": _text, "size": _whole, "shard_size": _whole, "min_doc_count": _whole,
    "from": lambda value: _whole(value) and value >= 0,
    "precision_threshold": _number, "missing": _scalar, "order": _order, "interval": _number, "keyed": _flag,
    "include": _either(_text, _list_of(_scalar)), "exclude": _either(_text, _list_of(_scalar)),
    "offset": _text, "extended_bounds": _bounds(_scalar), "hard_bounds": _bounds(_scalar), "ranges": _ranges,
    "percents": _list_of(_number), "format": _text, "time_zone": _text, "fixed_interval": _text,
    "calendar_interval": _text, "other_bucket": _flag, "other_bucket_key": _text, "version": _flag,
    "seq_no_primary_term": _flag, "filters": lambda value: isinstance(value, dict | list) and bool(value),
}  # fmt: skip
_OF_HISTOGRAM: dict[str, Check] = {"offset": _number, "extended_bounds": _bounds(_number)}


def check(body: Any) -> None:
    """Refuse what is no set of aggregations.

    Raises:
        StoreError: naming the aggregation and the option.
    """
    if not isinstance(body, dict):
        raise parsing("Expected [START_OBJECT] in [aggs]", line=1, col=1)
    for name, definition in body.items():
        if not name or any(letter in name for letter in "[]>"):
            raise parsing(f"Invalid aggregation name [{name}]. It can contain anything but [, ] and >", line=1, col=1)
        if not isinstance(definition, dict):
            raise parsing(f"Expected [START_OBJECT] under [{name}]", line=1, col=1)
        if not isinstance(definition.get("meta", {}), dict):
            raise parsing(f"Expected [START_OBJECT] under [meta] of [{name}]", line=1, col=1)
        for below in ("aggs", "aggregations"):
            if below in definition:
                check(definition[below])
        for kind, options in definition.items():
            if kind not in ("aggs", "aggregations", "meta"):
                _check_options(name, kind, options)


def _check_options(name: str, kind: str, options: Any) -> None:
    if not isinstance(options, dict):
        raise parsing(f"Expected [START_OBJECT] under [{kind}] of [{name}]", line=1, col=1)
    for option, value in options.items() if kind != "filter" else ():
        good = (_OF_HISTOGRAM if kind == "histogram" else _OPTIONS).get(option, _OPTIONS.get(option))
        if good is not None and not good(value):
            text = f"[{kind}] of [{name}] failed to parse field [{option}]: it cannot be [{str(value)[:100]}]"
            raise StoreError(400, "x_content_parse_exception", text)
