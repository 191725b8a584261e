"""The room that is left on the store's volume."""

from __future__ import annotations

import shutil
import time

from compose.store.errors import WritesBlockedError
from compose.store.settings import StoreSettings

_CHECK_SECONDS = 1.0


class Disk:
    """Looks at the free bytes, at most once a second.

    Args:
        settings: which folder, and how much is kept free.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._checked = float("-inf")
        self._free = 0

    def forget(self) -> None:
        """Look again at the next check."""
        self._checked = float("-inf")

    def check(self) -> None:
        """Refuse a write while the disk is nearly full.

        Raises:
            WritesBlockedError: with the bytes that are free.
        """
        now = time.monotonic()
        if now - self._checked >= _CHECK_SECONDS:
            self._free = shutil.disk_usage(self._settings.dir).free
            self._checked = now
        if self._free < self._settings.disk_reserve:
            raise WritesBlockedError(
                "blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has "
                f"read-only-allow-delete block]; {self._free} bytes are free in {self._settings.dir}, and "
                f"{self._settings.disk_reserve} are kept free (STORE_DISK_RESERVE)"
            )
