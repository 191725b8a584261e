"""CONSOLE_* settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from compose.environment import SettingsError, read

Url = Annotated[str, msgspec.Meta(pattern="^https?://[^/]+")]
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the console runs and whom it asks.

    Attributes:
        host, port: address it listens on; another host than 127.0.0.1 needs a password.
        store_url: the embedded store or an Elasticsearch.
        store_username, store_password, store_api_key: how to log in there; off while empty.
        app_url, shipper_url: the services whose /status and /ready are shown.
        prometheus_url: used while it answers and knows our service; otherwise the samples in the store are.
        dead_letters: the shipper's state folder, whose dead letters are listed; empty for none.
        username, password: HTTP basic authentication; off while the password is empty.
        request_seconds: a question to another service that takes longer is given up.
        first_seconds: a document goes out after so long with what is known; the rest comes with the scripts.
        export_lines: most lines that one export holds.
        refresh_seconds: how often a page asks again.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 5601
    store_url: Url = "http://127.0.0.1:9200"
    store_username: str = "elastic"
    store_password: str = ""
    store_api_key: str = ""
    app_url: Url = "http://127.0.0.1:5000"
    shipper_url: Url = "http://127.0.0.1:9108"
    prometheus_url: Url = "http://127.0.0.1:9090"
    dead_letters: Path | None = None
    username: str = "console"
    password: str = ""
    request_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    first_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    export_lines: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100_000
    refresh_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 30


def read_settings(environment: Mapping[str, str] = os.environ) -> ConsoleSettings:
    """Read the console's settings from environment variables.

    Raises:
        SettingsError: a value does not fit, or a CONSOLE_* variable is not known.
    """
    settings, _ = read("CONSOLE", ConsoleSettings, environment)
    addresses = {
        name: getattr(settings, name).rstrip("/") for name in ConsoleSettings.__struct_fields__ if name.endswith("_url")
    }
    settings = msgspec.structs.replace(settings, **addresses)
    if settings.host not in LOOPBACK and not settings.password:
        raise SettingsError(f"CONSOLE_HOST={settings.host} would be reachable from outside: set CONSOLE_PASSWORD first")
    return settings
