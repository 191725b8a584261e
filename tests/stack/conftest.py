"""One running stack for the files that only look at it or add to it; tests/scheduling.py keeps them in one process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack.running import RunningStack, running_stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A local stack without Prometheus; others' predictions may be in it."""
    with running_stack(tmp_path_factory.mktemp("shared") / "stack") as running:
        yield running
