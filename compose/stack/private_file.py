"""Writes a file whole or not at all, with the rights it shall have from its first byte on."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, text: str, mode: int) -> None:
    """Put `text` in the place of what `path` held; after a crash it is the old file or the new one.

    Args:
        path: in a folder that can be written.
        text: the whole content.
        mode: permission bits, whatever the umask says.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    fresh = path.with_name(f".{path.name}.tmp")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as writer:
        writer.write(text)
        writer.flush()
        os.fsync(writer.fileno())
    fresh.chmod(mode)
    fresh.replace(path)
