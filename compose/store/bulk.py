"""Bulk bodies: lines to the actions that they ask for."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from compose.store.duplicates import colons, repeated_name
from compose.store.errors import StoreError, UnsupportedError, illegal_argument


class Action(msgspec.Struct, gc=False):
    """One thing to do with one document.

    Attributes:
        verb: index, create or delete.
        index: name.
        id: None where the store is to make one.
        source: the document as sent; empty where it is deleted.
        if_seq_no: only if the document's last change has this sequence number.
    """

    verb: str
    index: str
    id: str | None
    source: bytes = b""
    if_seq_no: int | None = None
    require_existing_index: bool = False


class Creations(msgspec.Struct, gc=False):
    """What nearly every bulk body asks for: documents with ids, all by one verb; the lists are parallel.

    Attributes:
        verb: index or create.
        indices: names.
        ids: none is empty.
        sources: the documents as sent.
    """

    verb: str
    indices: list[str]
    ids: list[str]
    sources: list[bytes]

    def actions(self) -> list[Action]:
        """Return them one by one."""
        return [Action(self.verb, *each) for each in zip(self.indices, self.ids, self.sources, strict=True)]


class _Meta(msgspec.Struct, forbid_unknown_fields=True, rename={"index": "_index", "id": "_id"}):
    index: str | None = None
    id: str | int | None = None
    routing: str | None = None
    if_seq_no: int | None = None
    if_primary_term: int | None = None
    require_alias: bool = False
    version: int | None = None
    version_type: str | None = None
    pipeline: str | None = None
    dynamic_templates: dict[str, str] | None = None
    retry_on_conflict: int | None = None
    list_executed_pipelines: bool | None = None
    op_type: str | None = None


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    index: _Meta | None = None
    create: _Meta | None = None
    delete: _Meta | None = None
    update: _Meta | None = None


class _UsualMeta(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename={"index": "_index", "id": "_id"}):
    index: str | None = None
    id: str | None = None


class _UsualHead(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What nearly every action line is: an index and an id."""

    create: _UsualMeta | None = None
    index: _UsualMeta | None = None


_decode_usual = msgspec.json.Decoder(_UsualHead).decode
_decode_all_usual = msgspec.json.Decoder(list[_UsualHead]).decode
_decode_head = msgspec.json.Decoder(_Head).decode


