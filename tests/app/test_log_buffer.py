"""The lines on their way to the file: none lost, none twice, whatever is killed, stuck or full."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.log_buffer import LogBuffer, recover
from app.logs import MAX_LINE
from app.server import prepare
from app.settings import AppSettings
from tests.app.conftest import GUIDE_REQUEST, lines
from tests.app.server import serving, until
from tests.app.test_logs import Writer

HOUR = 3600.0  # a delay that does not pass: only `flush` and `close` append

# Puts numbered lines from two threads, and is killed while it does; how far it came it says by a line for each.
PUTS = """
import os, sys, threading, time
from pathlib import Path
from app.log_buffer import LogBuffer
from app.logs import LogFile
folder = Path(sys.argv[1])
file = LogFile(folder / "logs", time.time, 20_000, lambda reason, count: None)
buffer = LogBuffer(folder / "run", file, capacity=1 << 16, delay=0.002)
def puts(name):
    for number in range(1_000_000):
        while not buffer.put(b'{"from":"%s","number":%d,"text":"%s"}' % (name, number, b"x" * (number % 90))):
            time.sleep(0.001)
        os.write(1, b"%s %d\\n" % (name, number))
threads = [threading.Thread(target=puts, args=(name,)) for name in (b"a", b"b")]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


class Buffered(Writer):
    """A log file, its counted drops and the buffer before it."""

    def __init__(self, folder: Path, capacity: int = 1 << 16, delay: float = HOUR, max_bytes: int = 1 << 20) -> None:
        super().__init__(folder / "logs", time.time, max_bytes)  # type: ignore[arg-type]  # a clock that goes
        (folder / "run").mkdir(exist_ok=True)
        self.buffer = LogBuffer(folder / "run", self.file, capacity, delay)


@pytest.fixture
def buffered(tmp_path: Path) -> Iterator[Buffered]:
    """A buffer that appends only when told."""
    made = Buffered(tmp_path)
    yield made
    made.buffer.close()


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the lines in the log files, in order."""
    return [line["number"] for line in lines(folder / "logs")]


def put(buffer: LogBuffer, first: int, last: int, size: int = 0) -> int:
    """Put numbered lines; return how many found a place."""
    return sum(buffer.put(b'{"number":%d,"text":"%s"}' % (number, b"x" * size)) for number in range(first, last))


def test_lines_are_appended_soon_without_being_asked(tmp_path: Path) -> None:
    """What was put is in the file after the delay."""
    made = Buffered(tmp_path, delay=0.01)
    assert put(made.buffer, 0, 3) == 3
    until(lambda: numbers(tmp_path) == [0, 1, 2], "all are in the file")
    made.buffer.close()


def test_closing_appends_everything_and_leaves_nothing(tmp_path: Path) -> None:
    """Also what would have waited for an hour; the memory's file goes."""
    made = Buffered(tmp_path)
    put(made.buffer, 0, 100)
    made.buffer.close()
    assert numbers(tmp_path) == list(range(100))
    assert list((tmp_path / "run").iterdir()) == []
    assert made.file.written == 100


def test_the_ring_goes_round_with_lines_of_every_length(buffered: Buffered, tmp_path: Path) -> None:
    """Twenty times the capacity: each line once, in order."""
    for start in range(0, 2000, 20):
        assert put(buffered.buffer, start, start + 20, size=start % 977) == 20
        buffered.buffer.flush()
    assert numbers(tmp_path) == list(range(2000))
    assert not buffered.drops


def test_what_finds_no_place_is_counted(buffered: Buffered, tmp_path: Path) -> None:
    """A disk that does not follow: `buffer_full` for each line too many, and the others are all written."""
    with buffered.buffer._turn:  # as if write(2) did not come back
        taken = put(buffered.buffer, 0, 1000, size=200)
        assert 200 < taken < 1000
    assert buffered.drops == {"buffer_full": 1000 - taken}
    assert buffered.file.dropped == 1000 - taken
    assert "wait to be appended" in str(buffered.file.last_error)
    buffered.buffer.flush()
    assert numbers(tmp_path) == list(range(taken))


def test_the_longest_line_passes_and_a_longer_one_is_counted(buffered: Buffered, tmp_path: Path) -> None:
    """64 KiB with its newline."""
    assert buffered.buffer.put(b"x" * (MAX_LINE - 1))
    assert not buffered.buffer.put(b"x" * MAX_LINE)
    buffered.buffer.flush()
    assert buffered.drops == {"too_long": 1}
    (path,) = (tmp_path / "logs").glob("*.jsonl")
    assert path.stat().st_size == MAX_LINE


