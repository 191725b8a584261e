"""When the app is gone, a sidecar may go: by a file that appears, a file that goes, or a process that ended."""

from __future__ import annotations

import re
from pathlib import Path

from shipper.errors import SettingsError

_FORM = re.compile(r"(exists|gone|ended):(/.+)")


class Leaving:
    """Knows whether the app is gone.

    Args:
        when: `exists:/path` (a file that the app's container leaves at its end), `gone:/path` (a file that is there as
            long as the app runs), or `ended:/path` (a file with the app's process number, which must be visible
            from here: in Kubernetes by shareProcessNamespace). Empty for never.

    Raises:
        SettingsError: it has another form.
    """

    def __init__(self, when: str) -> None:
        found = _FORM.fullmatch(when)
        if when and found is None:
            raise SettingsError(f"SHIPPER_LEAVE_WHEN={when}: it is exists:/path, gone:/path or ended:/path")
        self._kind, self._path = (found[1], Path(found[2])) if found else ("", Path())
        self._seen: tuple[int, str] | None = None
        self._there = False

    def now(self) -> bool:
        """Whether the app is gone; what was never there is not gone, for the sidecar may be the first to start."""
        if not self._kind:
            return False
        there = self._path.exists()
        if self._kind == "exists":
            return there
        if self._kind == "gone":
            self._there |= there
            return self._there and not there
        return self._ended()

    def _ended(self) -> bool:
        try:
            number = int(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return self._seen is not None and not _alive(self._seen[0], self._seen[1])
        born = _born(number)
        if born:
            self._seen = number, born
            return False
        return self._seen is not None


def _born(number: int) -> str:
    """Return the start time of a living process as the kernel writes it (proc_pid_stat(5)); empty where none lives."""
    try:
        text = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return "" if fields[0] in "ZXx" else fields[19]


def _alive(number: int, born: str) -> bool:
    return _born(number) == born
