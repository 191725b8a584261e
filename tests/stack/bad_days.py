"""The bad days: how each is brought about, and what a person then sees.

Each function takes an empty folder and returns what was printed. Nothing is simulated but where a comment says so.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from compose.stack.remote import SERVERS
from compose.stack.settings import CHECKOUT
from tests.elasticsearch.embedded import EmbeddedStore
from tests.optional import lacking
from tests.stack.running import RunningStack, until

LINE = {"level": "INFO", "message": "a line"}


def run(*command: str, python: str = sys.executable, **environment: str) -> str:
    """Run a command of ours that is to fail or to warn, and return all it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHIPPER_", "STORE_", "APP_"))}
    done = subprocess.run(
        [python, *command], env={**kept, **environment}, capture_output=True, text=True, check=False, timeout=240
    )
    return done.stdout + done.stderr


def shipper(folder: Path, verb: str, *options: str, stamp: str | None = None, **environment: str) -> str:
    """Run `ml-shipper VERB` over one log file."""
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    line = {**LINE, "@timestamp": stamp or dt.datetime.now(dt.UTC).isoformat()}
    (logs / "a.jsonl").write_text(json.dumps(line) + "\n")
    given = {"SHIPPER_PATHS": f"{logs}/*.jsonl", "SHIPPER_STATE_DIR": str(folder / "state"), "SHIPPER_VOLUME_ID": "v"}
    return run("-P", "-m", "shipper", verb, *options, **{**given, **environment})


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A disk of its own, which needs root."""
    place = folder / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        lacking("the right to mount a small disk", "run the tests as root, in a container that may mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    """A disk with no byte left."""
    with disk(folder, "size=64k") as place:
        with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"\0" * 4096)
        yield place


def old_python(folder: Path) -> str:
    """The launcher under a Python that is too old: one of pyenv's, else ours that calls itself 3.9."""
    for found in sorted(Path.home().glob(".pyenv/versions/*/bin/python")):
        if found.parts[-3] < "3.11" and not found.parts[-3].startswith("3.1"):
            return run(str(CHECKOUT / "compose"), "up", python=str(found))
    (folder / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 9, 2, 'final', 0)\n")
    return run(str(CHECKOUT / "compose"), "up", PYTHONPATH=str(folder))


def no_venv(folder: Path) -> str:
    """A Python without the module venv, as Debian ships it."""
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['venv'] = None\n")
    return run(str(CHECKOUT / "compose"), "up", PYTHONPATH=str(folder), ML_VENV=str(folder / "environment"))


def no_index(folder: Path) -> str:
    """No package index can be reached at the first start."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}
    environment = {**nowhere, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    return run(str(CHECKOUT / "compose"), "up", ML_VENV=str(folder / "environment"), **environment)


def full_for_environment(folder: Path) -> str:
    """No room for the environment at the first start."""
    with full_disk(folder) as place:
        return run(str(CHECKOUT / "compose"), "up", ML_VENV=str(place / "environment"))


def taken_port(folder: Path) -> str:
    """Another program listens on the service's port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        stack = RunningStack(folder / "stack")
        stack.environment["APP_PORT"] = str(other.getsockname()[1])
        done = stack.command("up")
    return done.stdout + done.stderr


def full_for_stack(folder: Path) -> str:
    """The disk of STACK_DIR is full."""
    with full_disk(folder) as place:
        stack = RunningStack(folder / "stack")
        stack.environment["STACK_DIR"] = str(place / "stack")
        done = stack.command("up")
    return done.stdout + done.stderr


def full_for_shipper(folder: Path) -> str:
    """The disk of SHIPPER_STATE_DIR is full."""
    with full_disk(folder) as place:
        return shipper(folder, "drain", "--timeout", "5", SHIPPER_STATE_DIR=str(place / "state"))


def full_for_model(folder: Path) -> str:
    """The disk of APP_MODEL_DIR is full."""
    with full_disk(folder) as place:
        return run("-P", "-m", "app", "train", "--rows", "1000", APP_MODEL_DIR=str(place / "models"))


def read_only_stack(folder: Path) -> str:
    """STACK_DIR lies on a disk that is mounted read-only."""
    with disk(folder, "size=64k,ro") as place:
        return run("-P", "-m", "compose.stack", "up", STACK_DIR=str(place / "stack"))


