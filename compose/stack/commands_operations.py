"""The commands of operating a running stack: check, backup, restore."""

from __future__ import annotations

import datetime as dt
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compose.stack import private_file
from compose.stack.addresses import Address
from compose.stack.failure import one_line
from compose.stack.settings import StackSettings, as_running, read_settings

if TYPE_CHECKING:
    from compose.stack.backup import Places
    from compose.stack.remote import Servers

_ADDRESSES = {
    "app": ("http://127.0.0.1:5000", "the model service"),
    "shipper": ("http://127.0.0.1:9108", "the log shipper"),
    "elasticsearch": ("http://127.0.0.1:9200", "Elasticsearch, or the embedded store"),
    "prometheus": ("http://127.0.0.1:9090", "Prometheus"),
    "alertmanager": ("http://127.0.0.1:9093", "Alertmanager"),
    "grafana": ("http://127.0.0.1:3000", "Grafana"),
    "kibana": ("http://127.0.0.1:5601", "Kibana"),
}
_SECRETS = {
    "password": "password of --user",
    "proxy_password": "password of --proxy-user",
    "grafana_token": "token of Grafana's service account",
    "grafana_password": "password of --grafana-user",
    "app_key": "key of the model service",
}
_FOLDERS = {
    "models": ("OPS_MODELS", "Folder of the model bundles."),
    "feedback": ("OPS_FEEDBACK", "Database of the labels."),
    "prometheus_data": ("OPS_PROMETHEUS_DATA", "Prometheus's data folder."),
    "repository": ("OPS_REPOSITORY", "The snapshot repository's folder, where Elasticsearch sees it elsewhere."),
}
_BACKUPS = "Folder of all backups."


def _dashed(name: str) -> str:
    return "--" + name.replace("_", "-")


