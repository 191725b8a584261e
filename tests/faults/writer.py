"""A logger in a process of its own: writes numbered lines, rotates by renaming, never waits for anybody."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.shipper.conftest import line

LINES_PER_FILE = 400
LINES_PER_WRITE = 7


def main(folder: Path, stop: Path, pause: float) -> int:
    """Write until the file `stop` is there; return how many lines were written."""
    count = files = 0
    while not stop.exists():
        with (folder / "a.log").open("ab", buffering=0) as file:
            for _ in range(LINES_PER_FILE // LINES_PER_WRITE):
                file.write(b"".join(line(number) for number in range(count, count + LINES_PER_WRITE)))
                count += LINES_PER_WRITE
                time.sleep(pause)
        files += 1
        (folder / "a.log").rename(folder / f"a.log.{files}")
    return count


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
