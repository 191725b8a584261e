"""`outdated`, `audit` and `licences`, against servers on this machine that stand for the index, a registry and OSV."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from compose.bootstrap import LOCKS
from compose.stack import licences, outdated
from compose.stack.dependencies import pinned
from compose.stack.settings import CHECKOUT
from compose.stack.supervisor import StackError

PIN = "example-thing=={} \\\n    --hash=sha256:00\n"


def wheel(version: str) -> bytes:
    """A wheel of nothing but its metadata."""
    made = io.BytesIO()
    info = f"example_thing-{version}.dist-info"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: example-thing\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        archive.writestr(f"{info}/RECORD", "")
    return made.getvalue()


class _Outside(BaseHTTPRequestHandler):
    """A package index, a container registry that wants a token and answers in pages, and OSV."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/simple/example-thing/":
            links = [
                f'<a href="/files/example_thing-{version}-py3-none-any.whl'
                f'#sha256={hashlib.sha256(wheel(version)).hexdigest()}">example_thing-{version}-py3-none-any.whl</a>'
                for version in ("1.0", "1.1")
            ]
            self._answer(200, "\n".join(links).encode(), "text/html")
        elif path.startswith("/files/"):
            self._answer(200, wheel(path.split("-")[1]), "application/octet-stream")
        elif path == "/token":
            assert "scope=repository" in query
            self._answer(200, b'{"token": "for-anybody"}')
        elif path == "/v2/prom/prometheus/tags/list":
            if self.headers.get("Authorization") != "Bearer for-anybody":
                here = f"http://{self.headers['Host']}"
                challenge = f'Bearer realm="{here}/token",service="registry",scope="repository:prom/prometheus:pull"'
                self._answer(401, b"{}", challenge=challenge)
            elif "last=" in query:
                self._answer(200, b'{"tags": ["v3.10.1", "v3.10.1-distroless", "latest", "main"]}')
            else:
                following = "</v2/prom/prometheus/tags/list?n=1000&last=v3.9.0>; rel=next"
                self._answer(200, b'{"tags": ["v3.5.0", "v3.9.0", "v4"]}', link=following)
        else:
            self._answer(404, b"{}")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["package"]["ecosystem"] == "PyPI"
        affected = {
            "package": {"name": "example-thing", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
        found = {"vulns": [{"id": "MADE-UP-1", "summary": "a test's own", "affected": [affected]}]}
        self._answer(200, json.dumps(found if asked["version"] == "1.0" else {}).encode())

    def _answer(self, status: int, body: bytes, kind: str = "application/json", **more: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, header in (("challenge", "WWW-Authenticate"), ("link", "Link")):
            if name in more:
                self.send_header(header, more[name])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def outside() -> Iterator[str]:
    """The address of all that is outside."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Outside) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python3 compose ARGUMENTS`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [sys.executable, "-P", "-m", "compose.stack", *arguments],
        env={**kept, "PIP_CONFIG_FILE": os.devnull, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def files(folder: Path, version: str, image: str) -> tuple[str, ...]:
    """A lock and a compose file, as arguments."""
    (folder / "lock.txt").write_text(PIN.format(version))
    (folder / "compose.yaml").write_text(f"services:\n  metrics:\n    image: {image}\n")
    return "--lock", str(folder / "lock.txt"), "--compose-file", str(folder / "compose.yaml")


def test_what_has_a_newer_version_is_listed(outside: str, tmp_path: Path) -> None:
    """Package and image are shown with the newest version of the same shape, over pages and a token."""
    given = files(tmp_path, "1.0", f"{outside}/prom/prometheus:v3.5.0")
    done = command("outdated", *given, PIP_INDEX_URL=f"http://{outside}/simple/")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["example-thing", "1.0", "->", "1.1"] in lines
    assert ["prom/prometheus:v3.5.0", "->", "v3.10.1"] in lines


@pytest.mark.parametrize(
    ("version", "wanted", "within"),
    [
        ("2.9.1", ">=2.0,<3", True),
        ("3.0", ">=2.0,<3", False),
        ("3.0.post1", "<=3.0", True),
        ("1.34.0", "==1.33.0", False),
        ("99", ">=6", True),
        ("99", "", True),
    ],
)
def test_a_version_that_our_own_range_excludes_is_known(version: str, wanted: str, within: bool) -> None:
    """`lock --upgrade` takes no version above the range, so it is told apart from one that it would take."""
    assert outdated.is_within(version, wanted) is within


def test_a_newer_version_beyond_our_own_range_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the range in pyproject.toml; a package without an upper bound has none."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["one>=1,<2 ; python_version > \'3\'", "two>=1"]\n'
    )
    (tmp_path / "lock.txt").write_text("one==1.5 \\\n    --hash=sha256:00\ntwo==1.5 \\\n    --hash=sha256:00\n")
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    monkeypatch.setattr(outdated, "CHECKOUT", tmp_path)
    monkeypatch.setattr(outdated, "newest_packages", lambda _wanted: {"one": "2.1", "two": "2.1"})
    assert not outdated.show(tmp_path / "lock.txt", tmp_path / "compose.yaml", print)
    one, two, *_ = capsys.readouterr().out.splitlines()
    assert one.endswith("-> 2.1   (pyproject.toml asks for >=1,<2: raise that first)")
    assert two.endswith("-> 2.1")


def test_what_is_newest_is_said_to_be_so(outside: str, tmp_path: Path) -> None:
    """Nothing to do is exit code 0."""
    given = files(tmp_path, "1.1", f"{outside}/prom/prometheus:v3.10.1")
    done = command("outdated", *given, PIP_INDEX_URL=f"http://{outside}/simple/")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "0 have a newer version" in done.stdout


def test_an_index_or_registry_that_cannot_be_reached_is_named(outside: str, tmp_path: Path) -> None:
    """What could not be asked is not passed off as up to date: exit code 2 and a sentence for each."""
    given = files(tmp_path, "1.0", "127.0.0.1:9/prom/prometheus:v3.5.0")
    done = command("outdated", *given, PIP_INDEX_URL="http://127.0.0.1:9/simple/", PIP_RETRIES="0", PIP_TIMEOUT="2")
    assert done.returncode == 2
    assert "127.0.0.1:9 cannot be reached" in done.stdout
    assert "check the network and pip's configuration" in done.stdout
    assert "not known: packages, prom/prometheus:v3.5.0" in done.stderr


def test_a_tag_that_the_registry_does_not_have_is_said(outside: str, tmp_path: Path) -> None:
    """A pin on a tag that was taken back is found."""
    given = files(tmp_path, "1.1", f"{outside}/prom/prometheus:v3.6.6")
    done = command("outdated", *given, PIP_INDEX_URL=f"http://{outside}/simple/")
    assert done.returncode == 1
    assert "is not in the registry" in done.stdout


def test_our_own_compose_file_names_seven_images() -> None:
    """Every image of others is found, variables filled in; those we build are not asked for."""
    found = outdated.images(CHECKOUT / "compose" / "compose.yaml", {"GRAFANA_VERSION": "99.0.0"})
    names = {f"{image.registry}/{image.repository}" for image in found}
    assert "registry-1.docker.io/library/python" in names
    assert "docker.elastic.co/kibana/kibana" in names
    assert not any("ml-pipeline" in name for name in names)
    assert {image.tag for image in found if image.repository == "grafana/grafana"} == {"99.0.0"}


@pytest.mark.parametrize(
    ("tag", "others", "found"),
    [
        ("3.11-slim-bookworm", ["3.14-slim-bookworm", "3.15-alpine", "3.14.1-slim-bookworm"], "3.14-slim-bookworm"),
        ("v0.28.1", ["0.30.0", "v0.29.0", "v0.9.9", "v0.30.0-rc.1"], "v0.29.0"),
        ("12.1.0", ["12.1.0", "9.9.9"], None),
        ("latest", ["12.1.0"], None),
    ],
)
def test_the_newest_tag_is_of_the_same_shape(tag: str, others: list[str], found: str | None) -> None:
    """A release candidate, another base system or another count of numbers is no newer version."""
    assert outdated.newest(tag, others) == found


def test_an_image_without_a_tag_is_an_error() -> None:
    """`latest` by omission is named."""
    with pytest.raises(StackError, match="has no tag"):
        outdated.parse_image("localhost:5000/thing")


def test_a_known_vulnerability_is_shown(outside: str, tmp_path: Path) -> None:
    """pip-audit, asked for what the lock pins, names the vulnerability and what mends it."""
    (tmp_path / "lock.txt").write_text(PIN.format("1.0"))
    osv = {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": f"http://{outside}/v1/query"}
    done = command("audit", "--lock", str(tmp_path / "lock.txt"), **osv)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "example-thing 1.0: MADE-UP-1, mended in: 1.1" in done.stdout
    (tmp_path / "lock.txt").write_text(PIN.format("1.1"))
    done = command("audit", "--lock", str(tmp_path / "lock.txt"), **osv)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 packages asked about, 0 vulnerabilities known" in done.stdout


def test_an_audit_without_data_is_no_clean_audit(tmp_path: Path) -> None:
    """A service that cannot be reached is exit code 2 and a sentence."""
    (tmp_path / "lock.txt").write_text(PIN.format("1.0"))
    osv = {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": "http://127.0.0.1:9/v1/query"}
    done = command("audit", "--lock", str(tmp_path / "lock.txt"), **osv)
    assert done.returncode == 2
    assert "pip-audit could not ask" in done.stderr


def test_every_runtime_dependency_has_a_licence_that_is_allowed() -> None:
    """Nothing unknown and no copyleft but what is listed with its reason."""
    said: list[str] = []
    assert licences.show(LOCKS / "runtime.txt", said.append), said
    assert len(said) > 40


@pytest.mark.parametrize(
    ("expression", "fine"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND (MIT OR GPL-3.0-or-later)", True),
        ("Apache-2.0 OR LGPL-3.0-or-later", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("Proprietary", False),
    ],
)
def test_a_licence_expression_is_judged(expression: str, fine: bool) -> None:
    """Each part of an AND must be permissive, of an OR one."""
    assert licences.allowed(expression) is fine


def test_a_copyleft_or_unknown_licence_fails() -> None:
    """MPL is allowed for the package listed, and for no other; no licence at all is unknown."""
    assert licences.judge("certifi", "1", "MPL-2.0").verdict == ""
    assert "not allowed" in licences.judge("other", "1", "MPL-2.0").verdict
    assert "unknown" in licences.judge("other", "1", "").verdict
    two = ["License :: OSI Approved :: Apache Software License", "License :: OSI Approved :: MIT License"]
    assert licences.expression_of("", "whole text\n" * 50, two) == "Apache-2.0 OR MIT"


def test_a_lock_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    """The message says how it is made."""
    with pytest.raises(StackError, match="made by `python3 compose lock`"):
        pinned(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(StackError, match="pins nothing"):
        pinned(tmp_path / "empty.txt")


@pytest.mark.parametrize("text", ["junk", "[]", "services: {a: 1}", "a: [", ""])
def test_what_is_no_compose_file_is_said_before_the_index_is_asked(tmp_path: Path, text: str) -> None:
    """`outdated --compose-file` of another file ends with a sentence."""
    (tmp_path / "compose.yaml").write_text(text)
    with pytest.raises(StackError, match="is no compose file"):
        outdated.images(tmp_path / "compose.yaml", {})
