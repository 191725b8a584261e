"""How many documents a search finds, counted beside its hits: by another thread with a connection of its own.

Both must see the same documents. So the count holds only if no load was committed while the search ran; else it is
repeated in the search's own transaction, which costs what counting there would have cost anyway.
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

    Arguments:
        deadlines: what ends a count that takes too long.
        seconds: how long one may take.
        threads: how many count at once; a search that finds them all at work counts by itself.
    """

    def __init__(self, deadlines: Deadlines, seconds: float, threads: int) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="totals")

    def begin(self, table: Table, condition: Condition, tracked: Any) -> Callable[[Any], Total]:
        """Begin to count; the caller's transaction must begin after this call.

        Arguments:
            table: whose documents.
            condition: of the documents.
            tracked: as in `total`.

        Returns:
            A function that returns the total, given the cursor of the caller's transaction.
        """
        before, counting = table.commits, None
        if tracked is not False and not before % 2:
            counting = self._pool.submit(self._count, table, condition, tracked)

        def ended(cursor: Any) -> Total:
            # One that no thread has begun is taken back.
            if counting is not None and not counting.cancel():
                found = counting.result()
                if table.commits == before:
                    return found
            return total(cursor, condition, tracked)

        return ended

    def _count(self, table: Table, condition: Condition, tracked: Any) -> Total:
        cursor = table.cursor()
        with self._deadlines.within(cursor, self._seconds):
            return total(cursor, condition, tracked)

    def stop(self) -> None:
        """Return when nothing counts any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def total(cursor: Any, condition: Condition, tracked: Any) -> dict[str, Any] | None:
    """Count what a condition selects.

    Arguments:
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
