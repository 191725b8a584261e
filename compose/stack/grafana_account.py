"""Grafana's part of the set-up: a service account for backups, whose token is kept in a file.

Grafana's HTTP API, "Service account" (`/api/serviceaccounts`); a token is shown only once, when it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from compose.stack import private_file
from compose.stack.remote import Server
from compose.stack.supervisor import StackError

NAME = "ml-stack-operations"
ROLE = "Editor"  # reads every dashboard for a backup, writes them back for a restore


def ensure_token(grafana: Server, file: Path, say: Callable[[str], None], *, now: str) -> bool:
    """Leave a token that works in `file`; return whether a new one was made.

    Args:
        grafana: logged in as an administrator.
        file: where the token is kept, readable by its owner only.
        now: a word that tells this token from those made before.

    Raises:
        StackError: Grafana refused, or the file cannot be written.
    """
    if file.exists() and _works(grafana, file.read_text(encoding="utf-8").strip()):
        say(f"  Grafana's token: {file} works")
        return False
    found = grafana.json("GET", "/api/serviceaccounts/search", params={"query": NAME})["serviceAccounts"]
    account = next((each["id"] for each in found if each["name"] == NAME), None)
    if account is None:
        account = grafana.json("POST", "/api/serviceaccounts", json={"name": NAME, "role": ROLE})["id"]
    made = grafana.json("POST", f"/api/serviceaccounts/{account}/tokens", json={"name": f"{NAME}-{now}"})
    try:
        private_file.write(file, made["key"], 0o600)
    except OSError as error:
        raise StackError(f"Grafana's token cannot be kept in {file}: {error.strerror}") from None
    say(f"  Grafana's token: made for the service account {NAME}, kept in {file}")
    return True


def _works(grafana: Server, token: str) -> bool:
    try:
        answer = httpx.get(f"{grafana.url}/api/search", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200
