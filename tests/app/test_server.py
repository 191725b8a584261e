"""The real processes: start, stop, several workers, SIGKILL, activation under load, Prometheus' own check."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

from app.model import bundle
from tests.app.conftest import GUIDE_REQUEST, lines
from tests.app.server import Server, keeps_to_its_document, refused, serving, until
from tests.optional import need
from tests.ports import free_port


def test_serve_answers_and_ends_with_zero(model_dir: Path, tmp_path: Path) -> None:
    """Predictions over HTTP; SIGTERM ends it with 0; start and stop are one line each; nothing on stdout."""
    with serving(model_dir, tmp_path) as server:
        assert server.predict().status_code == 200
        assert server.stop() == 0
    messages = [line["message"] for line in lines(tmp_path / "logs") if line["logger"] == "app.service"]
    assert sorted(messages) == ["model activated", "service start", "service stop"]


class SpawnedServer(Server):
    """The same where workers are begun anew rather than forked, as on macOS."""

    command: tuple[str, ...] = (
        "-c",
        "import app.__main__, app.server; app.server.WAY = 'spawn'; app.__main__.main(['serve'])",
    )


def test_workers_that_are_not_forked_serve(model_dir: Path, tmp_path: Path) -> None:
    """Two workers begun anew answer, share their counters, and end with the service."""
    server = SpawnedServer(model_dir, tmp_path, APP_WORKERS="2")
    try:
        for _ in range(20):
            assert server.predict().status_code == 200
        assert server.metrics()["ml_predictions_total"] == 20
    finally:
        assert server.stop() == 0


class HastyServer(Server):
    """The same with little patience for connections that say nothing."""

    command: tuple[str, ...] = (
        "-c",
        "import app.__main__, app.server; app.server.IDLE_SECONDS = 1; app.__main__.main(['serve'])",
    )


def test_silent_connections_do_not_take_the_service_away(model_dir: Path, tmp_path: Path) -> None:
    """More connections than it has room for, which never send a byte, are closed after a while; then it answers."""
    server = HastyServer(model_dir, tmp_path)
    silent = [socket.socket() for _ in range(400)]
    try:
        for each in silent:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", int(server.url.rpartition(":")[2])))
        until(server.answers, "it answers although nobody has closed a connection")
    finally:
        for each in silent:
            each.close()
        assert server.stop() == 0


def test_counters_never_go_back_when_a_worker_is_killed(model_dir: Path, tmp_path: Path) -> None:
    """Two workers add up; after SIGKILL of one its counts stay, it is replaced, and users are not counted twice."""
    with serving(model_dir, tmp_path, APP_WORKERS="2") as server:
        assert len(server.workers()) == 2
        for _ in range(40):
            server.predict()
        assert server.metrics()["ml_predictions_total"] == 40
        victim = server.workers()[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in server.workers() and len(server.workers()) == 2, "it was replaced")
        until(server.answers, "it answers")
        answered = 0
        for _ in range(20):
            with contextlib.suppress(httpx.HTTPError):
                answered += server.predict().status_code == 200
        found = server.metrics()
        assert answered >= 18
        assert found["ml_predictions_total"] == 40 + answered
        assert found['http_requests_total{endpoint="/predict",method="POST",status="200"}'] == 40 + answered
        assert found["ml_active_users"] == 1
        assert found["ml_prediction_error_rate"] == 0
        assert server.stop() == 0


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.soak)])
def test_killed_workers_leave_no_files_behind(model_dir: Path, tmp_path: Path, kills: int) -> None:
    """One SIGKILL after the other under scrapes: no counter goes back or is doubled, and no more files come to be."""
    names = ("ml_predictions_total", 'http_request_duration_seconds_count{endpoint="/predict"}')
    with serving(model_dir, tmp_path, APP_WORKERS="2") as server:
        run = tmp_path / "state" / "run"

        def files() -> list[str]:
            return sorted(path.name for path in run.rglob("*") if path.suffix in (".db", ".window"))

        until(lambda: len(server.workers()) == 2 and len(files()) == 10, "both workers have their files")
        before, answered, seen = files(), 0, dict.fromkeys(names, 0.0)
        assert all(re.search(r"[._][01]\.(db|window)$", name) for name in before)
        for _ in range(kills):
            answered += sum(server.predict().status_code == 200 for _ in range(4))
            victim = server.workers()[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda: victim not in server.workers() and len(server.workers()) == 2, "it was replaced")  # noqa: B023
            until(server.answers, "it answers")
            found: dict[str, float] = {}
            while not found:
                with contextlib.suppress(httpx.HTTPError):
                    found = server.metrics()
            assert all(found[name] >= seen[name] for name in names)
            seen = {name: found[name] for name in names}
            assert seen["ml_predictions_total"] == answered
            assert found["ml_active_users"] == 1
        assert files() == before


def test_feedback_is_shared_by_workers_and_survives_a_restart(model_dir: Path, tmp_path: Path) -> None:
    """Labels for predictions of any worker, also after a restart."""
    with serving(model_dir, tmp_path, APP_WORKERS="2") as server:
        ids = [server.predict().json()["request_id"] for _ in range(20)]
        for request_id in ids[:10]:
            answer = httpx.post(f"{server.url}/feedback", json={"request_id": request_id, "actual": 0})
            assert answer.status_code == 200, answer.text
    with serving(model_dir, tmp_path, APP_WORKERS="2") as server:
        for request_id in ids[10:]:
            answer = httpx.post(f"{server.url}/feedback", json={"request_id": request_id, "actual": 0})
            assert answer.status_code == 200, answer.text
        until(lambda: server.metrics()["ml_feedback_labels"] == 20, "all labels are seen")


def test_a_model_is_activated_without_a_dropped_request(
    model_dir: Path, tmp_path: Path, trained: bundle.Bundle
) -> None:
    """Under steady requests the version changes, every answer is 200, and one line tells it."""
    first = bundle.load_active(model_dir).manifest.version
    later = msgspec.structs.replace(trained.manifest, trained_at=dt.datetime(2026, 12, 1, tzinfo=dt.UTC))
    second = bundle.save(bundle.Bundle(later, trained.scorer), model_dir).version
    with serving(model_dir, tmp_path, APP_WORKERS="2") as server:
        answers: list[tuple[int, str]] = []
        ended = threading.Event()

        def ask() -> None:
            with httpx.Client() as client:
                while not ended.is_set():
                    answer = client.post(f"{server.url}/predict", json=GUIDE_REQUEST, timeout=60)
                    answers.append((answer.status_code, answer.json().get("model_version", "")))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        command = [sys.executable, "-P", "-m", "app", "models"]
        subprocess.run([*command, "activate", second], env=server.environment, check=True, capture_output=True)
        until(lambda: {version for _, version in answers[-10:]} == {second}, "the second answers")
        subprocess.run([*command, "rollback"], env=server.environment, check=True, capture_output=True)
        until(lambda: {version for _, version in answers[-10:]} == {first}, "the first answers again")
        ended.set()
        for thread in threads:
            thread.join()
        assert {status for status, _ in answers} == {200}
        assert {version for _, version in answers} == {first, second}
    told = [line["model_version"] for line in lines(tmp_path / "logs") if line["message"] == "model activated"]
    assert sorted(told) == sorted([first, second, first])


def test_a_killed_parent_takes_its_workers_along(model_dir: Path, tmp_path: Path) -> None:
    """No worker stays behind on the port."""
    with serving(model_dir, tmp_path) as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        if server.process.stderr:
            server.process.stderr.close()
        until(lambda: not any(psutil.pid_exists(pid) for pid in workers), "the workers ended")


def test_prometheus_has_nothing_to_say(model_dir: Path, tmp_path: Path) -> None:
    """`promtool check metrics` is clean after traffic of every kind."""
    promtool = need("promtool", apt="prometheus")
    with serving(model_dir, tmp_path) as server:
        request_id = server.predict().json()["request_id"]
        httpx.post(f"{server.url}/feedback", json={"request_id": request_id, "actual": 1})
        httpx.post(f"{server.url}/predict", json={})
        text = httpx.get(f"{server.url}/metrics").content
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_serve_is_refused_with_words(model_dir: Path, tmp_path: Path) -> None:
    """A second service in the state folder, a taken port, no model."""
    with serving(model_dir, tmp_path) as server:
        assert "another service uses it" in refused({**server.environment, "APP_PORT": str(free_port())})
        other = {**server.environment, "APP_STATE_DIR": str(tmp_path / "other")}
        assert "APP_PORT" in refused(other)
        assert "ml-app train" in refused({**other, "APP_MODEL_DIR": str(tmp_path / "none")})


def test_train_if_missing_trains_once(tmp_path: Path) -> None:
    """The first call trains and activates; the second finds the model."""
    environment = {**os.environ, "APP_MODEL_DIR": str(tmp_path / "models")}
    command = [sys.executable, "-P", "-m", "app", "train", "--if-missing", "--rows", "2000"]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "is active" in first.stderr
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "there is a model already" in second.stderr
    assert len(bundle.versions(tmp_path / "models")) == 1


@pytest.mark.bench
def test_one_row_of_model_time(trained: bundle.Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the median time to score one row with 300 trees, encoded fields to probability."""
    from app.model import generated
    from app.model.scoring import Scorer, compile_trees
    from app.model.training import CANDIDATES, fit

    data = generated.generate(generated.load(), 20_000, 1)
    scorer = Scorer(compile_trees(fit(data.rows, data.labels, CANDIDATES[0], 1)))
    times = []
    for row in data.rows[:5000].tolist():
        started = time.perf_counter()
        scorer.probabilities([scorer.intervals(row)])
        times.append(time.perf_counter() - started)
    with capsys.disabled():
        print(
            f"\none row, 300 trees: median {1e6 * sorted(times)[2500]:.0f} µs, p99 {1e6 * sorted(times)[4950]:.0f} µs"
        )


