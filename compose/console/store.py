"""Asks the store (the embedded one or an Elasticsearch): bounded in time, its errors as one sentence."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import msgspec

from compose.console import timing
from compose.console.settings import ConsoleSettings

_ERRNO = re.compile(r"^\[Errno \d+\] ")  # a number helps nobody who reads the words behind it


class AwayError(Exception):
    """A service did not give an answer that can be used; the message says which and why, in words."""


class Store:
    """The store's search interface.

    Args:
        settings: its address, how to log in, how long to wait.
    """

    def __init__(self, settings: ConsoleSettings) -> None:
        self.url = settings.store_url
        headers = {"content-type": "application/json", "accept": "application/json"}
        login = None
        if settings.store_api_key:
            headers["authorization"] = f"ApiKey {settings.store_api_key}"
        elif settings.store_password:
            login = (settings.store_username, settings.store_password)
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        self._client = httpx.Client(
            base_url=self.url, headers=headers, auth=login, timeout=settings.request_seconds, limits=limits
        )
        self._seconds = settings.request_seconds

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of `_search`; indices that are not there are no error.

        Raises:
            AwayError: the store is away, refuses the query, or answers only in part; the message says what it said.
        """
        asked = {"timeout": f"{self._seconds:g}s", **body}
        parameters = {"ignore_unavailable": "true", "allow_no_indices": "true"}
        answer = self._object("POST", f"/{index}/_search", asked, parameters)
        if answer.get("timed_out") or answer.get("_shards", {}).get("failed"):
            # Elasticsearch answers 200 with what it has: half a count must not be shown as a count.
            raise AwayError(f"the store at {self.url} answered only in part: {_partial(answer, self._seconds)}")
        if "aggs" in body and "aggregations" not in answer:  # so it is where no index is there
            answer["aggregations"] = {name: {"buckets": [], "value": None} for name in body["aggs"]}
        return answer

    def count(self, index: str, body: dict[str, Any]) -> int:
        """Return the answer of `_count`.

        Raises:
            AwayError: as for `search`.
        """
        answer = self._object("POST", f"/{index}/_count", body, {"ignore_unavailable": "true"})
        return int(answer["count"])

    def get(self, path: str) -> Any:
        """Return the JSON at a path.

        Raises:
            AwayError: as for `search`.
        """
        return self._ask("GET", path, None, None)

    def _object(self, method: str, path: str, body: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
        answer = self._ask(method, path, body, parameters)
        if not isinstance(answer, dict):
            raise AwayError(f"the store at {self.url} answered something that is no object")
        return answer

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, parameters: dict[str, str] | None) -> Any:
        content = None if body is None else msgspec.json.encode(body)
        began = time.perf_counter()
        try:
            answer = self._client.request(method, path, content=content, params=parameters)
        except httpx.TimeoutException:
            raise AwayError(
                f"the store at {self.url} did not answer within {self._seconds:g} s; try a shorter time range"
            ) from None
        except httpx.HTTPError as error:
            raise AwayError(f"the store at {self.url} is away ({brief(error)})") from None
        finally:
            timing.spent("store", time.perf_counter() - began)
        if answer.status_code >= 400:
            raise AwayError(f"the store at {self.url} says: {_reason(answer)}")
        try:
            return msgspec.json.decode(answer.content)
        except msgspec.DecodeError:
            raise AwayError(f"the store at {self.url} answered no JSON (is a proxy in between?)") from None


def brief(error: Exception) -> str:
    """Return what an error says, or its kind where it says nothing."""
    return _ERRNO.sub("", str(error)) or type(error).__name__


def _reason(answer: httpx.Response) -> str:
    try:
        told = msgspec.json.decode(answer.content)
        causes = told["error"].get("root_cause") or [told["error"]]
        return str(causes[0]["reason"])[:300]
    except (msgspec.DecodeError, KeyError, TypeError, IndexError, AttributeError):
        return f"status {answer.status_code}"


def _partial(answer: dict[str, Any], seconds: float) -> str:
    if answer.get("timed_out"):
        return f"its time of {seconds:g} s was up; try a shorter time range"
    shards = answer["_shards"]
    causes = shards.get("failures") or [{}]
    reason = str((causes[0].get("reason") or {}).get("reason") or "no reason given")[:300]
    return f"{shards['failed']} of {shards.get('total', '?')} shards failed ({reason})"
