"""`python3 compose …`: makes `.venv` on first use, then runs `python -m compose.stack …` in it."""

from __future__ import annotations

import sys
from pathlib import Path

# The root, not this folder, goes on the path: `python3 compose` would put the folder there.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compose.bootstrap import run  # noqa: E402 - the path comes first

if __name__ == "__main__":
    run("compose.stack", sys.argv[1:], lock="runtime")
