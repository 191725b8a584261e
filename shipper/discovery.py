"""Which files exist: the globs, looked at again and again, and notifications that only say when to look."""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import re
import stat
import threading
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


def find(globs: list[str], exclude: str) -> dict[tuple[int, int], Found]:
    """Return the regular files that the globs match now, by device and inode."""
    hidden = [pattern for pattern in exclude.split(":") if pattern]
    found: dict[tuple[int, int], Found] = {}
    for pattern in globs:
        for path in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - a Path per file costs more than the stat
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
