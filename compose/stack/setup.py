"""`setup`: gives Elasticsearch its templates, lifecycle, snapshots, roles and users, and Kibana its objects and alert.

Every step can be run again; each says what it changed. Works against the Docker stack and any other Elasticsearch 8 or
9 with Kibana.
"""

from __future__ import annotations

import importlib.resources
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from compose.provision import elasticsearch as security
from compose.provision import kibana
from compose.provision.visualisations import ERROR_BURST
from compose.stack.grafana_account import ensure_token
from compose.stack.remote import Server
from compose.stack.shipper_key import Place, ensure_key
from compose.stack.supervisor import StackError

Say = Callable[[str], None]
TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 1.0
STARTING_SECONDS = 60.0  # from the first answer of a server that was away until a refused login is believed
MANAGED = "ml-pipeline-observability"
REMEDIES = {
    400: "the server does not know something in the body: is it version 8.12 or later?",
    401: "give the user and the password file of an administrator: --user, --password-file",
    403: "the user may not do this: take one with the roles superuser, or manage and kibana_admin",
    404: "the address is not that of the service named: look at --elasticsearch and --kibana",
    409: "somebody changed it at the same moment: run it again",
    413: "a proxy before the server refuses bodies of this size",
    429: "the server is busy or its disk is full: free space, then run it again",
    503: "the server is starting or has no master: wait, then run it again",
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is set up, and where.

    Attributes:
        elasticsearch: base address.
        kibana: base address; None to leave Kibana out.
        user, password: of an administrator; empty without security.
        ca: file of the certificate authority for https; None for the system's.
        snapshots: folder for the snapshot repository `backup`, inside Elasticsearch's path.repo; None for none.
        passwords: folder with one file per user, named as the user; None to leave users and roles out.
        shipper_key: file, or secret of Kubernetes, that keeps the shipper's API key; None for none.
        new_shipper_key: replace a key that works by a new one.
        grafana, grafana_user, grafana_password: base address and an administrator; None to leave Grafana out.
        grafana_token: file that keeps the token for backups.
        retention_days: after how many days the lifecycle deletes an index; None for what the file says.
        wait: seconds that each service has to come up.
    """

    elasticsearch: str
    kibana: str | None = None
    user: str = ""
    password: str = ""
    ca: Path | None = None
    snapshots: str | None = None
    passwords: Path | None = None
    shipper_key: Place | None = None
    new_shipper_key: bool = False
    grafana: str | None = None
    grafana_user: str = "admin"
    grafana_password: str = ""
    grafana_token: Path | None = None
    retention_days: int | None = None
    wait: float = 180.0


def run(plan: Plan, say: Say, *, transport: httpx.BaseTransport | None = None) -> int:
    """Set everything up; return how many things were changed.

    Raises:
        StackError: a service did not come up, or a call failed; the message names it and says what to do.
    """
    auth = httpx.BasicAuth(plan.user, plan.password) if plan.user else None
    verify: Any = True
    if plan.ca is not None:
        import ssl

        verify = ssl.create_default_context(cafile=str(plan.ca))
    with httpx.Client(auth=auth, verify=verify, timeout=TIMEOUT_SECONDS, transport=transport) as client:
        elastic = _Service(client, "Elasticsearch", plan.elasticsearch.rstrip("/"), say)
        elastic.wait("/_cluster/health", lambda body: body.get("status") in ("green", "yellow"), plan.wait)
        changed = _templates(elastic, plan.retention_days)
        if plan.snapshots is not None:
            changed += _repository(elastic, plan.snapshots)
        if plan.passwords is not None:
            changed += _security(elastic, plan.passwords)
        if plan.shipper_key is not None:
            server = Server(client, "Elasticsearch", plan.elasticsearch)
            changed += ensure_key(server, plan.shipper_key, say, renew=plan.new_shipper_key)
        if plan.kibana is not None:
            board = _Service(client, "Kibana", plan.kibana.rstrip("/"), say, {"kbn-xsrf": "true"})
            board.wait("/api/status", _kibana_ready, plan.wait)
            changed += _kibana(board)
    if plan.grafana is not None and plan.grafana_token is not None:
        changed += _grafana(plan, plan.grafana, plan.grafana_token, say)
    say(f"done: {changed} changed" if changed else "done: everything was as it should be")
    return changed


def _grafana(plan: Plan, url: str, file: Path, say: Say) -> bool:
    login = httpx.BasicAuth(plan.grafana_user, plan.grafana_password)
    with httpx.Client(timeout=TIMEOUT_SECONDS) as anybody, httpx.Client(auth=login, timeout=TIMEOUT_SECONDS) as client:
        waiting = _Service(anybody, "Grafana", url.rstrip("/"), say)
        waiting.wait("/api/health", lambda body: body.get("database") == "ok", plan.wait)
        return ensure_token(Server(client, "Grafana", url), file, say, now=str(time.time_ns()))


def _kibana_ready(body: dict[str, Any]) -> bool:
    return bool(body.get("status", {}).get("overall", {}).get("level") == "available")


class _Service:
    """One server: its calls, whose failures become sentences."""

    def __init__(
        self, client: httpx.Client, name: str, url: str, say: Say, headers: dict[str, str] | None = None
    ) -> None:
        self._client, self.name, self.url, self.say, self._headers = client, name, url, say, headers or {}

    def wait(self, path: str, ready: Callable[[dict[str, Any]], bool], seconds: float) -> None:
        """Wait until the service says that it is ready, and say meanwhile why it is not."""
        deadline, told, away = time.monotonic() + seconds, "", float("-inf")
        while True:
            try:
                answer = self._client.get(self.url + path)
                refused = answer.status_code in (401, 403)
                # Elasticsearch refuses every login until it can read its users, seconds after it begins to answer.
                if refused and time.monotonic() > min(deadline, away + STARTING_SECONDS):
                    raise StackError(self._complaint("GET", path, answer))
                if answer.status_code == 200 and ready(_body(answer)):
                    self.say(f"{self.name} is ready at {self.url}")
                    return
                state = f"answers {answer.status_code} and is not ready"
                away = away if refused else time.monotonic()
            except httpx.HTTPError as error:
                away = time.monotonic()
                state = f"does not answer ({type(error).__name__})"
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} at {self.url} {state} after {seconds:.0f} s; see its own log")
            if state != told:
                self.say(f"waiting for {self.name}: it {state}")
                told = state
            time.sleep(min(POLL_SECONDS, max(0.01, seconds / 10)))

    def call(self, method: str, path: str, *, allowed: tuple[int, ...] = (), **arguments: Any) -> httpx.Response:
        """Send one request; a status that is neither 2xx nor allowed is an error."""
        try:
            answer = self._client.request(method, self.url + path, headers=self._headers, **arguments)
        except httpx.HTTPError as error:
            raise StackError(
                f"{self.name}: {method} {path} got no answer ({type(error).__name__}: {error}); run it again"
            ) from None
        if not answer.is_success and answer.status_code not in allowed:
            raise StackError(self._complaint(method, path, answer))
        return answer

    def _complaint(self, method: str, path: str, answer: httpx.Response) -> str:
        remedy = REMEDIES.get(answer.status_code, "see the server's log")
        return f"{self.name}: {method} {path} answered {answer.status_code}: {_reason(answer)}; {remedy}"


def _templates(elastic: _Service, retention_days: int | None) -> int:
    changed = 0
    # Policies and component templates first: an index template that names a missing one is refused.
    kinds = {
        "ilm": ("/_ilm/policy/", ""),
        "settings": ("/_component_template/", "-settings"),
        "mappings": ("/_component_template/", "-mappings"),
        "template": ("/_index_template/", ""),
    }
    folder = importlib.resources.files("index_templates")
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    for kind, (path, suffix) in kinds.items():
        for file in files:
            stem, _, found = file.removesuffix(".json").rpartition(".")
            if found != kind:
                continue
            name = stem + suffix
            body = json.loads((folder / file).read_text())
            wanted = body["policy"]["_meta"]["version"] if kind == "ilm" else body["version"]
            other_age = (
                kind == "ilm" and retention_days is not None and _retain(elastic, path + name, body, retention_days)
            )
            if (present := _version(elastic, path, name)) is None or present < wanted or other_age:
                elastic.call("PUT", path + name, json=body)
                words = "installed" if present is None else f"updated from version {present}"
                elastic.say(f"  {path[1:]}{name}: {words}")
                changed += 1
            else:
                elastic.say(f"  {path[1:]}{name}: version {present} is there")
    return changed


def _retain(elastic: _Service, path: str, body: dict[str, Any], days: int) -> bool:
    """Write the retention into our policy; return whether the one that is installed deletes at another age."""
    body["policy"]["phases"]["delete"]["min_age"] = f"{days}d"
    answer = elastic.call("GET", path, allowed=(404,))
    if answer.status_code == 404:
        return False
    phases = next(iter(_body(answer).values()))["policy"]["phases"]
    return bool(phases.get("delete", {}).get("min_age", f"{days}d") != f"{days}d")


def _version(elastic: _Service, path: str, name: str) -> int | None:
    """Return the version of ours that is installed; 0 for one without a version, None where there is none."""
    answer = elastic.call("GET", path + name, allowed=(404,))
    if answer.status_code == 404:
        return None
    body = _body(answer)
    if path.startswith("/_ilm"):
        return int(body[name]["policy"].get("_meta", {}).get("version", 0))
    listed = body["index_templates" if "index_template" in path else "component_templates"]
    return int(listed[0]["index_template" if "index_template" in path else "component_template"].get("version", 0))


def _repository(elastic: _Service, location: str) -> int:
    path = f"/_snapshot/{security.REPOSITORY}"
    body = security.repository_body(location)
    answer = elastic.call("GET", path, allowed=(404,))
    if answer.is_success:
        found = _body(answer)[security.REPOSITORY]
        if found.get("type") == body["type"] and found["settings"].get("location") == location:
            elastic.say(f"  snapshot repository {security.REPOSITORY}: is there")
            return 0
    elastic.call("PUT", path, json=body)
    elastic.say(f"  snapshot repository {security.REPOSITORY}: registered at {location}")
    return 1


def _security(elastic: _Service, passwords: Path) -> int:
    changed = 0
    for role, body in security.ROLES.items():
        found = _body(elastic.call("GET", f"/_security/role/{role}", allowed=(404,))).get(role)
        if _contains(found, body):
            elastic.say(f"  role {role}: is there")
            continue
        elastic.call("PUT", f"/_security/role/{role}", json=body)
        elastic.say(f"  role {role}: {'created' if found is None else 'updated'}")
        changed += 1
    for user, role in security.USERS.items():
        file = passwords / user
        try:
            password = file.read_text().rstrip("\n")
        except OSError as error:
            raise StackError(
                f"the password of {user} cannot be read from {file} ({error.strerror}); make it, for example "
                f"`head -c 24 /dev/urandom | base64 > {file}`"
            ) from None
        if len(password) < 6:
            raise StackError(f"the password of {user} in {file} is shorter than the 6 characters Elasticsearch wants")
        body = {"password": password, "roles": [role], "metadata": {"managed_by": MANAGED}}
        answer = _body(elastic.call("PUT", f"/_security/user/{user}", json=body))
        elastic.say(f"  user {user}: {'created' if answer.get('created') else 'written again'}")
        changed += bool(answer.get("created"))
    if (kibana_system := passwords / "kibana_system").exists():  # built in: it has to be given a password, not made
        secret = {"password": kibana_system.read_text().rstrip("\n")}
        elastic.call("POST", "/_security/user/kibana_system/_password", json=secret)
        elastic.say("  user kibana_system: password set")
    return changed


def _kibana(board: _Service) -> int:
    missing = [
        each
        for each in kibana.saved_objects()
        if _differs(board, each["type"], each["id"], each["attributes"]["title"])
    ]
    # The whole file each time: references are resolved over the file, and an object a person broke is mended.
    file = {"file": ("ml-pipeline.ndjson", kibana.ndjson(), "application/ndjson")}
    path = "/api/saved_objects/_import?overwrite=true"
    answer = _body(board.call("POST", path, files=file))
    wanted = len(kibana.saved_objects())
    if not answer.get("success") or answer.get("successCount") != wanted:  # 200 can carry failure
        errors = answer.get("errors") or []
        reasons = "; ".join(f"{each.get('type')} {each.get('id')}: {json.dumps(each.get('error'))}" for each in errors)
        raise StackError(
            f"Kibana: POST {path} imported {answer.get('successCount', 0)} of {wanted} objects: "
            f"{reasons or 'no reason was given'}; is it version 8.9 or later?"
        )
    board.say(f"  saved objects: {wanted} imported, {len(missing)} of them new")
    return len(missing) + _connector(board) + _rule(board)


def _differs(board: _Service, kind: str, key: str, title: str) -> bool:
    answer = board.call("POST", "/api/saved_objects/_bulk_get", json=[{"type": kind, "id": key}]).json()
    found = answer["saved_objects"][0]
    return "error" in found or found.get("attributes", {}).get("title") != title


def _connector(board: _Service) -> int:
    path = f"/api/actions/connector/{kibana.CONNECTOR_ID}"
    if board.call("GET", path, allowed=(404,)).is_success:
        board.say("  connector: is there")
        return 0
    board.call("POST", path, json=kibana.connector_body())
    board.say("  connector: made")
    return 1


def _rule(board: _Service) -> int:
    path = f"/api/alerting/rule/{ERROR_BURST.id}"
    body = kibana.rule_body()
    answer = board.call("GET", path, allowed=(404,))
    if answer.status_code == 404:
        board.call("POST", path, json=body)
        board.say(f"  alert rule {ERROR_BURST.name!r}: made")
        return 1
    found = _body(answer)
    update = {key: body[key] for key in ("name", "tags", "schedule", "actions", "params")}
    if all(_contains(found.get(key), value) for key, value in update.items()):
        board.say(f"  alert rule {ERROR_BURST.name!r}: is there")
        return 0
    board.call("PUT", path, json=update)
    board.say(f"  alert rule {ERROR_BURST.name!r}: updated")
    return 1


def _contains(found: Any, wanted: Any) -> bool:
    """Whether `found` has everything that `wanted` has; servers add keys of their own."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_contains(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_contains, found, wanted))
    return bool(found == wanted)


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _reason(answer: httpx.Response) -> str:
    body = _body(answer)
    error = body.get("error")
    if isinstance(error, dict):
        return str(error.get("reason") or error.get("type"))
    return str(body.get("message") or error or answer.text[:200] or answer.reason_phrase)
