"""What has happened so far: counts, what waits and why, and the log lines that tell of both."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter

logger = logging.getLogger("shipper.delivery")

QUIET_SECONDS = 30  # the same trouble is logged no more often
_NUMBERS = re.compile(r"\d+")


class Tally:
    """What has happened, for metrics and status; safe to use from several threads.

    Attributes:
        counts: by verdict: acknowledged, already_there, dead_letter, late, and requests, retries, bytes.
        errors: by kind of error, how often a document was refused.
        stuck: by index, or `server`, why records wait; empty when nothing does.
        last_acknowledged: seconds since 1970; 0 before the first.
        last_error: the newest trouble.
        reachable: whether the last request was answered; None before the first.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.stuck: dict[str, str] = {}
        self.last_acknowledged = 0.0
        self.last_error: str | None = None
        self.reachable: bool | None = None
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._waits: dict[str, tuple[float, bool]] = {}

    def add(self, **amounts: int) -> None:
        """Add to counts."""
        with self._lock:
            self.counts.update(amounts)

    def trouble(self, key: str, text: str, level: int = logging.WARNING) -> bool:
        """Remember and log a trouble; the same key is logged at most twice a minute. Return whether it was logged."""
        now = time.monotonic()
        with self._lock:
            self.last_error = text
            silent = now - self._said.get(key, -60.0) < QUIET_SECONDS
            if not silent:
                if len(self._said) > 1000:
                    self._said.clear()
                self._said[key] = now
        if not silent:
            logger.log(level, "%s", text)
        return not silent

    def waits(self, key: str, reason: str, text: str, level: int) -> None:
        """Note that something waits; another reason for the same wait is logged at once, the same one seldom.

        Args:
            key: an index, or `server`.
            reason: for /ready and `status`.
            text: for the log.
            level: of the log.
        """
        self.stuck[key] = reason
        kind = _NUMBERS.sub("#", reason)[:60]  # numbers differ from attempt to attempt, the reason does not
        logged = self.trouble(f"{key} {kind}", text, level)
        with self._lock:
            since, told = self._waits.get(key, (time.monotonic(), False))
            self._waits[key] = (since, told or logged)

    def over(self, key: str) -> None:
        """Note that nothing waits there any more; the log says so where it told of the wait."""
        reason = self.stuck.pop(key, None)
        if reason is None:
            return
        with self._lock:
            since, told = self._waits.pop(key, (0.0, False))
        if told:
            brief = reason if len(reason) <= 160 else f"{reason[:160]}…"
            logger.info("%s goes on; it waited %.0f s, last for: %s", key, time.monotonic() - since, brief)
