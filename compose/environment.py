"""Typed settings of a part of the stack from environment variables: an unknown name is an error that suggests one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

Settings = TypeVar("Settings", bound=msgspec.Struct)


LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SettingsError(ValueError):
    """A setting cannot be used; the message names it and says what it may be."""


def keep_loopback_direct(environment: MutableMapping[str, str]) -> None:
    """Except this machine from the proxy that HTTP_PROXY or ALL_PROXY names: a proxy cannot reach the parts here.

    Args:
        environment: changed in place; left alone where it names no proxy.
    """
    lower = {name.lower(): value for name, value in environment.items()}
    if not any(lower.get(name) for name in ("http_proxy", "https_proxy", "all_proxy")):
        return
    excepted = [each.strip() for each in lower.get("no_proxy", "").split(",") if each.strip()]
    excepted += [each for each in LOOPBACK if each not in excepted]
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(excepted)


def refuse_unknown(variable: str, known: Collection[str]) -> None:
    """Refuse a variable that is no setting.

    Raises:
        SettingsError: it is not known; the message names the nearest one, or all.
    """
    if variable not in known:
        near = difflib.get_close_matches(variable, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
        raise SettingsError(f"{variable} is not a setting{hint}")


def read(prefix: str, kind: type[Settings], environment: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Return the settings whose variables are `<prefix>_<FIELD>`; an empty text leaves the default.

    Returns:
        The settings, and the names of variables that a Kubernetes service link put there and that were ignored.

    Raises:
        SettingsError: a value does not fit, or a variable with the prefix is not known.
    """
    known = {f"{prefix}_{name.upper()}": name for name in kind.__struct_fields__}
    # For a service named like the part: X_SERVICE_HOST, X_SERVICE_PORT_HTTP, X_PORT_80_TCP, X_PORT=tcp://10.0.0.1:80.
    link = re.compile(rf"{prefix}_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_\w+)")
    values: dict[str, Any] = {}
    ignored: list[str] = []
    for variable, text in environment.items():
        if not variable.startswith(f"{prefix}_"):
            continue
        if link.fullmatch(variable) or text.startswith("tcp://"):
            ignored.append(variable)
            continue
        refuse_unknown(variable, known)
        if text:
            values[known[variable]] = text
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=_path), ignored
    except msgspec.ValidationError as error:
        message, _, field = str(error).partition(" - at `$.")
        raise SettingsError(f"{prefix}_{field.rstrip('`').upper()}: {message}") from None


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)  # msgspec's way to say that a type has no reading
