"""A progress bar on stderr for `drain`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from shipper.service import Service


@contextmanager
def shipping(service: Service) -> Iterator[None]:
    """Show how many bytes are acknowledged while the block runs; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    ended = threading.Event()
    with Progress(
        "shipping", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=console
    ) as progress:
        task = progress.add_task("shipping", total=None)

        def update() -> None:
            tails = list(service.tails.tails.values())
            progress.update(
                task, total=sum(tail.size for tail in tails), completed=sum(tail.record.offset for tail in tails)
            )

        def show() -> None:
            while not ended.wait(0.1):
                update()

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            update()  # where it ended, not where it was a moment before
