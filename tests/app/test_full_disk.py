"""The state folder's disk: full at the start, full under way, labels' database unusable; predictions go on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from flask import Flask

from app.state import ServiceState
from tests.app.conftest import GUIDE_REQUEST, samples
from tests.app.server import serving, until
from tests.optional import lacking

Service = tuple[Flask, ServiceState]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A volume of six megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        lacking("a small volume", "only root can mount one, and not in every container")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> None:
    """Leave so many bytes of a volume."""
    space = os.statvfs(folder)
    (folder / f"filled-{leave}").write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - leave)))


def test_a_disk_that_fills_under_way_ends_no_worker(model_dir: Path, small: Path) -> None:
    """State and log on a full disk: each prediction is answered and counted, and what is lost is counted too."""
    with serving(model_dir, small, APP_LOG_FILE_BYTES="65536") as server:
        workers = server.workers()
        fill(small, 0)
        for number in range(60):
            headers = {"X-User-ID": f"user-{number}", "traceparent": f"00-{number + 1:032x}-00f067aa0ba902b7-01"}
            answer = httpx.post(f"{server.url}/predict", json=GUIDE_REQUEST, headers=headers, timeout=60)
            assert answer.status_code == 200
            assert httpx.request("TRACE", f"{server.url}/predict", timeout=60).status_code == 405
        until(lambda: server.metrics()['ml_log_dropped_total{reason="full"}'] > 0, "lines that are lost are counted")
        found = server.metrics()
        assert (found["ml_predictions_total"], found["ml_active_users"]) == (60, 60)
        assert server.workers() == workers
        until(
            lambda: (
                bool(server.predict()) and server.metrics()['ml_log_dropped_total{reason="volume_nearly_full"}'] > 0
            ),
            "the oldest closed file makes room for what is new, and is counted",
        )
        until(lambda: bool(server.predict()) and server.ready()["log"] == "ok", "lines are written in the room it left")
        empty = [path for path in (small / "logs").glob("app-*") if not path.stat().st_size]
        assert len(empty) <= 1, "one file waits for room, whatever the number of tries"
        for path in small.glob("filled-*"):
            path.unlink()
        assert server.stop() == 0


def test_a_disk_without_room_for_the_counters_is_said_at_the_start(model_dir: Path, small: Path) -> None:
    """One sentence with how much is free and needed, before anything listens."""
    fill(small, 300_000)
    environment = {**os.environ, "APP_MODEL_DIR": str(model_dir), "APP_STATE_DIR": str(small), "APP_PORT": "65000"}
    command = [sys.executable, "-P", "-m", "app", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "the counters of 1 worker(s) need 2,097,152; free some" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_damaged_database_of_labels_costs_labels_not_predictions(
    make: Callable[..., Service], tmp_path: Path
) -> None:
    """Served and scraped all the same; a label is 503 and says so; moved away, labels begin anew."""
    (tmp_path / "state").mkdir()
    database = tmp_path / "state" / "feedback.sqlite"
    database.write_bytes(b"no database" * 1000)
    app, state = make()
    client = app.test_client()
    request_id = client.post("/predict", json=GUIDE_REQUEST).get_json()["request_id"]
    until(lambda: samples(client.get("/metrics").text)["ml_feedback_not_kept_total"] == 1, "it is counted")
    told = client.get("/status").get_json()["feedback"]["last_error"]
    assert told == f"{database}: file is not a database; move it away to begin anew"
    refused = client.post("/feedback", json={"request_id": request_id, "actual": 1})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    database.unlink()
    request_id = client.post("/predict", json=GUIDE_REQUEST).get_json()["request_id"]
    assert client.post("/feedback", json={"request_id": request_id, "actual": 1}).status_code == 200
    assert state.feedback.last_error is None
