"""Secrets: made once, never written over, closed to others, rotated; certificates that a real TLS client accepts."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import ssl
import stat
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from compose.environment import SettingsError
from compose.stack import certificates, secret_files
from compose.stack.__main__ import main
from compose.stack.remote import Addresses, Servers
from compose.stack.supervisor import StackError

NOW = dt.datetime.now(dt.UTC)


def quiet(_line: str) -> None:
    """Say nothing."""


def make(folder: Path) -> int:
    """Make the secrets."""
    return secret_files.make(folder, quiet, now=NOW)


def contents(folder: Path) -> dict[str, bytes]:
    """Return each file's content."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """A second run writes nothing; a lost file alone is made again."""
    assert make(tmp_path) == len(contents(tmp_path))
    first = contents(tmp_path)
    assert make(tmp_path) == 0
    (tmp_path / "ml_exporter").unlink()
    assert make(tmp_path) == 1
    second = contents(tmp_path)
    assert {name for name in first if first[name] != second[name]} == {"ml_exporter"}


def test_the_folder_is_closed_and_the_authoritys_key_besides(tmp_path: Path) -> None:
    """Others cannot enter; what containers mount can be read by their users; the key that signs by its owner alone."""
    folder = tmp_path / "secrets"
    make(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes.pop("ca.key") == 0o600
    assert set(modes.values()) == {0o444}


def test_a_client_that_knows_the_authority_accepts_the_server_and_no_other_does(tmp_path: Path) -> None:
    """A real handshake: right name accepted; wrong name and unknown authority refused."""
    make(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "elasticsearch.crt", tmp_path / "elasticsearch.key")

    def shake(client: ssl.SSLContext, name: str) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        left = client.wrap_bio(to_client, to_server, server_hostname=name)
        right = server.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(4):
            for side in (left, right):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        left.getpeercert()

    shake(ssl.create_default_context(cafile=str(tmp_path / "ca.crt")), "elasticsearch")
    shake(ssl.create_default_context(cafile=str(tmp_path / "ca.crt")), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
        shake(ssl.create_default_context(cafile=str(tmp_path / "ca.crt")), "elsewhere")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(ssl.create_default_context(), "elasticsearch")


def test_a_certificate_that_ends_soon_is_named(tmp_path: Path) -> None:
    """Nothing now; both servers' certificates a year from now, the authority's not."""
    make(tmp_path)
    assert secret_files.expiring(tmp_path, NOW) == []
    late = NOW + dt.timedelta(days=certificates.SERVER_DAYS - 10)
    assert [name for name, _end in secret_files.expiring(tmp_path, late)] == ["elasticsearch.crt", "proxy.crt"]


def test_the_proxys_line_is_what_nginx_compares(tmp_path: Path) -> None:
    """RFC 2307: base64 of SHA-1 over password and salt, then the salt."""
    line = secret_files.htpasswd_line("ml", "correct horse", b"saltsalt")
    user, _, rest = line.partition(":{SSHA}")
    packed = base64.b64decode(rest)
    assert user == "ml"
    assert packed[20:] == b"saltsalt"
    assert packed[:20] == hashlib.sha1(b"correct horsesaltsalt", usedforsecurity=False).digest()


def test_rotation_changes_elasticsearch_first_and_the_file_only_then(tmp_path: Path) -> None:
    """A refused change leaves the file as it was; a taken one replaces it by what Elasticsearch was told."""
    make(tmp_path)
    before, told = (tmp_path / "ml_exporter").read_text(), list[httpx.Request]()

    def answer(status: int) -> httpx.MockTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            told.append(request)
            return httpx.Response(status, json={} if status == 200 else {"error": {"reason": "no"}})

        return httpx.MockTransport(handle)

    with Servers(Addresses(), transport=answer(403)) as servers, pytest.raises(StackError, match="403"):
        secret_files.rotate(tmp_path, "ml_exporter", quiet, now=NOW, elastic=servers["elasticsearch"])
    assert (tmp_path / "ml_exporter").read_text() == before
    with Servers(Addresses(), transport=answer(200)) as servers:
        services = secret_files.rotate(tmp_path, "ml_exporter", quiet, now=NOW, elastic=servers["elasticsearch"])
    assert services == ("elasticsearch-exporter",)
    after = (tmp_path / "ml_exporter").read_text()
    assert after != before
    assert after in told[-1].content.decode()
    assert not (tmp_path / "ml_exporter.new").exists()


class Grafana:
    """ "Change Password" and the user's own page of Grafana's HTTP API, for one administrator."""

    def __init__(self, password: str) -> None:
        self.password, self.weak = password, False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        login = base64.b64encode(f"boss:{self.password}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {login}":
            return httpx.Response(401, json={"message": "Invalid username or password"})
        if (request.method, request.url.path) == ("GET", "/api/user"):
            return httpx.Response(200, json={"login": "boss"})
        asked = json.loads(request.content)
        assert (request.method, request.url.path) == ("PUT", "/api/user/password")
        assert asked["newPassword"] == asked["confirmNew"]
        if asked["oldPassword"] != self.password or self.weak:
            return httpx.Response(400, json={"message": "New password is too weak"})
        self.password = asked["newPassword"]
        return httpx.Response(200, json={"message": "User password changed"})


def grafana_login(folder: Path) -> Addresses:
    """Return the administrator's login from its file."""
    password = (folder / "grafana_admin").read_text()
    return Addresses(grafana_user="boss", grafana_password=password)


def test_grafanas_password_is_changed_there_first(tmp_path: Path) -> None:
    """A running Grafana takes the new one at once and nothing starts again; refused, the file is as before."""
    make(tmp_path)
    before = (tmp_path / "grafana_admin").read_text()
    grafana = Grafana(before)

    def rotate() -> tuple[str, ...]:
        with Servers(grafana_login(tmp_path), transport=httpx.MockTransport(grafana)) as servers:
            return secret_files.rotate(tmp_path, "grafana_admin", quiet, now=NOW, grafana=servers["grafana"])

    assert rotate() == ()
    after = (tmp_path / "grafana_admin").read_text()
    assert after == grafana.password != before
    grafana.weak = True
    with pytest.raises(StackError, match="too weak"):
        rotate()
    assert (tmp_path / "grafana_admin").read_text() == after
    with pytest.raises(StackError, match="a user of Grafana"):
        secret_files.rotate(tmp_path, "grafana_admin", quiet, now=NOW)


@pytest.mark.parametrize("taken", [True, False])
def test_a_rotation_that_was_killed_is_settled(tmp_path: Path, *, taken: bool) -> None:
    """The password beside the file replaces it where the server knows it, and is thrown away where it does not."""
    make(tmp_path)
    before = (tmp_path / "grafana_admin").read_text()
    (tmp_path / "grafana_admin.new").write_text("the new one")
    grafana = Grafana("the new one" if taken else before)
    with Servers(grafana_login(tmp_path), transport=httpx.MockTransport(grafana)) as servers:
        for _ in range(2):
            server = servers["grafana"]
            secret_files.settle(tmp_path, "grafana_admin", quiet, server, path="/api/user", user="boss")
    assert (tmp_path / "grafana_admin").read_text() == grafana.password
    assert not (tmp_path / "grafana_admin.new").exists()


def test_certificates_and_the_proxys_login_are_rotated_together_with_what_derives_from_them(tmp_path: Path) -> None:
    """New certificates of the same authority; the proxy's file fits the new password."""
    make(tmp_path)
    before = contents(tmp_path)
    secret_files.rotate(tmp_path, "certificates", quiet, now=NOW, elastic=None)
    secret_files.rotate(tmp_path, "proxy_password", quiet, now=NOW, elastic=None)
    after = contents(tmp_path)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "elasticsearch.crt", "elasticsearch.key", "proxy.crt", "proxy.key", "proxy_password", "proxy.htpasswd",
    }  # fmt: skip


def test_the_commands_say_what_to_do(tmp_path: Path) -> None:
    """`secrets make`, `check`, `rotate` of something unknown, and of a folder without secrets."""
    folder = str(tmp_path / "s")
    runner = CliRunner()
    missing = runner.invoke(main, ["secrets", "rotate", "ml_exporter", "--folder", folder])
    assert missing.exit_code == 1
    assert "ml-stack secrets make" in missing.output
    made = runner.invoke(main, ["secrets", "make", "--folder", folder, "--host", "stack.example"])
    assert made.exit_code == 0
    assert "stack.example" in made.output
    assert "no certificate ends" in runner.invoke(main, ["secrets", "check", "--folder", folder]).output
    unknown = runner.invoke(main, ["secrets", "rotate", "nobody", "--folder", folder])
    assert unknown.exit_code == 1
    assert "known: " in unknown.output


@pytest.mark.parametrize(
    ("harm", "words"), [("empty", "elastic is empty"), ("folder", "elastic cannot be read: Is a dir")]
)
def test_what_is_no_secret_is_not_taken_for_one(tmp_path: Path, harm: str, words: str) -> None:
    """Docker makes a folder where a file to be mounted was missing: `make` says so, and does not leave it be."""
    make(tmp_path)
    (tmp_path / "elastic").unlink()
    if harm == "empty":
        (tmp_path / "elastic").touch()
    else:
        (tmp_path / "elastic").mkdir()
    with pytest.raises(SettingsError, match=words):
        make(tmp_path)


def test_new_certificates_are_for_the_same_hosts(tmp_path: Path) -> None:
    """`secrets make --host` is not asked again when they are rotated: its clients go on."""
    secret_files.make(tmp_path, quiet, now=NOW, hosts=["stack.example", "192.0.2.7"])
    first = certificates.hosts((tmp_path / "proxy.crt").read_bytes())
    assert {"stack.example", "192.0.2.7"} <= set(first)
    secret_files.rotate(tmp_path, "certificates", quiet, now=NOW)
    assert certificates.hosts((tmp_path / "proxy.crt").read_bytes()) == first
    assert contents(tmp_path)["proxy.crt"].count(b"BEGIN CERTIFICATE") == 1


def test_a_rotation_of_certificates_that_was_killed_is_mended_by_make(tmp_path: Path) -> None:
    """Stopped between key and certificate the two do not belong together: nginx would not start."""
    secret_files.make(tmp_path, quiet, now=NOW, hosts=["stack.example"])
    other = certificates.authority(NOW)
    (tmp_path / "proxy.key").unlink()
    (tmp_path / "proxy.key").write_bytes(other.key)
    assert make(tmp_path) == 2
    assert certificates.belong((tmp_path / "proxy.crt").read_bytes(), (tmp_path / "proxy.key").read_bytes())
    assert "stack.example" in certificates.hosts((tmp_path / "proxy.crt").read_bytes())


def test_without_the_authoritys_key_the_certificates_stay(tmp_path: Path) -> None:
    """What cannot be signed anew is not thrown away first, and a sentence says what is missing."""
    make(tmp_path)
    (tmp_path / "ca.key").unlink()
    before = contents(tmp_path)
    with pytest.raises(StackError, match=r"ca\.key is not there: put it back from your copy"):
        secret_files.rotate(tmp_path, "certificates", quiet, now=NOW)
    assert contents(tmp_path) == before
    (tmp_path / "ca.key").write_bytes(certificates.authority(NOW).key)
    with pytest.raises(StackError, match="is not the key of"):
        secret_files.rotate(tmp_path, "certificates", quiet, now=NOW)


@pytest.mark.parametrize(("name", "derived"), [("proxy_password", "proxy.htpasswd"), ("app_api_key", "proxy.app_key")])
def test_a_rotation_that_was_killed_leaves_nothing_of_the_old_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, derived: str
) -> None:
    """`make` writes what derives from it again; else the proxy would go on with the old one."""
    make(tmp_path)
    before, write = contents(tmp_path), secret_files._write

    def killed(path: Path, text: str) -> None:
        write(path, text)
        if path.name == name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(secret_files, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            secret_files.rotate(tmp_path, name, quiet, now=NOW)
    make(tmp_path)
    after = contents(tmp_path)
    assert after[name] != before[name]
    assert after[derived] != before[derived]
    (tmp_path / derived).unlink()
    secret_files.rotate(tmp_path, name, quiet, now=NOW)
    assert contents(tmp_path)[derived] != after[derived], "a derived file that is lost ends no rotation"


def test_a_folder_without_certificates_is_not_called_well(tmp_path: Path) -> None:
    """`secrets check` of a wrong folder, and of a damaged certificate, ends with 2."""
    runner = CliRunner()
    nothing = runner.invoke(main, ["secrets", "check", "--folder", str(tmp_path / "none")])
    assert (nothing.exit_code, "holds no certificate" in nothing.output) == (2, True)
    (tmp_path / "proxy.crt").write_text("junk")
    damaged = runner.invoke(main, ["secrets", "check", "--folder", str(tmp_path)])
    assert (damaged.exit_code, "proxy.crt is no certificate" in damaged.output) == (2, True)
