"""One document read by its index's mapping: the value of each column, what was left out, what fields are new.

No I/O. The rules are Elasticsearch's: numbers in strings are taken where `coerce` is on, dates in their formats, arrays
are many values of one field, null is no value.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any

import msgspec
import numpy as np

from compose.store.dates import DEFAULT_FORMAT, parse_date
from compose.store.errors import DocumentError, StoreError, illegal_argument
from compose.store.mapping import Field, Mapping
from compose.store.mapping_checks import RANGES
from compose.store.words import GAP, joined

MAX_DEPTH = 20  # index.mapping.depth.limit
MAX_TERM = 32766  # bytes of UTF-8 that one keyword may have, as in Lucene
# As Java reads a whole number and a fraction; a field of whole numbers takes no white space and no letter at the end.
_WHOLE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NUMBER = re.compile(rf"\s*{_WHOLE.pattern}[fFdD]?\s*", re.ASCII)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


class Prepared(msgspec.Struct):
    """A document as it goes into the table.

    Attributes:
        values: column → its one value.
        lists: column → its values, where there are several.
        ignored: paths whose values were left out.
        added: path → definition, of fields that the mapping lacks.
    """

    values: dict[str, Any]
    lists: dict[str, list[Any]]
    ignored: list[str]
    added: dict[str, dict[str, Any]]


def prepare(document: dict[str, Any], mapping: Mapping) -> Prepared:
    """Read a document.

    Raises:
        DocumentError: a value does not fit its field, or a new field is not allowed.
    """
    found = Prepared({}, {}, [], {})
    _object(document, "", mapping, found, 1)
    return found


def _object(document: dict[str, Any], prefix: str, mapping: Mapping, found: Prepared, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise DocumentError(
            f"The depth of the field [{prefix.rstrip('.')}] exceeds the limit of [{MAX_DEPTH}]",
            kind="illegal_argument_exception",
        )
    by_parent = mapping.by_parent
    for name, value in document.items():
        path = prefix + name
        fields = by_parent.get(path)
        if fields is not None:
            if value.__class__ is list or value is None or value.__class__ is dict:
                _many(path, fields, value, found)
            else:
                for field in fields:
                    _one(field, value, found)
        elif path in mapping.disabled:
            continue
        elif value.__class__ is dict:
            _check_name(name, path)
            if path not in mapping.objects and not _new_object(path, mapping, found):
                continue
            _object(value, path + ".", mapping, found, depth + 1)
        elif value.__class__ is list and any(item.__class__ is dict for item in _flat(value)):
            for item in _flat(value):
                if item.__class__ is dict:
                    _object({name: item}, prefix, mapping, found, depth)
                elif item is not None and path in mapping.objects:
                    raise _concrete(name, path)
                elif item is not None and _dynamic(path, mapping) == "true":
                    raise illegal_argument(f"can't merge a non object mapping [{path}] with an object mapping")
        else:
            _check_name(name, path)
            if path in mapping.objects:
                if value is None or (value.__class__ is list and all(item is None for item in _flat(value))):
                    continue
                raise _concrete(name, path)
            _unmapped(path, value, mapping, found)


def _concrete(name: str, path: str) -> DocumentError:
    return DocumentError(
        f"object mapping for [{path}] tried to parse field [{name}] as object, but found a concrete value"
    )


def _check_name(name: str, path: str) -> None:
    if not name.strip() or name.startswith(".") or name.endswith(".") or ".." in name:
        raise DocumentError(f"field name cannot be an empty string or have empty parts: [{path}]")


def _flat(values: list[Any]) -> list[Any]:
    result = []
    for value in values:
        if value.__class__ is list:
            result += _flat(value)
        else:
            result.append(value)
    return result


def _one(field: Field, value: Any, found: Prepared) -> None:
    try:
        converted = CONVERT[field.kind](field, value)
    except (ValueError, TypeError, OverflowError, StoreError) as error:
        if field.ignore_malformed and field.kind not in ("keyword", "text") and value.__class__ is not dict:
            found.ignored.append(field.path)
            return
        raise _misfit(field, value, error) from error
    if converted is None:
        if field.kind == "keyword" and value is not None:
            found.ignored.append(field.path)
        return
    key = field.key
    if key not in found.values and key not in found.lists:
        found.values[key] = converted
    elif field.kind == "text":
        found.values[key] += GAP + converted
    else:
        if key in found.values:
            found.lists[key] = [found.values.pop(key)]
        found.lists[key].append(converted)


def _many(path: str, fields: list[Field], value: Any, found: Prepared) -> None:
    if value.__class__ is dict:
        field = fields[0]
        if field.ignore_malformed and field.kind not in ("keyword", "text"):
            found.ignored.append(path)
            return
        raise _misfit(field, value, TypeError("Can't get text on a START_OBJECT"))
    for item in _flat(value) if value.__class__ is list else [value]:
        for field in fields:
            chosen = field.null_value if item is None else item
            if chosen is not None:
                _one(field, chosen, found)


def _misfit(field: Field, value: Any, error: Exception) -> DocumentError:
    preview = msgspec.json.encode(value).decode() if not isinstance(value, str) else value
    if field.kind == "keyword" and isinstance(error, OverflowError):
        return DocumentError(
            f'Document contains at least one immense term in field="{field.path}" (whose UTF8 encoding is longer than '
            f"the max length {MAX_TERM}), all of which were skipped.",
            kind="illegal_argument_exception",
        )
    kind = "number_format_exception" if field.type in ("long", "float", "double") and isinstance(value, str) else ""
    return DocumentError(
        f"failed to parse field [{field.path}] of type [{field.type}] in document. "
        f"Preview of field's value: '{preview[:100]}'",
        cause={"type": kind or "illegal_argument_exception", "reason": str(error)[:500]},
    )


def _keyword(field: Field, value: Any) -> str | None:
    if value.__class__ is not str:
        value = _as_text(value)
    if len(value) > field.ignore_above:
        return None
    if len(value) > MAX_TERM // 4 and len(value.encode("utf-8", "surrogatepass")) > MAX_TERM:
        raise OverflowError("immense term")
    return str(value)


def _as_text(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError("Can't get text on a START_OBJECT")


def _text(_field: Field, value: Any) -> str:
    return joined(value if value.__class__ is str else _as_text(value))


def read_number(text: str, *, whole: bool) -> int | float:
    """Return the number that a text is.

    Args:
        text: the digits.
        whole: whether it is for a field of whole numbers.

    Raises:
        ValueError: it is none; Python's `1_000` and digits of other scripts are none.
    """
    if not (_WHOLE if whole else _NUMBER).fullmatch(text):
        raise ValueError(f'For input string: "{text}"')
    try:
        return int(text)
    except ValueError:
        return float(text.strip().rstrip("fFdD"))


def single(number: float) -> float:
    """Return the number of single precision that is nearest to another one; infinite where that is out of its range."""
    with np.errstate(over="ignore"):
        return float(np.float32(number))


def _number(value: Any, *, coerce: bool, whole: bool = False) -> int | float:
    if value.__class__ is int or value.__class__ is float:
        return value
    if value.__class__ is str:
        if not coerce:
            raise TypeError("Long value passed as String")
        return read_number(value, whole=whole)
    raise TypeError(f"Current token ({'VALUE_TRUE' if value else 'VALUE_FALSE'}) not numeric")


def _long(field: Field, value: Any) -> int | None:
    if value == "" and field.coerce:
        return None
    number = _number(value, coerce=field.coerce, whole=True)
    if number.__class__ is float:
        if not math.isfinite(number):
            raise ValueError(f'For input string: "{value}"')
        if not field.coerce and not float(number).is_integer():
            raise ValueError(f"{value} cannot be converted to {field.type.title()} without data loss")
        number = int(number)
    limit = 1 << RANGES[field.type]
    if not -limit <= number < limit:
        raise OverflowError(
            f"Value [{value}] is out of range for {'a' if field.type != 'integer' else 'an'} {field.type}"
        )
    return number  # type: ignore[return-value]  # a whole number by now


def _double(field: Field, value: Any) -> float | None:
    if value == "" and field.coerce:
        return None
    number = float(_number(value, coerce=field.coerce))
    if not math.isfinite(number):
        raise ValueError(f"[{field.type}] supports only finite values, but got [{value}]")
    return number


def _float(field: Field, value: Any) -> float | None:
    number = _double(field, value)
    if number is None:
        return None
    if abs(number) > (65504.0 if field.type == "half_float" else 3.4028235677973366e38):
        raise ValueError(f"[{field.type}] supports only finite values, but got [{value}]")
    return float(np.float16(number)) if field.type == "half_float" else number


def _boolean(_field: Field, value: Any) -> bool:
    if value is True or value == "true":
        return True
    if value is False or value in ("false", ""):
        return False
    raise ValueError(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")


def _date(field: Field, value: Any) -> int:
    if value.__class__ is str:
        if field.format == DEFAULT_FORMAT and len(value) >= 20 and value[10] == "T" and value[-1] == "Z":
            try:
                return (dt.datetime.fromisoformat(value) - _EPOCH) // _MILLISECOND
            except ValueError:
                pass
        return parse_date(value, field.format)
    if value.__class__ is int:
        return parse_date(str(value), field.format)
    if value.__class__ is float:
        return parse_date(f"{value:f}".rstrip("0").rstrip("."), field.format)
    raise TypeError("a date is a string or a number")


CONVERT: dict[str, Any] = {
    "keyword": _keyword, "text": _text, "long": _long, "double": _double, "float": _float, "boolean": _boolean,
    "date": _date,
}  # fmt: skip


def _new_object(path: str, mapping: Mapping, found: Prepared) -> bool:
    dynamic = _dynamic(path, mapping)
    if dynamic == "strict":
        raise _strict(path)
    if dynamic == "false":
        return False
    definition = mapping.dynamic_definition(path, "object", "object")
    if definition and definition.get("enabled") is False:
        found.added[path] = definition
        return False
    return True


def _dynamic(path: str, mapping: Mapping) -> str:
    parent = path
    while parent:
        parent = parent.rpartition(".")[0]
        if parent in mapping.objects:
            return mapping.objects[parent]
    return mapping.objects[""]


def _strict(path: str) -> DocumentError:
    parent, _, name = path.rpartition(".")
    return DocumentError(
        f"mapping set to strict, dynamic introduction of [{name}] within [{parent or '_doc'}] is not allowed",
        kind="strict_dynamic_mapping_exception",
    )


def _unmapped(path: str, value: Any, mapping: Mapping, found: Prepared) -> None:
    parents = path.split(".")
    for count in range(1, len(parents)):
        above = mapping.by_parent.get(".".join(parents[:count]))
        if above:
            raise DocumentError(
                f"failed to parse field [{above[0].path}] of type [{above[0].type}]: it has no [{path}]"
            )
    present = [item for item in _flat(value) if item is not None] if value.__class__ is list else [value]
    dynamic = _dynamic(path, mapping)
    if dynamic == "strict":  # null and an empty list are refused as well
        raise _strict(path)
    if not present or present == [None] or dynamic == "false":
        return
    if path not in found.added and mapping.size + len(found.added) + 1 > mapping.limit:
        if mapping.ignore_beyond_limit:
            found.ignored.append(path)
            return
        raise DocumentError(
            f"Limit of total fields [{mapping.limit}] has been exceeded while adding new fields [1]",
            kind="illegal_argument_exception",
        )
    for each in present:  # whatever one document has of a new field must agree
        matched, plain = _detect(each, mapping)
        definition = mapping.dynamic_definition(path, matched, plain["type"]) or plain
        before = found.added.setdefault(path, definition)
        if before != definition:
            text = f"mapper [{path}] cannot be changed from type [{before.get('type')}] to [{definition.get('type')}]"
            raise illegal_argument(text)


def _detect(value: Any, mapping: Mapping) -> tuple[str, dict[str, Any]]:
    if value is True or value is False:
        return "boolean", {"type": "boolean"}
    if isinstance(value, int):
        return "long", {"type": "long"}
    if isinstance(value, float):
        return "double", {"type": "float"}
    if mapping.date_detection and not _NUMBER.fullmatch(value):  # a number is hardly ever meant as a date
        for formats in mapping.date_formats:
            try:
                parse_date(value, formats)
            except StoreError:
                continue
            return "date", {"type": "date"} | ({} if formats == "strict_date_optional_time" else {"format": formats})
    if mapping.numeric_detection:
        for kind, read in (("long", int), ("double", float)):
            try:
                read(value)
            except ValueError:
                continue
            return kind, {"type": "long" if kind == "long" else "float"}
    return "string", {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}
