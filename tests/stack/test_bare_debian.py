"""Both commands on a bare Debian with Python and git and nothing else, from a fresh clone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from tests.optional import lacking, need
from tests.ports import free_ports
from tests.stack.bare_debian import SUITES, bare_debian
from tests.stack.running import until

FIRST_START_SECONDS = 400.0
PORTS = ("APP_PORT", "STORE_PORT", "SHIPPER_PORT", "CONSOLE_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT")


@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("suite", SUITES)
def test_a_strangers_first_try(suite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`compose up`, killed in the middle of the first start and begun again, serves; `tests` runs, too."""
    if os.geteuid() != 0:
        lacking("root", "a chroot needs it")
    debootstrap = need("debootstrap", apt="debootstrap")
    ports = {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    with bare_debian(debootstrap, suite, tmp_path / "debian", ports) as machine:
        version = machine.run("python3 --version").stdout.strip()
        for absent in ("pip", "curl", "make", "java", "docker", "gcc"):
            assert machine.run(f"sh -c 'command -v {absent}'").returncode != 0

        first = tmp_path / "killed.txt"
        killed = machine.start("python3 compose up", first)
        until(lambda: "of " in first.read_text(), "packages are being fetched", FIRST_START_SECONDS)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()

        second = tmp_path / "up.txt"
        began = time.monotonic()
        stack = machine.start("python3 compose up", second)
        until(
            lambda: "Everything runs" in second.read_text() or stack.poll() is not None,
            "the stack is up",
            FIRST_START_SECONDS,
        )
        took = time.monotonic() - began
        said = second.read_text()
        try:
            assert stack.poll() is None, said
            assert "Traceback" not in said
            assert "Warning" not in said
            sent = machine.run("python3 compose traffic --rate 50 --count 100 --errors 10%")
            assert sent.returncode == 0, sent.stdout + sent.stderr
            status = machine.run("python3 compose status --json")
            assert status.returncode == 0, status.stdout + status.stderr
            assert {part["state"] for part in msgspec.json.decode(status.stdout)} == {"ready"}
        finally:
            down = machine.run("python3 compose down")
            ended = stack.wait(timeout=60)
        assert down.returncode == 0, down.stdout + down.stderr
        assert ended == 0

        tests = machine.run("python3 tests -q tests/stack/test_ports.py tests/stack/test_end_to_end.py", 900)
        assert tests.returncode == 0, tests.stdout + tests.stderr
        assert " passed" in tests.stdout
    with capsys.disabled():
        print(f"\nbare Debian {suite}, {version}: up after {took:.0f} s, interrupted once before")
