"""Which files exist: the globs, looked at again and again, and notifications that only say when to look."""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

logger = logging.getLogger("shipper.discovery")

OURS = re.compile(r"(app-\d{8}T\d{6}Z-\d+)-(\d{6})\.jsonl")


class Found(NamedTuple):
    """A file on disk: each once, whatever the number of its names."""

    path: str
    device: int
    inode: int
    size: int
    modified: int


def _matching(pattern: str) -> Iterator[str]:
    """Yield the paths that a glob matches; below `**` each folder once, however many links lead to it.

    The library's own `**` goes round where a link leads to a folder above it: two such links make 2^40 paths.
    """
    top, deep, rest = pattern.partition("**/")
    if not deep or not top.endswith(("/", "")):
        yield from glob.iglob(pattern)  # noqa: PTH207 - a Path per file costs more than the stat
        return
    seen: set[tuple[int, int]] = set()
    for start in glob.iglob(top) if top else [""]:  # noqa: PTH207 - see above
        for folder, below, _ in os.walk(start or ".", followlinks=True):
            place = os.stat(folder)  # noqa: PTH116 - see above
            if (place.st_dev, place.st_ino) in seen:
                below.clear()
                continue
            seen.add((place.st_dev, place.st_ino))
            below[:] = sorted(name for name in below if not name.startswith("."))
            yield from _matching(os.path.join(glob.escape(folder), rest))  # noqa: PTH118 - see above


def find(globs: list[str], exclude: str) -> dict[tuple[int, int], Found]:
    """Return the regular files that the globs match now, by device and inode."""
    hidden = [pattern for pattern in exclude.split(":") if pattern]
    found: dict[tuple[int, int], Found] = {}
    for pattern in globs:
        for path in sorted(_matching(pattern)):
            name = os.path.basename(path)  # noqa: PTH119 - a Path for each of 10,000 files costs more than the stat
            if any(fnmatch.fnmatch(name, other) or fnmatch.fnmatch(path, other) for other in hidden):
                continue
            try:
                seen = os.stat(path)  # noqa: PTH116 - see above
            except OSError:
                continue  # gone between the two looks; the next one tells
            if stat.S_ISREG(seen.st_mode):
                found.setdefault(
                    (seen.st_dev, seen.st_ino), Found(path, seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)
                )
    return found


class Watch(FileSystemEventHandler):
    """Sets an event when something happens in the folders; polling goes on regardless.

    Args:
        globs: whose fixed folders are watched.
        wake: the event.
    """

    def __init__(self, globs: list[str], wake: threading.Event) -> None:
        self._wake = wake
        self._folders = {str(Path(pattern).parent) for pattern in globs}
        self._watched: set[str] = set()
        self._observer = Observer()
        self._observer.daemon = True
        try:
            self._observer.start()
        except OSError as error:
            logger.warning("no notifications (%s): polling alone", error)
            self._folders = set()

    def refresh(self) -> None:
        """Watch folders that have come to exist."""
        for folder in list(self._folders - self._watched):
            if glob.has_magic(folder) or not Path(folder).is_dir():
                continue
            try:
                self._observer.schedule(self, folder)
                self._watched.add(folder)
            except OSError as error:
                logger.warning("%s: no notifications (%s): polling alone", folder, error)
                self._folders.discard(folder)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take any change as a reason to look."""
        if event.event_type in ("created", "modified", "moved", "deleted"):
            self._wake.set()

    def stop(self) -> None:
        """End the watching thread."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
