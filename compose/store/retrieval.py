"""The values of single fields of a hit: `fields` as its source has them, `docvalue_fields` as its index has them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from compose.store import source_filter
from compose.store.conditions import Fields
from compose.store.dates import format_date
from compose.store.document import CONVERT
from compose.store.errors import StoreError, UnsupportedError, parsing
from compose.store.mapping import Field, Mapping
from compose.store.patterns import fits
from compose.store.values import METADATA, check_doc_values

_OPTIONS = ("fields", "docvalue_fields")


def check_wanted(body: dict[str, Any], fields: Fields) -> None:
    """Refuse what `_source`, `fields` and `docvalue_fields` of a search cannot be.

    Raises:
        StoreError: naming it.
    """
    source_filter.check(body.get("_source", True))
    for option in _OPTIONS:
        given = body.get(option, [])
        if not isinstance(given, list):
            raise parsing(f"[{option}] must be a list of fields", line=1, col=1)
        for wanted in given:
            if isinstance(wanted, dict) and wanted.keys() - {"field", "format"}:
                raise UnsupportedError(f"{sorted(wanted.keys() - {'field', 'format'})} in [{option}]")
            pattern, form = _named(wanted)
            if not isinstance(pattern, str) or not isinstance(form, str | None):
                raise parsing(f"[{option}] wants names of fields, not [{wanted}]", line=1, col=1)
            if pattern in METADATA:
                raise UnsupportedError(f"[{pattern}] in [{option}]")
            for field in [field for name in fields.like(pattern) for field in fields.named(name)]:
                if option == "docvalue_fields":
                    check_doc_values(field, fields)
                if form is not None and field.kind != "date":
                    raise UnsupportedError(f"[format] of [{field.path}] in [{option}], which is no date,")


def _named(wanted: Any) -> tuple[Any, Any]:
    return (wanted.get("field"), wanted.get("format")) if isinstance(wanted, dict) else (wanted, None)


def values_of(
    source: bytes, mapping: Mapping, body: dict[str, Any]
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return the values that `fields` and `docvalue_fields` ask for, by name, dates in their own format.

    Returns:
        Those that were taken, and of `fields` also those that the mapping left out.
    """
    document = msgspec.json.decode(source)
    found, ignored = dict[str, list[Any]](), dict[str, list[Any]]()
    for option in _OPTIONS:
        for wanted in body.get(option, []):
            pattern, form = _named(wanted)
            for name, field in mapping.fields.items():
                if not fits(pattern, name):
                    continue
                values, left_out = _converted(_at(document, field.parent), field)
                if option == "docvalue_fields":
                    values = sorted(set(values) if field.kind == "keyword" else values)
                elif left_out:
                    ignored[name] = left_out
                if values:
                    found[name] = [_presented(value, field, form, exact=option == "fields") for value in values]
    return found, ignored


def _converted(values: list[Any], field: Field) -> tuple[list[Any], list[Any]]:
    """Return what a field takes of the values of its document, and what it left out."""
    found, ignored = [], []
    for given in values:
        value = field.null_value if given is None else given
        if value is None:
            continue
        try:
            taken = _text(value) if field.kind == "text" else CONVERT[field.kind](field, value)
        except (ValueError, TypeError, OverflowError, StoreError):
            ignored.append(value)
            continue
        if taken is not None:
            found.append(taken)
        elif field.kind == "keyword":
            ignored.append(value)
    return found, ignored


def _presented(value: Any, field: Field, form: str | None, *, exact: bool) -> Any:
    if field.kind == "date":
        return format_date(value, form or field.format)
    if field.kind == "float":  # a doc value is the float as a double has it
        return float(str(np.float32(value))) if exact else float(np.float32(value))
    return value


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
