"""Elasticsearch's and Kibana's set-up endpoints as their API pages describe them, with faults to order."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx

WRAPPED = ("/_snapshot", "/_security/role")  # answered under the thing's name


class MockServers:
    """Answers as both servers would; hand `transport()` to an httpx client.

    Attributes:
        faults: (method, path pattern) -> (status, body) answered instead, for ever.
        unready: how many status calls are still answered with "not ready".
        locked: how many status calls after these are still answered 401, as Elasticsearch does while it starts.
        import_errors: errors that the import reports with status 200.
        calls: every (method, path) that came in.
    """

    def __init__(self) -> None:
        self.faults: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        self.unready = self.locked = 0
        self.import_errors: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str]] = []
        self.stored: dict[str, dict[str, Any]] = {}
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}

    def transport(self) -> httpx.MockTransport:
        """Return the transport that speaks to this mock."""
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        method, path = request.method, request.url.path
        self.calls.append((method, path))
        for (verb, pattern), (status, body) in self.faults.items():
            if verb == method and re.fullmatch(pattern, path):
                return httpx.Response(status, json=body)
        if path in ("/_cluster/health", "/api/status"):
            return self._status(path)
        if path.startswith("/api/") and method != "GET" and "kbn-xsrf" not in request.headers:
            return httpx.Response(400, json={"statusCode": 400, "message": "Request must contain a kbn-xsrf header."})
        if path == "/api/saved_objects/_import":
            return self._import(request)
        if path == "/api/saved_objects/_bulk_get":
            return self._bulk_get(request)
        if path.startswith("/api/alerting/rule/"):
            return self._rule(method, path, request)
        if method == "GET":
            return self._get(path)
        made = path not in self.stored
        self.stored[path] = json.loads(request.content)
        if path.startswith("/_security/role/"):
            return httpx.Response(200, json={"role": {"created": made}})
        return httpx.Response(200, json={"acknowledged": True, "created": made})

    def _status(self, path: str) -> httpx.Response:
        if self.unready:
            self.unready -= 1
            return httpx.Response(503, text="Kibana server is not ready yet")
        if self.locked:
            self.locked -= 1
            return httpx.Response(401, json={"error": {"reason": "unable to authenticate user [elastic]"}})
        health = {"status": "yellow"}
        return httpx.Response(
            200, json=health if "cluster" in path else {"status": {"overall": {"level": "available"}}}
        )

    def _get(self, path: str) -> httpx.Response:
        if path not in self.stored:
            return httpx.Response(404, json={"error": {"type": "not_found", "reason": f"{path} not found"}})
        name, body = path.rsplit("/", 1)[1], self.stored[path]
        if path.startswith("/_ilm"):
            return httpx.Response(200, json={name: {"version": 1, **body}})
        if path.startswith("/_index_template"):
            return httpx.Response(200, json={"index_templates": [{"name": name, "index_template": body}]})
        if path.startswith("/_component_template"):
            return httpx.Response(200, json={"component_templates": [{"name": name, "component_template": body}]})
        return httpx.Response(200, json={name: body} if path.startswith(WRAPPED) else body)

    def _import(self, request: httpx.Request) -> httpx.Response:
        content = request.content
        name = re.search(rb'filename="([^"]+)"', content)
        if name is None or not name[1].endswith(b".ndjson"):
            return httpx.Response(400, json={"statusCode": 400, "message": "Invalid file extension"})
        lines = [json.loads(line) for line in content.splitlines() if line.startswith(b'{"type"')]
        broken = {(each["type"], each["id"]) for each in self.import_errors}
        good = [each for each in lines if (each["type"], each["id"]) not in broken]
        self.objects |= {(each["type"], each["id"]): each for each in good}
        answer: dict[str, Any] = {"success": not self.import_errors, "successCount": len(good)}
        return httpx.Response(200, json=answer | ({"errors": self.import_errors} if self.import_errors else {}))

    def _bulk_get(self, request: httpx.Request) -> httpx.Response:
        found = []
        for each in json.loads(request.content):
            known = self.objects.get((each["type"], each["id"]))
            missing = {"error": {"statusCode": 404, "error": "Not Found", "message": "Saved object not found"}}
            found.append(known or {**each, **missing})
        return httpx.Response(200, json={"saved_objects": found})

    def _rule(self, method: str, path: str, request: httpx.Request) -> httpx.Response:
        if method == "GET":
            return self._get(path)
        body = json.loads(request.content)
        if method == "POST" and path in self.stored:
            return httpx.Response(409, json={"statusCode": 409, "error": "Conflict", "message": "already exists"})
        if method == "PUT" and {"consumer", "rule_type_id", "enabled"} & body.keys():
            return httpx.Response(400, json={"statusCode": 400, "message": "definition for this key is missing"})
        # Kibana adds keys of its own to what it was given.
        self.stored[path] = {**self.stored.get(path, {}), **body, "execution_status": {"status": "ok"}}
        return httpx.Response(200, json=self.stored[path])
