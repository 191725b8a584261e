"""What can go wrong in a command, as one line for a person and an exit code."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from compose.environment import SettingsError
from compose.stack.supervisor import StackError


@contextmanager
def one_line(code: int = 1) -> Iterator[None]:
    """End the program with the sentence of what went wrong, and with `code`."""
    try:
        yield
    except (SettingsError, StackError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(code)
    except OSError as error:
        if error.errno == errno.EPIPE:  # nobody reads any more: click ends quietly
            raise
        click.echo(f"error: {explain(error)}", err=True)
        sys.exit(code)


def explain(error: OSError) -> str:
    """Return what the system refused and where: `/disk/file: No space left on device`."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        # Of a folder that was copied: all that failed in it.
        _source, target, reason = error.args[0][0]
        words = str(reason).partition("] ")[2].partition(":")[0] or str(reason)
        more = len(error.args[0]) - 1
        return f"{target}: {words}" + (f", and {more} more" if more else "")
    words = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {words}" if error.filename else words
