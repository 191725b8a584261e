"""The shipper's API key where it is kept: a file, or a secret of Kubernetes; what is refused, what is left behind."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest

from compose.stack.kubernetes_secret import ENTRY, KeySecret
from compose.stack.remote import Addresses, Servers
from compose.stack.shipper_key import NAME, ROLE, KeyFile, ensure_key
from compose.stack.supervisor import StackError

PATH = "/api/v1/namespaces/ml-pipeline/secrets/ml-shipper"


class Kubernetes:
    """The two calls on a secret, as Kubernetes' API reference describes them, and its refusals (`Status` objects)."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] = {"kind": "Secret", "metadata": {"name": "ml-shipper"}}
        self.may = {"GET", "PATCH"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.headers.get("Authorization") != "Bearer pod-token":
            return self._refusal(401, "Unauthorized")
        if request.url.path != PATH or request.method not in self.may:
            return self._refusal(403, 'secrets "ml-shipper" is forbidden')
        if request.method == "PATCH":
            if request.headers["Content-Type"] != "application/merge-patch+json":
                return self._refusal(415, "the body of the request was in an unknown format")
            patch = json.loads(request.content)
            assert all(base64.b64decode(value, validate=True) for value in patch["data"].values())
            self.secret["data"] = self.secret.get("data", {}) | patch["data"]
        return httpx.Response(200, json=self.secret)

    @staticmethod
    def _refusal(code: int, message: str) -> httpx.Response:
        return httpx.Response(code, json={"kind": "Status", "status": "Failure", "message": message, "code": code})


class Elasticsearch:
    """API keys, as the security API's pages describe them; the real one is asked in tests/docker/test_secure.py."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.url.path == "/_security/_authenticate":
            encoded = request.headers["Authorization"].removeprefix("ApiKey ")
            alive = [key for key in self.keys.values() if key["encoded"] == encoded and not key["invalidated"]]
            return httpx.Response(200, json={"api_key": alive[0]}) if alive else httpx.Response(401, json={})
        if request.method == "GET":
            wanted = request.url.params
            found = [key for key in self.keys.values() if all(key[name] == value for name, value in wanted.items())]
            return httpx.Response(200, json={"api_keys": found})
        body = json.loads(request.content)
        if request.method == "POST":
            number = f"key-{len(self.keys)}"
            encoded = base64.b64encode(f"{number}:secret".encode()).decode()
            self.keys[number] = {"id": number, "encoded": encoded, "invalidated": False, **body}
            return httpx.Response(200, json=self.keys[number])
        for number in body["ids"]:
            self.keys[number]["invalidated"] = True
        return httpx.Response(200, json={"invalidated_api_keys": body["ids"]})

    def living(self) -> list[str]:
        """Return the encoded keys that are taken."""
        return [key["encoded"] for key in self.keys.values() if not key["invalidated"]]


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """A pod's service account, as the kubelet mounts it."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("pod-token")
    (folder / "namespace").write_text("ml-pipeline")
    (folder / "ca.crt").write_bytes(Path(certifi.where()).read_bytes())
    return folder


@pytest.mark.parametrize("kind", ["file", "secret"])
def test_a_key_is_made_kept_and_replaced(kind: str, account: Path, tmp_path: Path) -> None:
    """Made where none is kept, left while it works, made anew on demand or when refused; the kept one lives alone."""
    kubernetes, elasticsearch, said = Kubernetes(), Elasticsearch(), list[str]()
    transport = httpx.MockTransport(kubernetes)
    place = (
        KeyFile(tmp_path / "key") if kind == "file" else KeySecret("ml-shipper", account=account, transport=transport)
    )
    with Servers(Addresses(), transport=httpx.MockTransport(elasticsearch)) as servers:
        elastic = servers["elasticsearch"]
        made = [ensure_key(elastic, place, said.append, renew=renew) for renew in (False, False, True)]
        assert made == [True, False, True]
        assert elasticsearch.living() == [place.read()]
        elasticsearch.keys["key-1"]["invalidated"] = True
        assert ensure_key(elastic, place, said.append)
        assert elasticsearch.living() == [place.read()]
    assert {key["name"] for key in elasticsearch.keys.values()} == {NAME}
    assert all(list(key["role_descriptors"]) == [ROLE] for key in elasticsearch.keys.values())
    assert not [key for key in elasticsearch.keys.values() if key["encoded"] in "".join(said)], "a key is never said"
    if kind == "secret":
        assert base64.b64decode(kubernetes.secret["data"][ENTRY]).decode() == place.read()


def test_a_secret_that_may_not_be_written_leaves_no_key_behind(account: Path) -> None:
    """Kubernetes' refusal is said, and the key that nobody could keep is invalidated again."""
    kubernetes, elasticsearch = Kubernetes(), Elasticsearch()
    kubernetes.may = {"GET"}
    place = KeySecret("ml-shipper", account=account, transport=httpx.MockTransport(kubernetes))
    with (
        Servers(Addresses(), transport=httpx.MockTransport(elasticsearch)) as servers,
        pytest.raises(
            StackError, match=r"Kubernetes: PATCH .*/secrets/ml-shipper answered 403: secrets .* is forbidden"
        ),
    ):
        ensure_key(servers["elasticsearch"], place, lambda _line: None)
    assert elasticsearch.keys
    assert elasticsearch.living() == []


def test_what_is_no_key_counts_as_none(account: Path) -> None:
    """A secret that somebody filled with other bytes is written over."""
    kubernetes = Kubernetes()
    kubernetes.secret["data"] = {ENTRY: "not base64!"}
    assert KeySecret("ml-shipper", account=account, transport=httpx.MockTransport(kubernetes)).read() == ""


def test_outside_a_pod_it_says_so(tmp_path: Path) -> None:
    """Without a service account the error names the folder and the other way."""
    with pytest.raises(StackError, match=r"from a pod of Kubernetes only: .*nowhere.*--shipper-key"):
        KeySecret("ml-shipper", account=tmp_path / "nowhere")
