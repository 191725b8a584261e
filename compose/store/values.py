"""The values that an aggregation is over: which field, which column, which rows."""

from __future__ import annotations

import re
from typing import Any

from compose.store.conditions import Condition, Fields
from compose.store.dates import parse_date
from compose.store.document import read_number
from compose.store.errors import UnsupportedError, illegal_argument
from compose.store.mapping import Field
from compose.store.rows import TYPES

# What Elasticsearch keeps of a document beside its own fields, and shows by these names.
METADATA = {"_id", "_index", "_seq_no", "_version", "_source", "_routing", "_ignored", "_field_names", "_tier",
            "_doc_count", "_nested_path", "_ignored_source"}  # fmt: skip
_LUCENE_ONLY = re.compile(r"[~<>@&#]")


def known(kind: str, options: dict[str, Any], allowed: set[str]) -> None:
    """Refuse an option that is not known, by its name."""
    for key in options:
        if key not in allowed:
            raise UnsupportedError(f"[{key}] of the aggregation [{kind}]")


def check_doc_values(field: Field, fields: Fields) -> None:
    """Refuse a field by whose values nothing can be sorted or aggregated.

    Raises:
        StoreError: Elasticsearch's reason.
    """
    if field.kind == "text":
        raise illegal_argument(
            f"Fielddata is disabled on [{field.path}] in [{fields.indices[0].name}]. Text fields are not optimised for "
            "operations that require per-document field data like aggregations and sorting, so these operations are "
            "disabled by default. Please use a keyword field instead."
        )
    if not field.doc_values:
        raise illegal_argument(
            f"Can't load fielddata on [{field.path}] because fielddata is unsupported on fields of type "
            f"[{field.type}]. Use doc values instead."
        )


def value_of(kind: str, options: dict[str, Any], fields: Fields) -> tuple[Field, str] | None:
    """Return the field and the expression of its value; None where no document has one."""
    path = options.get("field")
    if not path:
        if "script" in options:
            raise UnsupportedError(f"[script] of the aggregation [{kind}]")
        raise illegal_argument(f"Required one of fields [field, script], but none were specified. in [{kind}]")
    found = fields.named(path)
    if not found:
        if path in METADATA:
            raise UnsupportedError(f"an aggregation on [{path}]")
        return None
    if len(found) > 1:
        raise UnsupportedError(f"an aggregation on [{path}], which has several types in these indices,")
    field = found[0]
    check_doc_values(field, fields)
    column = fields.columns.single.get(field.key)
    return (field, column or "NULL") if column or field.key in fields.columns.many else None


def filler(field: Field | None, value: Any, *, number: bool = False) -> Any:
    """Return what stands for a missing value, as the column of a field has it.

    Args:
        field: None where no document has it.
        value: as the request has it.
        number: whether it is counted with, also where there is no field.

    Raises:
        StoreError: it does not fit.
    """
    try:
        if field is None:
            return float(read_number(str(value), whole=False)) if number else value
        if field.kind == "keyword":
            return str(value).lower() if isinstance(value, bool) else str(value)
        if field.kind == "date":
            return parse_date(str(value), field.format)
        if field.kind == "boolean":
            return ("false", "true").index(str(value).lower()) == 1
        return value if isinstance(value, float) else read_number(str(value), whole=False)
    except ValueError:
        raise illegal_argument(f"[missing] of [{field.path if field else ''}] cannot be [{value}]") from None


def array_of(found: tuple[Field, str], fields: Fields) -> str:
    """Return the expression of all values of one document, as a list."""
    field, column = found
    return f"list_concat([{column}]::{TYPES[field.kind]}[], coalesce({fields.columns.many[field.key]}, []))"


def rows_of(
    found: tuple[Field, str], fields: Fields, condition: Condition, *, distinct: bool, keep_empty: bool = False
) -> tuple[str, str]:
    """Return what to select from, with its condition in it, and the expression of one value.

    Where documents have arrays there is a row for each value; `distinct` takes equal values of one document once,
    `keep_empty` gives NULL for a document without any.
    """
    field, column = found
    if fields.columns.many.get(field.key) is None:
        return f"documents WHERE {condition[0]}", column
    values = f"list_filter({array_of(found, fields)}, lambda item: item IS NOT NULL)"
    values = f"list_distinct({values})" if distinct else values
    if keep_empty:
        values = f"CASE WHEN len({values}) = 0 THEN [NULL]::{TYPES[field.kind]}[] ELSE {values} END"
    inner = f"SELECT unnest({values}) AS item FROM documents WHERE {condition[0]}"  # noqa: S608 - see sql
    return f"({inner}) WHERE true", "item"


def chosen(options: dict[str, Any], field: Field | None) -> tuple[str, list[Any]]:
    """Return the condition that `include` and `exclude` make, with its values."""
    text, values = "", list[Any]()
    for name, negation in (("include", ""), ("exclude", "NOT ")):
        given = options.get(name)
        if given is None:
            continue
        if isinstance(given, list):
            given = [filler(field, value) for value in given]
            text += f" AND {negation}list_contains(?, term)"
        elif isinstance(given, str) and not _LUCENE_ONLY.search(given):
            text += f" AND {negation}regexp_full_match(term, ?)"
        else:
            raise UnsupportedError(f"this [{name}] of the aggregation [terms]")
        values.append(given)
    return text, values
