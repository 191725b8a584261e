"""STORE_* settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from compose.environment import SettingsError, read

Bytes = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]

_MIB = 1024 * 1024


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the embedded store runs.

    Attributes:
        host, port: address it listens on.
        dir: folder of the database and the translog.
        repository_dir: folder in which snapshot repositories may lie; `snapshots` in STORE_DIR while empty.
        memory_limit: bytes that DuckDB may use.
        threads: threads that DuckDB may use.
        max_body: largest request body in bytes, before and after unpacking.
        request_seconds: a search that takes longer is stopped.
        refresh_seconds: a document waits at most this long to be loaded; twice, but no more than a second, while more
            than half a row group waits.
        max_pending: bytes of documents that may wait for the loader before writers are answered 429.
        translog_retention: bytes of loaded translog kept to rebuild a corrupted database.
        disk_reserve: bytes that stay free on the disk: below, writes are answered 429.
        lifecycle_seconds: how often index lifecycle policies are applied.
        read_only: no write is taken.
        username, password: HTTP basic authentication; off while the password is empty.
        api_key: `Authorization: ApiKey …` that is accepted as well; off while empty.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9200
    dir: Path = Path(".stack/store")
    repository_dir: Path | None = None
    memory_limit: Bytes = 256 * _MIB
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    max_body: Bytes = 100 * _MIB
    request_seconds: Seconds = 30.0
    refresh_seconds: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    max_pending: Bytes = 64 * _MIB
    translog_retention: Annotated[int, msgspec.Meta(ge=0)] = 256 * _MIB
    disk_reserve: Annotated[int, msgspec.Meta(ge=0)] = 64 * _MIB
    lifecycle_seconds: Seconds = 60.0
    read_only: bool = False
    username: str = "elastic"
    password: str = ""
    api_key: str = ""

    @property
    def repositories(self) -> Path:
        """The one folder in which snapshot repositories may lie."""
        return self.repository_dir or self.dir / "snapshots"


def read_settings(environment: Mapping[str, str] = os.environ) -> tuple[StoreSettings, list[str]]:
    """Read the store's settings from environment variables.

    Returns:
        The settings, and the names of variables that a Kubernetes service link put there and that were ignored.

    Raises:
        SettingsError: a value does not fit, or a STORE_* variable is not known.
    """
    settings, ignored = read("STORE", StoreSettings, environment)
    repositories = settings.repository_dir and settings.repository_dir.expanduser().absolute()
    settings = msgspec.structs.replace(settings, dir=settings.dir.expanduser().absolute(), repository_dir=repositories)
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not (settings.password or settings.api_key):
        raise SettingsError(
            f"STORE_HOST={settings.host} would be reachable from outside: set STORE_PASSWORD or STORE_API_KEY first"
        )
    return settings, ignored
