"""`ml-shipper run | drain | check | status | replay | setup`."""

from __future__ import annotations

import gc
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shipper.errors import ShipperError
from shipper.own_log import log_to_stderr
from shipper.settings import ShipperSettings, read_settings
from shipper.wording import counted

if TYPE_CHECKING:
    from shipper.service import Service


def _settings(config: Path | None = None) -> ShipperSettings:
    try:
        settings, ignored = read_settings(file=config)
    except ShipperError as error:
        raise click.ClickException(str(error)) from None
    if ignored:
        logging.getLogger("shipper").info("ignored, from a Kubernetes service link: %s", ", ".join(sorted(ignored)))
    return settings


def _need_paths(settings: ShipperSettings) -> None:
    if not settings.globs:
        raise click.ClickException("SHIPPER_PATHS: name the log files, such as /var/log/app/*.jsonl")


def _service(settings: ShipperSettings, resend: bool) -> Service:
    """Return the shipper: of one process, or of several, whose code is only loaded where it is used."""
    from shipper.memory import keep_freed, keep_imported

    keep_freed()
    if settings.workers > 1:
        from shipper.sharing import Sharing

        service: Service = Sharing(settings, resend)
    else:
        from shipper.service import Service

        service = Service(settings, resend)
    keep_imported()
    return service


def _why(service: Service) -> str:
    """Return why a drain did not come to its end, and what comes of it."""
    troubles = [f"{key}: {reason}" for key, reason in service.tally.stuck.items()]
    troubles += [f"{path}: {trouble.text}" for path, trouble in service.tails.unreadable.troubles.items()]
    return "; ".join(troubles[:5] or ["stopped, or the time is over; what is left is sent by the next run or drain"])


CONFIG = click.option("--config", type=click.Path(path_type=Path), help="Settings file (TOML); SHIPPER_CONFIG.")


def _version(context: click.Context, _option: click.Parameter, is_wanted: bool) -> None:
    """Print the version and end; an image holds the code without its package's metadata."""
    if is_wanted and not context.resilient_parsing:
        from importlib import metadata

        try:
            version = metadata.version("ml-pipeline-observability")
        except metadata.PackageNotFoundError:
            version = "not known (not installed as a package; an image holds the code alone)"
        click.echo(f"ml-shipper, version {version}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Ships JSON lines from log files to Elasticsearch, each once."""
    gc.disable()  # what is imported stays: looking through it again and again costs a tenth of the start


@main.command()
@CONFIG
@click.option("--resend", is_flag=True, help="Send everything that is on disk again, also to another cluster.")
def run(config: Path | None, resend: bool) -> None:
    """Ship until SIGTERM or Ctrl-C; then read to the end and flush."""
    from shipper.signals import Signals

    signals = Signals()  # before the imports that take a moment
    from shipper.endpoints import Endpoints

    log_to_stderr()
    settings = _settings(config)
    _need_paths(settings)

    def reread() -> None:
        try:
            service.offer(read_settings(file=config)[0])
        except ShipperError as error:
            service.refuse(error)

    try:
        service = _service(settings, resend)
        signals.serve(service.stop, reread)
        endpoints = Endpoints(service, settings.host, settings.port)
        try:
            service.run()
        finally:
            endpoints.close()
    except ShipperError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@CONFIG
@click.option("--timeout", type=click.FloatRange(min=0), default=0.0, help="Give up after so many seconds; 0 never.")
@click.option("--resend", is_flag=True, help="Send everything that is on disk again, also to another cluster.")
def drain(config: Path | None, timeout: float, resend: bool) -> None:
    """Ship what is there, to the end. Exit code 0 all acknowledged, 1 something is a dead letter, 2 gave up."""
    from shipper.signals import Signals

    signals = Signals()  # before the imports that take a moment
    from shipper.progress import shipping

    log_to_stderr()
    settings = _settings(config)
    _need_paths(settings)
    try:
        service = _service(settings, resend)
        signals.serve(service.stop, lambda: None)
        with shipping(service):
            finished = service.run(drain=True, timeout=timeout)
    except ShipperError as error:
        raise click.ClickException(str(error)) from None
    counts = service.tally.counts
    click.echo(
        f"{counts['acknowledged']:,} acknowledged, {counts['already_there']:,} already there,"
        f" {counted(counts['dead_letter'], 'dead letter')}, {service.maker.counts['expired']:,} expired"
        + ("" if finished else f"; not finished: {_why(service)}")
    )
    for kind, words in (
        ("expired", f"older than SHIPPER_RETENTION_DAYS={settings.retention_days} days, and not sent"),
        ("future", "dated more than a day ahead: sent to the index ml-pipeline-undated"),
    ):
        if count := service.maker.counts[kind]:
            lines = counted(count, "line", "is", "are")
            click.echo(f"{lines} {words}; was the clock right where that was written, and is it here?")
    sys.exit(2 if not finished else 1 if counts["dead_letter"] else 0)


@main.command()
@CONFIG
def setup(config: Path | None) -> None:
    """Install and verify the index templates and lifecycle policy."""
    import datetime as dt

    from shipper.server import Server
    from shipper.templates import Templates

    settings = _settings(config)
    try:
        server = Server(settings)
        templates = Templates(server, "install", settings.retention_days)
        installed = templates.ensure(dt.datetime.now(dt.UTC).date())
    except ShipperError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"installed: {', '.join(installed)}" if installed else "everything was there")


