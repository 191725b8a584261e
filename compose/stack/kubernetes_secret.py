"""A secret of Kubernetes as the place of the shipper's API key, read and written from a pod with its service account.

Sources: Kubernetes' API reference, "Secret v1 core" (read, and patch with a JSON merge patch); "Accessing the
Kubernetes API from a Pod" for the address, the token and the authority.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from pathlib import Path
from typing import Any

import httpx

from compose.stack.remote import TIMEOUT_SECONDS, Server
from compose.stack.supervisor import StackError

ADDRESS = "https://kubernetes.default.svc"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ENTRY = "api_key"


class KeySecret:
    """The entry `api_key` of one secret in the pod's own namespace; the secret itself is there already, maybe empty.

    Args:
        name: of the secret.
        account: folder with the service account's `token`, `namespace` and `ca.crt`.
        address: of the API server.
        transport: carries the calls instead of the network.

    Raises:
        StackError: this is no pod, or its service account is not mounted.
    """

    def __init__(
        self,
        name: str,
        *,
        account: Path = ACCOUNT,
        address: str = ADDRESS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        try:
            token = (account / "token").read_text(encoding="utf-8").strip()
            namespace = (account / "namespace").read_text(encoding="utf-8").strip()
            verify = ssl.create_default_context(cafile=str(account / "ca.crt"))
        except OSError as error:
            raise StackError(
                f"the secret {name} can be reached from a pod of Kubernetes only: {account} cannot be read "
                f"({error.strerror}); elsewhere keep the key in a file, --shipper-key"
            ) from None
        client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"}, verify=verify, timeout=TIMEOUT_SECONDS, transport=transport
        )
        self._server = Server(client, "Kubernetes", address)
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        self._name = f"the secret {namespace}/{name}"

    def __str__(self) -> str:
        return self._name

    def read(self) -> str:
        """Return the key that is kept, empty for none.

        Raises:
            StackError: Kubernetes refused, or there is no such secret.
        """
        held: Any = self._server.json("GET", self._path)
        try:
            return base64.b64decode((held.get("data") or {}).get(ENTRY, ""), validate=True).decode().strip()
        except (binascii.Error, UnicodeDecodeError):
            return ""

    def write(self, key: str) -> None:
        """Keep a key in the place of the one before.

        Raises:
            StackError: Kubernetes refused.
        """
        body = {"data": {ENTRY: base64.b64encode(key.encode()).decode()}}
        self._server.json("PATCH", self._path, json=body, headers={"Content-Type": "application/merge-patch+json"})
