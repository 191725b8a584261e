"""Elasticsearch as the shipper needs it: the official client, raw bytes both ways, every failure named."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from elastic_transport import Serializer, TlsError
from elasticsearch import ApiError, Elasticsearch, SerializationError, TransportError, UnsupportedProductError
from isal import igzip

from shipper.errors import ShipperError, SystemicError, Waiting
from shipper.settings import ShipperSettings, read_secret
from shipper.verdict import FILTER_PATH, Cause, ErrorReply

_LATER = (408, 425, 429)  # those, and 5xx, are no refusals
_BULK = {"content-type": "application/x-ndjson", "accept": "application/json"}
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")  # OpenSSL's words for a plain answer
_JSON = {"content-type": "application/json", "accept": "application/json"}


class RefusedError(ShipperError):
    """The server answered a request, and does not take it.

    Attributes:
        status: of HTTP.
        cause: what it said.
    """

    def __init__(self, status: int, cause: Cause) -> None:
        super().__init__(f"{status} {cause.text()}")
        self.status = status
        self.cause = cause


class _Raw(Serializer):
    """Leaves bytes as they are; they are decoded where their shape is known."""

    mimetype = "application/json"

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else msgspec.json.encode(data)

    def loads(self, data: bytes) -> bytes:
        return data


class _RawLines(_Raw):
    mimetype = "application/x-ndjson"


class Server:
    """One cluster, at one or several addresses; an address that fails is left out for a while.

    Args:
        settings: addresses, credentials, certificate authority, time limit, compression.

    Raises:
        SettingsError: a secret or the certificate authority cannot be read.
    """

    def __init__(self, settings: ShipperSettings) -> None:
        options: dict[str, Any] = {}
        if settings.api_key_file:
            options["api_key"] = read_secret(settings.api_key_file, "SHIPPER_API_KEY_FILE")
        elif settings.username and settings.password_file:
            password = read_secret(settings.password_file, "SHIPPER_PASSWORD_FILE")
            # RFC 7617 in UTF-8, as Elasticsearch reads it; the client would take ASCII alone.
            options["basic_auth"] = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
        if settings.ca_file:
            read_secret(settings.ca_file, "SHIPPER_CA_FILE")
            options["ca_certs"] = str(settings.ca_file)
        self.addresses = settings.urls
        self._compress = settings.compress
        self._client = Elasticsearch(
            settings.urls,
            request_timeout=settings.request_timeout,
            max_retries=0,
            retry_on_timeout=False,
            connections_per_node=settings.in_flight + 2,
            serializers={
                "application/json": _Raw(),
                "application/vnd.elasticsearch+json": _Raw(),
                "application/x-ndjson": _RawLines(),
                "application/vnd.elasticsearch+x-ndjson": _RawLines(),
            },
            **options,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make one request and return the decoded answer.

        Raises:
            RefusedError: the server refuses it (status 400 and above, but for what waiting may cure).
            Waiting: the server cannot be reached, or is not able to answer now.
        """
        data = self._request(method, path, _JSON, None if body is None else msgspec.json.encode(body))
        try:
            return msgspec.json.decode(data) if data else None
        except msgspec.DecodeError:
            raise Waiting(f"{method} {path}: the answer is not JSON; is a proxy in between?") from None

    def bulk(self, body: bytes) -> bytes:
        """Send a bulk body and return the reply, filtered to errors, statuses and reasons.

        Raises:
            RefusedError: the request as a whole is not taken.
            Waiting: nothing is known of what became of it.
        """
        headers = _BULK
        if self._compress:
            headers = {**_BULK, "content-encoding": "gzip"}
            body = igzip.compress(body, compresslevel=self._compress - 1)
        return self._request("POST", f"/_bulk?filter_path={FILTER_PATH}", headers, body)

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> bytes:
        what = f"{method} {path.partition('?')[0]}"
        try:
            response = self._client.perform_request(method, path, headers=headers, body=body)
        except ApiError as error:
            cause = _cause(error.body)
            if error.meta.status in _LATER or error.meta.status >= 500:
                raise Waiting(f"{what}: {error.meta.status} {cause.text()}") from None
            raise RefusedError(error.meta.status, cause) from None
        except UnsupportedProductError:
            raise SystemicError(
                f"{', '.join(self.addresses)}: what answers there is not Elasticsearch 8; correct SHIPPER_URL"
            ) from None
        except SerializationError:
            raise Waiting(f"{what}: the answer is not JSON; is a proxy in between?") from None
        except TlsError as error:
            brief = _brief(error)
            cure = (
                "no TLS is spoken there: write http:// in SHIPPER_URL, or switch TLS on at the server"
                if any(word in brief for word in _NO_TLS)
                else "renew the server's certificate, or correct SHIPPER_CA_FILE, or the clock of this machine"
            )
            raise SystemicError(f"{', '.join(self.addresses)}: {brief}; {cure}") from None
        except TransportError as error:
            raise Waiting(f"{', '.join(self.addresses)}: {type(error).__name__}: {_brief(error)}") from None
        data = response.body
        if not isinstance(data, bytes):
            raise Waiting(f"{what}: the answer is not JSON; is a proxy in between?")
        return data


def _brief(error: TransportError) -> str:
    text = str(error.message)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _cause(body: Any) -> Cause:
    """Return the error in a reply, whatever wrote it."""
    if isinstance(body, bytes):
        try:
            return msgspec.json.decode(body, type=ErrorReply).cause()
        except msgspec.MsgspecError:
            body = body.decode(errors="replace")
    return Cause(type="error", reason=str(body)[:200])
