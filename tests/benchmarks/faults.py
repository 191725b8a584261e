"""What goes wrong in production, done to one contender in the same way: what it stored once, twice or not at all."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from elasticsearch import ApiError, Elasticsearch, helpers

from tests.benchmarks import log_files
from tests.benchmarks.contenders import PATH, Contender
from tests.elasticsearch.installation import install, uninstall

CHUNK = 200  # lines written at a time
PAUSE = 0.05  # seconds between two chunks
SETTLED = 15.0  # seconds without a new document: no more will come
_MARK = re.compile(rb"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")  # a request id's first half, random
PATIENCE = 150.0  # seconds at most for a scenario's documents; the longest pause of a contender between two tries is 60


class Outcome(msgspec.Struct):
    """What became of a scenario's lines.

    Attributes:
        contender: its name.
        scenario: its name.
        written: lines.
        stored: lines that Elasticsearch has at least once.
        doubled: documents beyond the first of a line.
        named: lines that are not stored, but kept or named in a file that the contender wrote.
    """

    contender: str
    scenario: str
    written: int
    stored: int
    doubled: int
    named: int

    @property
    def silent(self) -> int:
        """Lines that are nowhere: neither stored, nor kept, nor named."""
        return self.written - self.stored - self.named


class Gate:
    """A door before Elasticsearch that can be shut: connections are refused, and those there are end."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._pairs: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._behind))
                self._pairs |= {near, far}
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def shut(self) -> None:
        """Refuse what comes, and end what is there."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._pairs.clear()

    def open(self) -> None:
        """Let connections through again."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._serve()


class Trial:
    """One contender on a folder of its own, with a writer that writes numbered lines."""

    def __init__(self, contender: Contender, client: Elasticsearch, gate: Gate) -> None:
        self.client = client
        self.gate = gate
        self.room = Path(tempfile.mkdtemp(prefix="ml-faults-"))
        self.logs, self.state = self.room / "logs", self.room / "state"
        self.logs.mkdir()
        self.state.mkdir()
        self.file = self.logs / "app.jsonl"
        self.marks: list[bytes] = []  # a word of each line, found in no other
        self._lines = self._numbered()
        self._command, self._extra = contender.start(self.state, self.logs, gate.port)
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def _numbered() -> Iterator[bytes]:
        midnight = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for block in log_files.lines(1_000_000, 0, midnight - dt.timedelta(days=1)):
            yield from block.splitlines(keepends=True)

    def begin(self) -> None:
        """Start the contender, or start it again."""
        environment = {"PATH": PATH, "HOME": str(self.state), "LANG": "C.UTF-8", **self._extra}
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        with (self.state / "output").open("ab") as output:
            program = shutil.which(self._command[0], path=PATH) or self._command[0]
            self._process = subprocess.Popen(
                [program, *self._command[1:]], env=environment, cwd=self.state, stdout=output, stderr=output
            )

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the contender by a signal."""
        assert self._process is not None
        self._process.send_signal(number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def write(self, count: int, change: Callable[[int, bytes], bytes] = lambda _, line: line) -> None:
        """Append so many lines as a service does, a few at a time.

        Args:
            count: of lines.
            change: of the number of a line within this call and the line: what is written in its place.
        """
        for start in range(0, count, CHUNK):
            chunk = []
            for number in range(start, min(start + CHUNK, count)):
                line = next(self._lines)
                self.marks.append(line.partition(b'"request_id":"')[2][:16])
                chunk.append(change(number, line))
            with self.file.open("ab", buffering=0) as file:
                file.write(b"".join(chunk))
            time.sleep(PAUSE)

    def stored(self) -> int:
        """Count the documents."""
        self.client.indices.refresh(index="ml-pipeline-*", ignore_unavailable=True)
        try:
            return int(self.client.count(index="ml-pipeline-*", ignore_unavailable=True)["count"])
        except ApiError as error:
            if error.meta.status != 503:
                raise
            return -1  # an index was made at this moment, and none can be asked of it yet

    def settle(self, patience: float = SETTLED) -> None:
        """Wait until every line is there, or nothing has come for so many seconds."""
        began = moved = time.monotonic()
        count = -1
        while time.monotonic() - moved < patience and time.monotonic() - began < PATIENCE:
            if (now := self.stored()) != count:
                count, moved = now, time.monotonic()
            if count >= len(self.marks) and time.monotonic() - moved > 3:  # a double may follow at once
                break
            time.sleep(0.25)

    def outcome(self, contender: str, scenario: str) -> Outcome:
        """Look at what is there, and at what the contender's own files say of the rest."""
        known = set(self.marks)
        found: Counter[bytes] = Counter()
        for hit in helpers.scan(self.client, index="ml-pipeline-*", size=5000, ignore_unavailable=True):
            text = msgspec.json.encode(hit["_source"])
            found.update({mark for mark in _MARK.findall(text) if mark in known})
        own = b"".join(path.read_bytes() for path in self.state.rglob("*") if path.is_file())
        named = set(_MARK.findall(own)) & (known - found.keys())
        doubled = sum(found.values()) - len(found)
        return Outcome(contender, scenario, len(self.marks), len(found), doubled, len(named))

    def close(self) -> None:
        """End the contender and forget its folder."""
        if self._process is not None and self._process.poll() is None:
            self.end()
        shutil.rmtree(self.room, ignore_errors=True)


