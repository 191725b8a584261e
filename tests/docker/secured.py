"""The running secure variant, how to log in to it, and the steps of a rotation."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner

from compose.stack.__main__ import main
from compose.stack.remote import Addresses
from tests.docker.clients import EXAMPLE, each_once
from tests.docker.project import Project, wait_for

KEY_FILE = "/var/lib/ml-keys/shipper"


class Secured:
    """The running variant, its secrets, and how to log in."""

    def __init__(self, project: Project, secrets: Path) -> None:
        self.project, self.secrets = project, secrets
        self.tls = ssl.create_default_context(cafile=str(secrets / "ca.crt"))

    def key(self) -> str:
        """Return the shipper's API key, as the shipper reads it."""
        return self.project.compose("exec", "-T", "shipper", "cat", KEY_FILE).stdout

    def addresses(self) -> Addresses:
        """Return Elasticsearch's address with its administrator's login."""
        url = self.project.url("elasticsearch", "", "https")
        password = (self.secrets / "elastic").read_text()
        return Addresses(elasticsearch=url, user="elastic", password=password, ca=self.secrets / "ca.crt")

    def each_once(self, wanted: set[str]) -> None:
        """Wait until each request is a document, and check that none is there twice."""
        each_once(self.project, wanted, "https", auth=self.login("elastic"), verify=self.tls)

    def login(self, user: str) -> httpx.BasicAuth:
        """Return a login from the user's file."""
        file = "proxy_password" if user == "ml" else user
        return httpx.BasicAuth(user, (self.secrets / file).read_text())

    def elastic(self, method: str, path: str, user: str = "elastic", **arguments: Any) -> httpx.Response:
        """Ask Elasticsearch as a user, or as `shipper` with its key."""
        login: dict[str, Any] = {"auth": self.login(user)} if user != "shipper" else {}
        if not login:
            login["headers"] = {"Authorization": f"ApiKey {self.key()}"}
        url = self.project.url("elasticsearch", path, "https")
        return httpx.request(method, url, verify=self.tls, timeout=60, **login, **arguments)

    def found(self, request_id: str) -> int:
        """Return how many documents a request has."""
        answer = self.elastic("GET", f"/ml-pipeline-*/_count?q=request_id:{request_id}")
        return int(answer.json()["count"]) if answer.status_code == 200 else 0

    def status(self) -> dict[str, Any]:
        """Return what the model service says of itself through the proxy."""
        url = self.project.url("app", "/status", "https")
        known: dict[str, Any] = httpx.get(url, auth=self.login("ml"), verify=self.tls, timeout=30).json()
        return known

    def predict(self) -> str:
        """Send the guide's request through the proxy; return its id."""
        url = self.project.url("app", "/predict", "https")
        answer = httpx.post(url, json=EXAMPLE, auth=self.login("ml"), verify=self.tls, timeout=30)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])


def rotate(secured: Secured, name: str) -> tuple[str, list[str]]:
    """Run `secrets rotate` as a person does; return what it said and the services that it names."""
    url = secured.project.url("elasticsearch", "", "https")
    done = CliRunner().invoke(
        main, ["secrets", "rotate", name, "--folder", str(secured.secrets), "--elasticsearch", url]
    )
    assert done.exit_code == 0, done.output
    return done.output, done.output.split(" restart ")[1].split() if " restart " in done.output else []


def restart(secured: Secured, services: Sequence[str]) -> None:
    """Restart the services that a rotation names; wait until all is well."""
    if not services:
        return
    secured.project.compose("restart", *services)
    try:
        wait_for(lambda: secured.project.healthy("elasticsearch"), "Elasticsearch is healthy", seconds=400)
    except AssertionError as error:
        error.add_note(str(secured.project.inspect("elasticsearch")["State"]["Health"])[-2000:])
        error.add_note(secured.project.logs("elasticsearch")[-4000:])
        raise
    for once in ("accounts", "setup"):
        wait_for(lambda once=once: ended(secured, once), f"{once} has ended")  # type: ignore[misc]


def ended(secured: Secured, service: str) -> bool:
    """Whether a service that ends has done its work; fails where it did not."""
    state = secured.project.inspect(service)["State"]
    assert state["Status"] == "running" or state["ExitCode"] == 0, secured.project.logs(service)
    return bool(state["Status"] == "exited")
