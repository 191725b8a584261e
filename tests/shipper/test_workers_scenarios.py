"""What is promised of files and verdicts, once more with two workers: the very tests that one process passes.

They run here by being imported; `shipping` is another one here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shipper import test_delivery, test_rotation
from tests.shipper.cluster import Cluster
from tests.shipper.conftest import Shipping
from tests.shipper.test_rotation import _impatient

__all__ = ["_impatient", "shipping"]

for room in (test_rotation, test_delivery):
    globals().update({name: test for name, test in vars(room).items() if name.startswith("test_") and callable(test)})


@pytest.fixture
def shipping(tmp_path: Path) -> Iterator[Shipping]:
    """A log folder, a cluster and a shipper with two workers for them."""
    cluster = Cluster()
    made = Shipping(tmp_path, cluster)
    made.set(workers=2)
    yield made
    cluster.close()
