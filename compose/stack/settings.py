"""STACK_* settings and the ports of the parts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from compose.environment import SettingsError, refuse_unknown

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
WebAddress = Annotated[str, msgspec.Meta(pattern=r"^(https?://\S+)?$")]

# field -> variable; every other name that begins with STACK_ is a mistake
VARIABLES = {
    "stack_dir": "STACK_DIR",
    "app_port": "APP_PORT",
    "store_port": "STORE_PORT",
    "shipper_port": "SHIPPER_PORT",
    "console_port": "CONSOLE_PORT",
    "prometheus_port": "PROMETHEUS_PORT",
    "alertmanager_port": "ALERTMANAGER_PORT",
    "prometheus_retention": "PROMETHEUS_RETENTION",
    "monitoring": "STACK_MONITORING",
    "alert_webhook_url": "ALERT_WEBHOOK_URL",
    "watchdog_webhook_url": "WATCHDOG_WEBHOOK_URL",
    "runbook_url": "RUNBOOK_URL",
}

CHECKOUT = Path(__file__).resolve().parent.parent.parent
IN_CHECKOUT = (CHECKOUT / "pyproject.toml").exists()
CALLED = "python3 compose" if IN_CHECKOUT else "ml-stack"  # what a user types; from a wheel there is no folder compose/


class StackSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the local stack keeps everything, and where its parts listen.

    Attributes:
        stack_dir: folder of logs, state, model, store and process output (STACK_DIR).
        app_port, store_port, shipper_port, console_port: TCP ports on 127.0.0.1 (APP_PORT, STORE_PORT, SHIPPER_PORT,
            CONSOLE_PORT).
        prometheus_port, alertmanager_port: the same of both programs, where they are installed.
        prometheus_retention: how long Prometheus keeps its series, for example `15d` (PROMETHEUS_RETENTION).
        monitoring: `auto` runs Prometheus and Alertmanager where they are installed, `off` never (STACK_MONITORING).
        alert_webhook_url: who is told of alerts; empty for nobody (ALERT_WEBHOOK_URL).
        watchdog_webhook_url: who notices that alerting itself stopped; empty for nobody (WATCHDOG_WEBHOOK_URL).
        runbook_url: page that alerts point to; empty for the console's (RUNBOOK_URL).
    """

    stack_dir: Path
    app_port: Port = 5000
    store_port: Port = 9200
    shipper_port: Port = 9108
    console_port: Port = 5601
    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093
    prometheus_retention: Annotated[str, msgspec.Meta(pattern=r"^([0-9]+(ms|s|m|h|d|w|y))+$")] = "15d"
    monitoring: Literal["auto", "off"] = "auto"
    alert_webhook_url: WebAddress = ""
    watchdog_webhook_url: WebAddress = ""
    runbook_url: WebAddress = ""

    @property
    def run_dir(self) -> Path:
        """Folder of the supervisor's state and the processes' output."""
        return self.stack_dir / "run"

    @property
    def log_dir(self) -> Path:
        """The log volume: the app writes here, the shipper reads."""
        return self.stack_dir / "logs"

    @property
    def monitoring_dir(self) -> Path:
        """Folder of Prometheus's and Alertmanager's configuration and data."""
        return self.stack_dir / "monitoring"

    @property
    def prometheus_url(self) -> str:
        """Base address of Prometheus, whether it runs or not."""
        return f"http://127.0.0.1:{self.prometheus_port}"

    @property
    def alertmanager_url(self) -> str:
        """Base address of Alertmanager, whether it runs or not."""
        return f"http://127.0.0.1:{self.alertmanager_port}"

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


def as_running(settings: StackSettings) -> StackSettings:
    """Return the settings with the ports of the stack that runs in the folder, as `up` was told them.

    Another terminal need not repeat APP_PORT and the others: the folder says which stack is meant.
    """
    from compose.stack import state  # psutil takes a moment, and not every command needs it

    ports = state.ports(settings.run_dir / "state.json")
    known = {field: port for field, port in ports.items() if field in VARIABLES}
    return msgspec.structs.replace(settings, **known)


def default_stack_dir() -> Path:
    """Return `.stack` in the checkout, or in the working directory when installed from a wheel."""
    return (CHECKOUT if IN_CHECKOUT else Path.cwd()) / ".stack"


def read_settings(environment: Mapping[str, str] = os.environ) -> StackSettings:
    """Read the stack's settings from environment variables.

    Raises:
        SettingsError: a value does not fit, or a STACK_* variable is not known.
    """
    known = set(VARIABLES.values())
    for name in environment:
        if name.startswith("STACK_"):
            refuse_unknown(name, known)
    values: dict[str, str] = {"stack_dir": str(default_stack_dir())}
    for field, name in VARIABLES.items():
        # Kubernetes puts SHIPPER_PORT=tcp://10.0.0.1:9108 there for a service named "shipper": not ours.
        if (text := environment.get(name)) and not text.startswith("tcp://"):
            values[field] = text
    try:
        settings = msgspec.convert(values, StackSettings, strict=False, dec_hook=lambda kind, text: kind(text))
    except msgspec.ValidationError as error:
        message, _, field = str(error).partition(" - at `$.")
        raise SettingsError(_sentence(field.rstrip("`"), values, message)) from None
    ports: dict[int, str] = {}
    for field in (field for field in VARIABLES if field.endswith("_port")):
        port = getattr(settings, field)
        if port in ports:
            raise SettingsError(f"{VARIABLES[field]} and {ports[port]} are both {port}: each part needs its own")
        ports[port] = VARIABLES[field]
    return msgspec.structs.replace(settings, stack_dir=settings.stack_dir.expanduser().absolute())


def _sentence(field: str, values: dict[str, str], message: str) -> str:
    """Return what is wrong with a value and what it may be."""
    wanted = {
        "prometheus_retention": "a duration: numbers with ms, s, m, h, d, w or y, such as 15d, is wanted",
        "monitoring": "auto or off: auto runs Prometheus and Alertmanager where they are installed",
        "alert_webhook_url": "an address: http:// or https:// is wanted",
        "watchdog_webhook_url": "an address: http:// or https:// is wanted",
    }
    if field.endswith("_port"):
        wanted[field] = "a port: a whole number from 1 to 65535 is wanted"
    # An address of a webhook may hold a password: it is not repeated.
    value = "" if field.endswith("_url") else f"={values[field]!r}"
    return f"{VARIABLES[field]}{value} is not {wanted.get(field, message)}"
