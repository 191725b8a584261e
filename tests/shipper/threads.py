"""Workers of a shipper as threads of the test's own process: the same code over the same kind of socket."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading

from shipper.worker import work


class Thread:
    """A thread that looks like a process to the shipper; it ends when its socket does, as a process would.

    A killed process can have a request under way that is answered all the same; so can this.
    """

    def __init__(self, end: socket.socket) -> None:
        self.pid = os.getpid()
        self._end = end
        self._thread = threading.Thread(target=work, args=(end, lambda: None), daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        """Return 0 when it has ended."""
        return None if self._thread.is_alive() else 0

    def kill(self) -> None:
        """Take its way to the shipper."""
        with contextlib.suppress(OSError):  # it may be ending by itself
            self._end.shutdown(socket.SHUT_RDWR)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        return 0


def thread(end: socket.socket, number: int) -> Thread:
    """Start a worker; see `shipper.crew.launch`."""
    return Thread(end)
