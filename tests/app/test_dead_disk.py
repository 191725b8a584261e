"""A log disk that does not answer, as of a dead NFS server: whoever waits for it, no request and no scrape does."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app import log_buffer
from tests.app.conftest import lines
from tests.app.server import serving, until
from tests.optional import lacking, need

FREE = "ml_log_disk_free_bytes"


class Volume:
    """A volume that a process serves, and that does not answer while the process is stopped."""

    def __init__(self, folder: Path) -> None:
        self.real, self.folder = folder / "real", folder / "volume"
        self.real.mkdir()
        self.folder.mkdir()
        program = need("bindfs", apt="bindfs")
        self._process = subprocess.Popen([program, "-f", str(self.real), str(self.folder)], stderr=subprocess.PIPE)
        until(lambda: self.folder.is_mount() or self._process.poll() is not None, "the volume is there")
        if self._process.poll() is not None:
            _, said = self._process.communicate()
            lacking("a FUSE volume", f"bindfs says: {said.decode().strip()}")

    def die(self) -> None:
        """Answer nothing any more."""
        self._process.send_signal(signal.SIGSTOP)

    def revive(self) -> None:
        """Answer all that was asked meanwhile."""
        self._process.send_signal(signal.SIGCONT)

    def leave(self) -> None:
        """Unmount it."""
        self.revive()
        subprocess.run(["umount", "-l", str(self.folder)], check=True)
        self._process.communicate(timeout=60)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """A volume that can die; unmounted whatever happens."""
    made = Volume(tmp_path)
    yield made
    made.leave()


def test_a_dead_log_disk_holds_up_nothing_and_is_told(model_dir: Path, tmp_path: Path, volume: Volume) -> None:
    """Predictions and scrapes are answered, /ready and /status tell of it; afterwards each line is there once."""
    with serving(model_dir, tmp_path, APP_LOG_DIR=str(volume.folder / "logs")) as server:
        assert server.metrics()[FREE] > 0
        served = [server.predict().json()["request_id"]]
        volume.die()
        for _ in range(20):
            served.append(server.predict().json()["request_id"])
            assert server.metrics()["ml_model_loaded"] == 1
        until(lambda: server.ready()["log"] == "failing", "it says that the log fails")
        told = server.status()["log"]
        assert told["failing"]
        assert "has not answered for" in told["last_error"]
        assert FREE not in server.metrics(), "an old figure would be taken for the present one"
        volume.revive()
        until(lambda: server.ready()["log"] == "ok", "the log is well again")
        told = server.status()["log"]
        assert (told["failing"], told["last_error"], told["dropped"]) == (False, None, 0)
        until(lambda: FREE in server.metrics(), "the figure is back")
        assert server.stop() == 0
    logged = [line["request_id"] for line in lines(volume.real / "logs") if line["message"] == "prediction served"]
    assert sorted(logged) == sorted(served)


def test_a_stop_does_not_wait_for_a_dead_log_disk(model_dir: Path, tmp_path: Path, volume: Volume) -> None:
    """The service ends within its time, and the next start finds the lines that could not be appended."""
    with serving(model_dir, tmp_path, APP_LOG_DIR=str(volume.folder / "logs")) as server:
        volume.die()
        served = server.predict().json()["request_id"]
        (worker,) = server.workers()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not psutil.pid_exists(worker), "the worker is gone")
        volume.revive()
        server.process.wait(60)
        if server.process.stderr:
            server.process.stderr.close()
    left = list((tmp_path / "state" / "run").glob(f"*{log_buffer.SUFFIX}"))
    assert len(left) == 1
    found = list(log_buffer.recover(tmp_path / "state" / "run", volume.folder / "logs"))
    logged = [line.get("request_id") for line in lines(volume.real / "logs")]
    assert logged.count(served) == 1, found