def test_a_stuck_disk_holds_up_no_request(buffered: Buffered, monkeypatch: pytest.MonkeyPatch) -> None:
    """While write(2) does not come back, lines are put and too long ones are counted."""
    stuck, free = threading.Event(), threading.Event()
    write = os.write

    def waits(handle: int, data: bytes) -> int:
        stuck.set()
        free.wait(60)
        return write(handle, data)

    put(buffered.buffer, 0, 1)
    monkeypatch.setattr("app.logs.os.write", waits)
    flusher = threading.Thread(target=buffered.buffer.flush)
    flusher.start()
    assert stuck.wait(60)
    assert put(buffered.buffer, 1, 10) == 9
    assert not buffered.buffer.put(b"x" * MAX_LINE)
    free.set()
    flusher.join()
    assert buffered.drops == {"too_long": 1}


def test_what_is_left_of_the_living_is_theirs(buffered: Buffered, tmp_path: Path) -> None:
    """Recovering appends nothing of a process that lives."""
    put(buffered.buffer, 0, 5)
    assert list(recover(tmp_path / "run", tmp_path / "logs")) == []
    buffered.buffer.flush()
    assert numbers(tmp_path) == list(range(5))


def left_behind(made: Buffered, tmp_path: Path) -> Path:
    """Copy the memory as a SIGKILL would leave it, into a folder of its own."""
    folder = tmp_path / "dead"
    folder.mkdir(exist_ok=True)
    (folder / made.buffer._path.name).write_bytes(made.buffer._path.read_bytes())
    return folder


@pytest.mark.parametrize("flushed", [0, 1, 7, 20])
def test_only_what_the_file_lacks_is_appended(buffered: Buffered, tmp_path: Path, flushed: int) -> None:
    """None, some or all of the lines were in the file: afterwards each is there once, and again does nothing."""
    put(buffered.buffer, 0, flushed)
    buffered.buffer.flush()
    put(buffered.buffer, flushed, 20)
    folder = left_behind(buffered, tmp_path)
    said = list(recover(folder, tmp_path / "logs"))
    assert len(said) == (flushed < 20)
    assert numbers(tmp_path) == list(range(20))
    assert list(folder.iterdir()) == []
    assert list(recover(folder, tmp_path / "logs")) == []


