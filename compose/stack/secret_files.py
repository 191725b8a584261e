"""`secrets`: passwords, keys and certificates of compose.secure.yaml, in files that git ignores; made, and rotated.

Docker mounts each file as it is, and the users in the containers differ: so the folder alone is closed (0700), and a
file in it can be read by whoever it is mounted for. What is never mounted (the authority's key) is 0600.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import msgspec

from compose.stack import certificates, private_file
from compose.stack.failure import explain
from compose.stack.remote import Server
from compose.stack.supervisor import StackError

Say = Callable[[str], None]
FOLDER_MODE, MOUNTED, PRIVATE = 0o700, 0o444, 0o600
# Secret → who has to be started again when it changes.
ELASTIC_USERS = {
    "elastic": ("elasticsearch", "accounts", "setup"),
    "kibana_system": ("kibana",),
    "ml_reader": (),
    "ml_exporter": ("elasticsearch-exporter",),
}
# Changed in the server that knows it first; Grafana reads its file for an empty volume only, so nothing starts again.
GRAFANA_ADMIN = "grafana_admin"
OTHERS = {
    "proxy_password": ("proxy",),
    "kibana_encryption_key": ("kibana",),
    "app_api_key": ("app", "proxy"),
}
CERTIFICATES = {"elasticsearch": ("elasticsearch", "shipper"), "proxy": ("proxy",)}
PROXY_USER = "ml"
PROXY_KEY = "proxy.app_key"
HOSTS = {
    "elasticsearch": ("elasticsearch", "elasticsearch-2", "elasticsearch-3", "localhost", "127.0.0.1", "::1"),
    "proxy": ("localhost", "proxy", "127.0.0.1", "::1"),
}
RENEW_DAYS = 30


def make(
    folder: Path, say: Say, *, now: dt.datetime, hosts: Sequence[str] = (), webhooks: dict[str, str] | None = None
) -> int:
    """Make every secret that is missing; leave what is there.

    Args:
        folder: where they are kept; made if absent, closed to others.
        now: beginning of new certificates.
        hosts: more names or addresses under which this machine is reached.
        webhooks: file name → address for Alertmanager's receivers; written again where given.

    Returns:
        How many files were written.

    Raises:
        StackError: the folder cannot be written or is open to others and cannot be closed.
        SettingsError: a file that is there holds no secret.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(FOLDER_MODE)
        written = _certificates(folder, say, now, hosts)
        for name in (*ELASTIC_USERS, GRAFANA_ADMIN, *OTHERS):
            if (folder / name).exists():
                private_file.read(folder / name)  # a folder that Docker made in its place, or an empty file, is said
                continue
            _write(folder / name, new_password())
            say(f"  {name}: made")
            written += 1
        written += _htpasswd(folder) + _proxy_key(folder)
        for name in ("alert_webhook_url", "watchdog_webhook_url"):
            address = (webhooks or {}).get(name)
            # Without an address the alerts go nowhere: port 9 of the container itself, which nobody listens on.
            if address or not (folder / name).exists():
                _write(folder / name, address or "http://127.0.0.1:9/nowhere")
                written += 1
    except OSError as error:
        raise StackError(f"{explain(error)}; give another folder with --folder") from None
    say(f"done: {written} files written in {folder}; keep a copy of them where only you can read it")
    return written


def rotate(
    folder: Path,
    name: str,
    say: Say,
    *,
    now: dt.datetime,
    elastic: Server | None = None,
    grafana: Server | None = None,
) -> tuple[str, ...]:
    """Replace one secret by a new one.

    Args:
        folder: where the secrets are.
        name: a user of Elasticsearch, one of the other passwords, or `certificates`.
        now: beginning of new certificates.
        elastic: Elasticsearch, logged in as `elastic`; needed for its users, whose password is changed there first.
        grafana: Grafana, logged in as its administrator; needed for that password, likewise.

    Returns:
        The services that have to be started again.

    Raises:
        StackError: the secret is not known, or its server did not take it; the file is then as before.
    """
    if name == "certificates":
        _certificates(folder, say, now, (), renew=True)
        return tuple(service for services in CERTIFICATES.values() for service in services)
    if name not in (*ELASTIC_USERS, GRAFANA_ADMIN, *OTHERS):
        known = ", ".join(sorted([*ELASTIC_USERS, GRAFANA_ADMIN, *OTHERS, "certificates"]))
        raise StackError(f"{name} is no secret of this stack; known: {known}")
    password = new_password()
    if name in ELASTIC_USERS:
        if elastic is None:
            raise StackError(f"{name} is a user of Elasticsearch: its address is needed to change the password there")
        _change(folder, name, password, elastic, ("POST", f"/_security/user/{name}/_password"), {"password": password})
    elif name == GRAFANA_ADMIN:
        if grafana is None:
            raise StackError(f"{name} is a user of Grafana: its address is needed to change the password there")
        # Grafana's HTTP API, "Change Password": of the user who is logged in.
        old = private_file.read(folder / name)
        body = {"oldPassword": old, "newPassword": password, "confirmNew": password}
        _change(folder, name, password, grafana, ("PUT", "/api/user/password"), body)
    else:
        # What derives from it goes first: `make` writes it again where this is stopped in between.
        derived = {"proxy_password": "proxy.htpasswd", "app_api_key": PROXY_KEY}.get(name)
        if derived is not None:
            (folder / derived).unlink(missing_ok=True)
        _write(folder / name, password)
        if derived is not None:
            _htpasswd(folder)
            _proxy_key(folder)
    services = (ELASTIC_USERS | OTHERS).get(name, ())
    say(f"{name}: replaced")
    return services


