"""The settings of an index: which there are, what values they take, and which may change."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from compose.store.dates import duration
from compose.store.errors import StoreError, UnsupportedError, illegal_argument

_SETTINGS = re.compile(
    r"index\.(number_of_shards|number_of_replicas|auto_expand_replicas|codec|refresh_interval|priority|mode|hidden"
    r"|max_result_window|max_inner_result_window|lifecycle\.(name|parse_origination_date|origination_date|rollover_alias"
    r"|indexing_complete|step\.\w+)|mapping\.(ignore_malformed|coerce|total_fields\.(limit|ignore_dynamic_beyond_limit)"
    r"|depth\.limit|field_name_length\.limit|nested_fields\.limit|nested_objects\.limit|source\.mode|dynamic_fields\.\w+)"
    r"|blocks\.(write|read_only|read_only_allow_delete|read|metadata)|query\.default_field|translog\.[\w.]+"
    r"|merge\.[\w.]+|search\.[\w.]+|routing\.[\w.]+|unassigned\.[\w.]+|number_of_routing_shards|max_[\w.]+|requests\.[\w.]+"
    r"|indexing\.[\w.]+|soft_deletes\.[\w.]+|write\.[\w.]+|gc_deletes|default_pipeline|final_pipeline|check_on_startup"
    r"|logsdb\.[\w.]+|sort\.\w+|store\.[\w.]+|creation_date|uuid|version\.created|provided_name|shard\.[\w.]+)"
)
# What cannot change while an index is open, and all are.
_FIXED = re.compile(
    r"index\.(number_of_shards|codec|mode|check_on_startup|number_of_routing_shards|soft_deletes\.enabled|sort\.\w+"
    r"|shard\.[\w.]+|mapping\.(coerce|ignore_malformed|source\.mode)|store\.[\w.]+|creation_date|uuid|version\.created"
    r"|provided_name)"
)
# What Elasticsearch would do something about, and the store would not: only the value that asks for nothing is taken.
_WITHOUT_EFFECT = {
    "blocks.read": "false", "blocks.metadata": "false", "default_pipeline": "_none", "final_pipeline": "_none",
    "mode": "standard", "mapping.source.mode": "stored", "query.default_field": "*",
}  # fmt: skip


def _whole(lowest: int) -> Callable[[str, str], None]:
    def check(name: str, text: str) -> None:
        if not re.fullmatch(r"-?\d{1,18}", text):
            raise illegal_argument(f"Failed to parse value [{text}] for setting [{name}]")
        if int(text) < lowest:
            raise illegal_argument(f"Failed to parse value [{text}] for setting [{name}] must be >= {lowest}")

    return check


def _boolean(name: str, text: str) -> None:
    if text not in ("true", "false"):
        raise illegal_argument(f"Failed to parse value [{text}] of [{name}] as only [true] or [false] are allowed.")


def _time(name: str, text: str) -> None:
    duration(text, name)


def _expansion(name: str, text: str) -> None:
    if not re.fullmatch(r"false|\d+-(\d+|all)", text):
        raise illegal_argument(f"failed to parse [{name}] from value: [{text}]")


_CHECKS: dict[str, Callable[[str, str], None]] = {
    "number_of_shards": _whole(1),
    "number_of_replicas": _whole(0),
    "priority": _whole(0),
    "mapping.total_fields.limit": _whole(0),
    "lifecycle.origination_date": _whole(-1),
    "auto_expand_replicas": _expansion,
    "refresh_interval": _time,
    "gc_deletes": _time,
    **dict.fromkeys(
        ("hidden", "blocks.write", "blocks.read", "blocks.read_only", "blocks.read_only_allow_delete",
         "blocks.metadata", "lifecycle.parse_origination_date", "lifecycle.indexing_complete",
         "mapping.ignore_malformed", "mapping.coerce", "mapping.total_fields.ignore_dynamic_beyond_limit"),
        _boolean,
    ),
}  # fmt: skip


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings flat, each as text; null is kept as the text `null`."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict):
            flat.update(flatten(value, path))
        elif isinstance(value, list):
            flat[path] = ",".join(str(item) for item in value)
        elif value is None:
            flat[path] = "null"
        else:
            flat[path] = str(value).lower() if isinstance(value, bool) else str(value)
    return flat


def nested(flat: dict[str, str]) -> dict[str, Any]:
    """Return flat settings nested."""
    tree: dict[str, Any] = {}
    for path, value in sorted(flat.items()):
        level = tree
        *parents, name = path.split(".")
        for parent in parents:
            below = level.setdefault(parent, {})
            if not isinstance(below, dict):
                below = level[parent] = {}
            level = below
        level[name] = value
    return tree


def check_settings(settings: Any) -> dict[str, str]:
    """Return index settings flat, each name with its `index.` prefix.

    Raises:
        StoreError: a setting does not exist, has no such value, or asks for what the store does not do.
    """
    if not isinstance(settings, dict):
        raise illegal_argument("settings must be an object")
    flat = {}
    for name, value in flatten(settings).items():
        full = name if name.startswith("index.") else f"index.{name}"
        if not _SETTINGS.fullmatch(full):
            raise illegal_argument(
                f"unknown setting [{full}] please check that any required plugins are installed, or check the "
                "breaking changes documentation for removed settings"
            )
        flat[full] = value
        short = full.removeprefix("index.")
        if value == "null":
            continue
        if short in _CHECKS:
            _CHECKS[short](full, value)
        if value != _WITHOUT_EFFECT.get(short, value) or short.startswith("sort."):
            raise UnsupportedError(f"the index setting [{full}: {value}]")
    return flat


def check_change(flat: dict[str, str]) -> None:
    """Refuse to change what is fixed when an index is made.

    Raises:
        StoreError: there is nothing to change, or a setting is fixed.
    """
    if not flat:
        raise StoreError(400, "action_request_validation_exception", "Validation Failed: 1: no settings to update;")
    fixed = sorted(name for name in flat if _FIXED.fullmatch(name))
    if fixed:
        raise illegal_argument(f"Can't update non dynamic settings [[{', '.join(fixed)}]] for open indices")
