"""Acknowledged offsets on disk: a checksummed snapshot, the previous one, and a journal of what changed since."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import IO

import msgspec
import xxhash

from shipper.errors import StateError
from shipper.generation import Record

logger = logging.getLogger("shipper.checkpoint")

SNAPSHOT, PREVIOUS, JOURNAL, LOCK = "checkpoint.json", "checkpoint.previous.json", "checkpoint.journal", "lock"
COMPACT_BYTES = 1_000_000


class State(msgspec.Struct, kw_only=True):
    """All that a checkpoint holds.

    Attributes:
        epoch: number of the snapshot; journal lines carry it.
        volumes: volume id by folder; the first one used stays.
        cluster: uuid of the Elasticsearch cluster that acknowledged.
        records: by generation.
    """

    epoch: int = 0
    volumes: dict[str, str] = msgspec.field(default_factory=dict)
    cluster: str = ""
    records: dict[str, Record] = msgspec.field(default_factory=dict)


class _Entry(msgspec.Struct):
    """One line of the journal: a record's new state, or None when it was forgotten."""

    epoch: int
    generation: str
    record: Record | None


def _seal(data: bytes) -> bytes:
    return b"%016x %b\n" % (xxhash.xxh3_64_intdigest(data), data)


def _unseal(line: bytes) -> bytes:
    total, _, data = line.rstrip(b"\n").partition(b" ")
    if total != b"%016x" % xxhash.xxh3_64_intdigest(data):
        raise ValueError("its checksum is wrong")
    return data


class Checkpoint:
    """The checkpoint of one state folder; one process at a time holds it.

    Args:
        folder: made if absent.

    Raises:
        StateError: it cannot be written, or another shipper holds its lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rebuilt = 0
        self._epochs = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock: IO[str] = (folder / LOCK).open("a+")
        except OSError as error:
            raise StateError(f"SHIPPER_STATE_DIR={folder}: {error.strerror}; it must be writable") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise StateError(
                f"SHIPPER_STATE_DIR={folder}: another shipper (process {owner}) uses it; stop it, or use another folder"
            ) from None
        self._journal = -1
        try:
            self._lock.truncate(0)
            self._lock.write(str(os.getpid()))
            self._lock.flush()
            self.state = self._load()
            self.compact()
        except OSError as error:
            raise StateError(
                f"SHIPPER_STATE_DIR={folder}: {error.strerror}; free space there, or use a folder on another disk:"
                " without it nobody knows what was delivered, so nothing is sent"
            ) from None

    def _load(self) -> State:
        """Return the best state that can be read; say loudly when it is not the newest."""
        state = None
        for name in (SNAPSHOT, PREVIOUS):
            path = self.folder / name
            try:
                state = msgspec.json.decode(_unseal(path.read_bytes()), type=State)
                break
            except FileNotFoundError:
                continue
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                self.rebuilt += 1
                other = "the one before it is tried" if name == SNAPSHOT else "there is no older one"
                logger.warning("%s cannot be used (%s); %s", path, error, other)
        if state is None:
            if self.rebuilt:
                logger.warning("the checkpoint is rebuilt from the files; what was sent is met by its id")
            state = State()
        self._epochs = state.epoch
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / JOURNAL).read_bytes().splitlines():
                try:
                    entry = msgspec.json.decode(_unseal(line), type=_Entry)
                except (ValueError, msgspec.MsgspecError):
                    logger.warning("%s ends in the middle of a line; the rest is left out", self.folder / JOURNAL)
                    break
                self._epochs = max(self._epochs, entry.epoch)
                if entry.epoch >= state.epoch:
                    if entry.record is None:
                        state.records.pop(entry.generation, None)
                    else:
                        state.records[entry.generation] = entry.record
        return state

    def save(self, changed: set[str]) -> None:
        """Write the records that changed; the cost follows their number, not that of all.

        Raises:
            OSError: the folder cannot be written; nothing is lost, the next try writes them again.
        """
        entries = [
            _seal(msgspec.json.encode(_Entry(self.state.epoch, name, self.state.records.get(name))))
            for name in sorted(changed)
        ]
        data = b"".join(entries)
        if self._journal < 0 or os.fstat(self._journal).st_size + len(data) > COMPACT_BYTES:
            self.compact()
            return
        try:
            self._append(data)
        except OSError:
            # A torn line would hide those after it: the next save makes a snapshot instead.
            os.close(self._journal)
            self._journal = -1
            raise

    def _append(self, data: bytes) -> None:
        if os.fstat(self._journal).st_nlink == 0:
            raise OSError("the state folder was deleted")
        if os.write(self._journal, data) < len(data):
            raise OSError("the volume of the state folder is full")
        os.fsync(self._journal)

    def compact(self) -> None:
        """Write a snapshot, keep the previous one, and begin a new journal.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._epochs += 1
        self.state.epoch = self._epochs
        path, temporary = self.folder / SNAPSHOT, self.folder / f"{SNAPSHOT}.tmp"
        with temporary.open("wb") as file:
            file.write(_seal(msgspec.json.encode(self.state)))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            path.replace(self.folder / PREVIOUS)
        temporary.replace(path)
        self._sync_folder()
        if self._journal >= 0:
            os.close(self._journal)
            self._journal = -1
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._journal = os.open(self.folder / JOURNAL, flags, 0o600)
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Let go of the folder."""
        if self._journal >= 0:
            os.close(self._journal)
            self._journal = -1
        self._lock.close()
