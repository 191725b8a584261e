"""A backup of the local stack put back into a new folder, as the runbook says: store, restore, then the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from tests.stack.running import RunningStack, until

REQUEST = {
    "age": 30, "job": "admin", "marital": "single", "education": "secondary", "housing": "yes", "loan": "no",
    "duration": 200, "campaign": 2,
}  # fmt: skip


def answers(url: str) -> bool:
    """Whether a server answers there."""
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def test_a_local_backup_is_put_back_into_a_new_folder(stack: RunningStack, tmp_path: Path) -> None:
    """Documents, model and labels are there again, each once; while the service runs the restore is refused."""
    backups = str(tmp_path / "backups")
    ids = [httpx.post(f"{stack.app}/predict", json=REQUEST).json()["request_id"] for _ in range(5)]
    label = {"request_id": ids[0], "actual": 1}
    assert httpx.post(f"{stack.app}/feedback", json=label).status_code == 200
    until(lambda: set(ids) <= set(stack.predictions()), "the documents are there")
    kept = set(stack.predictions())
    model = httpx.get(f"{stack.app}/status").json()["model"]["version"]
    saved = stack.command("backup", "--to", backups)
    assert "in it: model, feedback, logs" in saved.stdout, saved.stdout + saved.stderr
    refused = stack.command("restore", "newest", "--from", backups)
    assert refused.returncode == 2
    assert "stop it first" in refused.stderr

    fresh = RunningStack(tmp_path / "new", untrained=True)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "compose.stack", "store"],
        env=fresh.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as alone:  # fmt: skip
        try:
            until(lambda: answers(fresh.store), "the store answers")
            done = fresh.command("restore", "newest", "--from", backups)
            assert done.returncode == 0, done.stderr
            assert "done: model, feedback, logs" in done.stdout, done.stdout
        finally:
            alone.terminate()
    try:
        fresh.up()
        assert "there is a model already" in fresh.said()
        assert httpx.get(f"{fresh.app}/status").json()["model"]["version"] == model
        until(lambda: kept <= set(fresh.predictions()), "the documents are there again")
        found = fresh.predictions()
        assert len(found) == len(set(found)), "each once"
        assert "unchanged" in str(httpx.post(f"{fresh.app}/feedback", json=label).json()), "the label was there"
    finally:
        if fresh.process is not None:
            fresh.process.terminate()
            fresh.process.wait(timeout=120)
