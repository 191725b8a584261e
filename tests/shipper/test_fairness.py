"""Many files at once: one with a backlog does not hold the others up."""

from __future__ import annotations

from tests.shipper.conftest import Shipping, started, until


def test_one_hot_file_does_not_starve_the_others(shipping: Shipping) -> None:
    """With a backlog of a large file, lines of small ones arrive long before it is done."""
    shipping.set(batch_lines=500, batch_bytes=100_000)
    (shipping.logs / "hot.log").write_bytes(shipping.lines(0, 60_000))
    for number in range(20):
        (shipping.logs / f"zz{number}.log").write_bytes(shipping.lines(60_000 + number, 1))
    service, thread = started(shipping)
    try:
        cold = {f"line {60_000 + number}" for number in range(20)}
        until(lambda: cold <= set(shipping.cluster.messages()), "the cold lines arrive", 60)
        assert len(shipping.cluster.documents) < 50_000
    finally:
        service.give_up.set()
        service.stop()
        thread.join(30)
