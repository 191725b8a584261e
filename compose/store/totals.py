"""How many documents a search finds, counted beside its hits: by another thread with a connection of its own.

Both must see the same documents. So the count holds only if no load was committed while the search ran; else it is
repeated in a transaction with the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from compose.store.conditions import Condition
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
        self, table: Table, condition: Condition, tracked: Any, seconds: float
    ) -> Callable[[], tuple[bool, Total]]:
        """Begin to count; the caller must not have begun to read before this call.

        Args:
            table: whose documents.
            condition: of the documents.
            tracked: as in `total`.
            seconds: how long it may take.

        Returns:
            A function that returns whether the total is of the moment that the caller has read, and the total.
        """
        before = table.commits
        if tracked is False:
            return lambda: (True, None)
        if before % 2:
            return lambda: (False, None)
        counting = self._pool.submit(self._count, table, condition, tracked, seconds)

        def ended() -> tuple[bool, Total]:
            if counting.cancel():  # no thread has begun it
                return False, None
            found = counting.result()
            return table.commits == before, found

        return ended

    def _count(self, table: Table, condition: Condition, tracked: Any, seconds: float) -> Total:
        cursor = table.cursor()
        with self._deadlines.within(cursor, seconds):
            return total(cursor, condition, tracked)

    def stop(self) -> None:
        """Return when nothing counts any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def total(cursor: Any, condition: Condition, tracked: Any) -> dict[str, Any] | None:
    """Count what a condition selects.

    Args:
        cursor: of the database.
        condition: of the documents.
        tracked: up to how many are counted; True for all, False for none.

    Returns:
        The total as a search shows it; None where nothing is counted.
    """
    if tracked is False:
        return None
    text, values = condition
    if tracked is True:
        value = cursor.execute(f"SELECT count(*) FROM documents WHERE {text}", values).fetchone()[0]  # noqa: S608 - see sql
        return {"value": value, "relation": "eq"}
    limit = int(tracked)
    value = cursor.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM documents WHERE {text} LIMIT {limit + 1})",  # noqa: S608 - see sql
        values,
    ).fetchone()[0]
    return {"value": min(value, limit), "relation": "gte" if value > limit else "eq"}
