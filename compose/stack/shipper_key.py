"""The shipper's API key: made by Elasticsearch with the shipper's role and no more, kept where the shipper reads it.

Elasticsearch's security API: "Create API key", "Get API key information" and "Invalidate API key"
(`/_security/api_key`), "Authenticate" (`/_security/_authenticate`). A key is shown only once, when it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from compose.provision.elasticsearch import ROLES
from compose.stack import private_file
from compose.stack.remote import Server
from compose.stack.supervisor import StackError

NAME = "ml-shipper"
ROLE = "ml_pipeline_shipper"
MODE = 0o400


class Place(Protocol):
    """Where a key is kept; its text names it for a person."""

    def read(self) -> str:
        """Return the key that is kept, empty for none; StackError where that cannot be known."""

    def write(self, key: str) -> None:
        """Keep a key whole or not at all; StackError where that failed."""


class KeyFile:
    """A file that only its owner reads.

    Args:
        path: in a folder that can be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def read(self) -> str:
        """Return the key that is kept, empty for none.

        Raises:
            StackError: the file is there and cannot be read.
        """
        try:
            return self._path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise StackError(f"the shipper's API key in {self._path} cannot be read: {error.strerror}") from None

    def write(self, key: str) -> None:
        """Write the file whole or not at all.

        Raises:
            StackError: it cannot be written.
        """
        try:
            private_file.write(self._path, key, MODE)
        except OSError as error:
            raise StackError(f"the shipper's API key cannot be kept in {self._path}: {error.strerror}") from None


def ensure_key(
    elastic: Server, place: Place, say: Callable[[str], None], *, renew: bool = False, name: str = NAME
) -> bool:
    """Leave a key that works, with the role as it is now, in `place`; return whether a new one was made.

    The new key is in its place before any other of the same name is invalidated: what is kept there always works.

    Args:
        elastic: logged in as an administrator.
        place: where the encoded key is kept.
        say: told what was done.
        renew: make a new one although the old one works.
        name: of the key in Elasticsearch; all others of this name are invalidated.

    Raises:
        StackError: Elasticsearch refused, or the key cannot be kept.
    """
    if not renew and (identity := _identity(elastic, place.read())) and _fits(elastic, identity):
        say(f"  the shipper's API key: {place} works")
        return False
    body = {"name": name, "role_descriptors": {ROLE: ROLES[ROLE]}, "metadata": {"made_by": "ml-stack setup"}}
    made = elastic.json("POST", "/_security/api_key", json=body)
    try:
        place.write(made["encoded"])
    except StackError:
        elastic.json("DELETE", "/_security/api_key", json={"ids": [made["id"]]})
        raise
    old = [key["id"] for key in _keys(elastic, {"name": name}) if key["id"] != made["id"] and not key["invalidated"]]
    if old:
        elastic.json("DELETE", "/_security/api_key", json={"ids": old})
    say(f"  the shipper's API key: made, kept in {place}; {len(old)} older invalidated")
    return True


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
