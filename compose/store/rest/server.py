"""The HTTP server: Granian in this process, each request handled by a thread."""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import signal
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from compose.store.engine import Engine
from compose.store.errors import StoreError
from compose.store.rest.request import Reply, Request, read_parameters
from compose.store.rest.router import dispatch

log = logging.getLogger(__name__)
_THREADS = 16
_READ_AWAY_SECONDS = 10.0
_READ_AWAY_BYTES = 64 * 2**20


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a body without its gzip coding.

    Raises:
        StoreError: it is no gzip, or larger than the limit.
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise StoreError(415, "media_type_header_exception", f"Content-Encoding [{encoding}] is not supported")
    reader = zlib.decompressobj(wbits=31)
    try:
        data = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise StoreError(400, "zip_exception", f"the body is no gzip: {error}") from None
    if len(data) > limit:
        raise _too_large(limit)
    if not reader.eof:
        raise StoreError(400, "zip_exception", "the body's gzip ends too early")
    return data


def _too_large(limit: int) -> StoreError:
    return StoreError(413, "content_too_long_exception", f"the body is larger than {limit} bytes (STORE_MAX_BODY)")


def _check_length(length: int, limit: int) -> None:
    if length > limit:
        raise _too_large(limit)


async def _pieces(protocol: Any) -> AsyncIterator[bytes]:
    """Yield a body as it comes; unlike Granian's own iterator, this can be left and taken up again."""
    async for piece in protocol:
        yield bytes(piece)


async def _in_pieces(body: AsyncIterator[bytes], limit: int) -> bytes:
    pieces, length = [], 0
    async for piece in body:
        length += len(piece)
        _check_length(length, limit)
        pieces.append(piece)
    return b"".join(pieces)


async def _read_away(body: AsyncIterator[bytes], limit: int) -> bool:
    """Read the rest of a refused body and keep nothing; return whether its end was seen in time.

    A connection that is closed with bytes unread is reset, and the reset can overtake the reply with the reason.
    """
    length = 0
    try:
        async with asyncio.timeout(_READ_AWAY_SECONDS):
            async for piece in body:
                length += len(piece)
                if length > limit + _READ_AWAY_BYTES:
                    return False
    except TimeoutError:
        return False
    return True


class Application:
    """Turns HTTP requests into requests of the store."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.settings = engine.settings
        self.pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")
        self._accepted = set()
        if self.settings.password:
            pair = f"{self.settings.username}:{self.settings.password}".encode()
            self._accepted.add("Basic " + base64.b64encode(pair).decode())
        if self.settings.api_key:
            self._accepted.add("ApiKey " + self.settings.api_key)

    def _allowed(self, header: str) -> bool:
        found = [hmac.compare_digest(header.encode(), accepted.encode()) for accepted in self._accepted]
        return not self._accepted or any(found)

    def _check(self, headers: Any, limit: int) -> None:
        _check_length(int(headers.get("content-length", "0") or 0), limit)
        if not self._allowed(headers.get("authorization", "") or ""):
            raise StoreError(401, "security_exception", "missing or wrong authentication credentials for REST request")

    async def _read(self, scope: Any, protocol: Any) -> tuple[bytes, StoreError | None, bool]:
        """Return the body, or why it is refused and whether the connection must end since not all of it was read."""
        headers, limit = scope.headers, self.settings.max_body
        pieces = None
        try:
            self._check(headers, limit)
            if scope.method == "HEAD":
                return b"", None, False
            if headers.get("content-length"):
                # A length that was said and is within the limit is read in one piece, which copies the body once.
                return await protocol(), None, False
            pieces = _pieces(protocol)
            return await _in_pieces(pieces, limit), None, False
        except StoreError as error:
            # Who expects 100 Continue has sent nothing yet and need not.
            whole = not headers.get("expect") and await _read_away(
                pieces or _pieces(protocol), limit + _READ_AWAY_BYTES
            )
            return b"", error, not whole

    async def __call__(self, scope: Any, protocol: Any) -> None:
        """Serve one request."""
        media = scope.headers.get("accept", "") or ""
        closes = False
        try:
            raw, refusal, closes = await self._read(scope, protocol)
            if refusal:
                raise refusal
            encoding = (scope.headers.get("content-encoding", "") or "").lower()
            loop = asyncio.get_running_loop()
            status, text, body = await loop.run_in_executor(
                self.pool, self._serve, scope.method, scope.path, scope.query_string, raw, encoding
            )
        except (StoreError, ValueError) as error:
            known = (
                error if isinstance(error, StoreError) else StoreError(400, "illegal_argument_exception", str(error))
            )
            status, text, body = known.status, False, msgspec.json.encode(known.body())
        kind = "text/plain; charset=UTF-8" if text else "application/json"
        if not text and "application/vnd.elasticsearch+json" in media:
            kind = "application/vnd.elasticsearch+json;compatible-with=8"
        answer = [("content-type", kind), ("x-elastic-product", "Elasticsearch")]
        if status == 401:
            answer.append(("www-authenticate", 'Basic realm="embedded store", charset="UTF-8"'))
        if closes:
            answer.append(("connection", "close"))
        if scope.method == "HEAD":
            protocol.response_empty(status, answer)
        else:
            protocol.response_bytes(status, answer, body)

    def _serve(self, method: str, path: str, query: str, raw: bytes, encoding: str) -> tuple[int, bool, bytes]:
        try:
            body = unpacked(raw, encoding, self.settings.max_body) if encoding else raw
            request = Request(method, path, read_parameters(query or ""), body)
            reply = dispatch(self.engine, request)
            pretty = request.parameters.get("pretty", "false") != "false"
        except StoreError as error:
            reply, pretty = Reply(error.body(), error.status), False
        if reply.text is not None:
            return reply.status, True, reply.text.encode()
        encoded = msgspec.json.encode(reply.value)
        return reply.status, False, msgspec.json.format(encoded, indent=2) + b"\n" if pretty else encoded


async def serve(engine: Engine) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = engine.settings
    application = Application(engine)
    server = Server(
        application, address=settings.host, port=settings.port, interface=Interfaces.RSGI, http=HTTPModes.http1,
        websockets=False, log_enabled=False, backpressure=256,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    log.info("listening", extra={"host": settings.host, "port": settings.port, "folder": str(settings.dir)})
    await server.serve()
    application.pool.shutdown(wait=True)
