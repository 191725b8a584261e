"""Refuses a Python that is too old with a sentence. Kept to what Python 2.7 can read: no annotations, plain ASCII."""

import sys

OLDEST = (3, 11)


def refuse_old(version=None):
    """End with a sentence where the running Python is older than OLDEST.

    Args:
        version: as sys.version_info; the running one's by default.
    """
    found = tuple(version or sys.version_info)[:2]
    if found >= OLDEST:
        return
    wanted = ".".join(map(str, OLDEST))
    words = "error: Python " + wanted + " or newer is needed, this is " + ".".join(map(str, found))
    words += " at " + str(sys.executable) + ". Install one (Debian 12 or newer: apt-get install python3), then for"
    words += " example: python3.12 " + " ".join(sys.argv)
    sys.exit(words)
