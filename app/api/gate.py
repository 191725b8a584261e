"""Lets only so many requests work at the same moment."""

from __future__ import annotations

import threading


class Gate:
    """Lets so many requests run and so many wait; the rest is told to come back.

    Args:
        running: requests that work at the same moment.
        waiting: requests that may wait for one of those to leave.
        seconds: how long one waits at most.
    """

    def __init__(self, running: int, waiting: int, seconds: float) -> None:
        self._running = threading.Semaphore(running)
        self._places = threading.Semaphore(running + waiting)
        self._seconds = seconds

    def enter(self) -> bool:
        """Wait for one's turn; False when there is no place, or it took too long."""
        if not self._places.acquire(blocking=False):
            return False
        if self._running.acquire(timeout=self._seconds):
            return True
        self._places.release()
        return False

    def leave(self) -> None:
        """End one's turn."""
        self._running.release()
        self._places.release()
