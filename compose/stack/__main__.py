"""`ml-stack` and `python3 compose`: the command line of the stack."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from compose.environment import keep_loopback_direct
from compose.stack import commands_migrate, commands_operations, commands_secrets, dependencies, private_file, sbom
from compose.stack.addresses import Address
from compose.stack.failure import one_line
from compose.stack.settings import CALLED, StackSettings, as_running, read_settings

WIDTH = 1000  # columns of what is written to a file or a pipe


def _say(line: str) -> None:
    click.echo(line)


class _Parsed(click.ParamType[float]):
    """A parameter read by one of our own functions, whose sentence becomes the error."""

    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name, self.parse = name, parse

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the value, or end with a usage error."""
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _seconds(text: str) -> float:
    from compose.stack.traffic import parse_seconds

    return parse_seconds(text)


def _share(text: str) -> float:
    from compose.stack.traffic import parse_share

    return parse_share(text)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Hand the settings to a command; turn what can go wrong into one line and exit code 1."""

    @functools.wraps(command)
    def wrapped(**arguments: object) -> None:
        with one_line():
            command(as_running(read_settings()), **arguments)

    return wrapped


def _version(context: click.Context, _option: click.Parameter, is_wanted: bool) -> None:
    """Print the version and end; an image holds the code without its package's metadata."""
    if is_wanted and not context.resilient_parsing:
        from importlib import metadata

        try:
            version = metadata.version("ml-pipeline-observability")
        except metadata.PackageNotFoundError:
            version = "not known (not installed as a package; an image holds the code alone)"
        click.echo(f"ml-stack, version {version}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Run the whole stack on this machine, without Docker."""
    keep_loopback_direct(os.environ)


@main.command()
@click.option("--resend", is_flag=True, help="The shipper sends all that is on disk again, also to another store.")
@_with_settings
def up(_running: StackSettings, *, resend: bool) -> None:
    """Start everything. Stays in the foreground until Ctrl-C or `down`."""
    from compose.stack.up import up as start

    start(read_settings(), _say, resend=resend)  # where leftovers listen is not where this one is to


@main.command()
@_with_settings
def down(settings: StackSettings) -> None:
    """Stop everything from another terminal; nothing is lost."""
    from compose.stack.up import down as stop

    stop(settings, _say)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects on one line.")
@_with_settings
def status(settings: StackSettings, *, as_json: bool) -> None:
    """Show each process, its health, lag and last error. Exit code 0 when all are ready and watched."""
    from rich.console import Console

    from compose.stack.status import collect, render, unwatched

    parts = collect(settings)
    if as_json:
        click.echo(msgspec.json.encode(parts))
    else:
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(render(parts, settings, console.width))
    sys.exit(0 if all(part.state == "ready" for part in parts) and not unwatched(settings) else 1)


@main.command()
@click.option("--rate", default=5.0, type=click.FloatRange(0.01, 5000), show_default=True, help="Requests per second.")
@click.option("--count", type=click.IntRange(1), help="How many; without it and --for: until Ctrl-C.")
@click.option("--for", "seconds", type=_Parsed("time", _seconds), help="For how long: 30s, 1m, 2h.")
@click.option("--errors", default="2%", type=_Parsed("share", _share), show_default=True, help="Share of faulty ones.")
@click.option("--labels", default="0", type=_Parsed("share", _share), show_default=True, help="Share told the truth.")
@click.option("--label-delay", default="10s", type=_Parsed("time", _seconds), show_default=True)
@click.option("--label-noise", default="10%", type=_Parsed("share", _share), help="Labels against the prediction.")
@click.option("--seed", type=int, help="Send the same requests again.")
@click.option("--url", type=Address(), help="Another address of the service.")
@click.option(
    "--app-key-file", type=click.Path(path_type=Path), envvar="OPS_APP_KEY_FILE", help="Key of the service, if it asks."
)
@_with_settings
def traffic(
    settings: StackSettings,
    *,
    rate: float,
    count: int | None,
    seconds: float | None,
    errors: float,
    labels: float,
    label_delay: float,
    label_noise: float,
    seed: int | None,
    url: str | None,
    app_key_file: Path | None,
) -> None:
    """Send realistic requests, some of them faulty. Exit code 0 when each was answered as it should be."""
    from rich.console import Console

    from compose.stack import traffic as sending
    from compose.stack.labels import LabelPlan

    told = LabelPlan(share=labels, delay=label_delay, noise=label_noise)
    url = url or settings.app_url
    key = private_file.read(app_key_file) if app_key_file else ""
    plan = sending.Plan(
        url=url, rate=rate, count=count, seconds=seconds, errors=errors, seed=seed, labels=told, key=key
    )
    tally = sending.run(plan, Console(width=None if sys.stdout.isatty() else WIDTH))
    if tally.unanswered and not tally.latencies:
        click.echo(f"error: {plan.url} does not answer; is the stack up? see `{CALLED} status`", err=True)
    sys.exit(0 if tally.as_expected() else 1)


@main.command()
@click.option("--upgrade", is_flag=True, help="Take the newest versions that pyproject.toml allows.")
@_with_settings
def lock(_settings: StackSettings, *, upgrade: bool) -> None:
    """Pin the dependencies with hashes (for maintainers; needs uv)."""
    from compose.stack.lock import lock as write_locks

    write_locks(_say, upgrade=upgrade)


@main.command()
@click.option(
    "--elasticsearch", default="http://127.0.0.1:9200", type=Address(), show_default=True, envvar="SETUP_ELASTICSEARCH"
)
@click.option(
    "--kibana",
    envvar="SETUP_KIBANA",
    type=Address(),
    help="For example http://127.0.0.1:5601; without it Kibana is left out.",
)
@click.option("--user", default="", envvar="SETUP_USER", help="An administrator, where security is on.")
@click.option("--password-file", type=click.Path(path_type=Path), envvar="SETUP_PASSWORD_FILE")
@click.option("--ca", type=click.Path(path_type=Path), envvar="SETUP_CA", help="Certificate authority for https.")
@click.option("--snapshots", envvar="SETUP_SNAPSHOTS", help="Folder inside Elasticsearch's path.repo.")
@click.option("--passwords", type=click.Path(exists=True), envvar="SETUP_PASSWORDS", help="Make roles and users, too.")
@click.option("--shipper-key", type=click.Path(), envvar="SETUP_SHIPPER_KEY", help="File for the shipper's API key.")
@click.option("--shipper-key-secret", envvar="SETUP_SHIPPER_KEY_SECRET", help="The same, in a pod of Kubernetes.")
@click.option("--new-shipper-key", is_flag=True, envvar="SETUP_NEW_SHIPPER_KEY", help="Replace it though it works.")
@click.option(
    "--retention-days", type=click.IntRange(1), envvar="SETUP_RETENTION_DAYS", help="Until an index is deleted."
)
@click.option(
    "--grafana",
    envvar="SETUP_GRAFANA",
    type=Address(),
    help="For example http://127.0.0.1:3000; makes a token for backups.",
)
@click.option("--grafana-user", default="admin", show_default=True, envvar="SETUP_GRAFANA_USER")
@click.option("--grafana-password-file", type=click.Path(path_type=Path), envvar="SETUP_GRAFANA_PASSWORD_FILE")
@click.option("--grafana-token", type=click.Path(), envvar="SETUP_GRAFANA_TOKEN", help="File that keeps the token.")
@click.option("--wait", default=180.0, show_default=True, envvar="SETUP_WAIT", help="Seconds for each service.")
@_with_settings
def setup(
    _settings: StackSettings,
    *,
    elasticsearch: str,
    kibana: str | None,
    user: str,
    password_file: Path | None,
    ca: Path | None,
    snapshots: str | None,
    passwords: str | None,
    shipper_key: str | None,
    shipper_key_secret: str | None,
    new_shipper_key: bool,
    retention_days: int | None,
    grafana: str | None,
    grafana_user: str,
    grafana_password_file: Path | None,
    grafana_token: str | None,
    wait: float,
) -> None:
    """Give Elasticsearch and Kibana what they need. Can be run again at any time."""
    from compose.stack.kubernetes_secret import KeySecret
    from compose.stack.setup import Plan, run
    from compose.stack.shipper_key import KeyFile

    secret = KeySecret(shipper_key_secret) if shipper_key_secret else None
    plan = Plan(
        elasticsearch=elasticsearch,
        kibana=kibana,
        user=user,
        password=private_file.read(password_file) if password_file else "",
        ca=ca,
        snapshots=snapshots,
        passwords=Path(passwords) if passwords else None,
        shipper_key=KeyFile(Path(shipper_key)) if shipper_key else secret,
        new_shipper_key=new_shipper_key,
        retention_days=retention_days,
        grafana=grafana,
        grafana_user=grafana_user,
        # The first login's password is a setting of the Docker stack without secrets, not a file.
        grafana_password=(
            private_file.read(grafana_password_file)
            if grafana_password_file
            else os.environ.get("SETUP_GRAFANA_PASSWORD", "")
        ),
        grafana_token=Path(grafana_token) if grafana_token else None,
        wait=wait,
    )
    run(plan, _say)


@main.group()
def alert() -> None:
    """Try the alerting."""


@alert.command("test")
@click.option(
    "--alertmanager", type=Address(), help="Its address; without it the local stack's or Docker's, port 9093."
)
@click.option("--prometheus", type=Address(), help="Its address; without it the local stack's or Docker's, port 9090.")
@_with_settings
def alert_test(settings: StackSettings, *, alertmanager: str | None, prometheus: str | None) -> None:
    """Send one alert the whole way, to whoever is told."""
    import uuid
    from datetime import UTC, datetime

    from compose.stack.alert import Plan, send_test

    plan = Plan(
        alertmanager=alertmanager or settings.alertmanager_url,
        prometheus=prometheus or settings.prometheus_url,
        number=uuid.uuid4().hex[:8],
    )
    send_test(plan, _say, now=datetime.now(UTC))


@main.command()
@_with_settings
def store(settings: StackSettings) -> None:
    """Run the embedded store alone, in the foreground. Its settings: STORE_HOST, STORE_PORT, STORE_DIR."""
    os.environ.setdefault("STORE_DIR", str(settings.stack_dir / "store"))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "compose.store"])  # noqa: S606 - no shell is wanted


commands_operations.register(main)
main.add_command(commands_secrets.secrets)
main.add_command(commands_migrate.migrate)
main.add_command(sbom.sbom)
dependencies.register(main)


if __name__ == "__main__":
    main(prog_name=CALLED)
