"""Writers that know nothing of us: a shell, another logging library, logrotate itself, and every way to rotate."""

from __future__ import annotations

import itertools
import logging
import logging.handlers
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper import recognition, tails
from shipper.reader import Source
from shipper.service import Service
from shipper.tail import Tail
from tests.optional import need
from tests.shipper.conftest import Shipping, line, started, until


@pytest.fixture
def running(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A shipper that runs."""
    monkeypatch.setattr(tails, "QUIET_SECONDS", 0.5)
    shipping.set(poll_seconds=0.05)
    service, thread = started(shipping)
    yield service
    service.stop()
    thread.join(20)


def test_a_shell_loop(shipping: Shipping, running: Service) -> None:
    """Plain lines appended by a shell are wrapped and arrive, each once."""
    script = f"for i in $(seq 1 200); do echo plain line $i >> {shipping.logs}/shell.log; done"
    subprocess.run(["sh", "-c", script], check=True)
    shipping.arrived(200)
    assert shipping.cluster.messages() == {f"plain line {number}": 1 for number in range(1, 201)}


def test_another_logging_library_that_rotates(shipping: Shipping, running: Service) -> None:
    """The standard library's RotatingFileHandler renames at a size: each line once."""
    handler = logging.handlers.RotatingFileHandler(shipping.logs / "app.log", maxBytes=4000, backupCount=1000)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("tests.foreign")
    log.propagate = False
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    for number in range(600):
        log.info(line(number).decode().rstrip())
        if number % 40 == 0:
            time.sleep(0.02)
    log.removeHandler(handler)
    handler.close()
    shipping.arrived(600)
    shipping.each_once(600)


@pytest.mark.parametrize("mode", ["create", "copytruncate"])
def test_logrotate(shipping: Shipping, running: Service, mode: str) -> None:
    """The real logrotate, five times, also with compression: each line once; copytruncate while nothing is unread."""
    need("logrotate", apt="logrotate")
    log = shipping.logs / "rotated.log"
    configuration = shipping.logs.parent / "logrotate.conf"
    configuration.write_text(f"{log} {{\n  {mode}\n  rotate 9\n  compress\n  delaycompress\n  missingok\n}}\n")
    configuration.chmod(0o600)
    count = 0
    for _ in range(5):
        with log.open("ab") as file:
            file.write(shipping.lines(count, 40))
        count += 40
        if mode == "copytruncate":
            shipping.arrived(count)  # what is unread at that moment is lost by nature
        subprocess.run(
            ["logrotate", "--force", "--state", str(configuration.with_suffix(".state")), str(configuration)],
            check=True,
            capture_output=True,
        )
    with log.open("ab") as file:
        file.write(shipping.lines(count, 40))
    count += 40
    shipping.arrived(count)
    time.sleep(1.5)  # a packed or copied file that is read again would arrive now
    shipping.each_once(count)
    assert running.tails.counts["lost_bytes"] == 0


def test_a_copy_whose_original_is_truncated_while_they_are_compared(
    shipping: Shipping, running: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The truncation comes after the last look for one and before the comparison: the copy is still known, not sent."""
    log = shipping.logs / "a.log"
    log.write_bytes(shipping.lines(0, 20))
    shipping.arrived(20)
    compared = recognition.is_held

    def late(tail: Tail, source: Source, size: int) -> bool:
        os.truncate(log, 0)
        return compared(tail, source, size)

    monkeypatch.setattr(recognition, "is_held", late)
    shutil.copyfile(log, tmp_path / "copy")
    (tmp_path / "copy").rename(shipping.logs / "a.log.1")
    until(lambda: not log.stat().st_size, "they are compared")
    time.sleep(0.8)
    shipping.each_once(20)
    assert running.tails.counts["lost_bytes"] == 0


CHOICES = ("delete", "many", "timestamp", "copy")
MATRIX = [
    pytest.param(*case, id="-".join(itertools.compress(CHOICES, case)) or "plain")
    for case in itertools.product([False, True], repeat=len(CHOICES))
]


@pytest.mark.parametrize(("delete", "many", "timestamp", "copy"), MATRIX)
def test_the_matrix_of_rotations(
    shipping: Shipping, running: Service, delete: bool, many: bool, timestamp: bool, copy: bool
) -> None:
    """OpenTelemetry's 16 cases: with deletion or not, few or many lines, names by number or time, move or copy.

    Its oracle: read fast enough, exactly all lines arrive; otherwise a subset, and never a double.
    """
    log = shipping.logs / "a.log"
    total, step = (600, 60) if many else (60, 10)
    kept: list[Path] = []
    for place in range(0, total, step):
        with log.open("ab") as file:
            file.write(shipping.lines(place, step))
        shipping.arrived(place + step)
        name = f"a.log.{1_700_000_000 + place}" if timestamp else "a.log.1"
        if not timestamp:
            for number in range(len(kept), 0, -1):
                (shipping.logs / f"a.log.{number}").rename(shipping.logs / f"a.log.{number + 1}")
            kept = [shipping.logs / f"a.log.{number + 1}" for number in range(1, len(kept) + 1)]
        target = shipping.logs / name
        if copy:
            shutil.copyfile(log, target)
            with log.open("r+b") as file:
                file.truncate(0)
        else:
            log.rename(target)
        kept.insert(0, target)
        if delete and len(kept) > 2:
            kept.pop().unlink()
    time.sleep(0.8)
    shipping.each_once(total)
