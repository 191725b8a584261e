"""What every answer of the console carries, and which requests it refuses."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from compose.console.security import LARGEST_BODY
from compose.console.service import create_console
from compose.console.settings import ConsoleSettings
from tests.ports import free_ports


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """A client of a console beside which nothing is."""
    store, app, shipper, prometheus = (f"http://127.0.0.1:{port}" for port in free_ports(4))
    settings = ConsoleSettings(store_url=store, app_url=app, shipper_url=shipper, prometheus_url=prometheus)
    made: FlaskClient = create_console(settings).server.test_client()
    return made


@pytest.mark.parametrize("path", ["/", "/health", "/export.csv", "/nowhere", "/assets/console.js"])
def test_no_other_site_can_frame_embed_or_keep_an_answer(path: str, client: FlaskClient) -> None:
    """Each answer has a policy without foreign or free scripts, is in no frame, and what holds lines in no cache."""
    with client.get(path) as answer:
        headers = answer.headers
    policy = dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert all(source == "'self'" or source.startswith("'sha256-") for source in policy["script-src"].split())
    assert policy["connect-src"] == "'self'"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert (headers["Cache-Control"] == "no-store") == (not path.startswith("/assets"))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:5601", "127.0.0.2"])
def test_a_name_that_is_not_ours_is_refused(host: str, client: FlaskClient) -> None:
    """A foreign page that points its own name at this machine is shown nothing."""
    assert client.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_post_from_elsewhere_is_refused(site: str, client: FlaskClient) -> None:
    """Another site, and another port of this machine, may not ask a callback."""
    assert client.post("/_dash-update-component", json={}, headers={"Sec-Fetch-Site": site}).status_code == 403


def test_a_large_body_is_refused(client: FlaskClient) -> None:
    """A request far larger than any of a page is not read."""
    answer = client.post("/_dash-update-component", data=b" " * (LARGEST_BODY + 1), content_type="application/json")
    assert answer.status_code == 413
