"""One contender alone on a folder of logs: CPU seconds, wall time, peak memory, requests, bytes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import psutil

from tests.benchmarks.contenders import PATH, ROOT, Contender
from tests.benchmarks.sink import Counts

LOOK = 0.05  # seconds between two looks at the counts
STALLED = 60.0  # seconds without a new document: the contender is given up


class Lap(msgspec.Struct):
    """What one contender used for one run.

    Attributes:
        name: of the contender.
        documents: the sink has.
        expected: lines in the files.
        cpu: seconds, user and system, of the process and its ended children, from start to end.
        wall: seconds from start to the last document.
        peak: bytes of memory, the most that each process had, added up.
        counts: of the sink.
    """

    name: str
    documents: int
    expected: int
    cpu: float
    wall: float
    peak: int
    counts: Counts

    @property
    def per_cpu_second(self) -> float:
        """Documents per CPU second."""
        return self.documents / self.cpu


class BulkSink:
    """A sink that runs; close it with its context."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.sink"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}")

    def counts(self) -> Counts:
        """Return what has come."""
        return msgspec.json.decode(self._client.get("/_sink").content, type=Counts)

    def reset(self) -> None:
        """Begin again."""
        self._client.delete("/_sink")

    def cpu(self) -> float:
        """CPU seconds it has used so far."""
        used = psutil.Process(self.process.pid).cpu_times()
        return float(used.user + used.system)

    def close(self) -> None:
        """End it."""
        self._client.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def bulk_sink() -> Iterator[BulkSink]:
    """A sink for the block."""
    sink = BulkSink()
    try:
        yield sink
    finally:
        sink.close()


def peak_memory(pid: int) -> int:
    """Return the peak resident bytes of a process and its children, from /proc (VmHWM)."""
    total = 0
    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{member}/status").read_text(encoding="ascii")
            line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            total += int(line.split()[1]) * 1024
    return total


def read_through(logs: Path) -> None:
    """Read all files to their ends, so that the kernel has them in its cache."""
    for path in sorted(logs.glob("*.jsonl")):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                continue


def run(contender: Contender, logs: Path, expected: int, sink: BulkSink) -> Lap:
    """Run a contender on the logs until the sink has all lines, end it, and say what it used.

    All bytes are read before, so that each contender finds them in the kernel's cache. Fluent Bit drops a file from it
    that it has read (`posix_fadvise`), and whoever came next paid for reading the disk: half of its CPU time again.

    Args:
        contender: which; it begins without any state.
        logs: folder of `*.jsonl`.
        expected: lines in them.
        sink: where to.
    """
    sink.reset()
    read_through(logs)
    state = Path(tempfile.mkdtemp(prefix="ml-race-"))
    command, extra = contender.start(state, logs, sink.port)
    environment = {"PATH": PATH, "HOME": str(state), "LANG": "C.UTF-8", **extra}
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    output = (state / "output").open("wb")
    began = time.monotonic()
    program = shutil.which(command[0], path=PATH) or command[0]
    process = subprocess.Popen([program, *command[1:]], env=environment, cwd=state, stdout=output, stderr=output)
    try:
        counts, moved, peak = Counts(), began, 0
        while counts.documents < expected and time.monotonic() - moved < STALLED:
            time.sleep(LOOK)
            seen = sink.counts()
            if seen.documents + seen.duplicates > counts.documents + counts.duplicates:
                moved = time.monotonic()
            counts = seen
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):  # what it used is asked below
                break
        peak = peak_memory(process.pid)
        counts = sink.counts()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    used = ended(process)
    output.close()
    if counts.documents < expected:
        said = (state / "output").read_text(encoding="utf-8", errors="replace")[-2000:]
        print(f"{contender.name} delivered {counts.documents} of {expected}: {said}", file=sys.stderr)
    counts = sink.counts()
    shutil.rmtree(state, ignore_errors=True)
    return Lap(contender.name, counts.documents, expected, used, counts.last_at - began, peak, counts)


def ended(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end; return the CPU seconds of the process and of the children it waited for."""
    limit = time.monotonic() + 30
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime
        if time.monotonic() > limit:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.01)