def read_only_shipper(folder: Path) -> str:
    """SHIPPER_STATE_DIR lies on a disk that is mounted read-only."""
    with disk(folder, "size=64k,ro") as place:
        return shipper(folder, "check", SHIPPER_STATE_DIR=str(place / "state"), SHIPPER_URL="http://127.0.0.1:9")


def wrong_url(folder: Path) -> str:
    """Nothing listens at SHIPPER_URL."""
    return shipper(folder, "check", SHIPPER_URL="http://127.0.0.1:9")


def url_without_scheme(folder: Path) -> str:
    """SHIPPER_URL without http://."""
    return shipper(folder, "check", SHIPPER_URL="localhost:9200")


def mistyped_setting(folder: Path) -> str:
    """A setting with a slip of the pen."""
    return shipper(folder, "check", SHIPPER_STATEDIR="x")


def wrong_password(folder: Path) -> str:
    """The store asks for a password, and another one is given."""
    (folder / "password").write_text("wrong")
    with running_store(folder, STORE_PASSWORD="right-password") as url:
        login = {"SHIPPER_USERNAME": "elastic", "SHIPPER_PASSWORD_FILE": str(folder / "password")}
        return shipper(folder, "check", SHIPPER_URL=url, **login)


@contextlib.contextmanager
def running_store(folder: Path, **environment: str) -> Iterator[str]:
    """An embedded store of its own."""
    (folder / "store").mkdir()
    store = EmbeddedStore(folder / "store", **environment)
    try:
        yield store.url
    finally:
        store.stop()


def expired_certificate(folder: Path) -> str:
    """The server's certificate ended yesterday; its authority is the one we were given."""
    with expired_server(folder) as (address, certificate):
        return shipper(folder, "check", SHIPPER_URL=address, SHIPPER_CA_FILE=certificate)


def expired_for_setup(folder: Path) -> str:
    """The same certificate, met by `ml-stack setup`, which waits for a server that is not there yet."""
    with expired_server(folder) as (address, certificate):
        return run("-P", "-m", "compose.stack", "setup", "--elasticsearch", address, "--ca", certificate)


def wrong_password_for_setup(folder: Path) -> str:
    """The wrong password, given to `ml-stack setup`."""
    (folder / "password").write_text("wrong")
    with running_store(folder, STORE_PASSWORD="right-password") as url:
        login = ("--user", "elastic", "--password-file", str(folder / "password"))
        return run("-P", "-m", "compose.stack", "setup", "--elasticsearch", url, *login)


def full_for_backup(folder: Path) -> str:
    """The disk of the backups is full."""
    models = folder / "stack" / "models"
    models.mkdir(parents=True)
    (models / "active.json").write_text('{"version": "v1"}')
    others = [f"--without={name}" for name in SERVERS if name != "app"]
    with full_disk(folder) as place:
        backup = ("backup", "--to", str(place / "backups"), *others)
        return run("-P", "-m", "compose.stack", *backup, STACK_DIR=str(folder / "stack"))


@contextlib.contextmanager
def expired_server(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the address of a server whose certificate ended yesterday, and the file of its authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now - dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate = folder / "certificate.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, folder / "key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a refused handshake is what we want
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"https://127.0.0.1:{server.server_address[1]}"
        try:
            yield address, str(certificate)
        finally:
            server.shutdown()


def clock_behind(folder: Path) -> str:
    """The clock of the machine that wrote the lines stood in 2020."""
    with running_store(folder) as url:
        return shipper(folder, "drain", "--timeout", "60", stamp="2020-01-01T00:00:00.000000Z", SHIPPER_URL=url)


def clock_ahead(folder: Path) -> str:
    """The clock of the machine that wrote the lines stands in 2040."""
    with running_store(folder) as url:
        return shipper(folder, "drain", "--timeout", "60", stamp="2040-01-01T00:00:00.000000Z", SHIPPER_URL=url)


def killed_in_first_start(folder: Path) -> str:
    """SIGKILL while the first model is trained; what the next start says."""
    stack = RunningStack(folder / "stack", untrained=True)
    with stack.output.open("wb") as output:
        first = subprocess.Popen(
            [sys.executable, "-P", "-m", "compose.stack", "up"],
            env=stack.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until(lambda: "to train on" in stack.said() or first.poll() is not None, f"it trains; it said {stack.said()}")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    stack.up()
    said = stack.said()
    assert stack.interrupt() == 0
    return said
