"""Documents written and read by id: the actions of a bulk request, each with its own answer."""

from __future__ import annotations

import base64
import os
import threading
import time
from typing import Any

import msgspec

from compose.store.bulk import Action
from compose.store.catalogue import Index, expand_date_name
from compose.store.document import Prepared, prepare
from compose.store.duplicates import repeated_name
from compose.store.engine import Engine
from compose.store.errors import DocumentError, StoreError, WritesBlockedError, illegal_argument
from compose.store.layout import Layout, layout_of
from compose.store.mapping import Mapping
from compose.store.rows import Operation

_encode = msgspec.json.encode
_decode = msgspec.json.decode


_id_lock = threading.Lock()
_id_last = 0

_NONE: dict[str, Any] = {}
_NOTHING: list[str] = []
_READ = Prepared(_NONE, _NONE, _NOTHING, {})  # what is left to prepare of a document that its layout has read

GC_SECONDS = 60.0  # index.gc_deletes
MAX_ID = 512  # bytes


def new_id() -> str:
    """Return an id of 20 characters that rises with time, as Elasticsearch's own do."""
    global _id_last
    with _id_lock:
        _id_last = max(_id_last + 1, time.time_ns())
        stamp = _id_last
    return base64.urlsafe_b64encode(stamp.to_bytes(8, "big") + os.urandom(7)).decode()


class Created(msgspec.Struct, gc=False, rename={
    "index": "_index", "id": "_id", "version": "_version", "shards": "_shards", "sequence": "_seq_no",
    "term": "_primary_term",
}):  # fmt: skip
    """The answer for a new document: what nearly every one is."""

    index: str
    id: str
    version: int
    result: str
    shards: dict[str, int]
    sequence: int
    term: int
    status: int


Answer = dict[str, Any] | Created