def with_servers(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where the servers are; hand `servers` and `settings` over; errors become one line."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        from compose.stack.remote import Addresses, Servers

        with one_line(2):
            settings = as_running(read_settings())
            without = _without(settings, given.pop("without"))
            values: dict[str, Any] = {name: given.pop(name) for name in _ADDRESSES}
            local = {
                "app": settings.app_url,
                "shipper": settings.shipper_url,
                "elasticsearch": settings.store_url,
                "prometheus": settings.prometheus_url,
                "alertmanager": settings.alertmanager_url,
            }
            for name, (default, _what) in _ADDRESSES.items():
                values[name] = values[name] or local.get(name, default)
            values |= {name: given.pop(name) or "" for name in ("user", "proxy_user", "grafana_user")}
            token = given.pop("grafana_token_file")
            # Where there is no Grafana, nobody made its token.
            values["grafana_token"] = _secret(token) if "grafana" not in without else ""
            values |= {name: _secret(given.pop(f"{name}_file")) for name in _SECRETS if name != "grafana_token"}
            addresses = Addresses(**values, ca=given.pop("ca"), without=without)
            with Servers(addresses) as servers:
                command(settings, servers, **given)

    for name, (_default, what) in reversed(_ADDRESSES.items()):
        wrapped = click.option(_dashed(name), envvar=f"OPS_{name.upper()}", type=Address(), help=f"Address of {what}.")(
            wrapped
        )
    for name in ("user", "proxy_user", "grafana_user"):
        wrapped = click.option(_dashed(name), envvar=f"OPS_{name.upper()}", help="Where a login is asked for.")(wrapped)
    for name, what in _SECRETS.items():
        variable = f"OPS_{name.upper()}_FILE"
        wrapped = click.option(
            f"{_dashed(name)}-file", envvar=variable, type=click.Path(), help=f"File with the {what}."
        )(wrapped)
    wrapped = click.option("--ca", envvar="OPS_CA", type=click.Path(path_type=Path), help="Authority for https.")(
        wrapped
    )
    return click.option(
        "--without",
        envvar="OPS_WITHOUT",
        multiple=True,
        type=click.Choice(sorted(_ADDRESSES)),
        help="A server that this stack does not have; several times.",
    )(wrapped)


def _secret(path: str | None) -> str:
    return private_file.read(Path(path)) if path else ""


def _without(settings: StackSettings, given: tuple[str, ...]) -> frozenset[str]:
    """Return what the stack does not have: what was said, or what a running local stack does not run."""
    from compose.stack import state

    path = settings.run_dir / "state.json"
    known = state.read(path) if state.running_supervisor(path) is not None else None
    if given or known is None:
        return frozenset(given)
    return frozenset({"grafana", "kibana", *({"prometheus", "alertmanager"} - known.services.keys())})


def _with_places(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name folders; hand them over as `places`, and the folder of all backups as `target`."""

    @functools.wraps(command)
    def wrapped(settings: StackSettings, servers: Servers, **given: Any) -> None:
        from compose.stack import state
        from compose.stack.backup import Places

        running = state.running_supervisor(settings.run_dir / "state.json") is not None
        paths = {name: Path(value) if (value := given.pop(name)) else None for name in _FOLDERS}
        local, store = settings.monitoring_dir / "prometheus", settings.stack_dir / "store"
        places = Places(
            models=paths["models"] or settings.stack_dir / "models",
            feedback=paths["feedback"] or settings.stack_dir / "app" / "feedback.sqlite",
            prometheus=paths["prometheus_data"] or (local if local.is_dir() else None),
            repository=paths["repository"] or (store / "snapshots" / "backup" if store.is_dir() or running else None),
        )
        given["target"] = Path(given["target"] or settings.stack_dir.parent / "backups")
        command(settings, servers, places, **given)

    for name, (variable, text) in _FOLDERS.items():
        wrapped = click.option(_dashed(name), envvar=variable, type=click.Path(), help=text)(wrapped)
    return wrapped


@click.command()
@with_servers
@_with_places
@click.option("--to", "target", envvar="OPS_BACKUPS", show_default="backups, beside STACK_DIR", help=_BACKUPS)
@click.option("--keep", type=click.IntRange(1), help="Keep so many backups, remove older ones and their snapshots.")
def backup(_settings: StackSettings, servers: Servers, places: Places, *, target: Path, keep: int | None) -> None:
    """Save dashboards, documents, metrics, model and feedback. A manifest has the hash of each file.

    Exit code 0 when each part that the stack has is in it, 2 otherwise, with the reason.
    """
    from compose.stack import backup as saving

    saving.backup(servers, places, target, click.echo, now=dt.datetime.now(dt.UTC), keep=keep)


@click.command()
@with_servers
@_with_places
@click.argument("name")
@click.option("--from", "target", envvar="OPS_BACKUPS", show_default="backups, beside STACK_DIR", help=_BACKUPS)
def restore(settings: StackSettings, servers: Servers, places: Places, *, name: str, target: Path) -> None:
    """Put the backup NAME (or `newest`) back into an empty stack. Writes over nothing."""
    from compose.stack import state
    from compose.stack.backup import backups
    from compose.stack.restore import restore as put_back
    from compose.stack.supervisor import StackError

    whole = backups(target)
    if not whole:
        raise StackError(f"there is no backup in {target}: name the folder of all backups with --from")
    if name != "newest" and target / name not in whole:
        raise StackError(f"{name} is no whole backup in {target}; there are: {', '.join(each.name for each in whole)}")
    if places.models == settings.stack_dir / "models" and state.running_supervisor(settings.run_dir / "state.json"):
        raise StackError(
            f"the stack in {settings.stack_dir} runs: stop it first (`python3 compose down`), run its store alone "
            "(`python3 compose store`), or set STACK_DIR to another folder"
        )
    put_back(servers, places, whole[-1] if name == "newest" else target / name, click.echo)


@click.command()
@with_servers
@click.argument("period", type=click.Choice(["daily", "weekly"]), required=False)
@click.option("--acceptance", is_flag=True, help="Try every check of the guide once, with requests of its own.")
@click.option("--retention-days", default=30, show_default=True, envvar="RETENTION_DAYS", type=click.IntRange(1))
def check(
    _settings: StackSettings, servers: Servers, *, period: str | None, acceptance: bool, retention_days: int
) -> None:
    """Look at what the guide's daily or weekly routine lists. Exit code 0 well, 1 warnings, 2 bad."""
    from rich.console import Console

    from compose.provision.objectives import read_objectives
    from compose.stack import check as looking

    if acceptance:
        if period is not None:
            raise click.UsageError("say `daily`, `weekly` or --acceptance: one of them")
        from compose.stack.acceptance import accept

        sys.exit(accept(servers, click.echo))
    if period is None:
        raise click.UsageError("say `daily` or `weekly`, or --acceptance")
    now = dt.datetime.now(dt.UTC)
    objectives = read_objectives()
    if period == "daily":
        findings = looking.daily(servers, objectives, now)
    else:
        findings = looking.weekly(servers, objectives, now, retention_days)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(looking.render(findings, f"{period} check, {now:%Y-%m-%d %H:%M} UTC"))
    sys.exit(looking.exit_code(findings))


def register(main: click.Group) -> None:
    """Add the commands."""
    for command in (backup, restore, check):
        main.add_command(command)
