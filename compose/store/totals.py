"""How many documents a search finds, counted beside its hits: by another thread with a connection of its own.

Both must see the same documents. So the count holds only if no load was committed while the search ran; else it is
repeated in a transaction with the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from compose.store.conditions import FALSE, Condition
from compose.store.deadline import Deadlines
from compose.store.table import Table

Total = dict[str, Any] | None


class Totals:
    """Counts for searches.

    Args:
        deadlines: what ends a count that takes too long.
        threads: how many count at once; a search that finds them all at work counts by itself.
    """

    def __init__(self, deadlines: Deadlines, threads: int) -> None:
        self._deadlines = deadlines
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="totals")

    def begin(
        self, table: Table, condition: Condition, tracked: Any, seconds: float, known: int = 0
    ) -> Callable[[], tuple[bool, Total]]:
        """Begin to count; the caller must not have begun to read before this call.

        Args:
            table: whose documents.
            condition: of the documents.
            tracked: as in `total`.
            seconds: how long it may take.
            known: how many more there are, that the condition does not select.

        Returns:
            A function that returns whether the total is of the moment that the caller has read, and the total.
        """
        before = table.commits
        if tracked is False:
            return lambda: (True, None)
        if before % 2:
            return lambda: (False, None)
        if condition == FALSE:
            return lambda: (table.commits == before, _shown(known, tracked))
        counting = self._pool.submit(self._count, table, condition, tracked, seconds, known)

        def ended() -> tuple[bool, Total]:
            if counting.cancel():  # no thread has begun it
                return False, None
            found = counting.result()
            return table.commits == before, found

        return ended

    def _count(self, table: Table, condition: Condition, tracked: Any, seconds: float, known: int) -> Total:
        cursor = table.cursor()
        with self._deadlines.within(cursor, seconds):
            return total(cursor, condition, tracked, known)

    def stop(self) -> None:
        """Return when nothing counts any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def total(cursor: Any, condition: Condition, tracked: Any, known: int = 0) -> Total:
    """Count what a condition selects.

    Args:
        cursor: of the database.
        condition: of the documents.
        tracked: up to how many are counted; True for all, False for none.
        known: how many more there are, that the condition does not select.

    Returns:
        The total as a search shows it; None where nothing is counted.
    """
    if tracked is False:
        return None
    text, values = condition
    rows = f"documents WHERE {text}"
    if tracked is not True:
        rows = f"(SELECT 1 FROM {rows} LIMIT {int(tracked) + 1})"  # noqa: S608 - see sql
    (counted,) = cursor.execute(f"SELECT count(*) FROM {rows}", values).fetchone()  # noqa: S608 - see sql
    return _shown(known + counted, tracked)


def _shown(value: int, tracked: Any) -> Total:
    if tracked is True or value <= int(tracked):
        return {"value": value, "relation": "eq"}
    return {"value": int(tracked), "relation": "gte"}
