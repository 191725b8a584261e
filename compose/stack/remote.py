"""The servers of a running stack: where they are, how to log in, and calls whose failures are sentences."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from compose.stack.supervisor import StackError

TIMEOUT_SECONDS = 30.0
SERVERS = ("app", "shipper", "elasticsearch", "prometheus", "alertmanager", "grafana", "kibana")


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stack's servers are, and how to log in.

    Attributes:
        app, shipper, elasticsearch, prometheus, alertmanager, grafana, kibana: base addresses.
        without: names of servers that this stack does not have.
        user, password: of Elasticsearch and Kibana; empty without security.
        proxy_user, proxy_password: of the reverse proxy before app, Prometheus and Alertmanager; empty for none.
        grafana_token: of a service account; empty where Grafana is asked as `grafana_user`.
        grafana_user, grafana_password: of Grafana, where there is no token.
        app_key: of the model service; empty where it asks for none.
        ca: file of the certificate authority for https; None for the system's.
    """

    app: str = "http://127.0.0.1:5000"
    shipper: str = "http://127.0.0.1:9108"
    elasticsearch: str = "http://127.0.0.1:9200"
    prometheus: str = "http://127.0.0.1:9090"
    alertmanager: str = "http://127.0.0.1:9093"
    grafana: str = "http://127.0.0.1:3000"
    kibana: str = "http://127.0.0.1:5601"
    without: frozenset[str] = frozenset()
    user: str = ""
    password: str = ""
    proxy_user: str = ""
    proxy_password: str = ""
    grafana_token: str = ""
    grafana_user: str = ""
    grafana_password: str = ""
    app_key: str = ""
    ca: Path | None = None


class Server:
    """One server.

    Args:
        client: carries authentication, headers and the certificate authority.
        name: what people call it.
        url: base address.
    """

    def __init__(self, client: httpx.Client, name: str, url: str) -> None:
        self.client, self.name, self.url = client, name, url.rstrip("/")

    def answer(self, method: str, path: str, *, allowed: tuple[int, ...] = (), **arguments: Any) -> httpx.Response:
        """Send one request.

        Raises:
            StackError: no answer, or a status that is neither 2xx nor allowed.
        """
        try:
            answer = self.client.request(method, self.url + path, **arguments)
        except httpx.HTTPError as error:
            raise StackError(
                f"{self.name} at {self.url} does not answer ({type(error).__name__}: {error}); is it up? "
                "see `docker compose ps` or `python3 compose status`"
            ) from None
        if answer.is_success or answer.status_code in allowed:
            return answer
        remedy = {401: "; the user, password or token is wrong", 403: "; this user may not do that"}
        raise StackError(
            f"{self.name}: {method} {path} answered {answer.status_code}: {reason(answer)}"
            f"{remedy.get(answer.status_code, '')}"
        )

    def json(self, method: str, path: str, *, allowed: tuple[int, ...] = (), **arguments: Any) -> Any:
        """Send one request; return the decoded body, None for an allowed status that is no success.

        Raises:
            StackError: as `answer`, and for a body that is not JSON.
        """
        answer = self.answer(method, path, allowed=allowed, **arguments)
        if not answer.is_success:
            return None
        try:
            return answer.json()
        except ValueError:
            raise StackError(f"{self.name}: {method} {path} answered something that is not JSON") from None


class Servers:
    """All servers of a stack; use it as a context manager, or call `close`."""

    def __init__(self, addresses: Addresses, *, transport: httpx.BaseTransport | None = None) -> None:
        self.addresses = addresses
        self._closing = contextlib.ExitStack()
        verify: ssl.SSLContext | bool = True
        if addresses.ca is not None:
            verify = ssl.create_default_context(cafile=str(addresses.ca))
        login = _basic(addresses.user, addresses.password)
        proxy = _basic(addresses.proxy_user, addresses.proxy_password)
        grafana = _basic(addresses.grafana_user, addresses.grafana_password)
        headers: dict[str, dict[str, str]] = {
            "kibana": {"kbn-xsrf": "true"},
            "grafana": {"Authorization": f"Bearer {addresses.grafana_token}"} if addresses.grafana_token else {},
            "app": {"X-API-Key": addresses.app_key} if addresses.app_key else {},
        }
        logins = {"elasticsearch": login, "kibana": login, "app": proxy, "prometheus": proxy, "alertmanager": proxy}
        logins["grafana"] = None if addresses.grafana_token else grafana
        self._servers = {}
        for name in SERVERS:
            client = self._closing.enter_context(
                httpx.Client(
                    auth=logins.get(name),
                    headers=headers.get(name),
                    verify=verify,
                    timeout=TIMEOUT_SECONDS,
                    transport=transport,
                )
            )
            self._servers[name] = Server(client, name, getattr(addresses, name))

    def __getitem__(self, name: str) -> Server:
        return self._servers[name]

    def __iter__(self) -> Iterator[Server]:
        return (server for name, server in self._servers.items() if name not in self.addresses.without)

    def has(self, name: str) -> bool:
        """Whether this stack has that server."""
        return name not in self.addresses.without

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self._closing.close()


def _basic(user: str, password: str) -> httpx.BasicAuth | None:
    return httpx.BasicAuth(user, password) if user else None


def reason(answer: httpx.Response) -> str:
    """Return why a server refused, in its own words."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        error = body.get("error")
        if isinstance(error, dict):
            return str(error.get("reason") or error.get("type"))
        if text := body.get("message") or error or body.get("title"):
            return str(text)
    return answer.text[:200].strip() or answer.reason_phrase


def wait_until(condition: Callable[[], bool], what: str, seconds: float, *, poll: float = 0.5) -> None:
    """Wait until a condition holds.

    Raises:
        StackError: it did not within `seconds`; the message holds `what`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"after {seconds:.0f} s still not so: {what}")
        time.sleep(poll)
