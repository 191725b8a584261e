"""APP_* settings of the model service, read once from environment variables."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

# What Kubernetes injects for a service named "app": APP_SERVICE_HOST, APP_PORT_5000_TCP_ADDR, APP_PORT=tcp://...
_SERVICE_LINK = re.compile(r"APP_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)")

Positive = Annotated[int, msgspec.Meta(ge=1)]
Days = Annotated[float, msgspec.Meta(gt=0, le=36_500)]


class SettingsError(ValueError):
    """A setting cannot be used; the message names it and says what it may be."""


class AppSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the service can be told; each is the variable APP_<NAME>.

    Attributes:
        host, port: where it listens.
        workers: processes that answer requests.
        threads: requests that one worker handles at the same moment.
        queue: requests that may wait in one worker; more are answered 503.
        queue_seconds: how long one may wait before it is answered 503.
        log_dir, model_dir, state_dir: folders of log lines, model bundles, feedback and shared counters.
        model: a model of the user's own, `package.module:function`; empty: the active bundle of model_dir.
        log: whether log lines are written at all.
        log_file_bytes: size at which the next log file is begun.
        max_body_bytes: largest request body.
        max_instances: most instances in one request.
        api_key_file: file that holds the key which /predict and /feedback then ask for.
        trusted_hops: proxies in front whose X-Forwarded-For is believed.
        trust_network: listen beyond loopback without a key, because something else limits who gets here.
        feedback_days: days for which a prediction can be labelled.
        feedback_rows: most predictions kept for labelling.
        live_days, live_minimum: window and number of labels from which the live figures replace the hold-out's.
        drift_minutes, drift_minimum: window and number of predictions from which drift is computed.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 5000
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    queue: Annotated[int, msgspec.Meta(ge=0, le=400)] = 60
    queue_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 2.0
    log_dir: Path = Path("logs")
    model_dir: Path = Path("models")
    state_dir: Path = Path("state")
    model: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*)?$")] = ""
    log: bool = True
    log_file_bytes: Annotated[int, msgspec.Meta(ge=65536)] = 64 * 1024 * 1024
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 1024 * 1024
    max_instances: Positive = 1000
    api_key_file: Path | None = None
    trusted_hops: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    trust_network: bool = False
    feedback_days: Days = 30.0
    feedback_rows: Positive = 1_000_000
    live_days: Days = 7.0
    live_minimum: Positive = 200
    drift_minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = 60
    drift_minimum: Positive = 500


def _wanted(name: str) -> str:
    """Return what a setting may be, in words."""
    kind = next(field.type for field in msgspec.inspect.type_info(AppSettings).fields if field.name == name)  # type: ignore[attr-defined]  # it is a StructType
    if isinstance(kind, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        noun = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
        least = f" from {kind.ge}" if kind.ge is not None else f" above {kind.gt:g}" if kind.gt is not None else ""
        most = f" to {kind.le}" if kind.le is not None else ""
        return f"{noun}{least}{most}"
    return "package.module:function, a name that Python can import,"


def read_settings(environment: Mapping[str, str] = os.environ) -> tuple[AppSettings, list[str]]:
    """Read the settings from environment variables.

    Returns:
        The settings, and the names of variables that a Kubernetes service link put there and that were ignored.

    Raises:
        SettingsError: a value does not fit, or an APP_* variable is not known.
    """
    known = {f"APP_{name.upper()}": name for name in AppSettings.__struct_fields__}
    values: dict[str, Any] = {}
    ignored: list[str] = []
    for variable, text in environment.items():
        if not variable.startswith("APP_"):
            continue
        if _SERVICE_LINK.fullmatch(variable) or (variable == "APP_PORT" and text.startswith("tcp://")):
            ignored.append(variable)
        elif variable in known:
            if text:
                values[known[variable]] = text
        else:
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise SettingsError(f"{variable} is not a setting{hint}")
    paths = {
        name: Path(values.pop(name)).expanduser().absolute()
        for name in ("log_dir", "model_dir", "state_dir", "api_key_file")
        if name in values
    }
    try:
        settings = msgspec.convert(values, AppSettings, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).partition(" - at `$.")[2].rstrip("`")
        raise SettingsError(f"APP_{name.upper()}={values[name]}: {_wanted(name)} is wanted") from None
    settings = msgspec.structs.replace(settings, **paths)
    open_to_all = settings.host not in ("127.0.0.1", "::1", "localhost")
    if open_to_all and settings.api_key_file is None and not settings.trust_network:
        raise SettingsError(
            f"APP_HOST={settings.host} would be reachable from outside: set APP_API_KEY_FILE, or APP_TRUST_NETWORK=true"
            " where something in front limits who gets here (a container whose port is published on loopback)"
        )
    return settings, ignored


def read_api_key(settings: AppSettings) -> bytes | None:
    """Return the key that clients must send, or None when none is asked for.

    Raises:
        SettingsError: the file cannot be read, or holds less than 16 characters.
    """
    if settings.api_key_file is None:
        return None
    try:
        key = settings.api_key_file.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"APP_API_KEY_FILE={settings.api_key_file}: {error.strerror}") from None
    if len(key) < 16:
        raise SettingsError(f"APP_API_KEY_FILE={settings.api_key_file}: a key of at least 16 characters is wanted")
    return key
