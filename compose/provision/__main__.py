"""`python -m compose.provision write|check`: the generated files, written or compared."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from compose.provision.files import FOLDER, differing
from compose.provision.files import write as write_files
from compose.provision.objectives import read_objectives


@click.group()
def main() -> None:
    """Make the files that Prometheus, Alertmanager, Grafana, Kibana and Elasticsearch are given."""


@main.command()
@click.option("--to", default=FOLDER, type=click.Path(path_type=Path), help="Another folder than the checkout's.")
def write(to: Path) -> None:
    """Write what changed; OBJECTIVE_* variables and RUNBOOK_URL are followed."""
    write_files(to, click.echo, read_objectives(), os.environ.get("RUNBOOK_URL", ""))


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
