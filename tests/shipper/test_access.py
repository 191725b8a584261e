"""Who may talk to the server and how: TLS with a certificate authority of one's own, passwords, keys, addresses."""

from __future__ import annotations

import base64
import itertools
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.errors import SettingsError
from shipper.settings import read_settings
from tests.optional import need
from tests.shipper import cluster as faults
from tests.shipper.cluster import Cluster
from tests.shipper.conftest import Shipping, started, until
from tests.shipper.test_commands import command


def authority(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate authority; return its certificate and key."""
    openssl = need("openssl", apt="openssl")
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate),
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,digitalSignature",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ours.pem (an authority), stranger.pem (another) and server.pem (signed by ours, with its key)."""
    folder = tmp_path_factory.mktemp("certificates")
    certificate, key = authority(folder, "ours")
    authority(folder, "stranger")
    request, signed = folder / "server.csr", folder / "server.crt"
    extension = folder / "server.ext"
    extension.write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nbasicConstraints=CA:FALSE\n")
    subprocess.run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=server", "-keyout", str(folder / "server.key"), "-out", str(request)],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        ["openssl", "x509", "-req", "-in", str(request), "-CA", str(certificate), "-CAkey", str(key), "-days", "2",
         "-CAcreateserial", "-extfile", str(extension), "-out", str(signed)],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "server.pem").write_text(signed.read_text() + (folder / "server.key").read_text())
    return folder


@pytest.fixture
def secure(certificates: Path) -> Iterator[Cluster]:
    """A cluster that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    cluster = Cluster(context=context)
    yield cluster
    cluster.close()


def test_the_servers_certificate_is_checked_by_our_authority(
    shipping: Shipping, secure: Cluster, certificates: Path
) -> None:
    """With the right authority lines arrive; with another one, or none, nothing is sent and the reason is said."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
    for wrong in (certificates / "stranger.pem", None):
        shipping.set(url=secure.url, ca_file=wrong)
        service = shipping.service()
        assert not service.run(drain=True, timeout=1)
        assert "certificate verify failed" in str(service.tally.last_error).lower()
    assert not secure.documents
    shipping.set(ca_file=certificates / "ours.pem")
    shipping.ship()
    assert secure.messages() == {f"line {number}": 1 for number in range(10)}


def test_check_says_what_is_wrong_with_a_certificate(shipping: Shipping, secure: Cluster, certificates: Path) -> None:
    """The same by the command: an error that names the certificate, and ok with the right authority."""
    shipping.set(url=secure.url)
    wrong = command(shipping, "check", SHIPPER_URL=secure.url, SHIPPER_CA_FILE=str(certificates / "stranger.pem"))
    assert wrong.returncode == 1
    assert "certificate verify failed" in wrong.stdout.lower()
    right = command(shipping, "check", SHIPPER_URL=secure.url, SHIPPER_CA_FILE=str(certificates / "ours.pem"))
    assert f"{secure.url}: Elasticsearch" in right.stdout


def test_a_name_and_a_password_from_a_file(shipping: Shipping, tmp_path: Path) -> None:
    """Basic authentication in every request; the password may hold any character, and its newline is not part of it."""
    secret = tmp_path / "password"
    secret.write_text("pä:ss wörd\n", encoding="utf-8")
    shipping.set(username="shipper", password_file=secret)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
    shipping.ship()
    shipping.each_once(10)
    expected = base64.b64encode("shipper:pä:ss wörd".encode()).decode()
    assert {headers["authorization"] for headers in shipping.cluster.headers} == {f"Basic {expected}"}


def test_a_key_that_is_refused_and_then_allowed(shipping: Shipping, tmp_path: Path) -> None:
    """401 for long enough is an error that says what to do, never a dead letter; once allowed, all arrive."""
    shipping.cluster.odds = {faults.UNAUTHORISED: 1.0}
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 60))
    service, thread = started(shipping)
    try:
        until(lambda: "SHIPPER_API_KEY_FILE" in service.tally.stuck.get("server", ""), "it says so")
        shipping.cluster.odds = {}
        until(lambda: len(shipping.cluster.documents) == 60, "all arrive", 60)
        until(lambda: not service.tally.stuck, "it says no more")
    finally:
        service.stop()
        thread.join(30)
    assert service.tally.counts["dead_letter"] == 0


def test_secrets_that_cannot_be_read_refuse_the_start(shipping: Shipping, tmp_path: Path) -> None:
    """A missing or an empty file is said with the setting's name."""
    empty = tmp_path / "empty"
    empty.touch()
    for settings in (
        {"SHIPPER_API_KEY_FILE": str(tmp_path / "none")},
        {"SHIPPER_API_KEY_FILE": str(empty)},
        {"SHIPPER_CA_FILE": str(tmp_path / "none")},
        {"SHIPPER_USERNAME": "u", "SHIPPER_PASSWORD_FILE": str(empty)},
    ):
        done = command(shipping, "drain", **settings)
        assert done.returncode == 1
        assert f"{list(settings)[-1]}=" in done.stderr
    with pytest.raises(SettingsError, match="not both"):
        read_settings({"SHIPPER_API_KEY_FILE": "k", "SHIPPER_USERNAME": "u", "SHIPPER_PASSWORD_FILE": "p"})


def test_an_address_that_goes_and_comes_back(shipping: Shipping) -> None:
    """Two addresses of one cluster: while one is away the other takes all, and it is used again when it is back."""
    second = Cluster(documents=shipping.cluster.documents)
    port = second.port
    shipping.set(url=f"{shipping.cluster.url},{second.url}", batch_lines=10, request_timeout=2.0)
    service, thread = started(shipping)
    try:
        (shipping.logs / "a.log").write_bytes(shipping.lines(0, 200))
        until(lambda: len(shipping.cluster.documents) == 200, "the first lines arrive", 60)
        assert shipping.cluster.bodies
        assert second.bodies
        second.close()
        (shipping.logs / "b.log").write_bytes(shipping.lines(200, 200))
        until(lambda: len(shipping.cluster.documents) == 400, "the other address takes all", 60)
        second = Cluster(documents=shipping.cluster.documents, port=port)
        firsts = itertools.count(400, 20)
        until(lambda: bool(second.bodies) or more(shipping, next(firsts)), "the first one is used again", 60)
    finally:
        service.stop()
        thread.join(30)
        second.close()
    found = shipping.cluster.messages()
    assert max(found.values()) == 1


def more(shipping: Shipping, first: int) -> bool:
    """Append twenty lines that nobody wrote before, so that requests are made; never true."""
    with (shipping.logs / "b.log").open("ab") as file:
        file.write(shipping.lines(first, 20))
    threading.Event().wait(0.1)
    return False