def test_the_live_figures_are_the_traffic_generators_truth(model_dir: Path, tmp_path: Path) -> None:
    """Delayed labels, 20 % of them against the prediction: /metrics shows what the generator knows, cell by cell."""
    from rich.console import Console

    from compose.stack.labels import LabelPlan
    from compose.stack.traffic import Plan, run

    labels = LabelPlan(share=0.9, delay=0.5, noise=0.2)
    with serving(model_dir, tmp_path, APP_WORKERS="2") as server:
        plan = Plan(url=server.url, rate=200, count=400, seconds=None, errors=0.05, seed=5, labels=labels)
        tally = run(plan, Console(quiet=True))
        assert tally.as_expected(), tally.line(1)
        assert tally.labels is not None
        truth = tally.labels.taken
        until(lambda: server.metrics()["ml_feedback_labels"] == truth.total(), "all labels are seen")
        found = server.metrics()
    assert truth.total() >= 300
    assert 0.1 < (truth[0, 1] + truth[1, 0]) / truth.total() < 0.3
    assert found["ml_model_metrics_live"] == 1
    assert found["ml_model_accuracy"] == pytest.approx((truth[0, 0] + truth[1, 1]) / truth.total())
    positive = truth[0, 1] + truth[1, 1]
    assert found["ml_model_recall"] == pytest.approx(truth[1, 1] / positive if positive else 0)
    for (predicted, actual), count in truth.items():
        assert found[f'ml_feedback_total{{actual="{actual}",predicted="{predicted}"}}'] == count
    assert found["ml_feedback_delay_seconds_sum"] / truth.total() >= 0.5


def test_the_api_keeps_to_its_document(model_dir: Path, tmp_path: Path) -> None:
    """Schemathesis with the bank's schema: no 5xx, no undocumented status, type or body."""
    with serving(model_dir, tmp_path) as server:
        assert keeps_to_its_document(server, tmp_path) > 100
