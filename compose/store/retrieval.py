"""What of a document goes into a hit: its source, filtered, and the values of single fields."""

from __future__ import annotations

import fnmatch
from typing import Any

import msgspec

from compose.store.dates import format_date, parse_date
from compose.store.errors import StoreError, UnsupportedError
from compose.store.mapping import Mapping


def values_of(source: bytes, mapping: Mapping, body: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the values that `fields` and `docvalue_fields` ask for, by name, dates in their own format."""
    document = msgspec.json.decode(source)
    found: dict[str, list[Any]] = {}
    for option in ("fields", "docvalue_fields"):
        for wanted in body.get(option, []):
            if isinstance(wanted, dict) and wanted.keys() - {"field", "format"}:
                raise UnsupportedError(f"{sorted(wanted.keys() - {'field', 'format'})} in [{option}]")
            pattern, form = (wanted["field"], wanted.get("format")) if isinstance(wanted, dict) else (wanted, None)
            for name, field in mapping.fields.items():
                if not fnmatch.fnmatchcase(name, pattern) or (option == "docvalue_fields" and field.kind == "text"):
                    continue
                values = [value for value in _at(document, field.parent) if value is not None]
                if field.kind == "date":
                    values = [_date(value, field.format, form) for value in values]
                if field.kind == "keyword":
                    values = [value for value in map(_text, values) if len(value) <= field.ignore_above]
                if values:
                    found[name] = values
    return found


def _at(value: Any, path: str) -> list[Any]:
    """Return all values at a path, through arrays and through names with dots."""
    if isinstance(value, list):
        return [item for part in value for item in _at(part, path)]
    if not path:
        return [value]
    if not isinstance(value, dict):
        return []
    return [
        item
        for name, below in value.items()
        if path == name or path.startswith(name + ".")
        for item in _at(below, path[len(name) + 1 :])
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _date(value: Any, formats: str, shown: str | None) -> Any:
    try:
        moment = parse_date(str(value), formats)
    except StoreError:
        return value
    return format_date(moment, shown or formats)


def filtered(source: bytes, chosen: Any) -> Any:
    """Return the part of a source that `_source` asks for; None where it asks for none."""
    if chosen is True:
        return msgspec.Raw(source)
    if chosen is False:
        return None
    if isinstance(chosen, str):
        chosen = [chosen]
    if isinstance(chosen, list):
        chosen = {"includes": chosen}
    wanted = chosen.get("includes", chosen.get("include", []))
    unwanted = chosen.get("excludes", chosen.get("exclude", []))
    wanted = [wanted] if isinstance(wanted, str) else wanted
    unwanted = [unwanted] if isinstance(unwanted, str) else unwanted
    return _part(msgspec.json.decode(source), "", wanted, unwanted)


def _part(value: dict[str, Any], prefix: str, wanted: list[str], unwanted: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, item in value.items():
        path = prefix + name

        def fits(patterns: list[str], path: str = path) -> bool:
            return any(fnmatch.fnmatchcase(path, pattern) or path.startswith(pattern + ".") for pattern in patterns)

        if fits(unwanted):
            continue
        if isinstance(item, dict):
            inner = _part(item, path + ".", [] if fits(wanted) else wanted, unwanted)
            if inner or not wanted or fits(wanted):
                kept[name] = inner
        elif not wanted or fits(wanted):
            kept[name] = item
    return kept
