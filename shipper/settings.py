"""SHIPPER_* settings of the sidecar: an optional TOML file, then environment variables."""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from shipper.errors import SettingsError
from shipper.leaving import Leaving

# What Kubernetes injects for a service named "shipper".
_SERVICE_LINK = re.compile(r"SHIPPER_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)")

YEAR = 366 * 86_400
Seconds = Annotated[float, msgspec.Meta(gt=0, le=YEAR)]
Bytes = Annotated[int, msgspec.Meta(ge=4096)]

# What a login that was refused is a matter of.
LOGIN = "the login: SHIPPER_USERNAME and SHIPPER_PASSWORD_FILE, or SHIPPER_API_KEY_FILE"


class ShipperSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the shipper can be told; each is the variable SHIPPER_<NAME>, or <name> in the TOML file.

    Attributes:
        paths: globs of log files, separated by `:`.
        exclude: globs of file names that are left alone, separated by `:`.
        url: Elasticsearch, one or more addresses separated by `,`.
        state_dir: folder of checkpoint, dead letters and lock.
        host, port: where /health, /ready, /metrics and /status are served.
        setup: install the index templates and the lifecycle policy, only verify them, or neither.
        delete_acknowledged: delete files of the app (app-*-NNNNNN.jsonl) once acknowledged and succeeded.
        volume_id: identity of the log volume where its folder holds no `.volume-id`.
        volume_id_wait: how long to wait at start for `.volume-id` before the host name stands in.
        username, password_file: basic authentication.
        api_key_file: file with the API key (its encoded form).
        ca_file: certificate authority that signed the server's certificate.
        request_timeout: of one request.
        batch_bytes, batch_lines, flush_seconds: a bulk request goes out at the first of these.
        in_flight: bulk requests under way at the same moment.
        compress: gzip level of request bodies, 0 for none.
        poll_seconds: how often the folders are looked at, beside notifications.
        max_line_bytes: a longer line is cut, counted, and kept as text.
        checkpoint_seconds: how often acknowledged offsets are written.
        forget_seconds: how long a file that is gone is remembered.
        stop_seconds: limit for reading to the end and flushing after SIGTERM.
        stall_seconds: /ready fails when nothing was acknowledged for so long although the server answers.
        idle_exit_seconds: end when no file grew for so long and all is acknowledged; 0 never.
        leave_when: end when the app is gone and all is acknowledged: exists:/path, gone:/path or ended:/path of a file.
        retention_days: older lines are counted as expired and not sent; the lifecycle would delete them.
        dead_letter_bytes: room for dead letters.
        mass_dead_letters: let documents become dead letters even where most of a batch is refused.
        redact: mask e-mail, IBAN, payment card and phone numbers in `message` and `error`.
        redact_drop, redact_mask, redact_hash: names of top-level fields, separated by `,`.
        sample: keep one of so many INFO lines, by request_id; 1 keeps all.
        workers: processes that read and send; 1 does all in one.
    """

    paths: str = ""
    exclude: str = ""
    url: Annotated[str, msgspec.Meta(min_length=1)] = "http://127.0.0.1:9200"
    state_dir: Path = Path("shipper-state")
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9108
    setup: Literal["install", "verify", "off"] = "install"
    delete_acknowledged: bool = False
    volume_id: str = ""
    volume_id_wait: Annotated[float, msgspec.Meta(ge=0, le=YEAR)] = 5.0
    username: str = ""
    password_file: Path | None = None
    api_key_file: Path | None = None
    ca_file: Path | None = None
    request_timeout: Seconds = 60.0
    batch_bytes: Bytes = 5_000_000
    batch_lines: Annotated[int, msgspec.Meta(ge=1)] = 5000
    flush_seconds: Seconds = 0.5
    in_flight: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    compress: Annotated[int, msgspec.Meta(ge=0, le=3)] = 0
    poll_seconds: Seconds = 1.0
    max_line_bytes: Bytes = 1_048_576
    checkpoint_seconds: Seconds = 0.5
    forget_seconds: Seconds = 86_400.0
    stop_seconds: Seconds = 30.0
    stall_seconds: Seconds = 60.0
    idle_exit_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    leave_when: str = ""
    retention_days: Annotated[int, msgspec.Meta(ge=1)] = 30
    dead_letter_bytes: Bytes = 64 * 1024 * 1024
    mass_dead_letters: bool = False
    redact: bool = True
    redact_drop: str = ""
    redact_mask: str = ""
    redact_hash: str = ""
    sample: Annotated[int, msgspec.Meta(ge=1)] = 1
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1

    @property
    def globs(self) -> list[str]:
        """The globs of log files, one by one."""
        return [glob for glob in self.paths.split(":") if glob]

    @property
    def urls(self) -> list[str]:
        """The addresses of Elasticsearch, one by one."""
        return [url.strip().rstrip("/") for url in self.url.split(",") if url.strip()]


NAMES = ShipperSettings.__struct_fields__


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"


def _wanted(name: str) -> str:
    """Return what a setting may be, in words."""
    about = msgspec.inspect.type_info(ShipperSettings)
    assert isinstance(about, msgspec.inspect.StructType)  # noqa: S101 - it is one
    kind = next(field.type for field in about.fields if field.name == name)
    if isinstance(kind, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(kind, msgspec.inspect.LiteralType):
        return f"one of {', '.join(map(str, kind.values))}"
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        noun = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
        least = f" from {kind.ge}" if kind.ge is not None else f" above {kind.gt:g}" if kind.gt is not None else ""
        most = f" to {kind.le}" if kind.le is not None else ""
        return f"{noun}{least}{most}"
    return "text"


def _of_file(path: Path) -> dict[str, Any]:
    """Return the settings of a TOML file, by name.

    Raises:
        SettingsError: it cannot be read, or a setting is not known.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"settings file {path}: {error}") from None
    for name in values:
        if name not in NAMES:
            raise SettingsError(f"settings file {path}: {name} is not a setting{_nearest(name, list(NAMES))}")
    return values


