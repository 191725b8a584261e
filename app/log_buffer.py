"""Log lines on their way to the file: requests put them into memory, a thread of its own appends them soon after.

A request neither waits for the disk nor gives up the interpreter to another thread in the middle, as write(2) does. The
memory is a mapped file beside the other numbers that processes share, so a SIGKILL loses no line that was put: whoever
starts next, a worker or the service, appends what the killed process had not. The length of the log file says how far
that one came, for its bytes are those of the memory, one after the other.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from app.logs import CHECK_SECONDS, MAX_LINE, LogFile, file_name

CAPACITY = 4 * 1024 * 1024
DELAY_SECONDS = 0.25  # how long a line waits at most for others, to be appended with them
CLOSE_SECONDS = 5.0
STUCK_SECONDS = 5.0  # after which a disk that does not answer is said to be stuck
CHUNK = MAX_LINE  # bytes of one append; any line fits
SUFFIX = ".lines"
_HEADER = 128
# Places in the header, eight bytes each: bytes put since the start; which of two notes holds; the notes: each the log
# file's number, its length minus the bytes that were taken, whether it was made, and from which byte on it has all.
_PUT, _CHOSEN, _NOTES, _NOTE_SIZE = 0, 1, 2, 4
_SEEN = 256  # bytes by which the end of a log file is known again

Note = tuple[int, int, int, int]


class LogBuffer:
    """A ring of lines in mapped memory, and the thread that appends them to the log file.

    Args:
        folder: shared by the processes; the memory's file is named like the log file. Where the disk has no place for
            it the memory is nobody else's, and a SIGKILL loses what waits.
        file: that lines go to; what finds no place is dropped as its `buffer_full`.
        capacity: bytes that may wait.
        delay: seconds between two looks at what waits.
    """

    def __init__(self, folder: Path, file: LogFile, capacity: int = CAPACITY, delay: float = DELAY_SECONDS) -> None:
        self._file, self._capacity, self._delay = file, capacity, delay
        self._path = folder / f"{file.stem}{SUFFIX}"
        memory = memoryview(_mapped(self._path, _HEADER + capacity))
        self._header = memory[:_HEADER].cast("q")
        self._lines = memory[_HEADER:]
        self._put = self._taken = 0
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        self._began: float | None = None
        file.on_open = lambda number: self._note((number, -self._taken, 0, self._taken))
        self._thread = threading.Thread(target=self._append_all, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> bool:
        """Hand over one line, given without its newline; return whether there was a place for it."""
        data = line + b"\n"
        size = len(data)
        if size > MAX_LINE:
            return self._file.refuse_long(line)
        with self._lock:
            put = self._put + size
            waiting = put - self._taken
            if waiting <= self._capacity:
                at = self._put % self._capacity
                end = at + size
                if end <= self._capacity:
                    self._lines[at:end] = data
                else:
                    first = self._capacity - at
                    self._lines[at:] = data[:first]
                    self._lines[: size - first] = data[first:]
                # Only now: of a process that is killed before, nobody will see the line's beginning.
                self._header[_PUT] = self._put = put
        if waiting > self._capacity // 2:
            self._wake.set()
        if waiting > self._capacity:
            return self._file.refuse("buffer_full", f"{self._file.path}: {self._capacity} bytes wait to be appended")
        return True

    def flush(self) -> None:
        """Append what was put until now."""
        with self._turn:
            end = self._put
            while self._taken < end:
                lines = _between(self._lines, self._taken, min(end, self._taken + CHUNK))
                lines = lines[: lines.rindex(b"\n") + 1]
                self._file.append(lines)
                taken = self._taken + len(lines)
                number, shift, since = self._file.number, self._file.size - taken, self._noted()[3]
                if shift != self._noted()[1]:  # lines were dropped or cut: from here on the file has all again
                    since = taken
                self._note((number, shift, int(number > 0), since))
                self._taken = taken

    def close(self) -> None:
        """Append everything and end; what a stuck disk does not take within some seconds is left for the next start."""
        self._ended = True
        self._wake.set()
        self._thread.join(timeout=CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._file.close()
            self._path.unlink(missing_ok=True)

    def stuck(self) -> str | None:
        """Return in words that the disk does not answer; None where it does. Never waits for it."""
        began = self._began
        seconds = 0.0 if began is None else time.monotonic() - began
        if seconds < STUCK_SECONDS:
            return None
        waiting = self._put - self._taken
        return f"{self._file.folder}: the disk has not answered for {seconds:.0f} s; {waiting} bytes wait in memory"

    def _append_all(self) -> None:
        looked = 0.0
        while not self._ended:
            self._wake.wait(self._delay)
            self._wake.clear()
            self._began = now = time.monotonic()
            if self._taken < self._put:
                self.flush()
            if now - looked >= CHECK_SECONDS:
                looked = now
                self._file.look()
            self._began = None
        self.flush()

    def _noted(self) -> Note:
        return _read_note(self._header, self._header[_CHOSEN])

    def _note(self, note: Note) -> None:
        """Note which file is written from where, in the place that does not hold now; then let that one hold."""
        if self._noted() == note:
            return
        other = 1 - self._header[_CHOSEN]
        for place, value in enumerate(note, _NOTES + other * _NOTE_SIZE):
            self._header[place] = value
        self._header[_CHOSEN] = other


def _mapped(path: Path, size: int) -> mmap.mmap:
    """Return new memory that is a file, locked for as long as this process lives."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return mmap.mmap(-1, size)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # kept by the mapping's own handle
        if hasattr(os, "posix_fallocate"):  # without place of its own a full disk would end the process, not fail it
            os.posix_fallocate(handle, 0, size)
        else:
            os.ftruncate(handle, size)
        return mmap.mmap(handle, size)
    except OSError:
        path.unlink()
        return mmap.mmap(-1, size)
    finally:
        os.close(handle)


