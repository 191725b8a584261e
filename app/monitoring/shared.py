"""Numbers that the worker processes share: each writes a memory-mapped file of its own, any of them reads all.

A file outlives its process, so that what a killed worker counted stays in the window. The worker that replaces it takes
over its place and with that its files, and counts on in them: there are never more than workers at the same time, and
at no moment is anything read twice or missing. The folder is wiped when the service starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Clock = Callable[[], float]
Numbers = npt.NDArray[np.float64]


def _files(folder: Path, name: str) -> Iterator[Path]:
    yield from folder.glob(f"{name}.*.window")


def _read(path: Path, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return a file's numbers."""
    return np.fromfile(path, kind)


class Place:
    """The lowest number that no living process of the service has: it names the files that this process writes.

    Args:
        folder: shared by the processes.

    Attributes:
        number: from 0 on.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        for number in itertools.count():
            handle = os.open(folder / f"place-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it with the process
                break
            os.close(handle)
        self.number, self._handle = number, handle

    def leave(self) -> None:
        """Let another process have the place."""
        os.close(self._handle)


def allocate(path: Path, size: int) -> None:
    """Make a file of zeros, each of which has its place on the disk.

    Memory of a file without (a sparse one) ends the process with SIGBUS when it is written and the disk is full.

    Args:
        path: of the file.
        size: in bytes; a file of that size is left as it is.

    Raises:
        OSError: there is no place for it.
    """
    if path.exists() and path.stat().st_size == size:
        return
    try:
        path.write_bytes(bytes(size))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _mapped(path: Path, kind: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a file's numbers as memory: those that a former process left there, else zeros."""
    allocate(path, int(np.prod(shape)) * np.dtype(kind).itemsize)
    return np.memmap(path, kind, "r+", shape=shape)


class Window:
    """Sums over the last so many seconds, over all processes: a ring of slots, each with the time it stands for.

    Args:
        folder: shared by the processes.
        name: of the window; no dots.
        width: how many numbers are summed.
        slots, slot_seconds: the window is slots * slot_seconds long.
        clock: seconds since 1970, the same for all processes.
        place: of this process.
    """

    def __init__(
        self, folder: Path, name: str, width: int, slots: int, slot_seconds: float, clock: Clock, place: int = 0
    ) -> None:
        self._folder, self._name = folder, name
        self._shape = (slots + 1, width + 1)
        self._slots, self._slot_seconds = slots, slot_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # Seen as plain doubles: a handful of additions a request is faster without numpy.
        ring = _mapped(folder / f"{name}.{place}.window", np.float64, self._shape)
        self._ring: memoryview[float] = ring.data.cast("B").cast("d")

    def add(self, positions: Sequence[int], amounts: Sequence[float] | None = None) -> None:
        """Add amounts (1 each when not given) at positions; a position may occur more than once."""
        number = int(self._clock() // self._slot_seconds)
        rows, columns = self._shape
        start = number % rows * columns
        ring = self._ring
        with self._lock:
            if ring[start] != number:
                ring[start : start + columns] = memoryview(array("d", bytes(8 * columns)))
                ring[start] = number
            start += 1
            if amounts is None:
                for position in positions:
                    ring[start + position] += 1.0
            else:
                for position, amount in zip(positions, amounts, strict=True):
                    ring[start + position] += amount

    def total(self) -> Numbers:
        """Return the sums over the window and all processes, shape (width,)."""
        newest = int(self._clock() // self._slot_seconds)
        total = np.zeros(self._shape[1] - 1)
        for path in _files(self._folder, self._name):
            numbers = _read(path, np.float64)
            if numbers.size != self._shape[0] * self._shape[1]:  # being made at this moment
                continue
            ring = numbers.reshape(self._shape)
            recent = (ring[:, 0] > newest - self._slots) & (ring[:, 0] <= newest)
            total += ring[recent, 1:].sum(axis=0)
        return total


class ActiveUsers:
    """Distinct clients of the last minutes, over all processes, kept only as keyed hashes.

    Args:
        folder: shared by the processes.
        key: of the hash; made anew at each start of the service.
        seconds: for how long a client counts.
        clock: seconds since 1970.
        slots: most clients that one process keeps; beyond that the longest unseen of its neighbours is forgotten.
        place: of this process.
    """

    PROBES = 16

    def __init__(
        self, folder: Path, key: bytes, seconds: float, clock: Clock, slots: int = 1 << 16, place: int = 0
    ) -> None:
        self._folder, self._key, self._seconds, self._clock, self._slots = folder, key, seconds, clock, slots
        self._lock = threading.Lock()
        kind = np.dtype([("user", np.uint64), ("seen", np.float64)])
        self._kind = kind
        table = _mapped(folder / f"users.{place}.window", kind, (slots + self.PROBES,))
        # The same memory seen twice: numbers of users and times stand in turns.
        self._users: memoryview[int] = table.view(np.uint64).data.cast("B").cast("Q")
        self._times: memoryview[float] = table.view(np.float64).data.cast("B").cast("d")

    def seen(self, client: str) -> None:
        """Note that a client is there now."""
        digest = hashlib.blake2b(client.encode("utf-8", "replace"), digest_size=8, key=self._key).digest()
        user = int.from_bytes(digest, "little") or 1
        now = self._clock()
        first = 2 * (user % self._slots)
        users, times = self._users, self._times
        places = range(first, first + 2 * self.PROBES, 2)
        with self._lock:
            for place in places:
                if users[place] == user:
                    times[place + 1] = now
                    return
            place = min(places, key=lambda place: times[place + 1])
            users[place], times[place + 1] = user, now

    def count(self) -> int:
        """Return how many distinct clients were seen in the last minutes."""
        now = self._clock()
        oldest, newest = now - self._seconds, now + 1
        users = [np.empty(0, np.uint64)]
        for path in _files(self._folder, "users"):
            table = _read(path, self._kind)
            # One seen after now was seen before the clock was set back, or at this moment.
            recent = (table["user"] != 0) & (table["seen"] >= oldest) & (table["seen"] <= newest)
            users.append(table["user"][recent])
        return len(np.unique(np.concatenate(users)))
