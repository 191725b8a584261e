"""Checks, backup and restore in the Docker stack, as a person runs them: `docker compose run --rm operations …`."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from compose.stack.backup import Places
from compose.stack.remote import SERVERS, Addresses, Servers
from compose.stack.restore import restore
from compose.stack.supervisor import StackError
from tests.docker.clients import EXAMPLE, each_once
from tests.docker.project import WITHOUT, Project, operations, wait_for

pytestmark = pytest.mark.timeout(1500)


def predict(stack: Project, count: int) -> set[str]:
    """Send so many requests; return their ids."""
    with httpx.Client() as client:
        return {client.post(stack.url("app", "/predict"), json=EXAMPLE).json()["request_id"] for _ in range(count)}


def test_the_acceptance_script_passes_and_says_what_it_left_out(stack: Project) -> None:
    """Every check of the guide that can be made here is made; what belongs to Kibana and Grafana is named."""
    said = operations(stack, "check", "--acceptance")
    assert "12 passed, 0 failed, 2 left out" in said, said
    assert "left out  kibana" in said
    assert "left out  grafana" in said


def test_the_daily_and_weekly_check_fit_on_one_screen(stack: Project) -> None:
    """Each line of the guide's routine is there, and the exit code tells what the lines say."""
    each_once(stack, predict(stack, 5))
    for period, words in {
        "daily": ("recent errors", "prediction volume", "failed requests", "ignored fields", "log shipping", "alerts"),
        "weekly": ("error patterns", "model", "predictions by day", "old indices", "room for logs", "backup"),
    }.items():
        command = ["run", "--rm", "-T", "-e", f"OPS_WITHOUT={WITHOUT}", "operations", "check", period]
        done = stack.compose("--profile", "operations", *command, check=False)
        assert done.returncode in (0, 1, 2), done.stderr
        assert not [word for word in words if word not in done.stdout], done.stdout
        assert "could not look" not in done.stdout, done.stdout
        assert len(done.stdout.splitlines()) <= 45
        assert (done.returncode == 2) == ("XX" in done.stdout)


def test_a_backup_is_put_back_into_an_empty_stack(stack: Project, embedded_store: str, tmp_path: Path) -> None:
    """All survives `down -v`; a damaged backup, a full stack and a store of another kind are refused."""
    ids = predict(stack, 30)
    each_once(stack, ids)
    labelled = min(ids)
    label = {"request_id": labelled, "actual": 1}
    assert httpx.post(stack.url("app", "/feedback"), json=label).status_code == 200
    wait_for(lambda: stack.documents() > 30, "documents are counted")
    before = stack.documents()
    model = httpx.get(stack.url("app", "/status")).json()["model"]["version"]
    query = {"query": "count_over_time(up{job='app'}[1h])"}
    wait_for(
        lambda: httpx.get(stack.url("prometheus", "/api/v1/query"), params=query).json()["data"]["result"],
        "Prometheus has scraped",
    )

    said = operations(stack, "backup")
    assert "in it: model, feedback, metrics, logs" in said, said
    assert "left out: this stack has no Grafana" in said
    refused = operations(stack, "restore", "newest", check=False)
    assert "runs: stop it first" in refused, refused

    backup = max(Path(stack.settings["BACKUP_DIR"]).iterdir())
    alone = Addresses(elasticsearch=embedded_store, without=frozenset(SERVERS) - {"elasticsearch"})
    with Servers(alone) as elsewhere, pytest.raises(StackError, match="the embedded store cannot read"):
        restore(elsewhere, Places(models=tmp_path / "models"), backup, lambda _line: None)
    assert not (tmp_path / "models").exists(), "refused before anything was put back"

    stack.compose("down", "-v", timeout=200)
    stack.compose("up", "-d", "--wait", "--wait-timeout", "600", "setup", "prometheus", timeout=700, check=False)
    wait_for(lambda: stack.inspect("setup")["State"]["Status"] == "exited", "set-up has ended")
    assert stack.documents() <= 0
    said = operations(stack, "restore", "newest")
    assert "done: model, feedback, metrics, logs" in said, said
    stack.compose("up", "-d", "--wait", "--wait-timeout", "600", timeout=700)
    stack.compose("restart", "prometheus")

    assert httpx.get(stack.url("app", "/status")).json()["model"]["version"] == model
    assert stack.documents() >= before
    each_once(stack, ids)
    again = httpx.post(stack.url("app", "/feedback"), json=label).json()
    assert "unchanged" in str(again), "the label was there already"
    old = {"query": "count_over_time(up{job='app'}[30m])", "time": str((backup / "manifest.json").stat().st_mtime)}
    wait_for(
        lambda: httpx.get(stack.url("prometheus", "/api/v1/query"), params=old).json()["data"]["result"],
        "Prometheus has the restored metrics",
    )

    (backup / "feedback.sqlite").write_bytes(b"damaged")
    assert "altered since the backup" in operations(stack, "restore", "newest", check=False)
