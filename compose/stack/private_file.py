"""Files that hold a secret: written whole or not at all, with their rights from the first byte on, and read."""

from __future__ import annotations

import os
from pathlib import Path

from compose.environment import SettingsError


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


def read(path: Path) -> str:
    """Return the secret that a file holds, without the white space around it.

    Raises:
        SettingsError: it cannot be read, is no text, or holds nothing.
    """
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} holds no text: a password, key or token in UTF-8 is wanted") from None
    if not secret:
        raise SettingsError(f"{path} is empty: a password, key or token is wanted in it")
    return secret
