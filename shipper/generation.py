"""Which file this is: identity, growing signature, the marker at the offset, truncation. No input or output."""

from __future__ import annotations

import enum
import re

import msgspec
import xxhash

SIGNATURE_BYTES = 1024
MARKER_BYTES = 256
ALIKE_BYTES = 256  # less content than this in common does not make one file a copy of a live other

_MOMENT = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d{3}")


class Record(msgspec.Struct, kw_only=True):
    """What is remembered of one generation.

    Attributes:
        generation: 16 hexadecimal digits, the first part of each document's id.
        path: where it was last seen.
        device, inode: of the file that holds it now.
        offset: bytes acknowledged from the beginning.
        size: bytes, when last looked at; 0 before that.
        signature_length, signature: hash of the first bytes, at most 1024.
        marker_length, marker: hash of the bytes just before the offset.
        stamp: the last valid timestamp before the offset.
        fallback: time of the lines before the file's first valid timestamp, empty for none; None before it is known.
        gone_at: seconds since 1970 when no file held it any more; 0 while one does.
        incarnation: how often a truncated file began with the same first line.
        unterminated: the offset is that of a tail sent without its newline.
    """

    generation: str
    path: str
    device: int
    inode: int
    offset: int = 0
    size: int = 0
    signature_length: int = 0
    signature: str = ""
    marker_length: int = 0
    marker: str = ""
    stamp: str = ""
    fallback: str | None = None
    gone_at: float = 0.0
    incarnation: int = 0
    unterminated: bool = False


class Kind(enum.Enum):
    """How a file on disk relates to a remembered generation."""

    SAME = "same"
    REWOUND = "rewound"
    OTHER = "other"


def rewind(record: Record) -> None:
    """Let a generation begin anew: all of it is sent again, and what is there is met by its id."""
    record.offset = record.size = record.marker_length = 0
    record.marker = record.stamp = ""


def digest(data: bytes) -> str:
    """Return a short hash of bytes, as text."""
    return xxhash.xxh3_64_hexdigest(data)


def seed_of(volume: str) -> int:
    """Return the 64-bit seed of the ids' line hashes; the volume id it comes from is never indexed or logged."""
    return xxhash.xxh3_64_intdigest(b"line:" + volume.encode())


def generation_id(volume: str, inode: int, head: bytes, incarnation: int) -> str:
    """Return the identity of a generation from its volume, inode and first line.

    Args:
        head: the file's first bytes; what counts is the first line, at most 1024 bytes of it.
        incarnation: 0, or how often this file began with the same line before.
    """
    first = head[:SIGNATURE_BYTES].split(b"\n", 1)[0]
    extra = f"#{incarnation}" if incarnation else ""
    return xxhash.xxh3_128_hexdigest(f"{volume}\0{inode}{extra}\0".encode() + first)[:16]


def sign(record: Record, head: bytes) -> None:
    """Let the signature grow with the file's first bytes."""
    length = min(len(head), SIGNATURE_BYTES)
    if length > record.signature_length:
        record.signature_length, record.signature = length, digest(head[:length])


def begins_alike(record: Record, head: bytes) -> bool:
    """Whether a file that begins with `head` may be the remembered one."""
    length = record.signature_length
    return 0 < length <= len(head) and digest(head[:length]) == record.signature


def compare(record: Record, head: bytes, size: int, before_offset: bytes) -> Kind:
    """Say how a file relates to a remembered generation that had the same inode.

    Args:
        head: its first bytes, at least 1024 where it has so many.
        size: in bytes.
        before_offset: the `record.marker_length` bytes before `record.offset`, fewer where the file ends.
    """
    if size >= record.offset:
        if not begins_alike(record, head):
            return Kind.OTHER
        if digest(before_offset) == record.marker or not record.offset:
            return Kind.SAME
        # Perhaps a power cut took the tail, or left NULs in its place, and the writer went on before we did.
        return Kind.REWOUND if record.signature_length >= SIGNATURE_BYTES else Kind.OTHER
    # Shorter than what was acknowledged: a power cut takes the tail and leaves the beginning.
    if begins_alike(record, head) and size >= SIGNATURE_BYTES:
        return Kind.REWOUND
    return Kind.OTHER


def telling(record: Record, head: bytes) -> bool:
    """Whether so much is known of a beginning that no other file has it by accident.

    256 bytes are enough, and fewer where a moment is in them, to the millisecond at least.

    Args:
        head: the first bytes of a file that begins alike.
    """
    return record.signature_length >= ALIKE_BYTES or bool(_MOMENT.search(head[: record.signature_length]))


def is_copy(record: Record, head: bytes, size: int, before_offset: bytes, packed: bool) -> bool:
    """Whether a file with another inode holds the remembered generation: a copy, a moved or an unpacked file.

    A beginning that tells too little may be that of a file made anew, whose lines would be lost. It counts where the
    file is packed, for that is what copies are; where nothing was acknowledged, perhaps only for a crash, it must then
    be all that there is.
    """
    if size < record.offset or not begins_alike(record, head):
        return False
    if record.offset and digest(before_offset) != record.marker:
        return False
    return telling(record, head) or (packed and (record.offset > 0 or size == record.signature_length))
