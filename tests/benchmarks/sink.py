"""A bulk sink in its own process: answers `_bulk` as Elasticsearch does, stores nothing, counts documents and ids.

`python -m tests.benchmarks.sink` prints its port and serves until it is ended. `GET /_sink` tells the counts,
`DELETE /_sink` sets them back. It honours `filter_path` as far as shippers use it (errors, took, items.*.<field>),
gzip, chunked bodies and `Expect: 100-continue`; a second `create` of an id is a 409.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from typing import BinaryIO
from urllib.parse import parse_qs, unquote

import msgspec
from isal import igzip

_ID = re.compile(rb'"_id":\s*"([^"]*)"')
_INDEX = re.compile(rb'"_index":\s*"([^"]*)"')
_ROOT = (
    b'{"name":"sink","cluster_name":"sink","cluster_uuid":"sink-sink-sink-sink-00","version":{"number":"8.19.0",'
    b'"build_flavor":"default","build_type":"zip","build_hash":"0","build_date":"2026-01-01T00:00:00Z",'
    b'"build_snapshot":false,"lucene_version":"9.12.2","minimum_wire_compatibility_version":"7.17.0",'
    b'"minimum_index_compatibility_version":"7.0.0"},"tagline":"You Know, for Search"}'
)


class Counts(msgspec.Struct):
    """What has come since the last reset.

    Attributes:
        documents: taken, not the doubles.
        ids: distinct ids that the senders gave.
        duplicates: creates of an id that was there.
        malformed: bodies that are no pairs of lines, or whose first document is no JSON object with a timestamp.
        requests: bulk requests.
        wire_bytes, body_bytes: of bodies, as sent and unpacked.
        first_at, last_at: moments of the first and the last request's end, seconds of the monotonic clock.
        sample: the first document.
        action: its action line.
    """

    documents: int = 0
    ids: int = 0
    duplicates: int = 0
    malformed: int = 0
    requests: int = 0
    wire_bytes: int = 0
    body_bytes: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    sample: str = ""
    action: str = ""


class Sink:
    """The counts, and the answers."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._seen: set[bytes] = set()
        self._lock = threading.Lock()
        self._number = 0

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self.counts = Counts()
            self._seen = set()

    def bulk(self, wire: int, body: bytes, query: str) -> bytes:
        """Take a bulk body; return Elasticsearch's reply.

        Args:
            wire: bytes of the body as sent.
            body: unpacked.
            query: of the URL.
        """
        lines = body.split(b"\n")
        actions = lines[0:-1:2]
        total = len(actions)
        head = b"\n".join(actions)
        ids = _ID.findall(head)
        own = len(ids) == total
        clash: set[int] = set()
        counts = self.counts
        with self._lock:
            counts.requests += 1
            counts.wire_bytes += wire
            counts.body_bytes += len(body)
            counts.last_at = time.monotonic()
            counts.first_at = counts.first_at or counts.last_at
            if not self._sound(lines):
                counts.malformed += 1
            if own:
                before = len(self._seen)
                fresh = set(ids)
                if len(fresh) < total or not self._seen.isdisjoint(fresh):
                    clash = self._clashes(ids)
                self._seen |= fresh
                counts.ids += len(self._seen) - before
                counts.duplicates += len(clash)
            self._number += total
            counts.documents += total - len(clash)
            number = self._number
        return self._reply(query, head, ids if own else [], total, clash, number)

    def _clashes(self, ids: list[bytes]) -> set[int]:
        clash, here = set(), set()
        for place, identity in enumerate(ids):
            if identity in self._seen or identity in here:
                clash.add(place)
            here.add(identity)
        return clash

    def _sound(self, lines: list[bytes]) -> bool:
        if len(lines) < 3 or len(lines) % 2 == 0 or lines[-1]:
            return False
        try:
            document = msgspec.json.decode(lines[1])
        except msgspec.DecodeError:
            return False
        if not self.counts.sample:
            self.counts.sample, self.counts.action = lines[1].decode(), lines[0].decode()
        return isinstance(document, dict) and "@timestamp" in document and lines[0].startswith(b"{")

    @staticmethod
    def _reply(query: str, head: bytes, ids: list[bytes], total: int, clash: set[int], number: int) -> bytes:
        paths = parse_qs(query).get("filter_path", [""])[0]
        wanted = set(unquote(paths).split(",")) - {""}
        flag = b"true" if clash else b"false"
        start = b'{"errors":%b,"took":7' % flag
        if wanted:
            parts = [b'"errors":' + flag] if "errors" in wanted else []
            parts += [b'"took":7'] if "took" in wanted else []
            start = b"{" + b",".join(parts)
        kind = b"create" if head.startswith((b'{"create"', b'{ "create"')) else b"index"
        full = not wanted or "items" in wanted
        if not full and not any(path.startswith("items") for path in wanted):
            return start + b"}"
        conflict = b'"error":{"type":"version_conflict_engine_exception","reason":"document already exists"},'
        if not full:
            status = "items.*.status" in wanted
            good = b'{"%b":{"status":201}}' % kind if status else b""
            bad = b'{"%b":{%b}}' % (kind, (conflict + b'"status":409') if status else conflict[:-1])
            items = [good] * total
            for place in clash:
                items[place] = bad
            return start + b',"items":[' + b",".join(filter(None, items)) + b"]}"
        indices = _INDEX.findall(head)
        if len(indices) != total:
            indices = [b"ml-pipeline"] * total
        ids = ids or [b"sink%016x" % (number - total + place) for place in range(total)]
        tail = (
            b'"_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_primary_term":1,'
            b'"status":201}}'
        )
        items = [
            b'{"%b":{"_index":"%b","_id":"%b","_seq_no":%d,%b' % (kind, index, identity, place, tail)
            for place, (index, identity) in enumerate(zip(indices, ids, strict=True), number - total)
        ]
        for place in clash:
            items[place] = b'{"%b":{"_index":"%b","_id":"%b",%b"status":409}}' % (
                kind, indices[place], ids[place], conflict,
            )  # fmt: skip
        return start + b',"items":[' + b",".join(items) + b"]}"

    # -- HTTP, by hand: a server of the library's costs more than all the rest here

    def serve(self, connection: socket.socket) -> None:
        """Answer one connection until it ends."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream: BinaryIO = connection.makefile("rb", 1 << 20)  # type: ignore[assignment]  # typeshed knows no BufferedReader here
        try:
            while line := stream.readline():
                if line == b"\r\n":
                    continue
                method, target, _ = line.decode("latin-1").split(" ", 2)
                headers: dict[str, str] = {}
                while (field := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = field.decode("latin-1").partition(":")
                    headers[name.strip().lower()] = value.strip()
                if headers.get("expect", "").lower() == "100-continue":
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = _body(stream, headers)
                wire = len(body)
                if "gzip" in headers.get("content-encoding", ""):
                    body = igzip.decompress(body)  # type: ignore[no-untyped-call]  # isal ships no types here
                status, answer = self._answer(method, target, wire, body)
                compatible = headers.get("accept", "").partition(",")[0]
                kind = compatible if "compatible-with" in compatible else "application/json"
                connection.sendall(
                    b"HTTP/1.1 %d OK\r\nX-elastic-product: Elasticsearch\r\ncontent-type: %b\r\n"
                    b"content-length: %d\r\n\r\n"
                    % (status, kind.encode(), len(answer))
                    + (b"" if method == "HEAD" else answer)
                )
        except (ConnectionError, ValueError):
            return
        finally:
            connection.close()

    def _answer(self, method: str, target: str, wire: int, body: bytes) -> tuple[int, bytes]:
        path, _, query = target.partition("?")
        if path.rstrip("/").endswith("_bulk"):
            return 200, self.bulk(wire, body, query)
        if path == "/_sink":
            if method == "DELETE":
                self.reset()
            return 200, msgspec.json.encode(self.counts)
        if path == "/":
            return 200, _ROOT
        if path.startswith(("/_license", "/_xpack")):
            return 200, b'{"license":{"uid":"0","type":"basic","status":"active","mode":"basic"}}'
        if path.startswith(("/_cat/health", "/_cluster/health")):
            return 200, b'{"status":"green"}'
        return (
            404,
            b'{"error":{"type":"resource_not_found_exception","reason":"a sink has no such thing"},"status":404}',
        )


def _body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return stream.read(int(headers.get("content-length", "0")))
    parts = []
    while size := int(stream.readline().split(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    while stream.readline() not in (b"\r\n", b""):
        continue
    return b"".join(parts)


def main() -> None:
    """Serve on a free port of the loopback until ended."""
    sink = Sink()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=sink.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
