"""`python -m compose.provision write|check`: the generated files, written or compared."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from compose.provision.files import FOLDER, differing
from compose.provision.files import write as write_files
from compose.provision.grafana import Viewers
from compose.provision.objectives import read_objectives


@click.group()
def main() -> None:
    """Make the files that Prometheus, Alertmanager, Grafana, Kibana and Elasticsearch are given."""


@main.command()
@click.option("--to", default=FOLDER, type=click.Path(path_type=Path), help="Another folder than the checkout's.")
@click.option("--kibana", help="Kibana's address for a browser. [default: http://localhost:KIBANA_PORT, 5601]")
@click.option("--console", help="The console's. [default: http://localhost:CONSOLE_PORT, 5602]")
def write(to: Path, kibana: str | None, console: str | None) -> None:
    """Write what changed; OBJECTIVE_* variables, RUNBOOK_URL, KIBANA_PORT and CONSOLE_PORT are followed."""
    viewers = Viewers(
        kibana=(kibana or f"http://localhost:{os.environ.get('KIBANA_PORT', '5601')}").rstrip("/"),
        console=(console or f"http://localhost:{os.environ.get('CONSOLE_PORT', '5602')}").rstrip("/"),
    )
    write_files(to, click.echo, read_objectives(), os.environ.get("RUNBOOK_URL", ""), viewers)


@main.command()
def check() -> None:
    """Compare the committed files with the definitions; exit code 1 when they differ."""
    paths = differing(FOLDER)
    for path in paths:
        click.echo(f"differs: {path}; run `python -m compose.provision write`", err=True)
    if not paths:
        click.echo("every generated file is as its definition says")
    sys.exit(1 if paths else 0)


if __name__ == "__main__":
    main(prog_name="python -m compose.provision")
