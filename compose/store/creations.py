"""The quick way to write many documents at once, where all of them are new, have ids, and are as their layout has it.

That is decided for the whole request before anything changes. If it is otherwise, `writing.py` goes action by action,
with the same answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec

from compose.store.bulk import Creations
from compose.store.catalogue import Index
from compose.store.engine import Engine
from compose.store.errors import StoreError, WritesBlockedError
from compose.store.layout import Layout, layout_of
from compose.store.rows import Operation
from compose.store.translog import block_of
from compose.store.writing import MAX_ID, refusal

_NONE: dict[str, Any] = {}
_NOTHING: list[str] = []


class Plan(msgspec.Struct):
    """What a request writes.

    Attributes:
        layouts: of each document.
        records: what its layout read of each.
        numbers: of the index of all, or of each.
        answers: what the answer of each begins with, up to its id, and has between id and sequence number.
    """

    layouts: Sequence[Layout]
    records: Sequence[Any]
    numbers: int | list[int]
    answers: Sequence[tuple[str, str]]


def create(engine: Engine, batch: Creations) -> list[dict[str, Any]] | msgspec.Raw | None:
    """Write documents; return when they are durable.

    Returns:
        The items of the answer, as objects or as JSON; None where nothing was done, because they are not as this way
        needs them.
    """
    if len(max(batch.ids, key=len)) > MAX_ID // 4:  # a character has four bytes at most
        return None
    count = len(batch.ids)
    ids = msgspec.json.encode(batch.ids)
    text = b"\n".join([*batch.sources, b""])
    try:
        engine.check_writable()
        with engine.lock:
            plan = _plan(engine, batch, text)
            if plan is None:
                return None
            before = engine.sequence
            engine.sequence += count
            try:
                block = block_of(count, before + 1, plan.numbers, ids, text)
                position = engine.commit([block], _operations(batch, plan, before), {}, [])
            except WritesBlockedError:
                engine.sequence = before
                raise
    except WritesBlockedError as blocked:
        return [{action.verb: refusal(action, action.id, blocked)} for action in batch.actions()]
    engine.durable(position)
    # Without a backslash, nothing in them is escaped, so no id has a quote.
    quoted = batch.ids if b"\\" not in ids else [msgspec.json.encode(name).decode()[1:-1] for name in batch.ids]
    answers = [
        f'{start}{name}{middle}{sequence},"_primary_term":1,"status":201}}}}'
        for sequence, name, (start, middle) in zip(itertools.count(before + 1), quoted, plan.answers, strict=False)
    ]
    return msgspec.Raw(f"[{','.join(answers)}]".encode())


def _operations(batch: Creations, plan: Plan, before: int) -> list[Operation]:
    numbers = plan.numbers if isinstance(plan.numbers, list) else itertools.repeat(plan.numbers)
    return [
        Operation(sequence, number, name, 1, False, source, _NONE, _NONE, _NOTHING, layout, record)
        for sequence, number, name, source, layout, record in zip(
            itertools.count(before + 1), numbers, batch.ids, batch.sources, plan.layouts, plan.records, strict=False
        )
    ]


def _plan(engine: Engine, batch: Creations, text: bytes) -> Plan | None:
    """Return what is to be written, after looking whether it all is as this way needs it; the caller holds the lock."""
    if engine.tombstones:  # a version goes on where the deleted document's ended
        return None
    ids_of: dict[str, list[str]] = {}
    if batch.indices.count(batch.indices[0]) == len(batch.indices):
        ids_of[batch.indices[0]] = batch.ids
    else:
        for name, each in zip(batch.indices, batch.ids, strict=True):
            ids_of.setdefault(name, []).append(each)
    targets: dict[str, Index] = {}
    for name in ids_of:
        index = engine.indices.get(name)
        if index is None:
            return None
        try:
            index.check_write()
        except StoreError:
            return None
        targets[name] = index
    layouts = {name: layout_of(index.mapping) for name, index in targets.items()}
    some = layouts[batch.indices[0]]
    records: Sequence[Any] | None
    if all(layout is some for layout in layouts.values()):
        each_layout = [some] * len(batch.ids)
        records = some.read_all(batch.sources, text)
    else:
        each_layout = [layouts[name] for name in batch.indices]
        records = [layout.read(source) for layout, source in zip(each_layout, batch.sources, strict=True)]
    if records is None or None in records:
        return None
    if not all(_new(engine, targets[name].number, ids) for name, ids in ids_of.items()):
        return None
    starts = {name: _answer(batch.verb, index) for name, index in targets.items()}
    one = len(targets) == 1
    return Plan(
        each_layout,
        records,
        targets[batch.indices[0]].number if one else [targets[name].number for name in batch.indices],
        [starts[batch.indices[0]]] * len(batch.ids) if one else [starts[name] for name in batch.indices],
    )


def _new(engine: Engine, number: int, ids: list[str]) -> bool:
    """Return whether no document of an index has one of these ids, and none is there twice; remember them if so."""
    if len(set(ids)) != len(ids):
        return False
    known = engine.id_filter(number)
    positions = known.positions(ids)
    possible = known.possible(ids, positions)
    if possible and (
        any(engine.loader.pending.get(number, name) for name in possible) or engine.table.versions(number, possible)
    ):
        return False
    known.add(ids, positions)
    return True


def _answer(verb: str, index: Index) -> tuple[str, str]:
    name = msgspec.json.encode(index.name).decode()
    return (
        f'{{"{verb}":{{"_index":{name},"_id":"',
        f'","_version":1,"result":"created","_shards":{{"total":{index.copies()},"successful":1,"failed":0}},"_seq_no":',
    )