class Writer:
    """Applies actions to an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def apply(self, actions: list[Action], *, refresh: bool = False) -> list[tuple[str, Answer]]:
        """Do actions in their order; return when those that were taken are durable, and visible if asked.

        Returns:
            For each, its verb and its answer: the result with `status`, or `error` with `status`.
        """
        engine = self.engine
        for action in actions:
            # A character has four bytes at most.
            if action.id is not None and len(action.id) > MAX_ID // 4 and len(action.id.encode()) > MAX_ID:
                text = f"id [{action.id}] is too long, must be no longer than {MAX_ID} bytes but was: "
                text = f"Validation Failed: 1: {text}{len(action.id.encode())};"
                raise StoreError(400, "action_request_validation_exception", text)
        try:
            engine.check_writable()
        except WritesBlockedError as blocked:
            return [(action.verb, refusal(action, action.id, blocked)) for action in actions]
        with engine.lock:
            before = engine.sequence
            run = _Run(engine, refresh)
            answers = run.all(actions)
            position = engine.translog.position
            if run.operations or run.changes:
                try:
                    # Values of the catalogue come first: replay needs the mapping before the document.
                    position = engine.commit(run.lines(), run.operations, run.changes, [])
                except WritesBlockedError as blocked:
                    engine.sequence = before
                    return [(action.verb, refusal(action, action.id, blocked)) for action in actions]
        # A 409 waits as well: the first copy may be in a batch whose fsync is still to come.
        engine.durable(position)
        if refresh:
            engine.refresh()
        return answers

    def read(self, index: Index, ids: list[str]) -> dict[str, tuple[int, int, bytes]]:
        """Return id → (version, sequence number, source) of documents that are there, loaded or not."""
        engine, found, missing = self.engine, {}, []
        with engine.lock:
            for name in ids:
                operation = engine.loader.pending.get(index.number, name)
                if operation is None:
                    missing.append(name)
                elif operation.source is not None:
                    found[name] = (operation.version, operation.sequence, operation.source)
            if missing:
                for name, row in engine.table.sources(index.number, missing).items():
                    found[name] = (row[0], row[1], row[2].encode())
        return found


class _Target(msgspec.Struct):
    """An index that a request writes to, with what each of its answers repeats."""

    name: str
    number: int
    layout: Layout
    shards: dict[str, int]


class _Run:
    """One request's actions while they are planned, under the engine's lock."""

    def __init__(self, engine: Engine, refresh: bool) -> None:
        self.engine = engine
        self.refresh = refresh
        self.operations: list[Operation] = []
        self.document_lines: list[bytes] = []
        self.changes: dict[str, Any] = {}
        self.indices: dict[str, Index] = {}
        self.mappings: dict[str, Mapping] = {}
        self.versions: dict[tuple[int, str], tuple[int, int]] = {}
        self.targets: dict[str, _Target] = {}
        self.maybe_pending: set[tuple[int, str]] = set()  # all that may be among what the loader has still to load

    def lines(self) -> list[bytes]:
        """Return the batch as lines of the translog."""
        # The numbers of catalogue lines are the last ones, their place is first: replay goes by place.
        return [self.engine.value_line(key, value) for key, value in self.changes.items()] + self.document_lines

    def all(self, actions: list[Action]) -> list[tuple[str, Answer]]:
        """Plan every action."""
        self._look_up(actions)
        answers: list[tuple[str, Answer]] = []
        for action in actions:
            answer: Answer | None = self._usual(action)
            if answer is None:
                try:
                    answer = self._one(action)
                except StoreError as error:
                    answer = refusal(action, action.id, error)
            answers.append((action.verb, answer))
        return answers

    def _look_up(self, actions: list[Action]) -> None:
        wanted: dict[str, list[str]] = {}
        for action in actions:
            if action.id is not None:
                ids = wanted.get(action.index)
                if ids is None:
                    ids = wanted[action.index] = []
                ids.append(action.id)
        pending = self.engine.loader.pending
        for name, ids in wanted.items():
            index = self.engine.indices.get(name)
            if index is None:
                continue
            number = index.number
            known = self.engine.id_filter(number)
            loaded = []
            for each in known.possible(ids):
                if pending.get(number, each) is not None:
                    self.maybe_pending.add((number, each))
                else:
                    loaded.append(each)
            for each, version in self.engine.table.versions(number, loaded).items():
                self.versions[number, each] = version
            known.add(ids)

    def _usual(self, action: Action) -> Created | None:
        """Plan what nearly every action is: a new document that its layout can read; None where it is not that."""
        target = self.targets.get(action.index)
        if target is None or not action.id or action.verb == "delete" or action.if_seq_no is not None:
            return None
        key = (target.number, action.id)
        if key in self.versions or key in self.maybe_pending or self.engine.tombstones:
            return None
        source = action.source
        record = target.layout.read(source)
        if record is None or b"\n" in source:
            return None
        sequence = self.engine.sequence = self.engine.sequence + 1
        self.document_lines.append(
            b'{"n":%d,"x":%d,"d":%s,"v":1,"s":%s}\n' % (sequence, target.number, _encode(action.id), source)
        )
        self.operations.append(
            Operation(
                sequence, target.number, action.id, 1, False, source, _NONE, _NONE, _NOTHING, target.layout, record
            )
        )
        self.versions[key] = (1, sequence)
        return Created(target.name, action.id, 1, "created", target.shards, sequence, 1, 201)

    def _index(self, name: str, action: Action) -> Index:
        index = self.indices.get(name)
        if index is not None:
            return index
        if not name:
            raise StoreError(400, "action_request_validation_exception", "Validation Failed: 1: index is missing;")
        full = expand_date_name(name, self.engine.clock())
        found = self.engine.indices.get(full)
        if found is None:
            if action.require_existing_index:
                raise StoreError(
                    404, "index_not_found_exception", f"no such index [{full}] and [require_alias] request flag is "
                    f"[true] and [{full}] is not an alias", index=full, index_uuid="_na_",
                )  # fmt: skip
            found = self.engine.plan_index(full)
            taken = int(self.changes.get("next/number", 0))
            found.number = max(found.number, taken)
            self.changes[f"index/{full}"] = found.value()
            self.changes["next/number"] = found.number + 1
        found.check_write()
        self.indices[name] = self.indices[full] = found
        return found

    def _one(self, action: Action) -> dict[str, Any]:
        engine = self.engine
        if action.id == "":
            raise illegal_argument("if _id is specified it must not be empty")
        if action.verb == "delete" and action.id is None:
            raise StoreError(400, "action_request_validation_exception", "Validation Failed: 1: id is missing;")
        if action.verb == "delete" and action.index not in engine.indices and action.index not in self.indices:
            raise _missing_index(action.index)
        index = self._index(action.index, action)
        name = action.id if action.id is not None else new_id()
        key = (index.number, name)
        known = self._known(key) if action.id is not None else None
        if action.if_seq_no is not None and (known is None or known[1] != action.if_seq_no):
            current = (
                f"current document has seqNo [{known[1]}] and primary term [1]"
                if known
                else "but no document was found"
            )
            raise _conflict(
                index, f"[{name}]: version conflict, required seqNo [{action.if_seq_no}], primary term [1]. {current}"
            )
        if action.verb == "delete":
            return self._delete(index, name, known)
        if action.verb == "create" and known is not None:
            raise _conflict(
                index, f"[{name}]: version conflict, document already exists (current version [{known[0]}])"
            )
        source = action.source if b"\n" not in action.source else action.source.replace(b"\n", b" ")
        layout = layout_of(self.mappings.get(index.name, index.mapping))
        if action.index not in self.targets and not self.refresh:
            shards = {"total": index.copies(), "successful": 1, "failed": 0}
            self.targets[action.index] = _Target(index.name, index.number, layout, shards)
        record = layout.read(source)
        prepared = _READ if record is not None else self._prepare(index, name, source)
        sequence = engine.next_sequence()
        version = known[0] + 1 if known else self._buried(key) + 1
        self.document_lines.append(
            b'{"n":%d,"x":%d,"d":%s,"v":%d%s,"s":%s}\n'
            % (sequence, index.number, _encode(name), version, b',"r":true' if known else b"", source)
        )
        self.operations.append(
            Operation(
                sequence, index.number, name, version, known is not None, source,
                prepared.values, prepared.lists, prepared.ignored, layout if record is not None else None, record,
            )
        )  # fmt: skip
        self.versions[key] = (version, sequence)
        return self._done(index, name, version, sequence, "updated" if known else "created", 200 if known else 201)

    def _known(self, key: tuple[int, str]) -> tuple[int, int] | None:
        known = self.versions.get(key)
        if known is None:
            operation = self.engine.loader.pending.get(*key)
            if operation is not None and operation.source is not None:
                return operation.version, operation.sequence
            return None
        return known if known[0] > 0 else None

    def _buried(self, key: tuple[int, str]) -> int:
        """Return the version of a document deleted within the last minute, as index.gc_deletes keeps it; else 0."""
        tombstones = self.engine.tombstones
        if not tombstones:
            return 0
        oldest = time.monotonic() - GC_SECONDS
        while tombstones and (first := next(iter(tombstones.items())))[1][1] < oldest:
            del tombstones[first[0]]
        return tombstones.pop(key, (0, 0.0))[0]

    def _delete(self, index: Index, name: str, known: tuple[int, int] | None) -> dict[str, Any]:
        sequence = self.engine.next_sequence()
        key = (index.number, name)
        version = (known[0] if known else self._buried(key)) + 1
        self.engine.tombstones[key] = (version, time.monotonic())
        if known is None:
            return self._done(index, name, version, sequence, "not_found", 404)
        self.document_lines.append(
            b'{"n":%d,"x":%d,"d":%s,"v":%d,"r":true}\n' % (sequence, index.number, _encode(name), version)
        )
        self.operations.append(Operation(sequence, index.number, name, version, True, None, {}, {}, []))
        self.versions[index.number, name] = (0, sequence)
        return self._done(index, name, version, sequence, "deleted", 200)

    def _prepare(self, index: Index, name: str, source: bytes) -> Prepared:
        try:
            document = _decode(source)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise DocumentError(
                f"failed to parse document with id '{name}': {error}",
                cause={"type": "x_content_parse_exception", "reason": str(error)},
            ) from None
        if (repeated := repeated_name(source)) is not None:
            text = f"Duplicate field '{repeated}'"
            raise DocumentError(f"failed to parse: {text}", cause={"type": "x_content_parse_exception", "reason": text})
        if document.__class__ is not dict:
            raise DocumentError(f"failed to parse document with id '{name}': it must be an object")
        mapping = self.mappings.get(index.name, index.mapping)
        prepared = prepare(document, mapping)
        if not prepared.added:
            return prepared
        while prepared.added:
            try:
                mapping = mapping.extended(prepared.added)
            except StoreError as error:
                raise DocumentError(error.reason) from error
            prepared = prepare(document, mapping)
        # Only now: a document that does not fit leaves no mapping behind.
        self.mappings[index.name] = mapping
        self.targets.clear()
        self.changes[f"index/{index.name}"] = {**index.value(), "mapping": mapping.source}
        return prepared

    def _done(self, index: Index, name: str, version: int, sequence: int, result: str, status: int) -> dict[str, Any]:
        answer = {
            "_index": index.name,
            "_id": name,
            "_version": version,
            "result": result,
            "_shards": {"total": index.copies(), "successful": 1, "failed": 0},
            "_seq_no": sequence,
            "_primary_term": 1,
            "status": status,
        }
        if self.refresh:
            answer["forced_refresh"] = True
        return answer


def _conflict(index: Index, reason: str) -> StoreError:
    return StoreError(
        409, "version_conflict_engine_exception", reason, index_uuid=index.uuid, shard="0", index=index.name
    )


def _missing_index(name: str) -> StoreError:
    return StoreError(
        404, "index_not_found_exception", f"no such index [{name}]", index=name, index_uuid="_na_",
        cause=None, **{"resource.type": "index_or_alias", "resource.id": name},
    )  # fmt: skip


def refusal(action: Action, name: str | None, error: StoreError) -> dict[str, Any]:
    """Return the answer to an action that is refused."""
    return {"_index": action.index, "_id": name, "status": error.status, "error": error.item()}
