"""Prometheus and Alertmanager of the local stack: run where they are installed, left out with a word where not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from compose.provision import alertmanager, prometheus
from compose.provision.objectives import read_objectives
from compose.stack.services import Service
from compose.stack.settings import StackSettings

# The upstream name first, then Debian's; Debian puts both where an ordinary user's PATH may not look.
PROMETHEUS_NAMES = ("prometheus",)
ALERTMANAGER_NAMES = ("alertmanager", "prometheus-alertmanager")
INSTALL = "on Debian: apt-get install prometheus prometheus-alertmanager, then systemctl disable --now both of them"


def find(names: tuple[str, ...], environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the path of the first of these programs that is installed."""
    path = f"{environment.get('PATH', '')}:/usr/local/bin:/usr/bin"
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def monitoring_services(
    settings: StackSettings, *, prometheus_program: str | None = None, alertmanager_program: str | None = None
) -> tuple[Service, ...]:
    """Return Alertmanager and Prometheus as services of the stack, as far as their programs are there."""
    folder = settings.monitoring_dir
    parts = []
    if alertmanager_program:
        parts.append(
            Service(
                name="alertmanager",
                program=alertmanager_program,
                arguments=(
                    f"--config.file={folder / 'alertmanager.yml'}",
                    f"--storage.path={folder / 'alertmanager'}",
                    f"--web.listen-address=127.0.0.1:{settings.alertmanager_port}",
                    "--cluster.listen-address=",  # one is enough here: no gossip, no further port
                ),
                environment={},
                port=settings.alertmanager_port,
                port_setting="ALERTMANAGER_PORT",
                url=settings.alertmanager_url,
                health="/-/ready",
                status="/api/v2/status",
                stop_seconds=10,
                optional=True,
            )
        )
    if prometheus_program:
        parts.append(
            Service(
                name="prometheus",
                program=prometheus_program,
                arguments=(
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'prometheus'}",
                    f"--storage.tsdb.retention.time={settings.prometheus_retention}",
                    f"--web.listen-address=127.0.0.1:{settings.prometheus_port}",
                    "--web.enable-admin-api",  # the guide's snapshot
                    "--web.enable-lifecycle",
                ),
                environment={},
                port=settings.prometheus_port,
                port_setting="PROMETHEUS_PORT",
                url=settings.prometheus_url,
                health="/-/ready",
                status="/api/v1/status/tsdb",
                stop_seconds=30,
                optional=True,
            )
        )
    return tuple(parts)


def installed(settings: StackSettings) -> tuple[Service, ...]:
    """Return the services whose programs are installed; none where monitoring is switched off."""
    if settings.monitoring == "off":
        return ()
    return monitoring_services(
        settings, prometheus_program=find(PROMETHEUS_NAMES), alertmanager_program=find(ALERTMANAGER_NAMES)
    )


def absence(settings: StackSettings, parts: tuple[Service, ...]) -> str | None:
    """Return the sentence that says which program is not installed; None where nothing is missing."""
    if settings.monitoring == "off":
        return "Prometheus and Alertmanager are switched off (STACK_MONITORING=off)"
    have = {part.name for part in parts}
    missing = [name for name in ("Prometheus", "Alertmanager") if name.lower() not in have]
    if not missing:
        return None
    return f"{' and '.join(missing)} not installed, the rest works without ({INSTALL})"


def write_configuration(
    settings: StackSettings, parts: tuple[Service, ...], environment: Mapping[str, str] = os.environ
) -> None:
    """Write what both programs read, with the ports of this stack.

    Args:
        settings: where the stack lives and listens.
        parts: the monitoring services that will run.
        environment: OBJECTIVE_* variables are followed.

    Raises:
        SettingsError: an objective cannot be used.
    """
    folder = settings.monitoring_dir
    running = {part.name for part in parts}
    folder.mkdir(parents=True, exist_ok=True)
    manager = settings.alertmanager_port if "alertmanager" in running else None
    if "prometheus" in running:
        page = settings.runbook_url or f"{settings.console_url}/runbook"
        rules = prometheus.rules(read_objectives(environment), runbook=page)
        targets = prometheus.local_targets(
            app=settings.app_port,
            shipper=settings.shipper_port,
            store=settings.store_port,
            prometheus=settings.prometheus_port,
            alertmanager=manager,
        )
        address = None if manager is None else f"127.0.0.1:{manager}"
        (folder / prometheus.RULES_FILE).write_text(rules)
        (folder / "prometheus.yml").write_text(prometheus.configuration(targets, address, stack="local"))
    if "alertmanager" in running:
        people, watchdog = settings.alert_webhook_url, settings.watchdog_webhook_url
        text = alertmanager.configuration(
            webhook={"url": people} if people else None, watchdog={"url": watchdog} if watchdog else None
        )
        _write_private(folder / "alertmanager.yml", text)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads: a webhook's address often is its password."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
