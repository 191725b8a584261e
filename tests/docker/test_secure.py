"""The production variant on a real daemon: TLS, logins, roles as the real Elasticsearch enforces them, and rotation."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from compose.stack import secret_files
from compose.stack.remote import Addresses, Servers
from tests.docker.clients import EXAMPLE
from tests.docker.daemon import Daemon
from tests.docker.project import HERE, Project, wait_for

pytestmark = pytest.mark.timeout(1500)
PROXIED = {"app": "/health", "prometheus": "/-/healthy", "alertmanager": "/-/healthy", "shipper": "/health"}


class Secured:
    """The running variant, its secrets, and how to log in."""

    def __init__(self, project: Project, secrets: Path) -> None:
        self.project, self.secrets = project, secrets
        self.tls = ssl.create_default_context(cafile=str(secrets / "ca.crt"))

    def login(self, user: str) -> httpx.BasicAuth:
        """Return a login from the user's file."""
        file = "proxy_password" if user == "ml" else user
        return httpx.BasicAuth(user, (self.secrets / file).read_text())

    def elastic(self, method: str, path: str, user: str = "elastic", **arguments: object) -> httpx.Response:
        """Ask Elasticsearch as a user."""
        url = self.project.url("elasticsearch", path, "https")
        return httpx.request(method, url, auth=self.login(user), verify=self.tls, timeout=60, **arguments)  # type: ignore[arg-type]  # httpx's own options

    def found(self, request_id: str) -> int:
        """Return how many documents a request has."""
        answer = self.elastic("GET", f"/ml-pipeline-*/_count?q=request_id:{request_id}")
        return int(answer.json()["count"]) if answer.status_code == 200 else 0

    def predict(self) -> str:
        """Send the guide's request through the proxy; return its id."""
        url = self.project.url("app", "/predict", "https")
        answer = httpx.post(url, json=EXAMPLE, auth=self.login("ml"), verify=self.tls, timeout=30)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])


