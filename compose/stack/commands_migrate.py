"""The command that moves up from the embedded store to an Elasticsearch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TextIO

import click


@click.command()
@click.option("--to", "target", required=True, help="Address of the Elasticsearch, for example http://127.0.0.1:9201.")
@click.option("--from", "source", help="Address of the embedded store; without it this stack's own.")
@click.option("--index", "pattern", default="*", show_default=True, help="Which indices: names and wildcards.")
@click.option("--user", default="", help="An account of the Elasticsearch, where security is on.")
@click.option("--password-file", type=click.File())
@click.option("--ca", type=click.Path(exists=True), help="Certificate authority for https.")
def migrate(
    target: str, source: str | None, pattern: str, user: str, password_file: TextIO | None, ca: str | None
) -> None:
    """Copy the embedded indices into an Elasticsearch. Run it again to go on after a stop.

    Ids and versions are kept and counts compared; exit code 0 when everything is over there. Install the templates
    first (`setup`, or a shipper with SHIPPER_SETUP=install), so that new days get them too.
    """
    import ssl

    import httpx
    from rich.progress import Progress

    from compose.environment import SettingsError
    from compose.stack.migrate import Migration
    from compose.stack.settings import as_running, read_settings
    from compose.stack.supervisor import StackError

    try:
        settings = as_running(read_settings())
        password = password_file.read().rstrip("\n") if password_file else ""
        secured: Any = ssl.create_default_context(cafile=str(Path(ca))) if ca else True
        with (
            httpx.Client(base_url=source or settings.store_url, timeout=120) as here,
            httpx.Client(
                base_url=target, timeout=120, auth=(user, password) if user else None, verify=secured
            ) as there,
            Progress() as bar,
        ):
            tasks: dict[str, Any] = {}

            def show(index: str, done: int, total: int) -> None:
                if index not in tasks:
                    tasks[index] = bar.add_task(index, total=total)
                bar.update(tasks[index], completed=done, total=total)

            outcome = Migration(here, there, settings.stack_dir).run(pattern, click.echo, show)
    except (SettingsError, StackError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    for index, (before, after) in outcome.counts.items():
        click.echo(f"{index}: {before:,} here, {after:,} there{'' if after >= before else ', NOT COMPLETE'}")
    click.echo(f"{outcome.copied:,} copied, {outcome.present:,} were there, {len(outcome.refused):,} refused")
    for name, reason in list(outcome.refused.items())[:10]:
        click.echo(f"refused {name}: {reason}", err=True)
    sys.exit(0 if outcome.complete() else 1)
