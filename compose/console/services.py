"""How the other services are, in their own words: /ready and /status, and the store's health."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import httpx
import msgspec

from compose.console.settings import ConsoleSettings
from compose.console.store import AwayError, Store, brief
from compose.wording import counted

Health = Literal["ready", "not ready", "away"]


class ServiceState(msgspec.Struct, frozen=True, kw_only=True):
    """One service.

    Attributes:
        name: as people call it.
        health: ready, not ready (it answers and says why), away (it does not answer).
        words: why it is not ready, or what it counts.
        url: its base address.
        told: its /status, empty where it told none.
    """

    name: str
    health: Health
    words: str
    url: str
    told: dict[str, Any] = {}


class Services:
    """Asks all services at the same time.

    Args:
        settings: addresses and patience.
        store: the store.
    """

    def __init__(self, settings: ConsoleSettings, store: Store) -> None:
        self.settings, self._store = settings, store
        self._client = httpx.Client(timeout=min(settings.request_seconds, 3.0))
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="ask")

    def ask(self) -> tuple[Future[ServiceState], Future[ServiceState], Future[ServiceState]]:
        """Begin to ask how model service, shipper and store are."""
        settings = self.settings
        return (
            self._pool.submit(self._service, "model service", settings.app_url),
            self._pool.submit(self._service, "shipper", settings.shipper_url),
            self._pool.submit(self._store_state),
        )

    def model(self) -> ServiceState:
        """Return how the model service is."""
        return self._service("model service", self.settings.app_url)

    def shipper(self) -> ServiceState:
        """Return how the shipper is."""
        return self._service("shipper", self.settings.shipper_url)

    def predict(self, fields: dict[str, Any], request_id: str) -> tuple[int, dict[str, Any]]:
        """Send a prediction request; return status and body.

        Raises:
            AwayError: the model service does not answer.
        """
        try:
            answer = self._client.post(
                f"{self.settings.app_url}/predict", json=fields, headers={"X-Request-ID": request_id}
            )
        except httpx.HTTPError as error:
            raise AwayError(f"the model service at {self.settings.app_url} is away ({brief(error)})") from None
        return answer.status_code, _object(answer)

    def request_schema(self) -> dict[str, Any]:
        """Return the JSON schema of one prediction request, from the service's OpenAPI document.

        Raises:
            AwayError: the model service does not answer, or describes no such request.
        """
        url = f"{self.settings.app_url}/openapi.json"
        try:
            schema = _object(self._client.get(url))["components"]["schemas"]["Instance"]
        except httpx.HTTPError as error:
            raise AwayError(f"the model service at {self.settings.app_url} is away ({brief(error)})") from None
        except (KeyError, TypeError):
            raise AwayError(f"{url} describes no prediction request") from None
        return dict(schema)

    def _service(self, name: str, url: str) -> ServiceState:
        try:
            ready = self._client.get(f"{url}/ready")
            told = _object(self._client.get(f"{url}/status"))
        except httpx.HTTPError as error:
            return ServiceState(name=name, health="away", words=f"no answer at {url} ({brief(error)})", url=url)
        if ready.status_code == 200:
            return ServiceState(name=name, health="ready", words=_counts(told), url=url, told=told)
        said = _object(ready)
        reasons = said.get("reasons") or [said.get("detail") or f"/ready answers {ready.status_code}"]
        return ServiceState(
            name=name, health="not ready", words="; ".join(str(each) for each in reasons), url=url, told=told
        )

    def _store_state(self) -> ServiceState:
        url = self._store.url
        try:
            root, health = self._store.get("/"), self._store.get("/_cluster/health")
        except AwayError as error:
            return ServiceState(name="store", health="away", words=str(error), url=url)
        version = root.get("version", {})
        kind = "embedded store" if version.get("build_flavor") == "embedded" else "Elasticsearch"
        words = f"{kind} {version.get('number', '')}, status {health.get('status')}"
        state: Health = "not ready" if health.get("status") == "red" else "ready"
        return ServiceState(name="store", health=state, words=words, url=url, told={"root": root, "health": health})


def _counts(told: dict[str, Any]) -> str:
    if model := told.get("model"):
        return f"model {model.get('version')}"
    if "acknowledged" in told:
        return f"{counted(told['acknowledged'], 'line')} acknowledged"
    return ""


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}
