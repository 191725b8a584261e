"""The commands about secrets: make them once, rotate one, say which certificates end soon."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import click

from compose.stack import private_file
from compose.stack.addresses import Address
from compose.stack.failure import one_line
from compose.stack.settings import CHECKOUT
from compose.stack.supervisor import StackError

FOLDER = CHECKOUT / "compose" / "secrets"
_folder = click.option(
    "--folder", default=str(FOLDER), show_default="compose/secrets", envvar="OPS_SECRETS", help="Where they are kept."
)


@click.group()
def secrets() -> None:
    """Passwords, keys and certificates of compose.secure.yaml."""


@secrets.command("make")
@_folder
@click.option("--host", "hosts", multiple=True, help="Another name or address of this machine, for its certificates.")
@click.option("--alert-webhook", help="Who is told of alerts.")
@click.option("--watchdog-webhook", help="Who notices that the alerting itself has stopped.")
def make(*, folder: str, hosts: tuple[str, ...], alert_webhook: str | None, watchdog_webhook: str | None) -> None:
    """Make every secret that is missing; what is there stays."""
    from compose.stack import secret_files

    webhooks = {"alert_webhook_url": alert_webhook or "", "watchdog_webhook_url": watchdog_webhook or ""}
    with one_line():
        secret_files.make(Path(folder), click.echo, now=_now(), hosts=hosts, webhooks=webhooks)


@secrets.command("rotate")
@_folder
@click.argument("name")
@click.option(
    "--elasticsearch", default="https://127.0.0.1:9200", type=Address(), show_default=True, envvar="OPS_ELASTICSEARCH"
)
@click.option("--grafana", default="https://127.0.0.1:3000", type=Address(), show_default=True, envvar="OPS_GRAFANA")
@click.option("--grafana-user", default="admin", show_default=True, envvar="OPS_GRAFANA_USER")
def rotate(*, folder: str, name: str, elasticsearch: str, grafana: str, grafana_user: str) -> None:
    """Replace the secret NAME (or `certificates`). Says what has to be started again."""
    from compose.stack import secret_files
    from compose.stack.remote import Addresses, Servers

    room = Path(folder)

    def addresses() -> Addresses:
        return Addresses(
            elasticsearch=elasticsearch, user="elastic", password=_read(room, "elastic"),
            grafana=grafana, grafana_user=grafana_user, grafana_password=_read(room, secret_files.GRAFANA_ADMIN),
            ca=room / "ca.crt",
        )  # fmt: skip

    with one_line():
        with Servers(addresses()) as servers:
            if name in secret_files.ELASTIC_USERS:
                elastic = servers["elasticsearch"]
                secret_files.settle(
                    room, "elastic", click.echo, elastic, path="/_security/_authenticate", user="elastic"
                )
            elif name == secret_files.GRAFANA_ADMIN:
                secret_files.settle(room, name, click.echo, servers["grafana"], path="/api/user", user=grafana_user)
        with Servers(addresses()) as servers:
            services = secret_files.rotate(
                room, name, click.echo, now=_now(), elastic=servers["elasticsearch"], grafana=servers["grafana"]
            )
        if services:
            files = "-f compose/compose.yaml -f compose/compose.secure.yaml"
            click.echo(f"now: docker compose {files} restart {' '.join(services)}")


def _read(room: Path, name: str) -> str:
    if not (room / name).exists():
        raise StackError(f"{room / name} is not there; make it first: ml-stack secrets make")
    return private_file.read(room / name)


@secrets.command("check")
@_folder
def check(*, folder: str) -> None:
    """Name the certificates that end within 30 days. Exit code 1 for some, 2 where there are none at all."""
    from compose.stack import secret_files

    with one_line(2):
        found = secret_files.expiring(Path(folder), _now())
    for name, end in found:
        click.echo(f"{name} ends {end:%Y-%m-%d}: ml-stack secrets rotate certificates")
    if not found:
        click.echo("no certificate ends within 30 days")
    sys.exit(1 if found else 0)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