@pytest.fixture(scope="module")
def secured(docker: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The variant up and healthy, with secrets made for it."""
    folder = tmp_path_factory.mktemp("secure")
    secrets = folder / "secrets"
    secret_files.make(secrets, lambda _line: None, now=dt.datetime.now(dt.UTC))
    files: list[str | Path] = ["compose.yaml", "compose.secure.yaml", HERE / "left-out-secure.yaml"]
    project = Project(docker, folder, files, SECRETS_DIR=str(secrets), COMPOSE_PROJECT_NAME="secure")
    try:
        project.compose("build", "-q", timeout=900)
        project.compose("up", "-d", "--wait", "--wait-timeout", "600", timeout=700)
        yield Secured(project, secrets)
    finally:
        project.end()


def test_every_part_is_up(secured: Secured) -> None:
    """Elasticsearch over TLS, the shipper with its own user, the proxy before the rest."""
    for service in ("elasticsearch", "app", "shipper", "proxy", "prometheus", "alertmanager", "elasticsearch-exporter"):
        assert secured.project.healthy(service), secured.project.logs(service)
    for service in ("accounts", "setup"):
        assert secured.project.inspect(service)["State"]["ExitCode"] == 0, secured.project.logs(service)


def test_a_prediction_becomes_one_document(secured: Secured) -> None:
    """From the proxy to Elasticsearch, each step with a login of its own."""
    request = secured.predict()
    wait_for(lambda: secured.found(request) == 1, "the request is a document")


@pytest.mark.parametrize("service", sorted(PROXIED))
def test_the_proxy_asks_for_a_login_and_speaks_only_tls(secured: Secured, service: str) -> None:
    """Without a login 401, with a wrong one 401, in plain text 400, with the right one the server's own answer."""
    url = secured.project.url(service, PROXIED[service], "https")
    assert httpx.get(url, verify=secured.tls).status_code == 401
    assert httpx.get(url, verify=secured.tls, auth=("ml", "wrong")).status_code == 401
    assert httpx.get(secured.project.url(service, PROXIED[service])).status_code == 400
    answer = httpx.get(url, verify=secured.tls, auth=secured.login("ml"))
    assert answer.status_code == 200, answer.text


def test_elasticsearch_refuses_who_does_not_log_in(secured: Secured) -> None:
    """No anonymous access, no wrong password, no plain text, no certificate that another authority signed."""
    url = secured.project.url("elasticsearch", "/", "https")
    assert httpx.get(url, verify=secured.tls).status_code == 401
    assert httpx.get(url, verify=secured.tls, auth=("elastic", "changeme")).status_code == 401
    with pytest.raises(httpx.HTTPError):
        httpx.get(secured.project.url("elasticsearch", "/"))
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(url)


def test_the_shippers_role_is_as_small_as_it_can_be(secured: Secured) -> None:
    """It creates documents in our indices, and can neither change nor delete them, nor write templates or elsewhere."""
    document = {"@timestamp": "2026-11-25T00:00:00Z", "message": "probe"}
    path = "/ml-pipeline-2026.11.25"
    allowed = secured.elastic("PUT", f"{path}/_create/probe-of-the-role", "ml_shipper", json=document)
    assert allowed.status_code in (201, 409), allowed.text
    refused = [
        secured.elastic("POST", f"{path}/_update/probe-of-the-role", "ml_shipper", json={"doc": {"message": "other"}}),
        secured.elastic("DELETE", f"{path}/_doc/probe-of-the-role", "ml_shipper"),
        secured.elastic("DELETE", path, "ml_shipper"),
        secured.elastic("PUT", "/elsewhere/_create/1", "ml_shipper", json=document),
        secured.elastic(
            "PUT", "/_index_template/ml-pipeline", "ml_shipper", json={"index_patterns": ["ml-pipeline-*"]}
        ),
        # Not asked: PUT _ilm/policy, whose REST layer is the lab plugin's here, outside the vendor's security.
        secured.elastic("GET", "/_security/user", "ml_shipper"),
        secured.elastic("PUT", f"{path}/_create/2", "ml_reader", json=document),
        secured.elastic("GET", f"{path}/_search", "ml_exporter"),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert secured.elastic("GET", f"{path}/_search", "ml_reader").status_code == 200


def test_a_secret_is_rotated_without_a_loss(secured: Secured) -> None:
    """The old password is refused at once, the shipper says clearly why it waits, and after its restart all arrives."""
    old = secured.login("ml_shipper")
    url = secured.project.url("elasticsearch", "", "https")
    addresses = Addresses(
        elasticsearch=url, user="elastic", password=(secured.secrets / "elastic").read_text(),
        ca=secured.secrets / "ca.crt",
    )  # fmt: skip
    with Servers(addresses) as servers:
        services = secret_files.rotate(
            secured.secrets,
            "ml_shipper",
            lambda _line: None,
            now=dt.datetime.now(dt.UTC),
            elastic=servers["elasticsearch"],
        )
    assert services == ("shipper",)
    assert httpx.get(f"{url}/", auth=old, verify=secured.tls).status_code == 401
    request = secured.predict()
    wait_for(lambda: "401" in secured.project.logs("shipper"), "the shipper says that it may not log in")
    assert secured.found(request) == 0
    secured.project.compose("restart", *services)
    wait_for(lambda: secured.found(request) == 1, "the line arrived after the restart")


def test_the_files_that_are_mounted_hold_no_default(secured: Secured) -> None:
    """Every secret is long, no two are alike, and the container's settings hold none of them."""
    values = [
        path.read_text().strip()
        for path in secured.secrets.iterdir()
        if "." not in path.name and "url" not in path.name
    ]
    assert len(values) == len(set(values)) >= 8
    assert min(map(len, values)) >= 32
    for service in ("elasticsearch", "shipper", "elasticsearch-exporter", "proxy"):
        shown = str(secured.project.inspect(service)["Config"])
        assert not [value for value in values if value in shown], service