def _read_note(header: memoryview[int], chosen: int) -> Note:
    start = _NOTES + chosen * _NOTE_SIZE
    return header[start], header[start + 1], header[start + 2], header[start + 3]


def _between(lines: memoryview, start: int, end: int) -> bytes:
    """Return the bytes put from one count to another."""
    capacity = len(lines)
    first, last = start % capacity, end % capacity
    if start == end:
        return b""
    return bytes(lines[first:last]) if first < last else bytes(lines[first:]) + bytes(lines[:last])


def recover(folder: Path, log_folder: Path) -> Iterator[str]:
    """Append what processes that were killed had put and not appended.

    Args:
        folder: shared by the processes.
        log_folder: of the log files.

    Yields:
        A sentence for each process of which lines were found, whether or not they could be appended.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # its process has just ended, or another one was faster
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (left := _left(os.pread(handle, os.fstat(handle).st_size, 0), path.stem, log_folder)) is not None:
                target, lines = left
                if lines:
                    _append(target, lines)
                    yield f"{target.name}: the last {len(lines)} bytes of a killed process were appended"
            else:
                yield f"{path.name}: what a killed process left does not fit its log file, and was not appended"
            path.unlink(missing_ok=True)
        except BlockingIOError:  # alive
            continue
        except OSError as error:
            yield f"{path.name}: lines of a killed process could not be appended: {error.strerror}"
        finally:
            os.close(handle)


def _left(content: bytes, stem: str, log_folder: Path) -> tuple[Path, bytes] | None:
    """Return a killed process's last log file and the bytes that are missing from it; None where both do not fit."""
    if len(content) <= _HEADER:  # killed while it made the file
        return log_folder, b""
    memory = memoryview(content)
    header = memory[:_HEADER].cast("q")
    lines = memory[_HEADER:]
    put = header[_PUT]
    number, shift, made, since = _read_note(header, header[_CHOSEN] & 1)
    if put == 0:
        return log_folder, b""
    target = log_folder / file_name(stem, max(number, 1))
    try:
        size = target.stat().st_size
    except FileNotFoundError:
        if made:  # somebody removed it: its lines may have been shipped
            return None
        size = 0
    done = size - shift
    if not 0 <= put - done <= len(lines):
        return None
    # After a power cut memory and file may be from different moments: the end of one must be found in the other.
    seen = min(_SEEN, done - since, len(lines) - (put - done))
    if seen > 0:
        with target.open("rb") as file:
            file.seek(size - seen)
            if file.read(seen) != _between(lines, done - seen, done):
                return None
    return target, _between(lines, done, put)


def _append(target: Path, lines: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        while lines:
            lines = lines[os.write(handle, lines) :]
    finally:
        os.close(handle)
