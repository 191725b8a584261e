"""What the reading process and its workers say to each other: one message per packet, an open file beside it."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import msgspec

from shipper.settings import ShipperSettings

PACKET_BYTES = 128 * 1024  # below the kernel's limit of one packet (net.core.wmem_default, 208 KiB)
PARTS_TOGETHER = 100  # of at most 400 bytes each
NUMBERS_TOGETHER = 5000
TEXT = 2000  # characters kept of a trouble


class Job(msgspec.Struct, tag="job", array_like=True):
    """A stretch of one generation that a worker is to read and to send; the file's handle comes with it.

    Attributes:
        number: of the job.
        source: number of the file's tail, for packed files that stay open in the worker.
        path: where the file was last seen, for dead letters.
        packed: it is a `.gz`, of so many bytes unpacked; -1 where it is none.
        offset: of the first byte to read.
        before: the bytes in front of it, by which a changed file is known.
        begins: length and hash of the first bytes, by which it is known where none are in front.
        limit: bytes after which the rest is left to the next job.
        whole: nothing will be appended: a last line without its newline is taken.
        generation, seed: of the ids.
        stamp, fallback: for lines without a valid timestamp.
    """

    number: int
    source: int
    path: str
    packed: int
    offset: int
    before: bytes
    begins: tuple[int, str]
    limit: int
    whole: bool
    generation: str
    seed: int
    stamp: str
    fallback: str


class Tune(msgspec.Struct, tag="tune", array_like=True):
    """Settings to use from now on.

    Attributes:
        settings: all of them.
        cluster: uuid of the one that everything goes to; empty before it is known, and then no job comes.
        again: take them on even where they are those in use, for a secret may be another one.
    """

    settings: ShipperSettings
    cluster: str
    again: bool = False


class Flush(msgspec.Struct, tag="flush", array_like=True):
    """Send what was gathered, without waiting for more."""


class Part(msgspec.Struct, array_like=True):
    """A stretch that goes out in one batch; see `shipper.batch.Segment`."""

    number: int
    end: int
    before: bytes
    stamp: str
    unterminated: bool


class Report(msgspec.Struct, omit_defaults=True):
    """What a worker did since its last report.

    Attributes:
        job: the job that `parts` and `error` are of; 0 for none.
        parts: what was read of it, in order.
        done: nothing more comes of the job.
        error: why the file cannot be read.
        settled: numbers of parts of which every record is settled.
        held: bytes of batches that are not settled.
        counts, errors: what to add to the tally.
        treatments: what to add to the counts of lines.
        stuck, reachable, last_acknowledged, last_error: of the worker's tally, as they are now.
        cpu, resident: seconds and bytes that its process has used, and uses.
    """

    job: int = 0
    parts: list[Part] = []
    done: bool = False
    error: str | None = None
    settled: list[int] = []
    held: int = 0
    counts: dict[str, int] = {}
    errors: dict[str, int] = {}
    treatments: dict[str, int] = {}
    stuck: dict[str, str] = {}
    reachable: bool | None = None
    last_acknowledged: float = 0.0
    last_error: str | None = None
    cpu: float = 0.0
    resident: int = 0


def _encoded(value: Any) -> str:
    return str(value)


def _decoded(kind: type, value: Any) -> Any:
    return kind(value)


_encode = msgspec.msgpack.Encoder(enc_hook=_encoded).encode
_order = msgspec.msgpack.Decoder(Job | Tune | Flush, dec_hook=_decoded).decode
_report = msgspec.msgpack.Decoder(Report).decode


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a way between two processes; packets stay whole, and its end is noticed."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: Job | Tune | Flush | Report, handle: int | None = None) -> None:
    """Send a message, and an open file with it.

    Raises:
        OSError: nobody is there any more.
    """
    data = _encode(message)
    if handle is None:
        end.send(data)
    else:
        end.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [handle]))])


def orders(end: socket.socket) -> tuple[Job | Tune | Flush, int] | None:
    """Wait for the next order; return it and the file that came with it (-1 for none), or None at the end."""
    with contextlib.suppress(OSError):
        data, handles, _, _ = socket.recv_fds(end, PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        if data:
            return _order(data), handles[0] if handles else -1
    return None


def reports(end: socket.socket) -> Report | None:
    """Wait for the next report; None at the end."""
    with contextlib.suppress(OSError):
        data = end.recv(PACKET_BYTES)
        if data:
            return _report(data)
    return None


def root() -> str:
    """Return the folder that this package is imported from, for the workers' own import."""
    return os.fspath(Path(__file__).resolve().parent.parent)
