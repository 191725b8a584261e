"""Which changes of documents are in the translog and not in the table yet, by index and id."""

from __future__ import annotations

import itertools
import operator
from collections import deque
from collections.abc import Iterator, Sequence

from compose.store.rows import Operation

_id_of = operator.attrgetter("id")
_number_of = operator.attrgetter("number")


class Pending:
    """The newest change of each document that waits to be loaded."""

    def __init__(self) -> None:
        self._changes: dict[int, dict[str, Operation]] = {}

    def get(self, number: int, name: str) -> Operation | None:
        """Return the newest change of a document; None where none waits."""
        changes = self._changes.get(number)
        return changes.get(name) if changes else None

    def ids(self, number: int) -> list[str]:
        """Return the ids of an index that wait."""
        return list(self._changes.get(number, ()))

    def add(self, operations: Sequence[Operation]) -> None:
        """Take changes in their order."""
        for number, group in _runs(operations):
            self._changes.setdefault(number, {}).update(zip(map(_id_of, group), group, strict=True))

    def remove(self, operations: Sequence[Operation]) -> None:
        """Forget changes, but for those that were followed by another of the same document."""
        for number, group in _runs(operations):
            changes = self._changes.get(number)
            if not changes:
                continue
            ids = list(map(_id_of, group))
            if all(map(operator.is_, map(changes.get, ids), group)):
                deque(map(changes.pop, ids), maxlen=0)
            else:
                for name, change in zip(ids, group, strict=True):
                    if changes.get(name) is change:
                        del changes[name]
            if not changes:
                del self._changes[number]

    def drop(self, number: int) -> None:
        """Forget all changes of an index."""
        self._changes.pop(number, None)

    def clear(self) -> None:
        """Forget everything."""
        self._changes.clear()


def _runs(operations: Sequence[Operation]) -> Iterator[tuple[int, Sequence[Operation]]]:
    """Return operations of the same index that follow each other, with its number."""
    numbers = list(map(_number_of, operations))
    start = 0
    for number, group in itertools.groupby(numbers):
        end = start + sum(1 for _ in group)
        yield number, operations[start:end] if end - start < len(operations) else operations
        start = end
