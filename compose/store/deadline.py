"""What ends a statement that takes too long: one thread for all, that interrupts it again and again until it ends.

Once would not do: a request has several statements, and an interruption between two of them is lost.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

_AGAIN = 0.01  # seconds from one interruption to the next


class Deadlines:
    """Which connections are at work, and until when they may be."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[float, duckdb.DuckDBPyConnection]] = {}
        self._next = 0
        self._changed = threading.Condition()
        self._asleep_until = 0.0
        self._thread: threading.Thread | None = None
        self._stopping = False

    @contextmanager
    def within(self, cursor: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
        """Interrupt a connection's statements from so many seconds on; they raise duckdb.InterruptException."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._next += 1
            token = self._next
            self._running[token] = (deadline, cursor)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()
            elif deadline < self._asleep_until:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._running[token]

    def stop(self) -> None:
        """End the thread; call it when no connection is at work any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._stopping:
                now, first = time.monotonic(), math.inf
                for deadline, cursor in self._running.values():
                    if deadline <= now:
                        cursor.interrupt()
                    first = min(first, max(deadline, now + _AGAIN))
                    del cursor  # or this thread would keep the last one alive
                self._asleep_until = first
                self._changed.wait(None if first == math.inf else first - now)
