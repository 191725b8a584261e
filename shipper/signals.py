"""SIGTERM, SIGINT and SIGHUP: taken from the first moment on, also as process 1, and acted on by a thread."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable

STOPS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Takes signals over; what came before `serve` is not lost.

    A handler runs in the midst of whatever the main thread does, perhaps while it holds the very lock that an Event's
    `set` wants. So the handler only puts a number into a queue made for that (`SimpleQueue.put` is reentrant).
    As process 1 of a container, a signal without a handler is dropped by the kernel: hence before anything else.
    """

    def __init__(self) -> None:
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (*STOPS, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._came.put(number))

    def serve(self, stop: Callable[[], None], reread: Callable[[], None]) -> None:
        """Act on signals from now on.

        Args:
            stop: called for SIGTERM and SIGINT.
            reread: called for SIGHUP.
        """

        def act() -> None:
            while True:
                if self._came.get() in STOPS:
                    stop()
                else:
                    reread()

        threading.Thread(target=act, name="signals", daemon=True).start()