def _of_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the settings of SHIPPER_* variables, by name, and the variables of Kubernetes service links.

    Raises:
        SettingsError: a variable is not known.
    """
    known = {f"SHIPPER_{name.upper()}": name for name in NAMES}
    values: dict[str, str] = {}
    ignored: list[str] = []
    for variable, text in environment.items():
        if not variable.startswith("SHIPPER_") or variable == "SHIPPER_CONFIG":
            continue
        if _SERVICE_LINK.fullmatch(variable) or (variable == "SHIPPER_PORT" and text.startswith("tcp://")):
            ignored.append(variable)
        elif variable not in known:
            raise SettingsError(f"{variable} is not a setting{_nearest(variable, [*known, 'SHIPPER_CONFIG'])}")
        elif text:
            values[known[variable]] = text
    return values, ignored


def _path(kind: type, value: object) -> Path:
    """Return a path as msgspec's hook for types of others."""
    if kind is not Path or not isinstance(value, str):
        raise TypeError
    return Path(value).expanduser().absolute()


def _check(settings: ShipperSettings) -> None:
    """Look at what settings must be together.

    Raises:
        SettingsError: an address is none, or two settings exclude or need each other.
    """
    for url in settings.urls:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise SettingsError("SHIPPER_URL: each address is http://host:port or https://host:port")
        if urlsplit(url).username:
            raise SettingsError("SHIPPER_URL: put no password there; use SHIPPER_USERNAME and SHIPPER_PASSWORD_FILE")
    if settings.workers > 1 and sys.platform != "linux":
        raise SettingsError("SHIPPER_WORKERS: more than one needs Linux (packets over a socket); leave it at 1 here")
    Leaving(settings.leave_when)
    if settings.api_key_file and settings.username:
        raise SettingsError("SHIPPER_API_KEY_FILE and SHIPPER_USERNAME: set one of them, not both")
    if bool(settings.username) != bool(settings.password_file):
        raise SettingsError("SHIPPER_USERNAME and SHIPPER_PASSWORD_FILE: set both or neither")


def read_settings(
    environment: Mapping[str, str] = os.environ, file: Path | None = None
) -> tuple[ShipperSettings, list[str]]:
    """Read the settings.

    Args:
        environment: its SHIPPER_* variables win over the file.
        file: TOML; SHIPPER_CONFIG names it where None is given.

    Returns:
        The settings, and the names of variables that a Kubernetes service link put there and that were ignored.

    Raises:
        SettingsError: a value does not fit, a setting is not known, or the file cannot be read.
    """
    named = environment.get("SHIPPER_CONFIG")
    path = file or (Path(named) if named else None)
    of_file = {} if path is None else _of_file(path)
    of_environment, ignored = _of_environment(environment)
    values = {name: value for name, value in {**of_file, **of_environment}.items() if value != ""}
    try:
        settings = msgspec.convert(values, ShipperSettings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        name = str(error).partition(" - at `$.")[2].partition("`")[0]
        place = f"SHIPPER_{name.upper()}" if name in of_environment else f"settings file {path}: {name}"
        raise SettingsError(f"{place}={values[name]}: {_wanted(name)} is wanted") from None
    _check(settings)
    return settings, ignored


def read_secret(path: Path, name: str) -> str:
    """Return what a secret file holds.

    Raises:
        SettingsError: it cannot be read, or is empty.
    """
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name}={path}: {error.strerror}") from None
    if not secret:
        raise SettingsError(f"{name}={path}: the file is empty")
    return secret
