"""Trained models that all test processes share, and later runs of the same code: each is trained once."""

from __future__ import annotations

import fcntl
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def kept(name: str, train: Callable[[Path], object]) -> Path:
    """Return a folder of models to read or copy, in `.test/` under a hash of what they were made from.

    Args:
        name: what is trained.
        train: trains into the folder that it is given; called by the first process that needs it, others wait.
    """
    app = ROOT / "app"
    sources = [ROOT / "compose/locks/test.txt", *sorted([*app.rglob("*.py"), *app.rglob("*.json")])]
    made_from = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = ROOT / ".test" / f"{name}-{made_from}"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as room:
                train(Path(room) / "models")
                (Path(room) / "models").rename(folder)
    return folder
