"""STACK_* settings and the ports of the parts."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]

CHECKOUT = Path(__file__).resolve().parent.parent.parent


class SettingsError(ValueError):
    """A setting cannot be used; the message names it and says what it may be."""


class StackSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the local stack keeps everything, and where its parts listen.

    Attributes:
        stack_dir: folder of logs, state, model, store and process output (STACK_DIR).
        app_port, store_port, shipper_port, console_port: TCP ports on 127.0.0.1 (APP_PORT, STORE_PORT, SHIPPER_PORT,
            CONSOLE_PORT).
    """

    stack_dir: Path
    app_port: Port = 5000
    store_port: Port = 9200
    shipper_port: Port = 9108
    console_port: Port = 5601

    @property
    def run_dir(self) -> Path:
        """Folder of the supervisor's state and the processes' output."""
        return self.stack_dir / "run"

    @property
    def log_dir(self) -> Path:
        """The log volume: the app writes here, the shipper reads."""
        return self.stack_dir / "logs"

    @property
    def app_url(self) -> str:
        """Base address of the model service."""
        return f"http://127.0.0.1:{self.app_port}"

    @property
    def store_url(self) -> str:
        """Base address of the embedded store."""
        return f"http://127.0.0.1:{self.store_port}"

    @property
    def shipper_url(self) -> str:
        """Base address of the shipper's own endpoints."""
        return f"http://127.0.0.1:{self.shipper_port}"

    @property
    def console_url(self) -> str:
        """Base address of the console."""
        return f"http://127.0.0.1:{self.console_port}"


def default_stack_dir() -> Path:
    """Return `.stack` in the checkout, or in the working directory when installed from a wheel."""
    inside = (CHECKOUT / "pyproject.toml").exists()
    return (CHECKOUT if inside else Path.cwd()) / ".stack"


def read_settings(environment: Mapping[str, str] = os.environ) -> StackSettings:
    """Read the stack's settings from environment variables.

    Raises:
        SettingsError: a value does not fit, or a STACK_* variable is not known.
    """
    known = {"STACK_DIR", "APP_PORT", "STORE_PORT", "SHIPPER_PORT", "CONSOLE_PORT"}
    for name in environment:
        if name.startswith("STACK_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise SettingsError(f"{name} is not a setting{hint}")
    values: dict[str, str] = {"stack_dir": str(default_stack_dir())}
    for name in known & environment.keys():
        # Kubernetes puts SHIPPER_PORT=tcp://10.0.0.1:9108 there for a service named "shipper": not ours.
        if environment[name] and not environment[name].startswith("tcp://"):
            values[name.lower()] = environment[name]
    ports: dict[str, str] = {}
    names = ("app_port", "store_port", "shipper_port", "console_port")
    for name in names:
        default = StackSettings.__struct_defaults__[names.index(name)]
        port = values.get(name, str(default))
        if port in ports:
            raise SettingsError(f"{name.upper()} and {ports[port].upper()} are both {port}: each part needs its own")
        ports[port] = name
    try:
        settings = msgspec.convert(values, StackSettings, strict=False, dec_hook=lambda kind, text: kind(text))
    except msgspec.ValidationError as error:  # only a port can fail: any text is a path
        name = str(error).rpartition("$.")[2].rstrip("`")
        raise SettingsError(
            f"{name.upper()}={values.get(name)!r} is not a port: a whole number from 1 to 65535 is wanted"
        ) from None
    return msgspec.structs.replace(settings, stack_dir=settings.stack_dir.expanduser().absolute())
