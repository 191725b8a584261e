"""How a shipper begins, takes other settings, and ends: signals, process 1, and leaving when the app is gone."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.errors import SettingsError
from shipper.leaving import Leaving
from shipper.settings import read_settings
from tests.optional import lacking, need
from tests.shipper import cluster as faults
from tests.shipper.cluster import Cluster
from tests.shipper.conftest import Shipping, started, until
from tests.shipper.test_commands import environment

RUN = [sys.executable, "-m", "shipper", "run"]


class Process:
    """A shipper in a process of its own, whose log is kept."""

    def __init__(self, shipping: Shipping, *before: str, **more: str) -> None:
        self._log = shipping.logs.parent / "shipper.stderr"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([*before, *RUN], env=environment(shipping, **more), stderr=log)

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text(encoding="utf-8")

    def end(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def other() -> Iterator[Cluster]:
    """Another address of the same cluster."""
    cluster = Cluster()
    yield cluster
    cluster.close()


def test_sighup_takes_on_a_changed_file_and_keeps_the_old_settings_where_it_is_wrong(shipping: Shipping) -> None:
    """New globs are followed, a wrong file changes nothing and is said, and a correct one is taken after it."""
    config = shipping.logs.parent / "shipper.toml"
    config.write_text(f'paths = "{shipping.logs}/a.log"\n')
    shipper = Process(shipping, SHIPPER_PATHS="", SHIPPER_CONFIG=str(config))
    try:
        for place, name in enumerate("abc"):
            (shipping.logs / f"{name}.log").write_bytes(shipping.lines(place * 10, 10))
        until(lambda: len(shipping.cluster.documents) == 10, "the first file arrives", 60)
        config.write_text(f'paths = "{shipping.logs}/[ab].log"\nflush_seconds = 0.1\n')
        shipper.process.send_signal(signal.SIGHUP)
        until(lambda: len(shipping.cluster.documents) == 20, "the second one is found", 60)
        assert "SHIPPER_FLUSH_SECONDS 0.5 -> 0.1" in shipper.log
        config.write_text('pahts = "/nowhere"\n')
        shipper.process.send_signal(signal.SIGHUP)
        until(lambda: "did you mean paths" in shipper.log, "the mistake is said", 60)
        with (shipping.logs / "a.log").open("ab") as file:
            file.write(shipping.lines(30, 10))
        until(lambda: len(shipping.cluster.documents) == 30, "it ships as before", 60)
        config.write_text(f'paths = "{shipping.logs}/*.log"\n')
        shipper.process.send_signal(signal.SIGHUP)
        until(lambda: len(shipping.cluster.documents) == 40, "the third one is found", 60)
    finally:
        assert shipper.end() == 0
    shipping.each_once(40)


def test_other_settings_keep_what_is_in_flight(shipping: Shipping, other: Cluster) -> None:
    """With batches held up at one address, another one and smaller batches: all lines arrive there, each once."""
    shipping.set(batch_lines=100)
    shipping.cluster.odds = {faults.UNAVAILABLE: 1.0}
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 2000))
    service, thread = started(shipping)
    try:
        until(lambda: shipping.cluster.met[faults.UNAVAILABLE] > 3, "batches wait")
        shipping.set(url=other.url, batch_lines=30, in_flight=4, compress=1)
        service.offer(shipping.settings)
        until(lambda: len(other.documents) == 2000, "all arrive at the other address", 60)
        assert service.reloads == {"applied": 1, "refused": 0}
        shipping.set(in_flight=1)
        service.offer(shipping.settings)
        (shipping.logs / "b.log").write_bytes(shipping.lines(2000, 100))
        until(lambda: len(other.documents) == 2100, "fewer threads go on", 60)
    finally:
        service.stop()
        thread.join(30)
    assert other.messages() == {f"line {number}": 1 for number in range(2100)}


def test_what_cannot_change_is_refused_as_a_whole(shipping: Shipping) -> None:
    """The state folder is held for the life of the process: nothing of such settings is taken."""
    service, thread = started(shipping)
    try:
        old = service.settings
        shipping.set(state_dir=shipping.logs / "elsewhere", batch_lines=7)
        service.offer(shipping.settings)
        until(lambda: service.reloads["refused"] == 1, "they are refused")
        shipping.set(state_dir=old.state_dir, ca_file=shipping.logs / "missing.pem")
        service.offer(shipping.settings)
        until(lambda: service.reloads["refused"] == 2, "a secret that is not there is refused, too")
        assert service.settings is old
    finally:
        service.stop()
        thread.join(30)


def test_a_new_key_is_read_at_sighup(shipping: Shipping) -> None:
    """A rotated API key takes effect without a restart."""
    key = shipping.logs.parent / "key"
    key.write_text("b2xk\n")
    shipping.set(api_key_file=key)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 5))
    service, thread = started(shipping)
    try:
        until(lambda: len(shipping.cluster.documents) == 5, "the first lines arrive")
        key.write_text("bmV3\n")
        service.offer(shipping.settings)
        until(lambda: service.reloads["applied"] == 1, "it is read")
        shipping.cluster.headers.clear()
        (shipping.logs / "b.log").write_bytes(shipping.lines(5, 5))
        until(lambda: len(shipping.cluster.documents) == 10, "the next ones as well")
    finally:
        service.stop()
        thread.join(30)
    assert {headers["authorization"] for headers in shipping.cluster.headers} == {"ApiKey bmV3"}


def test_as_process_1_it_ends_on_sigterm(shipping: Shipping) -> None:
    """In a process namespace of its own, where signals without a handler are dropped: it ends."""
    need("unshare", apt="util-linux")
    if os.geteuid() != 0:
        lacking("a process namespace", "only root can make one")
    shipper = Process(shipping, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 2000))
    until(lambda: len(shipping.cluster.documents) > 0, "it ships", 60)
    with (shipping.logs / "a.log").open("ab") as file:
        file.write(shipping.lines(2000, 100))
    inner = int(Path(f"/proc/{shipper.process.pid}/task/{shipper.process.pid}/children").read_text().split()[0])
    status = Path(f"/proc/{inner}/status").read_text()
    assert next(line for line in status.splitlines() if line.startswith("NSpid")).split()[-1] == "1"
    os.kill(inner, signal.SIGTERM)
    assert shipper.process.wait(60) == 0
    shipping.each_once(2100)


def test_a_stop_beyond_its_limit_says_what_is_left(shipping: Shipping) -> None:
    """With the server away a stop takes no longer than allowed; the rest arrives at the next start."""
    shipping.cluster.odds = {faults.UNAVAILABLE: 1.0}
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 500))
    shipper = Process(shipping, SHIPPER_STOP_SECONDS="1")
    until(lambda: shipping.cluster.met[faults.UNAVAILABLE] > 0, "it tries", 60)
    assert shipper.end() == 0
    assert f"stopped with {len(shipping.lines(0, 500)):,} bytes not acknowledged" in shipper.log
    shipping.cluster.odds = {}
    shipping.ship()
    shipping.each_once(500)


def test_a_stop_while_it_waits_for_a_file(shipping: Shipping) -> None:
    """Nothing to read, not even a folder: it ends at once."""
    shipping.set(paths=f"{shipping.logs}/none/*.log", stop_seconds=60.0)
    service, thread = started(shipping)
    until(lambda: service.target.cluster is not None, "it runs")
    service.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_a_stop_while_a_request_hangs(shipping: Shipping) -> None:
    """A server that never answers does not hold the end up beyond the limit; what it took is met by its id."""
    shipping.set(stop_seconds=0.5, request_timeout=3.0)
    shipping.cluster.faults = [faults.HANG, faults.HANG]
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50))
    service, thread = started(shipping)
    until(lambda: shipping.cluster.met[faults.HANG] > 0, "it hangs")
    service.stop()
    thread.join(30)
    assert not thread.is_alive()
    shipping.cluster.faults = []
    shipping.ship()
    shipping.each_once(50)


def test_it_leaves_when_the_app_is_gone_and_all_is_there(shipping: Shipping) -> None:
    """The file that says so appears while the server is away: it waits for the server, sends all, and ends with 0."""
    ended = shipping.logs / ".ended"
    shipping.cluster.odds = {faults.UNAVAILABLE: 1.0}
    shipper = Process(shipping, SHIPPER_LEAVE_WHEN=f"exists:{ended}")
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 50) + shipping.lines(50, 1).rstrip(b"\n"))
    until(lambda: shipping.cluster.met[faults.UNAVAILABLE] > 0, "it tries", 60)
    ended.touch()
    until(lambda: "the app is gone" in shipper.log, "it knows", 60)
    assert shipper.process.poll() is None
    shipping.cluster.odds = {}
    assert shipper.process.wait(60) == 0
    shipping.each_once(51)


def test_what_says_that_the_app_is_gone(tmp_path: Path) -> None:
    """A file that goes, a process that ends; what was never there is not gone yet."""
    file = tmp_path / "running"
    gone = Leaving(f"gone:{file}")
    assert not gone.now()
    file.touch()
    assert not gone.now()
    file.unlink()
    assert gone.now()
    app = subprocess.Popen(["sleep", "60"])
    number = tmp_path / "app.pid"
    ended = Leaving(f"ended:{number}")
    assert not ended.now()
    number.write_text(f"{app.pid}\n")
    assert not ended.now()
    app.kill()
    until(ended.now, "a process that nobody waited for has ended, too")
    app.wait()
    assert ended.now()
    assert not Leaving("").now()
    with pytest.raises(SettingsError, match="SHIPPER_LEAVE_WHEN"):
        read_settings({"SHIPPER_LEAVE_WHEN": "sometimes"})


def test_it_ends_when_nothing_grew_for_long_enough(shipping: Shipping) -> None:
    """For batch jobs: after a while without growth, with everything acknowledged."""
    shipping.set(idle_exit_seconds=0.5, poll_seconds=0.1)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    service = shipping.service()
    thread = threading.Thread(target=service.run)
    began = time.monotonic()
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert time.monotonic() - began >= 0.5
    shipping.each_once(20)


def test_the_garbage_of_a_program_that_ships_is_its_own(shipping: Shipping) -> None:
    """What a shipper's process does about its collector, a service inside another program does not do to that one."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 3))
    shipping.ship()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
