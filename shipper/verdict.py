"""What Elasticsearch's reply to one bulk item means for its record. No input or output."""

from __future__ import annotations

import enum
import re

import msgspec


class Verdict(enum.Enum):
    """What becomes of a record."""

    ACKNOWLEDGED = "acknowledged"
    ALREADY_THERE = "already_there"
    DEAD = "dead"  # the document can never be taken
    SUSPECT = "suspect"  # may be the document's fault: it is, when others of its index are taken
    RETRY = "retry"
    SYSTEMIC = "systemic"  # concerns the whole index: wait, loudly
    BLOCKED = "blocked"  # the index takes no writes: look the id up


class Cause(msgspec.Struct, kw_only=True):
    """An error as Elasticsearch writes it.

    Attributes:
        type: such as document_parsing_exception.
        reason: for people.
        caused_by: what lies under it.
    """

    type: str = ""
    reason: str | None = None
    caused_by: Cause | None = None

    def text(self) -> str:
        """Return the reasons, outermost first, in one line."""
        below = f"; {self.caused_by.text()}" if self.caused_by else ""
        return f"{self.reason or self.type}{below}"


class Item(msgspec.Struct, kw_only=True):
    """One item of a bulk reply.

    Attributes:
        status: HTTP status of the item.
        error: absent where it was taken.
    """

    status: int
    error: Cause | None = None


class Reply(msgspec.Struct, kw_only=True):
    """A bulk reply, filtered by FILTER_PATH."""

    errors: bool
    items: list[dict[str, Item]] = []


class ErrorReply(msgspec.Struct, kw_only=True):
    """What comes with a status of 400 and above."""

    error: Cause | str = ""

    def cause(self) -> Cause:
        """Return the error, also where the server only wrote a text."""
        return self.error if isinstance(self.error, Cause) else Cause(type="error", reason=self.error)


FILTER_PATH = (
    "errors,items.*.status,items.*.error.type,items.*.error.reason,"
    "items.*.error.caused_by.type,items.*.error.caused_by.reason"
)
REFUSED = "refused_request"  # our own word: a request with this one document in it was not taken
LATE = "late"  # our own word: the document is not in its index, which takes no writes any more
_DOCUMENT = {
    REFUSED,
    "document_parsing_exception",
    "mapper_parsing_exception",
    "strict_dynamic_mapping_exception",
    "x_content_parse_exception",
    "json_parse_exception",
    "max_bytes_length_exceeded_exception",
}
_SYSTEMIC = {
    "security_exception",
    "index_not_found_exception",
    "validation_exception",
    "index_closed_exception",
    "invalid_index_name_exception",
    "invalid_index_template_exception",
    "index_template_missing_exception",
    "license_exception",
    "unavailable_shards_exception",
}
_TERM = re.compile(r"immense term|bytes can be at most|Document contains at least one")


def judge(status: int, cause: Cause | None) -> Verdict:
    """Return what an item's status and error mean.

    Source: Elasticsearch 8.19's replies, and DESIGN.md's contract 2.
    """
    if 200 <= status < 300:
        return Verdict.ACKNOWLEDGED
    kind = cause.type if cause else ""
    if status == 409:
        return Verdict.ALREADY_THERE
    if status == 429 or status >= 500:
        return Verdict.RETRY
    if kind == "cluster_block_exception":
        return Verdict.BLOCKED
    if kind in _SYSTEMIC or status in (401, 403, 404):
        return Verdict.SYSTEMIC
    if kind in _DOCUMENT or (cause is not None and _TERM.search(cause.text())):
        return Verdict.DEAD
    return Verdict.SUSPECT


def remedy(cause: Cause | None, index: str) -> str:
    """Return what a person can do about an error that keeps an index waiting, after "; "; empty where nobody knows."""
    if cause is None:
        return ""
    text = cause.text()
    if cause.type == LATE:
        return f'; allow writing again: PUT /{index}/_settings {{"index.blocks.write": null}}'
    if "flood-stage" in text or "read-only-allow-delete" in text:
        return "; free room on the disks of Elasticsearch, or delete old indices: it lifts the block itself then"
    if "maximum" in text and "shards open" in text:
        return "; delete old indices, or raise cluster.max_shards_per_node"
    if cause.type == "index_closed_exception":
        return f"; open it again: POST /{index}/_open"
    if cause.type == "security_exception":
        return "; give the shipper's user or key the right to create indices and documents in ml-pipeline-*"
    return ""
