"""What is not there any more: gaps in the app's file numbers, and remembered files that went with bytes unread."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path

from shipper.checkpoint import State
from shipper.discovery import OURS, Found
from shipper.wording import counted

logger = logging.getLogger("shipper.absence")

DAY = 86_400.0
MARGIN_SECONDS = 3600.0  # by which the app's clock may be behind
PARTING_SECONDS = 60.0  # a file renamed out of sight may still be written to, or come back as a copy


class Absences:
    """Counts what went before it was read.

    Args:
        state: of the checkpoint.
        counts: of what happened to files.
        forget_seconds: how long a file that is gone is remembered.
    """

    def __init__(self, state: State, counts: Counter[str], forget_seconds: float) -> None:
        self.forget_seconds = forget_seconds
        self._state = state
        self._counts = counts
        self._newest: dict[str, int] = {}
        self._over: set[str] = set()
        for record in state.records.values():
            if match := OURS.fullmatch(Path(record.path).name):
                self._newest[match[1]] = max(int(match[2]), self._newest.get(match[1], 0))

    def succeeded(self, path: str) -> bool:
        """Whether a file is one of the app's that a newer one has succeeded: nothing will be appended to it.

        Its process has begun the next one, or has ended: the app begins another file at midnight UTC, and what a killed
        process had not appended comes before the first file of the next start.
        """
        match = OURS.fullmatch(Path(path).name)
        return match is not None and (self._newest.get(match[1], 0) > int(match[2]) or path in self._over)

    def gaps(self, found: Iterable[Found], now: float) -> None:
        """Notice files of the app's that went before they were seen, by a gap in their numbers; and which are over.

        Args:
            found: all files.
            now: seconds since 1970.
        """
        seen: dict[str, set[int]] = {}
        old: list[tuple[str, str]] = []
        for file in found:
            match = OURS.fullmatch(Path(file.path).name)
            if match:
                seen.setdefault(match[1], set()).add(int(match[2]))
                if file.modified / 1e9 // DAY < (now - MARGIN_SECONDS) // DAY:
                    old.append((match[1], file.path))
        # The start of a process is in the name, and sorts as a text.
        latest = max((prefix.rpartition("-")[0] for prefix in seen), default="")
        self._over = {path for prefix, path in old if prefix.rpartition("-")[0] < latest}
        for prefix, numbers in seen.items():
            last = self._newest.get(prefix)
            if last is not None:
                lost = sorted(set(range(last + 1, max(numbers))) - numbers)
                if lost:
                    self._counts["lost_files"] += len(lost)
                    logger.error("%s: files %s went before they were read; their lines are lost", prefix, lost)
            self._newest[prefix] = max(*numbers, last or 0)

    def gone(self, attached: Container[str], now: float) -> set[str]:
        """Notice remembered files that are nowhere; forget them after their time.

        Args:
            attached: generations of the files under way.
            now: seconds since 1970; compared with what the checkpoint keeps.

        Returns:
            The generations whose records changed.
        """
        changed = set()
        for name, record in list(self._state.records.items()):
            if name in attached:
                continue
            if not record.gone_at or record.gone_at > now:
                record.gone_at = now
                changed.add(name)
            unread = record.size - record.offset
            if unread > 0 and now - record.gone_at >= PARTING_SECONDS:
                self._counts["lost_bytes"] += unread
                logger.error(
                    "%s went, and no copy of it turned up: %s not acknowledged, lost", record.path,
                    counted(unread, "byte", "was", "were"),
                )  # fmt: skip
                record.size = record.offset
                changed.add(name)
            if now - record.gone_at > self.forget_seconds:
                del self._state.records[name]
                changed.add(name)
        return changed
