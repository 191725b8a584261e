"""What a process of the shipper does about memory: that of one batch is used for the next, imports are not garbage.

For the programs alone, not for the classes they run: it holds for a whole process, and that may be another's.
"""

from __future__ import annotations

import ctypes
import gc
import sys

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
LARGEST_BODY = 8 * 1024 * 1024
KEPT = 32 * 1024 * 1024


def keep_freed() -> None:
    """Let glibc keep some freed memory, and take large pieces from it; elsewhere nothing is done.

    Left alone, it decides by the order of the first large pieces: in some runs each body was then mapped, cleared and
    unmapped by the kernel, which cost up to a third of the CPU time.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGEST_BODY)
        mallopt(_TRIM_THRESHOLD, KEPT)


def keep_imported() -> None:
    """Spare the garbage collector what is loaded by now, and let it work from here on."""
    gc.freeze()
    gc.enable()
