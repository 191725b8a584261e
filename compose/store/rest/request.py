"""One request and its reply, as the handlers see them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from compose.store.dates import duration
from compose.store.duplicates import repeated_name
from compose.store.errors import StoreError, UnsupportedError, illegal_argument

# Parameters that Elasticsearch takes everywhere …
_EVERYWHERE = {"pretty", "human", "error_trace", "filter_path", "format"}
# … and those that some routes have in common: which indices are meant, how long the cluster may take, and the like.
WHICH = ("ignore_unavailable", "allow_no_indices", "expand_wildcards")
WAIT = ("timeout", "master_timeout")
LOCAL = ("master_timeout", "local")
WRITE = ("timeout", "wait_for_active_shards", "routing", "refresh")
PLACE = ("preference", "routing")  # of a read: there is one shard, so they have no effect
SEARCH = (*WHICH, "rest_total_hits_as_int", "typed_keys", "pre_filter_shard_size", "ccs_minimize_roundtrips",
          "max_concurrent_shard_requests", "search_type", "routing")  # fmt: skip

_BOOLEAN = {"ignore_unavailable", "allow_no_indices", "local", "rest_total_hits_as_int", "typed_keys", "request_cache",
            "ccs_minimize_roundtrips", "allow_partial_search_results", "pretty", "human", "error_trace"}  # fmt: skip


class Request(msgspec.Struct):
    """A request: method, parts of the path, parameters of the query string, body."""

    method: str
    path: str
    parameters: dict[str, str]
    body: bytes
    variables: dict[str, str] = {}

    def json(self, *, required: bool = False) -> dict[str, Any]:
        """Return the body as an object; empty where there is none.

        Raises:
            StoreError: it is no JSON object.
        """
        if not self.body.strip():
            if required:
                raise StoreError(400, "parse_exception", "request body is required")
            return {}
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError) as error:
            cut = "truncated" in str(error)
            kind = "x_content_e_o_f_exception" if cut else "x_content_parse_exception"
            raise StoreError(400, kind, f"the body is no valid JSON: {error}") from None
        check_names(self.body)
        if not isinstance(value, dict):
            raise StoreError(400, "parsing_exception", "Expected [START_OBJECT] in the body")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a parameter that is true or false; `?name` alone is true."""
        value = self.parameters.get(name)
        if value is None:
            return default
        if value not in ("", "true", "false"):
            raise illegal_argument(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")
        return value != "false"

    def whole(self, name: str) -> int | None:
        """Return a parameter that is a whole number."""
        value = self.parameters.get(name)
        try:
            return None if value is None else int(value)
        except ValueError:
            raise illegal_argument(f"Failed to parse int parameter [{name}] with value [{value}]") from None

    def allow(self, *names: str) -> None:
        """Refuse parameters that are not known here, and values that one of several routes cannot have.

        Raises:
            StoreError: naming the parameter.
        """
        for name in self.parameters:
            if name not in _EVERYWHERE and name not in names:
                raise illegal_argument(
                    f"request [{self.path}] contains unrecognized parameter: [{name}], or one that the embedded store "
                    "does not support"
                )
        check_values(self.parameters)


def check_values(parameters: dict[str, str]) -> None:
    """Refuse values that a parameter of several routes cannot have, or that ask for what the store does not do.

    Raises:
        StoreError: naming it.
    """
    if parameters.get("search_type", "query_then_fetch") not in ("query_then_fetch", "dfs_query_then_fetch"):
        raise illegal_argument(f"No search type for [{parameters['search_type']}]")
    if parameters.get("format", "json") not in ("json", "text"):
        raise illegal_argument(f"format [{parameters['format']}] is not supported by the embedded store: json or text")
    for name, value in parameters.items():
        if name in _BOOLEAN and value not in ("", "true", "false"):
            raise illegal_argument(
                f"Failed to parse value [{value}] of [{name}] as only [true] or [false] are allowed."
            )
    for name in WAIT:
        if name in parameters:
            duration(parameters[name], name)


def check_write(parameters: dict[str, str]) -> None:
    """Refuse what a write asks for and a store of one node and one shard without replicas cannot do.

    Raises:
        StoreError: naming it.
    """
    if "routing" in parameters:
        raise UnsupportedError("[routing] of a document")
    shards = parameters.get("wait_for_active_shards", "1")
    if shards.startswith("-"):
        raise illegal_argument(f"shard count cannot be a negative value, but [wait_for_active_shards] is [{shards}]")
    if shards != "all" and not re.fullmatch(r"\d{1,9}", shards):
        raise illegal_argument(f"cannot parse ActiveShardCount[{shards}]")
    if shards == "all" or int(shards) > 1:
        raise UnsupportedError(f"[wait_for_active_shards={shards}]: there are no replicas to wait for, so it")


class Reply(msgspec.Struct):
    """What goes back: status and a JSON value, or a text."""

    value: Any = None
    status: int = 200
    text: str | None = None


def check_names(text: bytes) -> None:
    """Refuse a JSON text in which an object has a name twice.

    Raises:
        StoreError: naming it.
    """
    repeated = repeated_name(text)
    if repeated is not None:
        raise StoreError(400, "x_content_parse_exception", f"Duplicate field '{repeated}'")


def read_parameters(text: str) -> dict[str, str]:
    """Return the parameters of a query string."""
    found = {}
    for part in text.split("&") if text else []:
        name, _, value = part.partition("=")
        if name:
            found[unquote_plus(name)] = unquote_plus(value)
    return found
