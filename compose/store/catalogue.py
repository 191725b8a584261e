"""Indices and what belongs to them: names, settings, mappings; what `ml-*,-ml-old` means."""

from __future__ import annotations

import base64
import re
import uuid
from typing import Any

import msgspec

from compose.store.dates import date_math, moment_of
from compose.store.errors import IndexNotFoundError, StoreError
from compose.store.index_settings import nested
from compose.store.mapping import Mapping
from compose.store.patterns import fits

NAME_FORMATS = "yyyy.MM.dd||strict_date_optional_time||epoch_millis"
VERSION_CREATED = "8536000"  # index version of Elasticsearch 8.19
_FORBIDDEN = re.compile(r'[\\/*?"<>| ,#:]')


class Index:
    """One index.

    Attributes:
        name: its name.
        number: its number in the table; never used again.
        uuid: made at its creation.
        created: milliseconds since 1970.
        settings: flat, `index.number_of_replicas` → text.
        mapping: compiled.
    """

    def __init__(
        self, name: str, number: int, uuid: str, created: int, settings: dict[str, str], mapping: dict[str, Any]
    ) -> None:
        self.name = name
        self.number = number
        self.uuid = uuid
        self.created = created
        self.settings = settings
        self.mapping = self._compiled(mapping)

    def _compiled(self, source: dict[str, Any]) -> Mapping:
        def setting(name: str, default: str) -> str:
            return self.settings.get(f"index.mapping.{name}", default)

        return Mapping(
            source,
            ignore_malformed=setting("ignore_malformed", "false") == "true",
            coerce=setting("coerce", "true") == "true",
            limit=int(setting("total_fields.limit", "1000")),
            ignore_beyond_limit=setting("total_fields.ignore_dynamic_beyond_limit", "false") == "true",
        )

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> Index:
        """Return the index that `value` wrote."""
        return cls(value["name"], value["number"], value["uuid"], value["created"], value["settings"], value["mapping"])

    def value(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            "name": self.name,
            "number": self.number,
            "uuid": self.uuid,
            "created": self.created,
            "settings": self.settings,
            "mapping": self.mapping.source,
        }

    def copies(self) -> int:
        """Return how many copies of a document there would be: one, and the replicas asked for."""
        if self.settings.get("index.auto_expand_replicas", "false") != "false":
            return 1  # on a single node it expands to none
        return 1 + int(self.settings.get("index.number_of_replicas", "1"))

    def shown_settings(self) -> dict[str, Any]:
        """Return the settings nested, as Elasticsearch's GET does."""
        flat = {
            "index.number_of_shards": "1",
            "index.number_of_replicas": str(self.copies() - 1),
            **self.settings,
            "index.routing.allocation.include._tier_preference": "data_content",
            "index.creation_date": str(self.created),
            "index.uuid": self.uuid,
            "index.version.created": VERSION_CREATED,
            "index.provided_name": self.name,
        }
        return nested(flat)

    def check_write(self) -> None:
        """Refuse a write where a block of the index does.

        Raises:
            StoreError: 403 or 429, as Elasticsearch's blocks answer.
        """
        for block, status, code, text in (
            ("read_only", 403, "FORBIDDEN/5", "index read-only (api)"),
            ("write", 403, "FORBIDDEN/8", "index write (api)"),
            (
                "read_only_allow_delete",
                429,
                "TOO_MANY_REQUESTS/12",
                "disk usage exceeded flood-stage watermark, index has read-only-allow-delete block",
            ),
        ):
            if self.settings.get(f"index.blocks.{block}") == "true":
                raise StoreError(status, "cluster_block_exception", f"index [{self.name}] blocked by: [{code}/{text}];")


def check_name(name: str) -> None:
    """Refuse what Elasticsearch refuses as the name of an index.

    Raises:
        StoreError: invalid_index_name_exception.
    """
    reason = None
    if name in (".", ".."):
        reason = "must not be '.' or '..'"
    elif name != name.lower():
        reason = "must be lowercase"
    elif name[:1] in ("_", "-", "+"):
        reason = "must not start with '_', '-', or '+'"
    elif len(name.encode()) > 255:
        reason = f"index name is too long, ({len(name.encode())} > 255)"
    elif _FORBIDDEN.search(name):
        reason = "must not contain the following characters ['\\\\','/','*','?','\"','<','>','|',' ',',','#',':']"
    if reason or not name:
        raise StoreError(
            400,
            "invalid_index_name_exception",
            f"Invalid index name [{name}], {reason or 'must not be empty'}",
            index_uuid="_na_",
            index=name,
        )


def expand_date_name(name: str, now: int) -> str:
    """Return a date-math name such as `<ml-pipeline-{now/d}>` expanded; any other name as it is."""
    if not (name.startswith("<") and name.endswith(">")):
        return name

    def replace(found: re.Match[str]) -> str:
        maths, _, pattern = found[1].partition("{")
        value = moment_of(date_math(maths, now, NAME_FORMATS))
        java = pattern.rstrip("}").partition("|")[0] or "yyyy.MM.dd"
        for letters, letter in (("yyyy", "%Y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M")):
            java = java.replace(letters, letter)
        return value.strftime(java)

    return re.sub(r"\{((?:[^{}]|\{[^{}]*\})*)\}", replace, name[1:-1])


class Options(msgspec.Struct, frozen=True):
    """How an expression of indices is taken.

    Attributes:
        ignore_unavailable, allow_no_indices: as in a request.
        wildcards: whether wildcards stand for anything (`expand_wildcards` is not `none`).
        open: whether they stand for open indices, which all of them are.
        hidden: whether they stand for those with `index.hidden` as well.
    """

    ignore_unavailable: bool = False
    allow_no_indices: bool = True
    wildcards: bool = True
    open: bool = True
    hidden: bool = False

    def takes(self, index: Index, pattern: str) -> bool:
        """Return whether a wildcard stands for an index that it fits."""
        dotted = pattern.startswith(".") and index.name.startswith(".")
        return self.open and (self.hidden or dotted or index.settings.get("index.hidden") != "true")


def resolve(expression: str, indices: dict[str, Index], now: int, options: Options = Options()) -> list[Index]:  # noqa: B008 - frozen
    """Return the indices that an expression means, by name.

    Args:
        expression: names, wildcards, `-exclusions`, date maths, separated by commas; empty or `_all` for all.
        indices: by name.
        now: milliseconds since 1970.
        options: how missing ones are taken.

    Raises:
        IndexNotFoundError: a name without wildcard is missing, or nothing is left where something is wanted.
    """
    found: dict[str, None] = {}
    wildcard_seen = False
    for part in (expression or "_all").split(","):
        name = expand_date_name(part, now)
        if name.startswith("-") and wildcard_seen:
            for match in [known for known in found if fits(name[1:], known)]:
                del found[match]
        elif ("*" in name or name == "_all") and options.wildcards:
            wildcard_seen = True
            pattern = "*" if name == "_all" else name
            matches = [known for known, index in indices.items() if fits(pattern, known) and options.takes(index, name)]
            if not matches and not options.allow_no_indices:
                raise IndexNotFoundError(name)
            found.update(dict.fromkeys(matches))
        elif name in indices:
            found[name] = None
        elif not options.ignore_unavailable:
            raise IndexNotFoundError(name)
    if not found and not options.allow_no_indices:
        raise IndexNotFoundError(expression)
    return [indices[name] for name in sorted(found)]


def new_uuid() -> str:
    """Return a new name for an index or a cluster, in Elasticsearch's notation."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