def settle(folder: Path, name: str, say: Say, server: Server, *, path: str, user: str) -> None:
    """End a rotation that was interrupted between the server and the file: keep whichever password is taken.

    Args:
        folder: where the secrets are.
        name: of the secret.
        server: who knows the user.
        path: what every user may read there.
        user: whose password it is.

    Raises:
        StackError: the server does not answer.
    """
    fresh = folder / f"{name}.new"
    if not fresh.exists():
        return
    login = httpx.BasicAuth(user, private_file.read(fresh))
    if server.json("GET", path, allowed=(401,), auth=login) is None:
        fresh.unlink()
        return
    fresh.replace(folder / name)
    say(f"{name}: an interrupted rotation is ended, its password was taken already")


def _change(
    folder: Path, name: str, password: str, server: Server, call: tuple[str, str], body: dict[str, str]
) -> None:
    """Change a password in its server, then in its file; written beside the old one first, so a crash loses neither."""
    _write(folder / f"{name}.new", password)
    server.json(*call, json=body)
    (folder / f"{name}.new").replace(folder / name)


def new_password() -> str:
    """Return 32 characters with 192 bits of chance, none of which a shell or a URL has to escape."""
    return secrets.token_urlsafe(24)


def htpasswd_line(user: str, password: str, salt: bytes) -> str:
    """Return nginx's line for basic authentication, in RFC 2307's {SSHA}: every build of nginx reads it.

    A fast hash is enough here only because the password has 192 bits of chance; do not use it for chosen ones.
    """
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return f"{user}:{{SSHA}}{base64.b64encode(digest + salt).decode()}"


def expiring(folder: Path, now: dt.datetime) -> list[tuple[str, dt.datetime]]:
    """Return the certificates in `folder` that end within 30 days, and when.

    Raises:
        StackError: there is none, or one is damaged.
    """
    files = sorted(folder.glob("*.crt"))
    if not files:
        raise StackError(f"{folder} holds no certificate; make the secrets first: ml-stack secrets make")
    found = []
    for path in files:
        try:
            found.append((path.name, certificates.expires(path.read_bytes())))
        except ValueError:
            raise StackError(
                f"{path} is no certificate: put it back, or remove it and run `ml-stack secrets make`"
            ) from None
    return [(name, end) for name, end in found if end < now + dt.timedelta(days=RENEW_DAYS)]


def _htpasswd(folder: Path) -> int:
    file = folder / "proxy.htpasswd"
    if file.exists():
        return 0
    password = private_file.read(folder / "proxy_password")
    _write(file, htpasswd_line(PROXY_USER, password, secrets.token_bytes(8)))
    return 1


def _proxy_key(folder: Path) -> int:
    """Write the model service's key as the line of nginx's `map` that the proxy includes."""
    file = folder / PROXY_KEY
    if file.exists():
        return 0
    _write(file, f'5000 "{private_file.read(folder / "app_api_key")}";\n')
    return 1


def _certificates(folder: Path, say: Say, now: dt.datetime, hosts: Sequence[str], *, renew: bool = False) -> int:
    """Make the authority and the servers' certificates that are missing or do not fit their keys; `renew` makes all.

    A certificate that is made in the place of another one is for the same hosts.
    """
    written = 0
    if not (folder / "ca.crt").exists():
        pair = certificates.authority(now)
        private_file.write(folder / "ca.key", pair.key.decode(), PRIVATE)
        _write(folder / "ca.crt", pair.certificate.decode())
        say("  ca: certificate authority made; its key never leaves this folder")
        written += 2
    signer: certificates.Pair | None = None
    for kind, names in HOSTS.items():
        held = _held(folder, kind)
        if held is not None and held.fits and not renew:
            continue
        for_hosts = list(dict.fromkeys([*names, *(held.hosts if held else ()), *hosts]))
        signer = signer or _signer(folder)
        pair = certificates.server(signer, for_hosts, now)
        # Stopped between the two, the next `make` sees that they do not belong together.
        _write(folder / f"{kind}.key", pair.key.decode())
        _write(folder / f"{kind}.crt", pair.certificate.decode())
        say(f"  {kind}: certificate for {', '.join(for_hosts)} made")
        written += 2
    return written


class _Held(msgspec.Struct, frozen=True):
    """A server's certificate that is there: for which hosts, and whether its key is there, too."""

    hosts: list[str]
    fits: bool


def _held(folder: Path, kind: str) -> _Held | None:
    try:
        certificate = (folder / f"{kind}.crt").read_bytes()
        hosts = certificates.hosts(certificate)
        key = folder / f"{kind}.key"
        return _Held(hosts, key.exists() and certificates.belong(certificate, key.read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError:
        raise StackError(
            f"{folder / kind}.crt is no certificate: put it back, or remove it and run `ml-stack secrets make`"
        ) from None


def _signer(folder: Path) -> certificates.Pair:
    try:
        pair = certificates.Pair((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    except FileNotFoundError as error:
        raise StackError(
            f"{error.filename} is not there: put it back from your copy; without it new certificates need a new "
            f"authority (remove {folder / 'ca.crt'}, then `ml-stack secrets make`), which every client has to be given"
        ) from None
    if not certificates.belong(pair.certificate, pair.key):
        raise StackError(f"{folder / 'ca.key'} is not the key of {folder / 'ca.crt'}: put both back from your copy")
    return pair


def _write(path: Path, text: str) -> None:
    """Write a secret that is mounted; the folder is closed, so nobody else reads it."""
    private_file.write(path, text, MOUNTED)
