"""Snapshots: the documents as Parquet files beside the catalogue, all from one moment, and their way back.

A restore writes through the translog like any other write, under a name that only becomes visible with its last line:
a restore that did not end leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from compose.store.catalogue import Index, check_name, new_uuid
from compose.store.document import prepare
from compose.store.engine import Engine
from compose.store.errors import IndexNotFoundError, StoreError, illegal_argument
from compose.store.index_settings import check_change, check_settings
from compose.store.patterns import fits
from compose.store.repository import Kept, Repository, Snapshot, check_snapshot_name, digest, location
from compose.store.rows import Operation

log = logging.getLogger(__name__)

_ROWS = 2_000  # documents of one batch of a restore
_GLOBAL = ("template/", "component/", "policy/")


class RestorePlan(msgspec.Struct):
    """What a restore does: name of an index now → name in the snapshot, and whether templates and policies come too."""

    indices: dict[str, str]
    include_global_state: bool
    settings: dict[str, str]


class Snapshots:
    """Makes, finds, restores and deletes the snapshots of an engine, one at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._turn = engine.snapshot_turn
        self._unfinished = engine.unfinished_snapshots

    def repository(self, name: str) -> Repository:
        """Return a repository by its name.

        Raises:
            StoreError: there is none.
        """
        settings = self.engine.group("repository").get(name)
        if settings is None:
            raise StoreError(404, "repository_missing_exception", f"[{name}] missing")
        return Repository(location(self.engine.settings.repositories, name, settings["settings"]["location"]))

    def all(self, repository: str) -> list[Snapshot]:
        """Return the snapshots of a repository, oldest first, with those that are in progress or failed."""
        kept = self.repository(repository).snapshots()
        done = {snapshot.name for snapshot in kept}
        others = [snapshot for (owner, name), snapshot in self._unfinished.items() if owner == repository]
        return sorted(
            kept + [snapshot for snapshot in others if snapshot.name not in done], key=lambda each: each.started
        )

    def named(self, repository: str, expression: str, *, ignore_unavailable: bool = False) -> list[Snapshot]:
        """Return the snapshots that an expression means: names and wildcards, separated by commas; `_all`.

        Raises:
            StoreError: a name without wildcard is missing.
        """
        known = self.all(repository)
        found: dict[str, Snapshot] = {}
        for part in expression.split(","):
            pattern = "*" if part == "_all" else part
            fitting = [snapshot for snapshot in known if fits(pattern, snapshot.name)]
            if part == "_current":
                fitting = [snapshot for snapshot in known if snapshot.state == "IN_PROGRESS"]
            elif not fitting and "*" not in pattern and not ignore_unavailable:
                raise StoreError(404, "snapshot_missing_exception", f"[{repository}:{part}] is missing")
            found.update({snapshot.name: snapshot for snapshot in fitting})
        return sorted(found.values(), key=lambda each: each.started)

    # -- making --------------------------------------------------------------------------------------------------------

    def begin(self, repository: str, name: str, indices: list[Index], *, whole: bool, **options: Any) -> Snapshot:
        """Register a snapshot that `make` then makes.

        Args:
            repository, name: where, and its name.
            indices: what it is to have.
            whole: whether these are all there are.
            options: further attributes of the snapshot.

        Raises:
            StoreError: the name is taken or not valid, or there is no such repository.
        """
        check_snapshot_name(repository, name)
        engine = self.engine
        with engine.lock:
            if any(known.name == name and known.state != "FAILED" for known in self.all(repository)):
                raise StoreError(
                    400,
                    "snapshot_name_already_in_use_exception",
                    f"[{repository}:{name}] Invalid snapshot name [{name}], snapshot with the same name already exists",
                )
            snapshot = Snapshot(
                name, new_uuid(), engine.values["cluster/uuid"], "IN_PROGRESS", engine.clock(),
                whole=whole and options.get("include_global_state", True),
                indices={index.name: Kept(index.value(), "", 0, 0, "", "") for index in indices}, **options,
            )  # fmt: skip
            self._unfinished[repository, name] = snapshot
        return snapshot

    def make(self, repository: str, snapshot: Snapshot) -> Snapshot:
        """Write a snapshot that `begin` registered; return it, done or failed.

        Raises:
            StoreError: it failed; the snapshot is there with its reason until the store ends.
        """
        place = self.repository(repository)
        try:
            with self._turn, place.writing():
                self.engine.check_room()
                self.engine.refresh()
                self._write(place, snapshot)
                self._unfinished.pop((repository, snapshot.name), None)
        except (StoreError, OSError, duckdb.Error) as error:
            snapshot.state, snapshot.ended = "FAILED", self.engine.clock()
            snapshot.reason = f"{type(error).__name__}: {error}"
            self.engine.last_error = f"snapshot {snapshot.name}: {snapshot.reason}"
            log.exception("a snapshot failed", extra={"snapshot": snapshot.name, "repository": repository})
            if isinstance(error, StoreError):
                raise
            raise StoreError(
                500, "snapshot_exception", f"[{repository}:{snapshot.name}] could not be written: {error}"
            ) from error
        log.info("made a snapshot", extra={"snapshot": snapshot.name, "indices": len(snapshot.indices)})
        return snapshot

    def _write(self, place: Repository, snapshot: Snapshot) -> None:
        place.sweep()
        shared = {
            (kept.value["uuid"], kept.fingerprint): kept
            for known in place.snapshots()
            for kept in known.indices.values()
        }
        with self.engine.table.reading() as cursor:  # one transaction: all of it is from one moment
            view = cursor.view()
            snapshot.sequence = view.loaded
            if snapshot.include_global_state:
                snapshot.catalogue = {
                    key: value
                    for key, value in view.catalogue.items()
                    if key.partition("/")[0] not in ("index", "restoring", "next")
                }
            for name in list(snapshot.indices):
                value = view.catalogue.get(f"index/{name}")
                if value is None:  # deleted since
                    del snapshot.indices[name]
                    continue
                count, fingerprint = view.fingerprints.get(value["number"], (0, "0"))
                known = shared.get((value["uuid"], fingerprint))
                if known is not None and (place.folder / known.file).exists():
                    snapshot.indices[name] = msgspec.structs.replace(known, value=value)
                    continue
                path = place.folder / f"documents-{new_uuid()}.parquet"
                cursor.export(value["number"], path)
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
                snapshot.indices[name] = Kept(
                    value, path.name, count, path.stat().st_size, digest(path), fingerprint
                )  # fmt: skip
        snapshot.state, snapshot.ended = "SUCCESS", self.engine.clock()
        place.write(snapshot)

    def delete(self, repository: str, snapshots: list[Snapshot]) -> None:
        """Delete snapshots; return when what they alone had is gone."""
        place = self.repository(repository)
        with self._turn:
            for snapshot in snapshots:
                self._unfinished.pop((repository, snapshot.name), None)
            with place.writing():
                place.delete(snapshots)

    # -- restoring -----------------------------------------------------------------------------------------------------

    def plan(self, repository: str, name: str, body: dict[str, Any]) -> tuple[Snapshot, RestorePlan]:
        """Return what a restore would do.

        Raises:
            StoreError: the request is not valid, or an index is there already.
        """
        allowed = {"indices", "ignore_unavailable", "include_global_state", "rename_pattern", "rename_replacement",
                   "include_aliases", "partial", "index_settings", "feature_states"}  # fmt: skip
        for key in body:
            if key not in allowed:
                raise StoreError(400, "illegal_argument_exception", f"Unknown parameter {key}")
        known = [each for each in self.all(repository) if each.name == name]
        if not known:
            raise StoreError(500, "snapshot_restore_exception", f"[{repository}:{name}] snapshot does not exist")
        snapshot = known[0]
        title = f"[{repository}:{name}/{snapshot.uuid}]"
        if snapshot.state != "SUCCESS":
            raise StoreError(
                500, "snapshot_restore_exception", f"{title} unsupported snapshot state [{snapshot.state}]"
            )
        chosen = _chosen(names_of(body, "indices", "*"), list(snapshot.indices), body)
        renamed: dict[str, str] = {}
        for index in chosen:
            target = self._renamed(index, body)
            check_name(target)
            if target in renamed:
                text = f"indices [{index}] and [{renamed[target]}] are renamed into the same index [{target}]"
                raise StoreError(500, "snapshot_restore_exception", f"{title} {text}")
            if target in self.engine.indices or target in self.engine.hidden:
                raise StoreError(
                    500,
                    "snapshot_restore_exception",
                    f"{title} cannot restore index [{target}] because an open index with same name already exists in "
                    "the cluster. Either close or delete the existing index or restore the index under a different "
                    "name by providing a rename pattern and replacement name",
                )
            renamed[target] = index
        settings = check_settings(body.get("index_settings", {}))
        if settings:
            check_change(settings)
        return snapshot, RestorePlan(renamed, bool(body.get("include_global_state", False)), settings)

    def _renamed(self, name: str, body: dict[str, Any]) -> str:
        """Return an index's name after `rename_pattern` and `rename_replacement`, in which `$1` is the first group."""
        pattern, replacement = body.get("rename_pattern"), body.get("rename_replacement", "")
        if pattern is None:
            return name
        if not isinstance(pattern, str) or not isinstance(replacement, str):
            raise illegal_argument("malformed rename_pattern or rename_replacement: both are strings")
        groups = re.sub(r"\$(\d)", r"\\\1", replacement.replace("\\", "\\\\"))
        try:
            # DuckDB's expressions end in time whatever the pattern; Python's may not.
            found = (
                self.engine.table.cursor()
                .execute("SELECT regexp_replace(?, ?, ?, 'g')", [name, pattern, groups])
                .fetchone()
            )
        except duckdb.InvalidInputException as error:
            raise StoreError(400, "pattern_syntax_exception", f"rename_pattern [{pattern}]: {error}") from None
        return str(found[0]) if found else name

    def restore(self, repository: str, snapshot: Snapshot, plan: RestorePlan) -> None:
        """Write back what a plan says; return when it is durable and visible.

        Raises:
            StoreError: it failed; nothing of it is left.
        """
        engine, place = self.engine, self.repository(repository)
        with self._turn:
            paths = {name: place.check(snapshot.indices[old]) for name, old in plan.indices.items()}
            targets = self._hide(snapshot, plan)
            try:
                for index in targets:
                    self._read_back(index, paths[index.name])
                self._show(snapshot, plan, targets)
            except BaseException as error:
                engine.last_error = f"restore of {snapshot.name}: {error}"
                with contextlib.suppress(StoreError):  # else the next start does it
                    engine.put(
                        {f"restoring/{index.name}": None for index in targets}, [index.number for index in targets]
                    )
                raise
        engine.refresh()
        log.info("restored a snapshot", extra={"snapshot": snapshot.name, "indices": sorted(plan.indices)})

    def _hide(self, snapshot: Snapshot, plan: RestorePlan) -> list[Index]:
        """Make the indices, not visible yet."""
        engine, targets = self.engine, []
        with engine.lock:
            number = engine.next_number()
            for name, old in plan.indices.items():
                value = snapshot.indices[old].value
                settings = {key: text for key, text in {**value["settings"], **plan.settings}.items() if text != "null"}
                targets.append(Index(name, number, new_uuid(), value["created"], settings, value["mapping"]))
                number += 1
            changes: dict[str, Any] = {f"restoring/{index.name}": index.value() for index in targets}
            engine.put({**changes, "next/number": number})
        return targets

    def _show(self, snapshot: Snapshot, plan: RestorePlan, targets: list[Index]) -> None:
        """Make the indices visible, all at once."""
        engine = self.engine
        with engine.lock:
            for index in targets:
                if index.name in engine.indices:
                    raise StoreError(500, "snapshot_restore_exception", f"index [{index.name}] was made meanwhile")
            changes: dict[str, Any] = {f"index/{index.name}": index.value() for index in targets}
            changes |= {f"restoring/{index.name}": None for index in targets}
            if plan.include_global_state:
                changes |= {key: value for key, value in snapshot.catalogue.items() if key.startswith(_GLOBAL)}
            engine.put(changes)

    def _read_back(self, index: Index, path: Path) -> None:
        engine = self.engine
        with engine.table.reading() as cursor:
            for rows in cursor.exported(path, _ROWS):
                engine.check_writable()
                prepared = [prepare(msgspec.json.decode(row.source), index.mapping) for row in rows]
                with engine.lock:
                    before, lines, operations = engine.sequence, [], []
                    for row, values in zip(rows, prepared, strict=True):
                        sequence = engine.next_sequence()
                        lines.append(
                            b'{"n":%d,"x":%d,"d":%s,"v":%d,"s":%s}\n'
                            % (sequence, index.number, msgspec.json.encode(row.id), row.version, row.source)
                        )
                        operations.append(
                            Operation(sequence, index.number, row.id, row.version, False, row.source,
                                      values.values, values.lists, values.ignored)
                        )  # fmt: skip
                    try:
                        position = engine.commit(lines, operations, {}, [])
                    except StoreError:
                        engine.sequence = before
                        raise
                engine.durable(position)


def names_of(body: dict[str, Any], name: str, default: str) -> list[str]:
    """Return a member that is a list of names, or names separated by commas.

    Raises:
        StoreError: it is neither.
    """
    value = body.get(name, default)
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise illegal_argument(f"malformed {name} section, should be an array of strings")
    return names


def _chosen(wanted: list[str], names: list[str], body: dict[str, Any]) -> list[str]:
    """Return the indices of a snapshot that an expression means."""
    found: dict[str, None] = {}
    for part in wanted:
        if part.startswith("-") and found:
            found = {name: None for name in found if not fits(part[1:], name)}
            continue
        pattern = "*" if part == "_all" else part
        fitting = [name for name in sorted(names) if fits(pattern, name)]
        if not fitting and "*" not in pattern and not body.get("ignore_unavailable"):
            raise IndexNotFoundError(part)
        found.update(dict.fromkeys(fitting))
    return list(found)
