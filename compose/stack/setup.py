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

from compose.environment import SettingsError
from compose.provision import elasticsearch as security
from compose.provision import kibana
from compose.provision.visualisations import ERROR_BURST
from compose.stack import private_file
from compose.stack.grafana_account import ensure_token
from compose.stack.remote import TIMEOUT_SECONDS, Server, body_of, verification
from compose.stack.shipper_key import Place, ensure_key
from compose.stack.supervisor import StackError

Say = Callable[[str], None]
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
    # The header is Kibana's; Elasticsearch does not mind it.
    headers = {"kbn-xsrf": "true"}
    with httpx.Client(
        auth=auth, verify=verification(plan.ca), headers=headers, timeout=TIMEOUT_SECONDS, transport=transport
    ) as client:
        elastic = _server(client, "Elasticsearch", plan.elasticsearch)
        elastic.wait("/_cluster/health", lambda told: told.get("status") in ("green", "yellow"), plan.wait, say)
        changed = _templates(elastic, plan.retention_days, say)
        if plan.snapshots is not None:
            changed += _repository(elastic, plan.snapshots, say)
        if plan.passwords is not None:
            changed += _security(elastic, plan.passwords, say)
        if plan.shipper_key is not None:
            changed += ensure_key(elastic, plan.shipper_key, say, renew=plan.new_shipper_key)
        if plan.kibana is not None:
            board = _server(client, "Kibana", plan.kibana)
            board.wait("/api/status", _kibana_ready, plan.wait, say)
            changed += _kibana(board, say)
    if plan.grafana is not None and plan.grafana_token is not None:
        changed += _grafana(plan, plan.grafana, plan.grafana_token, say)
    say(f"done: {changed} changed" if changed else "done: everything was as it should be")
    return changed


def _server(client: httpx.Client, name: str, url: str) -> Server:
    return Server(client, name, url, remedies=REMEDIES, otherwise="see the server's log")


def _grafana(plan: Plan, url: str, file: Path, say: Say) -> bool:
    login = httpx.BasicAuth(plan.grafana_user, plan.grafana_password)
    with httpx.Client(timeout=TIMEOUT_SECONDS) as anybody, httpx.Client(auth=login, timeout=TIMEOUT_SECONDS) as client:
        _server(anybody, "Grafana", url).wait("/api/health", lambda told: told.get("database") == "ok", plan.wait, say)
        return ensure_token(Server(client, "Grafana", url), file, say, now=str(time.time_ns()))


def _kibana_ready(told: dict[str, Any]) -> bool:
    return bool(told.get("status", {}).get("overall", {}).get("level") == "available")


def _templates(elastic: Server, retention_days: int | None, say: Say) -> int:
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
                elastic.answer("PUT", path + name, json=body)
                words = "installed" if present is None else f"updated from version {present}"
                say(f"  {path[1:]}{name}: {words}")
                changed += 1
            else:
                say(f"  {path[1:]}{name}: version {present} is there")
    return changed


def _retain(elastic: Server, path: str, body: dict[str, Any], days: int) -> bool:
    """Write the retention into our policy; return whether the one that is installed deletes at another age."""
    body["policy"]["phases"]["delete"]["min_age"] = f"{days}d"
    answer = elastic.answer("GET", path, allowed=(404,))
    if answer.status_code == 404:
        return False
    phases = next(iter(body_of(answer).values()))["policy"]["phases"]
    return bool(phases.get("delete", {}).get("min_age", f"{days}d") != f"{days}d")


def _version(elastic: Server, path: str, name: str) -> int | None:
    """Return the version of ours that is installed; 0 for one without a version, None where there is none."""
    answer = elastic.answer("GET", path + name, allowed=(404,))
    if answer.status_code == 404:
        return None
    body = body_of(answer)
    if path.startswith("/_ilm"):
        return int(body[name]["policy"].get("_meta", {}).get("version", 0))
    listed = body["index_templates" if "index_template" in path else "component_templates"]
    return int(listed[0]["index_template" if "index_template" in path else "component_template"].get("version", 0))


def _repository(elastic: Server, location: str, say: Say) -> int:
    path = f"/_snapshot/{security.REPOSITORY}"
    body = security.repository_body(location)
    answer = elastic.answer("GET", path, allowed=(404,))
    if answer.is_success:
        found = body_of(answer)[security.REPOSITORY]
        if found.get("type") == body["type"] and found["settings"].get("location") == location:
            say(f"  snapshot repository {security.REPOSITORY}: is there")
            return 0
    elastic.answer("PUT", path, json=body)
    say(f"  snapshot repository {security.REPOSITORY}: registered at {location}")
    return 1