def test_a_write_that_was_cut_by_the_kill_is_gone_on_with(buffered: Buffered, tmp_path: Path) -> None:
    """The file ends in the middle of a line, or was appended to but not noted: the rest follows byte by byte."""
    put(buffered.buffer, 0, 20)
    buffered.buffer.flush()
    put(buffered.buffer, 20, 40)
    folder = left_behind(buffered, tmp_path)
    ahead = bytes(buffered.buffer._lines[buffered.buffer._taken : buffered.buffer._put])
    with buffered.file.path.open("ab") as file:
        file.write(ahead[: len(ahead) // 2 + 3])
    assert len(list(recover(folder, tmp_path / "logs"))) == 1
    assert numbers(tmp_path) == list(range(40))


def test_after_drops_the_rest_is_still_found(
    buffered: Buffered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that the disk refused are counted as dropped and do not come back; those behind them do."""
    put(buffered.buffer, 0, 10)
    buffered.buffer.flush()
    with monkeypatch.context() as patched:
        patched.setattr("app.logs.os.write", lambda handle, data: (_ for _ in ()).throw(OSError(28, "full")))
        put(buffered.buffer, 10, 20)
        buffered.buffer.flush()
    assert buffered.drops == {"full": 10}
    put(buffered.buffer, 20, 30)
    folder = left_behind(buffered, tmp_path)
    assert len(list(recover(folder, tmp_path / "logs"))) == 1
    assert numbers(tmp_path) == [*range(10), *range(20, 30)]


def test_a_file_that_was_removed_or_is_another_is_left_alone(buffered: Buffered, tmp_path: Path) -> None:
    """Its lines may have been shipped: nothing is appended, and it is said."""
    put(buffered.buffer, 0, 5)
    buffered.buffer.flush()
    put(buffered.buffer, 5, 9)
    path = buffered.file.path
    kept = path.read_bytes()
    for content in (None, kept[:-20], kept[:-20] + b"y" * 20, kept * 3):
        folder = left_behind(buffered, tmp_path)
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        (said,) = recover(folder, tmp_path / "logs")
        if content == kept[:-20]:  # as after a power cut: the file lost its end, the memory has it
            assert "appended" in said
            assert path.read_bytes().startswith(kept)
        else:
            assert "does not fit" in said
            assert content is None or path.read_bytes() == content


def test_lines_wait_for_a_log_folder_that_can_be_written(buffered: Buffered, tmp_path: Path) -> None:
    """A start that cannot append them keeps them, and the next that can appends each once."""
    put(buffered.buffer, 0, 9)
    run = left_behind(buffered, tmp_path)
    (tmp_path / "state").mkdir()
    run.rename(tmp_path / "state" / "run")
    settings = AppSettings(log_dir=tmp_path / "logs", state_dir=tmp_path / "state")
    (tmp_path / "logs").write_text("in the way")
    for number in range(3):
        if number == 2:
            (tmp_path / "logs").unlink()
        _, lock = prepare(settings)
        os.close(lock)
    assert numbers(tmp_path) == list(range(9))
    assert not list((tmp_path / "state" / "run").glob("*.lines"))


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.soak)])
def test_a_killed_process_loses_no_line_that_was_put(tmp_path: Path, rounds: int) -> None:
    """SIGKILL at any moment, over many files: whatever was put is there once, and every line is whole."""
    for number in range(rounds):
        folder = tmp_path / str(number)
        (folder / "run").mkdir(parents=True)
        with (folder / "said").open("wb") as output:
            process = subprocess.Popen([sys.executable, "-P", "-c", PUTS, str(folder)], stdout=output)
        until(lambda: (folder / "said").stat().st_size > 5_000 + 977 * number % 9000, "it puts lines", 60)  # noqa: B023
        process.kill()
        process.wait()
        list(recover(folder / "run", folder / "logs"))
        found = [(line["from"], line["number"]) for line in lines(folder / "logs")]
        told = (folder / "said").read_text().split("\n")[:-1]
        for name in "ab":
            of_name = [place for who, place in found if who == name]
            assert of_name == list(range(len(of_name)))
            assert len(of_name) >= sum(line.startswith(name) for line in told)
        assert len(found) - len(told) <= 2  # put, and killed before it was said
        assert list((folder / "run").iterdir()) == []


def test_no_answered_request_lacks_its_line(model_dir: Path, tmp_path: Path) -> None:
    """Workers are killed under traffic, the service at last too: each answered prediction has one line."""
    answered: list[str] = []
    ended = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client() as client:
            while not ended.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    answer = client.post(f"{url}/predict", json=GUIDE_REQUEST, timeout=60)
                    if answer.status_code == 200:
                        answered.append(answer.json()["request_id"])

    with serving(model_dir, tmp_path, APP_WORKERS="2") as server:
        threads = [threading.Thread(target=ask, args=(server.url,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            count = len(answered)
            until(lambda: len(answered) > count + 20, "requests are answered")  # noqa: B023
            victim = server.workers()[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda: victim not in server.workers() and len(server.workers()) == 2, "it was replaced")  # noqa: B023
        ended.set()
        for thread in threads:
            thread.join()
        for pid in [server.process.pid, *server.workers()]:
            os.kill(pid, signal.SIGKILL)
        server.process.wait()
        if server.process.stderr:
            server.process.stderr.close()
    with serving(model_dir, tmp_path) as server:
        server.stop()
    found = [line["request_id"] for line in lines(tmp_path / "logs") if line["message"] == "prediction served"]
    assert len(found) == len(set(found))
    assert not set(answered) - set(found)


def test_stopping_at_once_keeps_lines_and_predictions(model_dir: Path, tmp_path: Path) -> None:
    """SIGTERM right after the answers: each has its line, and each can be labelled after the restart."""
    with serving(model_dir, tmp_path) as server:
        ids = [server.predict().json()["request_id"] for _ in range(20)]
        assert server.stop() == 0
    found = [line["request_id"] for line in lines(tmp_path / "logs") if line["message"] == "prediction served"]
    assert found == ids
    assert not list((tmp_path / "state" / "run").glob("*.lines"))
    with serving(model_dir, tmp_path) as server:
        for request_id in ids:
            answer = httpx.post(f"{server.url}/feedback", json={"request_id": request_id, "actual": 0}, timeout=60)
            assert answer.status_code == 200, answer.text
