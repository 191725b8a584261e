"""The quick way to read a document: typed, in one step, where every value is what the mapping has in mind.

A document that is not like that (another type, an array, a field that the mapping lacks) is read by `document.py`,
which knows what Elasticsearch does with it. Both ways find the same values; a test compares them.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from compose.store.dates import DEFAULT_FORMAT
from compose.store.duplicates import colons, repeated_name
from compose.store.mapping import Field, Mapping
from compose.store.mapping_checks import RANGES
from compose.store.timestamps import read_timestamps

_MAX_KEYWORD = 8191  # characters that are certainly no more than the bytes of Lucene's longest term
_MAX_FLOAT = 3.4028235677973366e38
_values = msgspec.structs.astuple
_read_date = dt.datetime.fromisoformat
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


class Column(msgspec.Struct, frozen=True):
    """One column of a document that a layout has read.

    Attributes:
        key: of the column.
        kind: of the field.
        path: the document's member that it takes its value from.
        place: position in what `read` returns; None where the database takes the value from the source itself.
    """

    key: str
    kind: str
    path: str
    place: int | None


class Layout:
    """The fields of a mapping that are read quickly.

    Attributes:
        columns: what a document gives.
        types: path → type of the column, of what the database takes from the source.
    """

    def __init__(self, fields: dict[str, list[Field]]) -> None:
        columns: list[Column] = []
        definition: list[tuple[str, Any, Any]] = []
        names: dict[str, str] = {}
        dates: list[str] = []
        kept: list[str] = []
        for number, (path, several) in enumerate(fields.items()):
            attribute = f"f{number}"
            names[attribute] = path
            definition.append((attribute, _type_of(several), None))
            if any(field.kind in ("date", "text") for field in several):
                kept.append(attribute)
            if several[0].kind == "date":
                dates.append(attribute)
            for field in several:
                place = len(kept) - 1 if field.kind in ("date", "text") else None
                columns.append(Column(field.key, field.kind, path, place))
        self.columns = tuple(columns)
        self.types = {column.path: column.kind for column in columns if column.place is None}
        record = msgspec.defstruct(
            "Record", definition, rename=names, forbid_unknown_fields=True, gc=False, module=__name__
        )
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(record).decode
        self._dates = tuple(dates)
        self._kept = attrgetter(*kept, *kept[:1]) if kept else lambda _record: ()
        self._size = len(definition)
        self._getters = [(attrgetter(name), name in dates) for name in kept]

    def read(self, source: bytes) -> tuple[Any, ...] | None:
        """Return a document's dates, as milliseconds since 1970, and texts; None where the slow way must read it."""
        try:
            record = self._decode(source)
            values = _values(record)
            # As many colons behind quotes as values: no name is there twice. Else it has to be looked for.
            if len(values) - values.count(None) != source.count(b'":') and repeated_name(source) is not None:
                return None
            for attribute in self._dates:
                value = getattr(record, attribute)
                if value is not None:
                    if len(value) < 20 or value[10] != "T" or value[7] != "-" or value[-1] != "Z":
                        return None
                    setattr(record, attribute, (_read_date(value) - _EPOCH) // _MILLISECOND)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None
        found: tuple[Any, ...] = self._kept(record)
        return found

    def read_all(self, sources: list[bytes], text: bytes) -> Sequence[tuple[Any, ...]] | None:
        """Return for each document what `read` returns; None where the slow way must read any of them.

        Args:
            sources: the documents.
            text: all of them, a line each.
        """
        decode = self._decode
        try:
            records = [decode(source) for source in sources]
            valued = self._size * len(records) - sum([_values(record).count(None) for record in records])
        except (ValueError, RecursionError):
            return None
        columns = []
        for get, is_date in self._getters:
            values: list[Any] | None = list(map(get, records))
            if is_date and values is not None:
                values = read_timestamps(values)
            columns.append(values)
        if None in columns or valued != colons(text):
            # Dates of several forms, nulls, or strings that hold what looks like a name: one by one.
            found = list(map(self.read, sources))
            return None if None in found else found  # type: ignore[return-value]  # as it says
        return list(zip(*columns, strict=True)) if columns else [()] * len(records)


def _type_of(several: list[Field]) -> Any:
    """Return the type of a value that all fields of a path take as it is."""
    kind = several[0].kind
    if kind in ("keyword", "text"):
        longest = min((field.ignore_above for field in several if field.kind == "keyword"), default=2**31 - 1)
        keyword = any(field.kind == "keyword" for field in several)
        if keyword:
            longest = min(longest, _MAX_KEYWORD)
        return Annotated[str, msgspec.Meta(max_length=longest)] | None
    if kind == "long":
        limit = 1 << min(RANGES[field.type] for field in several)
        return Annotated[int, msgspec.Meta(ge=-limit, le=limit - 1)] | None
    if kind == "float":
        return Annotated[float, msgspec.Meta(ge=-_MAX_FLOAT, le=_MAX_FLOAT)] | None
    return {"double": float, "boolean": bool, "date": str}[kind] | None


def _fits(path: str, several: list[Field]) -> bool:
    kinds = {field.kind for field in several}
    return (
        "." not in path
        and (len(kinds) == 1 or kinds == {"keyword", "text"})
        and all(
            field.null_value is None
            and field.type != "half_float"
            and (field.kind != "date" or field.format == DEFAULT_FORMAT)
            and (field.kind != "long" or field.type != "unsigned_long")
            for field in several
        )
        and len(several) == len({field.key for field in several})
    )


@functools.lru_cache(maxsize=256)
def _shared(fields: tuple[tuple[str, tuple[Field, ...]], ...]) -> Layout:
    return Layout({path: list(several) for path, several in fields})


def layout_of(mapping: Mapping) -> Layout:
    """Return the layout of a mapping; indices with the same fields share one."""
    if mapping.layout is None:
        # The database does not tell `Level` from `level`.
        folded = Counter(path.lower() for path in mapping.by_parent)
        chosen = tuple(
            (path, tuple(several))
            for path, several in mapping.by_parent.items()
            if _fits(path, several) and folded[path.lower()] == 1
        )
        mapping.layout = _shared(chosen)
    return mapping.layout