def _security(elastic: Server, passwords: Path, say: Say) -> int:
    changed = 0
    for role, body in security.ROLES.items():
        found = body_of(elastic.answer("GET", f"/_security/role/{role}", allowed=(404,))).get(role)
        if _contains(found, body):
            say(f"  role {role}: is there")
            continue
        elastic.answer("PUT", f"/_security/role/{role}", json=body)
        say(f"  role {role}: {'created' if found is None else 'updated'}")
        changed += 1
    for user, role in security.USERS.items():
        file = passwords / user
        try:
            password = private_file.read(file)
        except SettingsError as error:
            raise StackError(
                f"the password of {user}: {error}; make it, for example `head -c 24 /dev/urandom | base64 > {file}`"
            ) from None
        if len(password) < 6:
            raise StackError(f"the password of {user} in {file} is shorter than the 6 characters Elasticsearch wants")
        body = {"password": password, "roles": [role], "metadata": {"managed_by": MANAGED}}
        answer = body_of(elastic.answer("PUT", f"/_security/user/{user}", json=body))
        say(f"  user {user}: {'created' if answer.get('created') else 'written again'}")
        changed += bool(answer.get("created"))
    if (kibana_system := passwords / "kibana_system").exists():  # built in: it has to be given a password, not made
        secret = {"password": private_file.read(kibana_system)}
        elastic.answer("POST", "/_security/user/kibana_system/_password", json=secret)
        say("  user kibana_system: password set")
    return changed


def _kibana(board: Server, say: Say) -> int:
    missing = [
        each
        for each in kibana.saved_objects()
        if _differs(board, each["type"], each["id"], each["attributes"]["title"])
    ]
    # The whole file each time: references are resolved over the file, and an object a person broke is mended.
    file = {"file": ("ml-pipeline.ndjson", kibana.ndjson(), "application/ndjson")}
    path = "/api/saved_objects/_import?overwrite=true"
    answer = body_of(board.answer("POST", path, files=file))
    wanted = len(kibana.saved_objects())
    if not answer.get("success") or answer.get("successCount") != wanted:  # 200 can carry failure
        errors = answer.get("errors") or []
        reasons = "; ".join(f"{each.get('type')} {each.get('id')}: {json.dumps(each.get('error'))}" for each in errors)
        raise StackError(
            f"Kibana: POST {path} imported {answer.get('successCount', 0)} of {wanted} objects: "
            f"{reasons or 'no reason was given'}; is it version 8.9 or later?"
        )
    say(f"  saved objects: {wanted} imported, {len(missing)} of them new")
    return len(missing) + _connector(board, say) + _rule(board, say)


def _differs(board: Server, kind: str, key: str, title: str) -> bool:
    answer = board.answer("POST", "/api/saved_objects/_bulk_get", json=[{"type": kind, "id": key}]).json()
    found = answer["saved_objects"][0]
    return "error" in found or found.get("attributes", {}).get("title") != title


def _connector(board: Server, say: Say) -> int:
    path = f"/api/actions/connector/{kibana.CONNECTOR_ID}"
    if board.answer("GET", path, allowed=(404,)).is_success:
        say("  connector: is there")
        return 0
    board.answer("POST", path, json=kibana.connector_body())
    say("  connector: made")
    return 1


def _rule(board: Server, say: Say) -> int:
    path = f"/api/alerting/rule/{ERROR_BURST.id}"
    body = kibana.rule_body()
    answer = board.answer("GET", path, allowed=(404,))
    if answer.status_code == 404:
        board.answer("POST", path, json=body)
        say(f"  alert rule {ERROR_BURST.name!r}: made")
        return 1
    found = body_of(answer)
    update = {key: body[key] for key in ("name", "tags", "schedule", "actions", "params")}
    if all(_contains(found.get(key), value) for key, value in update.items()):
        say(f"  alert rule {ERROR_BURST.name!r}: is there")
        return 0
    board.answer("PUT", path, json=update)
    say(f"  alert rule {ERROR_BURST.name!r}: updated")
    return 1


def _contains(found: Any, wanted: Any) -> bool:
    """Whether `found` has everything that `wanted` has; servers add keys of their own."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_contains(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_contains, found, wanted))
    return bool(found == wanted)
