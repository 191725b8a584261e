"""The lists for people: rows as columns of text or as JSON, with `v`, `h`, `s`, `help`, `bytes` and `format`.

https://www.elastic.co/guide/en/elasticsearch/reference/8.19/cat.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from compose.store.errors import UnsupportedError, illegal_argument
from compose.store.patterns import fits
from compose.store.rest.request import Reply, Request

PARAMETERS = ("v", "h", "s", "help")
_UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4, "pb": 1024**5}


class Column(msgspec.Struct, frozen=True):
    """One column of a list.

    Attributes:
        name: as the header shows it, and as `h` and `s` may call it.
        about: what it holds, for `help`.
        aliases: what else `h` and `s` may call it.
        kind: `text`; `number`, which stands on the right; or `bytes`, a number that is shown with a unit.
        shown: False where it is only shown when `h` names it.
    """

    name: str
    about: str
    aliases: tuple[str, ...] = ()
    kind: str = "text"
    shown: bool = True


Row = dict[str, str | int]


def cat(columns: Sequence[Column], rows: list[Row], request: Request) -> Reply:
    """Return rows as a request wants them.

    Args:
        columns: all that the list has.
        rows: a value for each column.
        request: with `v`, `h`, `s`, `help`, `bytes` and `format`.

    Raises:
        StoreError: `h` or `s` names a column that the list lacks, or a value is none of an option's.
    """
    if request.flag("help"):
        lines = [[column.name, "|", ",".join(column.aliases), "|", column.about] for column in columns]
        return Reply(text=_aligned(lines, [False] * 5))
    unit = request.parameters.get("bytes")
    if unit is not None and unit not in _UNITS:
        raise illegal_argument(f"Unknown unit [{unit}] of [bytes], expected one of [{', '.join(_UNITS)}]")
    for column, descending in reversed(_order(columns, request.parameters.get("s", ""))):
        rows = sorted(rows, key=lambda row: row[column.name], reverse=descending)
    chosen = _chosen(columns, request.parameters.get("h"))
    cells = [[_cell(row[column.name], column, unit) for _, column in chosen] for row in rows]
    if request.parameters.get("format", "text") == "json":
        return Reply([dict(zip((head for head, _ in chosen), line, strict=True)) for line in cells])
    if request.flag("v"):
        cells.insert(0, [head for head, _ in chosen])
    return Reply(text=_aligned(cells, [column.kind != "text" for _, column in chosen]))


def _named(columns: Sequence[Column], name: str) -> Column | None:
    named = [column for column in columns if name == column.name]
    return next(iter(named or [column for column in columns if name in column.aliases]), None)


def _chosen(columns: Sequence[Column], wanted: str | None) -> list[tuple[str, Column]]:
    """Return head and column of what `h` names; wildcards stand for all that fit, hidden ones too."""
    if not wanted:
        return [(column.name, column) for column in columns if column.shown]
    found: dict[str, Column] = {}
    for name in wanted.split(","):
        if "*" in name:
            found.update({column.name: column for column in columns if fits(name, column.name)})
            continue
        column = _named(columns, name)
        if column is None:
            raise UnsupportedError(f"the column [{name}]")
        found[name] = column
    return list(found.items())


def _order(columns: Sequence[Column], wanted: str) -> list[tuple[Column, bool]]:
    """Return the columns that `s` sorts by, the first one first, each with whether it falls."""
    found = []
    for part in wanted.split(",") if wanted else []:
        name, _, direction = part.partition(":")
        column = _named(columns, name)
        if column is None or direction not in ("", "asc", "desc"):
            raise illegal_argument(f"Unable to sort by unknown sort key `{part}`")
        found.append((column, direction == "desc"))
    return found


def _cell(value: Any, column: Column, unit: str | None) -> str:
    if column.kind != "bytes":
        return str(value)
    return str(value // _UNITS[unit]) if unit is not None else _with_unit(value)


def _with_unit(value: int) -> str:
    """Return bytes as Elasticsearch writes them: in the largest unit that leaves one, with one decimal, cut."""
    name = max((unit for unit, size in _UNITS.items() if value >= size), key=_UNITS.__getitem__, default="b")
    tenths = value * 10 // _UNITS[name]
    return f"{tenths // 10}.{tenths % 10}{name}" if tenths % 10 else f"{tenths // 10}{name}"


def _aligned(lines: list[list[str]], right: list[bool]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    shown = [
        " ".join(
            cell.rjust(width) if stands_right else cell.ljust(width)
            for cell, width, stands_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "".join(line + "\n" for line in shown)
