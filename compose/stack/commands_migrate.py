"""The command that moves up from the embedded store to an Elasticsearch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from compose.stack import private_file
from compose.stack.addresses import Address
from compose.stack.failure import one_line


@click.command()
@click.option(
    "--to",
    "target",
    required=True,
    type=Address(),
    help="Address of the Elasticsearch, for example http://127.0.0.1:9201.",
)
@click.option("--from", "source", type=Address(), help="Address of the embedded store; without it this stack's own.")
@click.option("--index", "pattern", default="*", show_default=True, help="Which indices: names and wildcards.")
@click.option("--user", default="", help="An account of the Elasticsearch, where security is on.")
@click.option("--password-file", type=click.Path(path_type=Path))
@click.option("--ca", type=click.Path(path_type=Path), help="Certificate authority for https.")
def migrate(
    target: str, source: str | None, pattern: str, user: str, password_file: Path | None, ca: Path | None
) -> None:
    """Copy the embedded indices into an Elasticsearch. Run it again to go on after a stop.

    Ids and versions are kept and counts compared; exit code 0 when everything is over there. Install the templates
    first (`setup`, or a shipper with SHIPPER_SETUP=install), so that new days get them too.
    """
    import httpx
    from rich.progress import Progress

    from compose.stack.migrate import Migration
    from compose.stack.remote import verification
    from compose.stack.settings import as_running, read_settings

    if bool(user) != bool(password_file):
        raise click.UsageError("--user and --password-file go together")
    with one_line():
        settings = as_running(read_settings())
        login = (user, private_file.read(password_file)) if password_file else None
        with (
            httpx.Client(base_url=source or settings.store_url, timeout=120) as here,
            httpx.Client(base_url=target, timeout=120, auth=login, verify=verification(ca)) as there,
            Progress() as bar,
        ):
            tasks: dict[str, Any] = {}

            def show(index: str, done: int, total: int) -> None:
                if index not in tasks:
                    tasks[index] = bar.add_task(index, total=total)
                bar.update(tasks[index], completed=done, total=total)

            outcome = Migration(here, there, settings.stack_dir).run(pattern, click.echo, show)
    for index, (before, after) in outcome.counts.items():
        click.echo(f"{index}: {before:,} here, {after:,} there{'' if after >= before else ', NOT COMPLETE'}")
    click.echo(f"{outcome.copied:,} copied, {outcome.present:,} were there, {len(outcome.refused):,} refused")
    for name, reason in list(outcome.refused.items())[:10]:
        click.echo(f"refused {name}: {reason}", err=True)
    if not outcome.complete():
        click.echo("not complete: mend what is named above and run it again; it copies what is not there yet", err=True)
    sys.exit(0 if outcome.complete() else 1)
