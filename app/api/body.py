"""The body of a request: read whole before the request's turn, decoded in it, and read to its end where it is refused.

A client that sends all of a body before it looks for the answer never sees a refusal when the server stops reading: its
connection is reset (RFC 9112, section 9.6). So the rest is read and thrown away, as far as that can be asked for; where
it cannot, the answer says `Connection: close`.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Protocol

import msgspec
from flask import Request, Response

from app.problems import ServiceProblem

PIECE = 64 * 1024
REST_BYTES = 64 * 1024 * 1024  # of a refused body, more than which is not read
REST_SECONDS = 10.0  # for which a refused body is read
REST_PLACES = 16  # refused bodies that are read at the same moment: others must not lack threads


class Stream(Protocol):
    """What a body is read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""


def is_coming(request: Request) -> bool:
    """Whether a request has a body."""
    length = request.environ.get("CONTENT_LENGTH")
    return length not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in request.environ


def check(request: Request, limit: int) -> None:
    """Look at what the headers tell of a body, before any of it is read.

    Args:
        request: whose body should be JSON.
        limit: most bytes.

    Raises:
        ServiceProblem: 415 or 413.
    """
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise ServiceProblem(415, "send the body with Content-Type: application/json")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ServiceProblem(415, "send the body as it is, without Content-Encoding")
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


def read(request: Request, limit: int) -> bytes:
    """Read a whole body.

    Args:
        request: checked.
        limit: most bytes.

    Raises:
        ServiceProblem: 413, of a body that did not tell its length, or 400 where the client broke off.
    """
    # Not by Request.get_data, which cuts a body of unknown length at the limit and says nothing (Werkzeug 3.1).
    stream: Stream = request.environ["wsgi.input"]
    length = request.content_length
    left = limit + 1 if length is None else length
    pieces = []
    try:
        while left > 0 and (piece := stream.read(left)):
            pieces.append(piece)
            left -= len(piece)
    except OSError:
        raise _broken_off() from None
    if length is not None and left:
        raise _broken_off()
    if length is None and not left:
        raise _too_large(limit)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _broken_off() -> ServiceProblem:
    return ServiceProblem(400, "the body could not be read to its end")


def _too_large(limit: int) -> ServiceProblem:
    return ServiceProblem(413, f"the body may have at most {limit} bytes")


def decode(body: bytes) -> Any:
    """Return what a body of JSON says.

    Raises:
        ServiceProblem: 400.
    """
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        # msgspec says what and where, by byte; it shows no content but one character, which is left out here.
        place = re.search(r"\(byte (\d+)\)", str(error))
        where = f" (byte {place[1]})" if place else ""
        raise ServiceProblem(400, f"the body is not valid JSON{where}") from None
    except (RecursionError, UnicodeDecodeError):
        raise ServiceProblem(400, "the body is nested too deeply or is not UTF-8") from None


class Rest:
    """What clients still send of bodies that are refused.

    Args:
        places: how many are read at the same moment.
        most: bytes that are read of one.
        seconds: for which one is read.
    """

    def __init__(self, places: int = REST_PLACES, most: int = REST_BYTES, seconds: float = REST_SECONDS) -> None:
        self._places = threading.Semaphore(places)
        self._most, self._seconds = most, seconds

    def dismiss(self, request: Request, response: Response, *, begun: bool) -> None:
        """Read a refused request's body to its end, or have the answer close the connection.

        Args:
            request: whose body was not read, or not to its end.
            response: that refuses it.
            begun: whether some of the body was read. If none was, a client with `Expect: 100-continue` has not sent it.
        """
        expects = request.headers.get("Expect", "").lower() == "100-continue"
        ended = (begun or not expects) and self._to_end(request.environ["wsgi.input"])
        if not ended and request.environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1"):
            response.headers["Connection"] = "close"

    def _to_end(self, stream: Stream) -> bool:
        if not self._places.acquire(blocking=False):
            return False
        deadline = time.monotonic() + self._seconds
        left = self._most
        try:
            while left > 0 and time.monotonic() < deadline:
                piece = stream.read(PIECE)
                if not piece:
                    return True
                left -= len(piece)
        except OSError:  # the client is gone
            return False
        finally:
            self._places.release()
        return False
