"""`status`: a running shipper as a table."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shipper.monitoring import Status

SHOWN = 20
WIDTH = 1000  # columns of what is written to a file or a pipe


def fetch(url: str) -> bytes:
    """Return what /status answers.

    Raises:
        OSError: nothing answers there.
    """
    with urllib.request.urlopen(f"{url}/status", timeout=5) as answer:  # noqa: S310 - the address is the user's own
        data: bytes = answer.read()
    return data


def render(status: Status) -> RenderableType:
    """Return the status as a table of files with a summary above it."""
    colour = {"shipping": "green", "starting": "yellow"}.get(status.state, "red")
    parts: list[RenderableType] = [
        Text.assemble(
            (status.state, f"bold {colour}"),
            f"  lag {status.lag_bytes:,} bytes, {status.lag_seconds:.1f} s",
            f"  acknowledged {status.acknowledged:,}  already there {status.already_there:,}",
            f"  dead letters {status.dead_letters:,}  retries {status.retries:,}",
        )
    ]
    parts += [Text(reason, style="red") for reason in status.reasons]
    table = Table("file", "size", "acknowledged", "lag bytes", "lag s")
    for column in table.columns[1:]:
        column.justify = "right"
    for file in status.files[:SHOWN]:
        table.add_row(
            file.path, f"{file.size:,}", f"{file.acknowledged:,}", f"{file.lag_bytes:,}", f"{file.lag_seconds:.1f}"
        )
    if status.files_total > SHOWN:
        table.add_row(f"and {status.files_total - SHOWN} more")
    return Group(*parts, table)


def show(url: str, as_json: bool, watch: bool) -> int:
    """Print the status; return the exit code: 0 shipping, 1 anything else, 2 nothing answers."""
    try:
        data = fetch(url)
        if as_json:
            sys.stdout.write(data.decode() + "\n")
        status = msgspec.json.decode(data, type=Status)
        if watch and not as_json:
            with Live(render(status), refresh_per_second=2) as live:
                while True:
                    time.sleep(1)
                    status = msgspec.json.decode(fetch(url), type=Status)
                    live.update(render(status))
        elif not as_json:
            Console(width=None if sys.stdout.isatty() else WIDTH).print(render(status))
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"no shipper answers at {url} ({error}); start it, or name it by --url or SHIPPER_PORT\n")
        return 2
    return 0 if status.state == "shipping" else 1
