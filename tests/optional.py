"""Programs that a test needs and a machine may lack: skipped with a word, or a failure under `--all`."""

from __future__ import annotations

import os
import shutil

import pytest


def require_all() -> bool:
    """Whether every optional part is required (`python3 tests --all`)."""
    return os.environ.get("ML_TESTS_REQUIRE_ALL") == "1"


def lacking(what: str, remedy: str) -> None:
    """End the running test because `what` is absent.

    Raises:
        pytest.fail.Exception: under `--all`; pytest.skip.Exception otherwise.
    """
    sentence = f"{what} is not here; {remedy}"
    if require_all():
        pytest.fail(sentence)
    pytest.skip(sentence)


def need(program: str, *, apt: str) -> str:
    """Return the path of `program`, or skip the test (fail it under `--all`) naming Debian's package `apt`."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        lacking(program, f"on Debian: apt-get install {apt}")
        raise AssertionError  # lacking() never returns
    return path
