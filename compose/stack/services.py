"""The processes that make up the local stack: commands, environments, health addresses, stop order."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from compose.stack.settings import StackSettings


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the stack.

    Attributes:
        name: what people call it; also the stem of its output file.
        module: the dotted name that `python -m` runs; empty where `program` is given.
        program: path of a program that is not ours, run instead of a module.
        arguments: its command line.
        environment: variables added to the caller's own; the caller's win.
        port: TCP port on 127.0.0.1 that it listens on.
        port_setting: the variable that changes the port.
        url: base address.
        health: path that answers 200 when it is ready.
        status: path that answers JSON about itself.
        stop_seconds: how long a stop may take before it is killed.
        optional: the stack goes on without it where it does not start.
    """

    name: str
    module: str = ""
    program: str = ""
    arguments: tuple[str, ...]
    environment: dict[str, str]
    port: int
    port_setting: str
    url: str
    health: str
    status: str
    stop_seconds: float
    optional: bool = False

    def command(self) -> list[str]:
        """Return the argument list that starts it."""
        if self.program:
            return [self.program, *self.arguments]
        # -P: the caller's working directory must not shadow our packages.
        return [sys.executable, "-P", "-m", self.module, *self.arguments]

    def full_environment(self, caller: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return the caller's environment with what this service needs; a variable the caller set wins."""
        return {**self.environment, "PYTHONUNBUFFERED": "1", **caller}


def services(settings: StackSettings) -> tuple[Service, ...]:
    """Return the stack's services in the order in which they start."""
    root = settings.stack_dir
    return (
        Service(
            name="store",
            module="compose.store",
            arguments=(),
            environment={"STORE_DIR": str(root / "store"), "STORE_PORT": str(settings.store_port)},
            port=settings.store_port,
            port_setting="STORE_PORT",
            url=settings.store_url,
            health="/_cluster/health",
            status="/_embedded/status",
            stop_seconds=30,
        ),
        Service(
            name="app",
            module="app",
            arguments=("serve",),
            environment=app_environment(settings),
            port=settings.app_port,
            port_setting="APP_PORT",
            url=settings.app_url,
            health="/ready",
            status="/status",
            stop_seconds=15,
        ),
        Service(
            name="shipper",
            module="shipper",
            arguments=("run",),
            environment={
                "SHIPPER_PATHS": str(settings.log_dir / "*.jsonl"),
                "SHIPPER_URL": settings.store_url,
                "SHIPPER_STATE_DIR": str(root / "shipper"),
                "SHIPPER_PORT": str(settings.shipper_port),
                "SHIPPER_DELETE_ACKNOWLEDGED": "true",
            },
            port=settings.shipper_port,
            port_setting="SHIPPER_PORT",
            url=settings.shipper_url,
            health="/ready",
            status="/status",
            stop_seconds=60,
        ),
        Service(
            name="console",
            module="compose.console",
            arguments=(),
            environment={
                "CONSOLE_PORT": str(settings.console_port),
                "CONSOLE_STORE_URL": settings.store_url,
                "CONSOLE_APP_URL": settings.app_url,
                "CONSOLE_SHIPPER_URL": settings.shipper_url,
                "CONSOLE_PROMETHEUS_URL": settings.prometheus_url,
                "CONSOLE_DEAD_LETTERS": str(root / "shipper"),
            },
            port=settings.console_port,
            port_setting="CONSOLE_PORT",
            url=settings.console_url,
            health="/health",
            status="/api/status",
            stop_seconds=15,
        ),
    )


def app_environment(settings: StackSettings) -> dict[str, str]:
    """Return the variables that the app's commands (serve, train) need."""
    root = settings.stack_dir
    return {
        "APP_LOG_DIR": str(settings.log_dir),
        "APP_MODEL_DIR": str(root / "models"),
        "APP_STATE_DIR": str(root / "app"),
        "APP_PORT": str(settings.app_port),
    }


def stop_order(running: tuple[Service, ...]) -> tuple[Service, ...]:
    """Return the services in the order in which they stop: what writes before what reads."""
    order = ("app", "shipper", "store")
    # What only looks on (console, Prometheus, Alertmanager) goes first: nobody is told of a stop that was asked for.
    places = {name: place for place, name in enumerate(order)}
    return tuple(sorted(running, key=lambda service: places.get(service.name, -1)))


def output_file(settings: StackSettings, service: Service) -> Path:
    """Return the file that holds what the process prints."""
    return settings.run_dir / f"{service.name}.log"
