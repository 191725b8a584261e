"""Files that cannot be read now: said once, shown in /ready, and tried again after pauses that grow."""

from __future__ import annotations

import logging

from isal import isal_zlib

logger = logging.getLogger("shipper.unreadable")

# What reading a log may raise; the last one is a damaged .gz.
READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, isal_zlib.error)  # type: ignore[assignment]  # isal declares its error class as an instance
SHORTEST, LONGEST = 0.5, 30.0  # seconds between two attempts


class Trouble:
    """Why one file cannot be read.

    Attributes:
        text: what the system said.
        since: moment of the first attempt.
        pause: seconds until the next one.
        tried: moment of the newest attempt.
        look: size and time of modification then; another one is a reason to try at once.
    """

    __slots__ = ("look", "pause", "since", "text", "tried")

    def __init__(self, text: str, moment: float, look: tuple[int, int]) -> None:
        self.text = text
        self.since = self.tried = moment
        self.pause = SHORTEST
        self.look = look


class Unreadable:
    """The files that cannot be read, by path."""

    def __init__(self) -> None:
        self.troubles: dict[str, Trouble] = {}

    def rests(self, path: str, look: tuple[int, int], moment: float) -> bool:
        """Whether a file is not to be tried yet."""
        trouble = self.troubles.get(path)
        return trouble is not None and trouble.look == look and moment - trouble.tried < trouble.pause

    def failed(self, path: str, error: Exception, look: tuple[int, int], moment: float) -> None:
        """Note that an attempt failed; said when it is a new trouble."""
        text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        trouble = self.troubles.get(path)
        if trouble is None or trouble.text != text:
            logger.warning("%s cannot be read (%s); it is tried again", path, text)
            self.troubles[path] = Trouble(text, moment, look)
            return
        trouble.tried, trouble.look = moment, look
        trouble.pause = min(LONGEST, trouble.pause * 2)

    def cleared(self, path: str) -> None:
        """Note that a file can be read."""
        if self.troubles.pop(path, None):
            logger.info("%s can be read again", path)

    def keep(self, paths: set[str]) -> None:
        """Forget files that are not there any more."""
        for path in self.troubles.keys() - paths:
            del self.troubles[path]
