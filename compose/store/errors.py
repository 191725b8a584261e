"""Errors of the store, each with the status, type and reason that Elasticsearch would answer.

StoreError
├── UnsupportedError        400: Elasticsearch could do it, the embedded store does not
├── IndexNotFoundError      404
├── IndexExistsError        400
├── DocumentError           400: one document does not fit its index
└── WritesBlockedError      429: the disk is full, the store is read-only, or too much waits to be loaded
"""

from __future__ import annotations

from typing import Any


class StoreError(Exception):
    """A request that cannot be served.

    Args:
        status: HTTP status.
        kind: Elasticsearch's name of the error, such as `parsing_exception`.
        reason: what is wrong, for people.
        details: further members of the error object.
        cause: the error object under `caused_by`.
    """

    def __init__(self, status: int, kind: str, reason: str, *, cause: dict[str, Any] | None = None, **details: Any):
        super().__init__(reason)
        self.status = status
        self.kind = kind
        self.reason = reason
        self.details = details
        self.cause = cause

    def item(self) -> dict[str, Any]:
        """Return the error object as it stands in one item of a bulk answer."""
        found: dict[str, Any] = {"type": self.kind, "reason": self.reason, **self.details}
        if self.cause is not None:
            found["caused_by"] = self.cause
        return found

    def body(self) -> dict[str, Any]:
        """Return the whole answer's body."""
        root = {"type": self.kind, "reason": self.reason, **self.details}
        return {"error": {"root_cause": [root], **self.item()}, "status": self.status}


class UnsupportedError(StoreError):
    """Elasticsearch could do it, the embedded store does not; `what` is named in the reason."""

    def __init__(self, what: str) -> None:
        super().__init__(
            400,
            "illegal_argument_exception",
            f"{what} is not supported by the embedded store; see docs/embedded-store.md",
        )


class IndexNotFoundError(StoreError):
    """No index of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            404,
            "index_not_found_exception",
            f"no such index [{name}]",
            cause=None,
            **{"resource.type": "index_or_alias", "resource.id": name, "index_uuid": "_na_", "index": name},
        )


class IndexExistsError(StoreError):
    """An index of that name is there already."""

    def __init__(self, name: str, uuid: str) -> None:
        reason = f"index [{name}/{uuid}] already exists"
        super().__init__(400, "resource_already_exists_exception", reason, index_uuid=uuid, index=name)


class DocumentError(StoreError):
    """One document does not fit its index."""

    def __init__(self, reason: str, *, cause: dict[str, Any] | None = None, kind: str = "document_parsing_exception"):
        super().__init__(400, kind, reason, cause=cause)


class WritesBlockedError(StoreError):
    """Nothing is written now; the reason says why. Reads go on, and the writer may try again."""

    def __init__(self, reason: str, *, kind: str = "cluster_block_exception", status: int = 429) -> None:
        super().__init__(status, kind, reason)


def illegal_argument(reason: str) -> StoreError:
    """Return Elasticsearch's 400 for an argument that cannot be."""
    return StoreError(400, "illegal_argument_exception", reason)


def parsing(reason: str, **details: Any) -> StoreError:
    """Return Elasticsearch's 400 for a body that cannot be read."""
    return StoreError(400, "parsing_exception", reason, **details)
