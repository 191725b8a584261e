"""Lines that were changed or not sent, told in the log: at the first one, then at most once a minute."""

from __future__ import annotations

from collections import Counter

MINUTE = 60.0
MEANING = {
    "expired": "older than SHIPPER_RETENTION_DAYS, and not sent",
    "future": "dated more than a day ahead, sent to ml-pipeline-undated",
    "undated": "without any time (@timestamp), sent to ml-pipeline-undated (`ml-shipper check` says what they lack)",
    "cut": "longer than SHIPPER_MAX_LINE_BYTES, cut and sent as text",
    "wrapped": "no JSON object, sent as text (search for logger:shipper)",
    "not_utf8": "not in UTF-8, repaired",
    "nul": "with NUL bytes, repaired",
    "stamp_invalid": "with an @timestamp that is none",
}


class Treatments:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told: Counter[str] = Counter()
        self._at = -MINUTE

    def news(self, counts: Counter[str], moment: float) -> str:
        """Return one sentence about what came since the last one; empty when nothing did, or too soon.

        Args:
            counts: how many lines, by what was done to them, since the start.
            moment: of the monotonic clock, seconds.
        """
        if moment - self._at < MINUTE:
            return ""
        found = {kind: counts[kind] - self._told[kind] for kind in MEANING}
        # A line that is cut is wrapped as well: it is told of once.
        found["wrapped"] -= min(found["wrapped"], found["cut"])
        parts = [f"{count:,} {MEANING[kind]}" for kind, count in found.items() if count > 0]
        if not parts:
            return ""
        self._told, self._at = Counter({kind: counts[kind] for kind in MEANING}), moment
        return f"lines that are not as they should be: {'; '.join(parts)}"