def read_creations(body: bytes, default_index: str | None) -> Creations | None:
    """Read a bulk body whose action lines are all alike, all at once.

    Args:
        body: newline-delimited JSON.
        default_index: of actions that name none.

    Returns:
        None where any line is not like that, or is wrong: then `read_bulk` reads it.
    """
    lines = body.split(b"\n")
    count = len(lines) // 2
    if not count or lines.pop() or len(lines) % 2 or b"\r" in body:
        return None
    text = b"\n,".join(lines[::2])
    # An action holds no array, so `,{` only stands between two: each line begins one, and there are as many as lines.
    if text[:1] != b"{" or text.count(b"\n,{") != count - 1:
        return None
    try:
        heads = _decode_all_usual(b"[%b]" % text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    verb = "create"
    metas = [head.create for head in heads]
    if metas.count(None) == len(metas):
        verb, metas = "index", [head.index for head in heads]
    if len(heads) != count or None in metas:
        return None
    indices = [meta.index for meta in metas if meta is not None]
    ids = [meta.id for meta in metas if meta is not None]
    unnamed = indices.count(None)
    # As many colons behind quotes as names: none is there twice, and none beside them.
    if None in ids or "" in ids or colons(text) != 3 * count - unnamed:
        return None
    named = [name if name is not None else default_index or "" for name in indices] if unnamed else indices
    if "" in named:
        return None
    return Creations(verb, named, ids, lines[1::2])  # type: ignore[arg-type]  # no None is left in them


def read_bulk(body: bytes, default_index: str | None) -> Iterator[Action]:
    """Read a bulk body.

    Args:
        body: newline-delimited JSON.
        default_index: of actions that name none.

    Raises:
        StoreError: the body is malformed; nothing of it is done.
    """
    if not body.strip():
        raise StoreError(400, "parse_exception", "request body is required")
    if not body.endswith(b"\n"):
        raise illegal_argument("The bulk request must be terminated by a newline [\\n]")
    lines = body.split(b"\n")
    lines.pop()
    position, count, any_read = 0, len(lines), False
    while position < count:
        head_line = lines[position]
        position += 1
        if position < count:
            try:
                head = _decode_usual(head_line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                head = None
            usual = head and (head.create or head.index)
            # As many colons behind quotes as names: none is there twice.
            if (
                head
                and usual
                and usual.index != ""
                and not (head.create and head.index)
                and head_line.count(b'":') == 1 + (usual.index is not None) + (usual.id is not None)
            ):
                any_read = True
                yield Action(
                    "create" if head.create else "index", usual.index or default_index or "", usual.id,
                    lines[position].rstrip(b"\r"),
                )  # fmt: skip
                position += 1
                continue
        head_line = head_line.rstrip(b"\r")
        if not head_line.strip():
            continue
        verb, meta = _read_head(head_line, position)
        index = meta.index or default_index
        if meta.index == "":
            index = ""
        name = str(meta.id) if meta.id is not None else None
        if verb == "delete":
            yield Action(verb, index or "", name, b"", meta.if_seq_no)
            continue
        if position >= count:
            # Elasticsearch leaves such an action out without a word; here only a body of nothing else is as there.
            if not any_read:
                raise StoreError(400, "action_request_validation_exception", "Validation Failed: 1: no requests added;")
            raise illegal_argument("The bulk request must be terminated by a newline [\\n]")
        any_read = True
        source = lines[position].rstrip(b"\r")
        position += 1
        if meta.op_type == "create" and verb == "index":
            verb = "create"
        yield Action(verb, index or "", name, source, meta.if_seq_no, meta.require_alias)


def _read_head(line: bytes, number: int) -> tuple[str, _Meta]:
    repeated = repeated_name(line)
    if repeated is not None:
        raise StoreError(400, "x_content_parse_exception", f"Duplicate field '{repeated}'")
    try:
        head = _decode_head(line)
    except msgspec.ValidationError as error:
        raise _bad_head(line, number, str(error)) from None
    except msgspec.DecodeError as error:
        raise StoreError(
            400, "x_content_parse_exception", f"[{number}:1] Malformed action/metadata line [{number}]: {error}"
        ) from None
    for verb in ("create", "index", "delete", "update"):
        meta: _Meta | None = getattr(head, verb)
        if meta is not None:
            if verb == "update":
                raise UnsupportedError("the bulk action [update]")
            for parameter in ("version", "version_type", "pipeline", "dynamic_templates"):
                if getattr(meta, parameter) not in (None, "_none"):
                    raise UnsupportedError(f"[{parameter}] in a bulk action")
            return verb, meta
    raise illegal_argument(f"Malformed action/metadata line [{number}], expected FIELD_NAME but found [END_OBJECT]")


def _bad_head(line: bytes, number: int, problem: str) -> StoreError:
    try:
        value = msgspec.json.decode(line)
    except msgspec.DecodeError:
        value = None
    if isinstance(value, dict) and value:
        name, meta = next(iter(value.items()))
        if name not in ("index", "create", "delete", "update"):
            return illegal_argument(
                f"Malformed action/metadata line [{number}], expected field [create], [delete], [index] or [update] "
                f"but found [{name}]"
            )
        if not isinstance(meta, dict):
            return illegal_argument(
                f"Malformed action/metadata line [{number}], expected START_OBJECT but found [VALUE_STRING]"
            )
        unknown = sorted(meta.keys() - set(_Meta.__struct_encode_fields__))
        if unknown:
            return illegal_argument(f"Action/metadata line [{number}] contains an unknown parameter [{unknown[0]}]")
        return illegal_argument(f"Malformed action/metadata line [{number}]: {problem}")
    return illegal_argument(
        f"Malformed action/metadata line [{number}], expected START_OBJECT but found [VALUE_STRING]"
    )