@main.command()
@CONFIG
def check(config: Path | None) -> None:
    """Look at settings, folders, server and templates. Exit code 1 when something is wrong."""
    from shipper.inspection import inspect

    wrong = False
    for finding in inspect(_settings(config)):
        wrong |= finding.level == "error"
        click.secho(f"{finding.level:8}", nl=False, fg={"ok": "green", "warning": "yellow"}.get(finding.level, "red"))
        click.echo(finding.what)
    sys.exit(1 if wrong else 0)


@main.command()
@click.option("--url", help="Of the running shipper; default by SHIPPER_HOST and SHIPPER_PORT.")
@click.option("--json", "as_json", is_flag=True, help="For programs: what /status answers.")
@click.option("--watch", is_flag=True, help="Show it again every second until Ctrl-C.")
def status(url: str | None, as_json: bool, watch: bool) -> None:
    """Show a running shipper: files, lag, verdicts."""
    from shipper.table import show

    settings = _settings()
    address = url or f"http://{settings.host}:{settings.port}"
    try:
        sys.exit(show(address.rstrip("/"), as_json, watch))
    except KeyboardInterrupt:
        sys.exit(0)


@main.command()
@CONFIG
@click.option("--dry-run", is_flag=True, help="Only say what is there.")
def replay(config: Path | None, dry_run: bool) -> None:
    """Send dead letters again. Those taken are removed; exit code 1 when some are refused again."""
    from shipper.deadletter import DeadLetters
    from shipper.replay import listed
    from shipper.replay import replay as send
    from shipper.server import Server

    settings = _settings(config)
    letters = DeadLetters(settings.state_dir, settings.dead_letter_bytes)
    total, reasons = listed(letters)
    if dry_run or not total:
        click.echo(f"{counted(total, 'dead letter')} in {settings.state_dir}")
        for reason, count in reasons.most_common():
            click.echo(f"{count:8} {reason}")
        return
    try:
        outcome = send(letters, Server(settings))
    except ShipperError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{outcome.taken:,} taken, {outcome.there:,} there already, {outcome.kept:,} refused again")
    for reason, count in outcome.reasons.most_common():
        click.echo(f"{count:8} {reason}")
    if outcome.kept:
        stay = "it stays" if outcome.kept == 1 else "they stay"
        click.echo(f"{stay} in {settings.state_dir}/dead-letters-*.jsonl, with line and reason")
    sys.exit(1 if outcome.kept else 0)


if __name__ == "__main__":
    main()
