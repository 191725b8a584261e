"""A snapshot repository: a folder with one file for each snapshot, and one for the documents of each index in it.

An index that has not changed since an earlier snapshot shares that one's file. Files that no snapshot names are left
over from something that did not end, and are removed by the next writer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from compose.store.errors import StoreError
from compose.store.translog import sync_directory

_FORBIDDEN = re.compile(r'[\\/*?"<>| ,#]')


class Kept(msgspec.Struct):
    """One index of a snapshot.

    Attributes:
        value: the index as the catalogue has it.
        file: name of the file with its documents.
        documents: how many there are.
        bytes: of the file.
        sha256: of the file.
        fingerprint: the same as long as no document changes.
    """

    value: dict[str, Any]
    file: str
    documents: int
    bytes: int
    sha256: str
    fingerprint: str


class Snapshot(msgspec.Struct):
    """What was there at one moment.

    Attributes:
        name, uuid: of the snapshot.
        cluster: uuid of the store that made it.
        state: IN_PROGRESS, SUCCESS or FAILED.
        started, ended: milliseconds since 1970; `ended` is 0 until then.
        sequence: last sequence number that it covers.
        whole: whether it has all indices and the rest of the catalogue, so that a store can be rebuilt from it.
        include_global_state: whether it has templates and policies.
        indices: by name.
        catalogue: templates, policies and what else belongs to no index.
        metadata: whatever the caller gave.
        reason: why it failed.
    """

    name: str
    uuid: str
    cluster: str
    state: str
    started: int
    ended: int = 0
    sequence: int = 0
    whole: bool = False
    include_global_state: bool = True
    indices: dict[str, Kept] = {}
    catalogue: dict[str, Any] = {}
    metadata: Any = None
    reason: str = ""


_decode = msgspec.json.Decoder(Snapshot).decode


def check_snapshot_name(repository: str, name: str) -> None:
    """Refuse what Elasticsearch refuses as the name of a snapshot.

    Raises:
        StoreError: invalid_snapshot_name_exception.
    """
    reason = None
    if not name:
        reason = "cannot be empty"
    elif name != name.lower():
        reason = "must be lowercase"
    elif name.startswith(("_", "-")):
        reason = f"must not start with '{name[0]}'"
    elif _FORBIDDEN.search(name):
        reason = 'must not contain the following characters [\\, /, *, ?, ", <, >, |,  , ,, #]'
    if reason:
        raise StoreError(
            400, "invalid_snapshot_name_exception", f"[{repository}:{name}] Invalid snapshot name [{name}], {reason}"
        )


def location(root: Path, name: str, text: str) -> Path:
    """Return the folder that a repository's `location` means.

    Args:
        root: the one folder in which repositories may lie.
        name: of the repository.
        text: absolute, or relative to `root`.

    Raises:
        StoreError: it would be outside, also by a symbolic link.
    """
    try:
        folder = (root / text).resolve()
    except (ValueError, OSError) as error:
        raise StoreError(500, "repository_exception", f"[{name}] location [{text}] is no path: {error}") from None
    if not folder.is_relative_to(root.resolve()):
        raise StoreError(
            500,
            "repository_exception",
            f"[{name}] location [{text}] doesn't match any of the locations specified by path.repo: the embedded store "
            f"keeps repositories below {root} (STORE_REPOSITORY_DIR)",
        )
    return folder


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Repository:
    """One folder of snapshots.

    Args:
        folder: made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other stores from writing here meanwhile.

        Raises:
            StoreError: another one does.
            OSError: the folder cannot be used.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreError(
                    503, "concurrent_snapshot_execution_exception", f"another store writes to {self.folder}"
                ) from None
            yield

    def snapshots(self) -> list[Snapshot]:
        """Return the snapshots, oldest first; a file that cannot be read is passed over."""
        found = []
        for path in self.folder.glob("snapshot-*.json"):
            try:
                found.append(_decode(path.read_bytes()))
            except (OSError, msgspec.DecodeError):
                continue
        return sorted(found, key=lambda snapshot: (snapshot.started, snapshot.name))

    def write(self, snapshot: Snapshot) -> None:
        """Write a snapshot's own file; from then on it is there.

        Raises:
            OSError: it could not be made durable.
        """
        path = self._path(snapshot)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            file.write(msgspec.json.encode(snapshot))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        sync_directory(self.folder)

    def delete(self, snapshots: list[Snapshot]) -> None:
        """Remove snapshots, and the documents that only they had."""
        for snapshot in snapshots:
            self._path(snapshot).unlink(missing_ok=True)
        sync_directory(self.folder)
        self.sweep()

    def sweep(self) -> None:
        """Remove what no snapshot names; nothing while a snapshot cannot be read."""
        if len(self.snapshots()) < len(list(self.folder.glob("snapshot-*.json"))):
            return
        used = {kept.file for snapshot in self.snapshots() for kept in snapshot.indices.values()}
        for path in [*self.folder.glob("documents-*.parquet"), *self.folder.glob("*.unfinished")]:
            if path.name not in used:
                path.unlink(missing_ok=True)

    def check(self, kept: Kept) -> Path:
        """Return the file of an index's documents.

        Raises:
            StoreError: it is not there, or not as it was written.
        """
        path = self.folder / kept.file
        if not path.is_file() or digest(path) != kept.sha256:
            raise StoreError(
                500, "snapshot_restore_exception", f"{path} is missing or damaged: its SHA-256 is not {kept.sha256}"
            )
        return path

    def _path(self, snapshot: Snapshot) -> Path:
        return self.folder / f"snapshot-{snapshot.uuid}.json"


def candidates(root: Path, cluster: str | None) -> list[tuple[Repository, Snapshot]]:
    """Return the snapshots from which a store can be rebuilt, of all repositories below a folder, newest first.

    Args:
        root: the folder.
        cluster: uuid of the store, or None where it is not known.
    """
    found = [
        (Repository(folder), snapshot)
        for folder in {path.parent for path in root.rglob("snapshot-*.json")}
        for snapshot in Repository(folder).snapshots()
        if snapshot.whole and snapshot.state == "SUCCESS" and cluster in (None, snapshot.cluster)
    ]
    return sorted(found, key=lambda entry: (entry[1].sequence, entry[1].started), reverse=True)