# -- the scenarios: each leaves the contender running


def killed(trial: Trial) -> None:
    """SIGKILL five times while lines are written; started again at once."""
    trial.begin()
    for _ in range(5):
        trial.write(1500)
        trial.end(signal.SIGKILL)
        trial.write(500)
        trial.begin()
    trial.write(1000)


def renamed(trial: Trial) -> None:
    """Rotation by rename, four times, with one SIGKILL right after the second."""
    trial.begin()
    for number in range(4):
        trial.write(2000)
        trial.file.rename(trial.logs / f"app-{number}.jsonl")
        if number == 1:
            trial.end(signal.SIGKILL)
            trial.begin()
    trial.write(1000)


def copied(trial: Trial) -> None:
    """Rotation by copy and truncation, three times; the copy has a name that is followed too, and all had been read."""
    trial.begin()
    for number in range(3):
        trial.write(2000)
        trial.settle(5)
        shutil.copy(trial.file, trial.logs / f"app-{number}.jsonl")
        os.truncate(trial.file, 0)
    trial.write(1000)


def deleted(trial: Trial) -> None:
    """A file that was read is deleted, and a longer one is made in its place, three times: its inode may come again."""
    trial.begin()
    for number in range(3):
        trial.write(1000 + 1000 * number)
        trial.settle(5)
        trial.file.unlink()
    trial.write(4000)


def refused(trial: Trial) -> None:
    """Fifty lines of 5,000 have an object where the mapping has a keyword: Elasticsearch refuses them for ever."""
    trial.begin()
    trial.write(
        5000,
        lambda number, line: (
            line.replace(b'"endpoint":"/predict"', b'"endpoint":{"path":"/predict"}') if number % 100 == 50 else line
        ),
    )


def broken(trial: Trial) -> None:
    """Fifty lines of 5,000 are cut in the middle, as a full disk cuts them: no JSON."""
    trial.begin()
    trial.write(5000, lambda number, line: line[:170] + b"\n" if number % 100 == 50 else line)


def away(trial: Trial) -> None:
    """Elasticsearch is away for fifteen seconds; the shipper is killed meanwhile and started again."""
    trial.begin()
    trial.write(2000)
    trial.gate.shut()
    trial.write(3000)
    time.sleep(5)
    trial.end(signal.SIGKILL)
    trial.begin()
    trial.write(2000)
    time.sleep(8)
    trial.gate.open()
    trial.write(1000)


SCENARIOS: dict[str, Callable[[Trial], None]] = {
    "killed five times": killed,
    "renamed, killed once": renamed,
    "copied and truncated": copied,
    "deleted and made anew": deleted,
    "refused by the mapping": refused,
    "lines cut in the middle": broken,
    "Elasticsearch away, killed": away,
}


def run(contender: Contender, scenario: str, client: Elasticsearch) -> Outcome:
    """Do one scenario to one contender, on an Elasticsearch emptied before, with the project's template.

    Args:
        contender: which; it begins without any state.
        scenario: a name of SCENARIOS.
        client: of a real Elasticsearch on the loopback.
    """
    uninstall(client)
    install(client)
    port = int(str(next(iter(client.transport.node_pool.all())).base_url).rpartition(":")[2].strip("/"))
    gate = Gate(port)
    trial = Trial(contender, client, gate)
    try:
        SCENARIOS[scenario](trial)
        trial.settle(70 if scenario.startswith("Elasticsearch") else SETTLED)
        trial.end()
        return trial.outcome(contender.name, scenario)
    finally:
        trial.close()
        gate.shut()
        uninstall(client)
