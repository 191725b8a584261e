"""Grafana's endpoints that the set-up calls, as its HTTP API pages describe them, with faults to order.

Sources: "Service account HTTP API", "Folder/Dashboard search HTTP API" and "Other HTTP API" (health) of Grafana's docs.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Reply = tuple[int, Any]
ADMINISTRATOR = "the administrator's own"  # password


class MockGrafana:
    """A server on a free port.

    Attributes:
        url: where it listens.
        accounts: service accounts by id.
        tokens: id of the account by token.
        faults: "METHOD path" → status and body answered instead.
        unready: how many times /api/health still says that the database fails.
        calls: every "METHOD path" that came in.
    """

    def __init__(self, login: str = ADMINISTRATOR) -> None:
        self.accounts: dict[int, dict[str, Any]] = {
            1: {"id": 1, "name": "somebody-else", "login": "sa-1-somebody-else", "role": "Viewer", "tokens": 0}
        }
        self.tokens: dict[str, int] = {}
        self.faults: dict[str, Reply] = {}
        self.unready = 0
        self.calls: list[str] = []
        self._names: set[str] = set()
        self._login = "Basic " + base64.b64encode(f"admin:{login}".encode()).decode()
        grafana = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, told = grafana.reply(self.command, self.path, self.headers.get("Authorization", ""), body)
                content = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def reply(self, method: str, target: str, login: str, body: bytes) -> Reply:
        """Return status and body of the answer to a request."""
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        self.calls.append(f"{method} {path}")
        if fault := self.faults.get(f"{method} {path}"):
            return fault
        if path == "/api/health":
            self.unready -= self.unready > 0
            state = "failing" if self.unready else "ok"
            return (200 if state == "ok" else 503), {"database": state, "version": "12.3.0", "commit": "abc"}
        bearer = login.removeprefix("Bearer ") if login.startswith("Bearer ") else None
        if login != self._login and bearer not in self.tokens:
            return 401, {"message": "Invalid username or password"}
        if (method, path) == ("GET", "/api/search"):
            return 200, []
        if bearer is not None:
            return 403, {"message": "You'll need additional permissions to perform this action"}
        return self._accounts(method, path, query, body)

    def _accounts(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Reply:
        if (method, path) == ("GET", "/api/serviceaccounts/search"):
            wanted = query.get("query", [""])[0]
            found = [each for each in self.accounts.values() if wanted in each["name"]]
            return 200, {"totalCount": len(found), "serviceAccounts": found, "page": 1, "perPage": 1000}
        told = json.loads(body) if body else {}
        if (method, path) == ("POST", "/api/serviceaccounts"):
            if told.get("role") not in ("Viewer", "Editor", "Admin", "None"):
                return 400, {"message": "invalid role specified"}
            if any(each["name"] == told["name"] for each in self.accounts.values()):
                return 400, {"message": "service account already exists"}
            number = max(self.accounts) + 1
            made = {"id": number, "login": f"sa-1-{told['name']}", "tokens": 0, "isDisabled": False, **told}
            self.accounts[number] = made
            return 201, made
        parts = path.split("/")
        if method == "POST" and parts[1:3] == ["api", "serviceaccounts"] and parts[-1] == "tokens":
            if int(parts[3]) not in self.accounts:
                return 404, {"message": "service account not found"}
            if told["name"] in self._names:
                return 409, {"message": "service account token with given name already exists in the organization"}
            self._names.add(told["name"])
            key = f"glsa_{len(self._names):032d}_0"
            self.tokens[key] = int(parts[3])
            return 200, {"id": len(self._names), "name": told["name"], "key": key}
        return 404, {"message": "Not found"}
