"""The shipper's API key: made by Elasticsearch with the shipper's role and no more, kept in a file, replaced on demand.

Elasticsearch's security API: "Create API key", "Get API key information" and "Invalidate API key"
(`/_security/api_key`), "Authenticate" (`/_security/_authenticate`). A key is shown only once, when it is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compose.provision.elasticsearch import ROLES
from compose.stack.remote import Server
from compose.stack.supervisor import StackError

NAME = "ml-shipper"
ROLE = "ml_pipeline_shipper"
MODE = 0o400


def ensure_key(
    elastic: Server, file: Path, say: Callable[[str], None], *, renew: bool = False, name: str = NAME
) -> bool:
    """Leave a key that works, with the role as it is now, in `file`; return whether a new one was made.

    The new key is in its file before any other of the same name is invalidated: the file always holds one that works.

    Args:
        elastic: logged in as an administrator.
        file: where the encoded key is kept, readable by its owner only.
        say: told what was done.
        renew: make a new one although the old one works.
        name: of the key in Elasticsearch; all others of this name are invalidated.

    Raises:
        StackError: Elasticsearch refused, or the file cannot be written.
    """
    if not renew and (identity := _identity(elastic, _kept(file))) and _fits(elastic, identity):
        say(f"  the shipper's API key: {file} works")
        return False
    body = {"name": name, "role_descriptors": {ROLE: ROLES[ROLE]}, "metadata": {"made_by": "ml-stack setup"}}
    made = elastic.json("POST", "/_security/api_key", json=body)
    try:
        _write(file, made["encoded"])
    except OSError as error:
        elastic.json("DELETE", "/_security/api_key", json={"ids": [made["id"]]})
        raise StackError(f"the shipper's API key cannot be kept in {file}: {error.strerror}") from None
    old = [key["id"] for key in _keys(elastic, {"name": name}) if key["id"] != made["id"] and not key["invalidated"]]
    if old:
        elastic.json("DELETE", "/_security/api_key", json={"ids": old})
    say(f"  the shipper's API key: made, kept in {file}; {len(old)} older invalidated")
    return True


def _kept(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StackError(f"the shipper's API key in {file} cannot be read: {error.strerror}") from None


def _identity(elastic: Server, encoded: str) -> str:
    """Return the id of a key that Elasticsearch accepts, empty for none."""
    if not encoded:
        return ""
    headers = {"Authorization": f"ApiKey {encoded}"}
    answer: Any = elastic.json("GET", "/_security/_authenticate", allowed=(401,), headers=headers, auth=None)
    return str(answer["api_key"]["id"]) if answer else ""


def _fits(elastic: Server, identity: str) -> bool:
    """Whether a key was made with the role as it is now: a role that is changed later does not change its keys."""
    wanted = ROLES[ROLE]
    for key in _keys(elastic, {"id": identity}):
        held = key["role_descriptors"].get(ROLE, {})
        indices = held.get("indices", [])
        return bool(
            set(held.get("cluster", ())) == set(wanted["cluster"])
            and len(indices) == len(wanted["indices"])
            and all(
                set(have["names"]) == set(want["names"]) and set(have["privileges"]) == set(want["privileges"])
                for have, want in zip(indices, wanted["indices"], strict=True)
            )
        )
    return False


def _keys(elastic: Server, query: dict[str, str]) -> list[dict[str, Any]]:
    found: Any = elastic.json("GET", "/_security/api_key", allowed=(404,), params=query)
    return list(found["api_keys"]) if found else []


def _write(file: Path, text: str) -> None:
    """Write the file whole or not at all."""
    fresh = file.with_name(f".{file.name}.tmp")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as writer:
        writer.write(text)
        writer.flush()
        os.fsync(writer.fileno())
    fresh.replace(file)
