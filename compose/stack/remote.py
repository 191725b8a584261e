"""The servers of a running stack: where they are, how to log in, and calls whose failures are sentences."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from compose.stack.supervisor import StackError

TIMEOUT_SECONDS = 30.0
HUNG_SECONDS = 2.0  # for a server that did not answer in time before
POLL_SECONDS = 1.0
STARTING_SECONDS = 60.0  # from the first answer of a server that was away until a refused login is believed
REMEDIES = {
    401: "give the right login: --user and --password-file, Grafana's token, or the key of the model service",
    403: "this user may not do that",
}
CERTIFICATE = (
    "renew the server's certificate (`ml-stack secrets rotate certificates`), give its authority with --ca, use a name "
    "that is in it, or set the clock of this machine"
)
LOOK = "`docker compose ps` or `python3 compose status`"
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
        remedies: what to do about a status.
        otherwise: what to do about any other one that is no success.
    """

    def __init__(
        self,
        client: httpx.Client,
        name: str,
        url: str,
        *,
        remedies: Mapping[int, str] = REMEDIES,
        otherwise: str = "",
    ) -> None:
        self.client, self.name, self.url = client, name, url.rstrip("/")
        self._remedies, self._otherwise = remedies, otherwise

    def answer(self, method: str, path: str, *, allowed: tuple[int, ...] = (), **arguments: Any) -> httpx.Response:
        """Send one request.

        Raises:
            StackError: no answer, or a status that is neither 2xx nor allowed.
        """
        try:
            answer = self.client.request(method, self.url + path, **arguments)
        except httpx.HTTPError as error:
            if isinstance(error, httpx.TimeoutException):
                self.hurry()
            advice = CERTIFICATE if is_refused_certificate(error) else "is it up? see " + LOOK + ", and run it again"
            raise StackError(
                f"{self.name} at {self.url}: {method} {path} got no answer ({type(error).__name__}: {error}); {advice}"
            ) from None
        if answer.is_success or answer.status_code in allowed:
            return answer
        raise StackError(self._complaint(method, path, answer))

    def hurry(self) -> None:
        """Wait no longer than a moment from now on: it hung once, and a check asks it ten times."""
        self.client.timeout = httpx.Timeout(HUNG_SECONDS)

    def _complaint(self, method: str, path: str, answer: httpx.Response) -> str:
        remedy = self._remedies.get(answer.status_code, self._otherwise)
        said = f"{self.name}: {method} {path} answered {answer.status_code}: {reason(answer)}"
        return f"{said}; {remedy}" if remedy else said

    def wait(
        self, path: str, ready: Callable[[dict[str, Any]], bool], seconds: float, say: Callable[[str], None]
    ) -> None:
        """Wait until the server says that it is ready, and say meanwhile why it is not.

        Args:
            path: what is asked; `ready` is handed its body.
            seconds: how long.

        Raises:
            StackError: it is not ready by then, or refuses the login.
        """
        deadline, told, away = time.monotonic() + seconds, "", float("-inf")
        while True:
            try:
                answer = self.client.get(self.url + path)
                refused = answer.status_code in (401, 403)
                # Elasticsearch refuses every login until it can read its users, seconds after it begins to answer.
                if refused and time.monotonic() > min(deadline, away + STARTING_SECONDS):
                    raise StackError(self._complaint("GET", path, answer))
                if answer.status_code == 200 and ready(body_of(answer)):
                    say(f"{self.name} is ready at {self.url}")
                    return
                state = f"answers {answer.status_code} and is not ready"
                away = away if refused else time.monotonic()
            except httpx.HTTPError as error:
                if is_refused_certificate(error):  # waiting mends none
                    raise StackError(f"{self.name} at {self.url}: {error}; {CERTIFICATE}") from None
                away = time.monotonic()
                state = f"does not answer ({type(error).__name__})"
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} at {self.url} {state} after {seconds:.0f} s; see its own log")
            if state != told:
                say(f"waiting for {self.name}: it {state}")
                told = state
            time.sleep(min(POLL_SECONDS, max(0.01, seconds / 10)))

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
        verify = verification(addresses.ca)
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

    def has(self, name: str) -> bool:
        """Whether this stack has that server."""
        return name not in self.addresses.without

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self._closing.close()


def verification(ca: Path | None) -> ssl.SSLContext | bool:
    """Return how a client verifies a server: by this file of authorities, or by the system's.

    Raises:
        StackError: the file cannot be read, or holds no certificate.
    """
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca))
    except ssl.SSLError:
        raise StackError(
            f"{ca} holds no certificate: the authority's, in PEM, is wanted (for example ca.crt)"
        ) from None
    except OSError as error:
        raise StackError(f"the certificate authority {ca} cannot be read: {error.strerror}") from None


def _basic(user: str, password: str) -> httpx.BasicAuth | None:
    return httpx.BasicAuth(user, password) if user else None


def is_refused_certificate(error: httpx.HTTPError) -> bool:
    """Whether there was no answer because the server's certificate was not accepted."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def body_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the object that a server answered; an empty one where it answered something else."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def reason(answer: httpx.Response) -> str:
    """Return why a server refused, in its own words."""
    told = body_of(answer)
    error = told.get("error")
    if isinstance(error, dict):
        return str(error.get("reason") or error.get("type"))
    if text := told.get("message") or error or told.get("title"):
        return str(text)
    return answer.text[:200].strip() or answer.reason_phrase


def wait_until(
    condition: Callable[[], bool], what: str | Callable[[], str], seconds: float, *, poll: float = 0.5
) -> None:
    """Wait until a condition holds.

    Raises:
        StackError: it did not within `seconds`; the message holds `what`, which may be asked for only then.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise StackError(f"after {seconds:.0f} s still not so: {said}")
        time.sleep(poll)
