"""Windows over processes, active users, drift, estimates, feedback and the switch to live figures."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.model import bundle, generated
from app.model.dataset import Dataset
from app.model.evaluation import measure as score
from app.model.reference import output_bin
from app.monitoring import drift
from app.monitoring.feedback import FeedbackStore, Prediction
from app.monitoring.shared import ActiveUsers, Place, Window
from app.schema import FIELDS
from app.state import ServiceState
from tests.app.conftest import GUIDE_REQUEST, NOW, Clock, samples

Service = tuple[Flask, ServiceState]


def test_a_window_adds_up_what_all_processes_counted_and_forgets(tmp_path: Path, clock: Clock) -> None:
    """A dead process's file still counts until its slots are too old; a slot is used again after a turn."""
    window = Window(tmp_path, "errors", 2, 300, 1, clock)
    window.add([0, 0, 1])
    shutil.copy(tmp_path / "errors.0.window", tmp_path / "errors.1.window")
    assert window.total().tolist() == [4, 2]
    clock.now += 299
    window.add([0])
    assert window.total().tolist() == [5, 2]
    clock.now += 1
    assert window.total().tolist() == [1, 0]
    clock.now += 3000
    window.add([1], [0.5])
    assert window.total().tolist() == [0, 0.5]


def test_a_user_of_two_processes_is_one(tmp_path: Path, clock: Clock) -> None:
    """Distinct over processes, forgotten after five minutes, and nowhere in the file by name."""
    users = ActiveUsers(tmp_path, b"k" * 32, 300, clock)
    for name in ("ann", "bob", "ann"):
        users.seen(name)
    (path,) = tmp_path.glob("users.*")
    shutil.copy(path, tmp_path / "users.1.window")
    assert users.count() == 2
    assert b"ann" not in path.read_bytes()
    clock.now += 200
    users.seen("ann")
    clock.now += 150
    assert users.count() == 1


def test_ten_thousand_users_are_counted_nearly_exactly(tmp_path: Path, clock: Clock) -> None:
    """The table is bounded; at 10,000 clients it still knows each."""
    users = ActiveUsers(tmp_path, b"k" * 32, 300, clock)
    for number in range(10_000):
        users.seen(f"user{number}")
    assert users.count() == 10_000


def windows(model: bundle.Bundle, data: Dataset, size: int) -> list[list[drift.Drift]]:
    """Cut rows into windows and measure each as the service does."""
    reference, scorer = model.manifest.reference, model.scorer
    total = reference.bins()
    fine = [scorer.intervals(row) for row in data.rows.tolist()]
    probabilities = scorer.probabilities(fine).tolist()
    out = []
    for start in range(0, len(fine) - size + 1, size):
        counts = np.zeros(total + 1)
        for row in range(start, start + size):
            np.add.at(counts, [reference.bin_of[place] for place in fine[row]], 1)
            counts[output_bin(reference, probabilities[row], all_fields=True)] += 1
        out.append(drift.measure(reference.features, counts[:total], size))
    return out


@pytest.fixture(scope="module")
def large() -> bundle.Bundle:
    """A model of 30,000 generated rows: a reference large enough to be compared with."""
    from app.model.reference import build
    from app.model.scoring import Scorer, compile_trees
    from app.model.training import CANDIDATES, fit, train
    from tests.app.conftest import NOW

    small = train(generated.generate(generated.load(), 3000, 1), 1, NOW, lambda _: None)
    data = generated.generate(generated.load(), 30_000, 2)
    scorer = Scorer(compile_trees(fit(data.rows, data.labels, CANDIDATES[2], 1)))
    fresh = generated.generate(generated.load(), 30_000, 3)
    manifest = msgspec.structs.replace(small.manifest, reference=build(scorer, fresh.rows))
    return bundle.Bundle(manifest, scorer)


TRIALS = [200, pytest.param(1000, marks=pytest.mark.soak)]


@pytest.mark.parametrize("count", TRIALS)
def test_unshifted_traffic_does_not_fire(large: bundle.Bundle, count: int) -> None:
    """Windows of 500 rows without a shift: at most one alarm in 200 trials, at most five in 1,000."""
    trials = windows(large, generated.generate(generated.load(), 500 * count, 11), 500)
    assert len(trials) == count
    assert sum(any(each.drifted for each in trial) for trial in trials) <= count / 200


@pytest.mark.parametrize("count", TRIALS)
def test_shifted_traffic_fires_and_names_the_feature(large: bundle.Bundle, count: int) -> None:
    """Ten years older: age is named in every window."""
    data = generated.generate(generated.load(), 500 * count, 12)
    data.rows[:, [field.name for field in FIELDS].index("age")] += 10
    trials = windows(large, data, 500)
    assert len(trials) == count
    for trial in trials:
        assert "age" in [each.feature for each in trial if each.drifted]


def test_among_many_predictions_only_a_shift_that_matters_fires(large: bundle.Bundle) -> None:
    """A million rows: a bin with a twentieth more rows than in training is no drift, one with half more is."""
    features = large.manifest.reference.features
    known = np.concatenate([np.array(feature.counts, dtype=float) for feature in features])
    for more, drifted in ((0.05, False), (0.5, True)):
        window = known * 1_000_000 / sum(features[0].counts)
        window[0] *= 1 + more
        assert drift.measure(features, window, 500)[0].drifted is drifted


def test_below_the_minimum_nothing_is_said(large: bundle.Bundle) -> None:
    """499 samples are no window."""
    counts = np.zeros(large.manifest.reference.bins())
    counts[0] = 499
    found = drift.measure(large.manifest.reference.features, counts, 500)[0]
    assert (found.samples, found.psi, found.drifted) == (499, None, False)


def test_the_estimate_is_near_the_truth(large: bundle.Bundle) -> None:
    """Accuracy estimated from confidence alone is within 0.02 of the accuracy by labels."""
    data = generated.generate(generated.load(), 10_000, 13)
    probabilities = large.scorer.predict(data.rows.tolist())
    cells = np.zeros(4)
    for probability in probabilities.tolist():
        one, first, other, second = drift.expected_cells(probability)
        cells[one] += first
        cells[other] += second
    assert (cells[0] + cells[3]) / cells.sum() == pytest.approx(score(data.labels, probabilities).accuracy, abs=0.02)


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Any:
    """A feedback store that keeps 30 days."""
    kept = FeedbackStore(tmp_path / "feedback.sqlite", 30, 1000, clock, lambda _: None)
    yield kept
    kept.close()


def test_a_label_is_recorded_once_and_can_be_corrected(store: FeedbackStore, clock: Clock, tmp_path: Path) -> None:
    """Recorded, unchanged, corrected, unknown; and all of it is there after a restart."""
    store.remember([Prediction("a", -1, clock.now, "v1", 1), Prediction("b", 0, clock.now, "v1", 0)])
    clock.now += 60
    assert store.label([("a", -1, 1)])[0].status == "recorded"
    assert store.label([("a", -1, 1)])[0].status == "unchanged"
    assert store.label([("a", -1, 0)])[0].status == "corrected"
    assert store.label([("b", -1, 0)])[0].status == "unknown"
    assert store.label([("b", 0, 0)])[0].delay == 60
    store.close()
    again = FeedbackStore(tmp_path / "feedback.sqlite", 30, 1000, clock, lambda _: None)
    cells = again.confusion("v1", 7)
    assert {name: cells[name] for name in ("tn", "fp", "fn", "tp")} == {"tn": 1, "fp": 1, "fn": 0, "tp": 0}
    assert again.confusion("v2", 7)["tn"] == 0
    clock.now += 31 * 86_400
    assert again.label([("a", -1, 1)])[0].status == "unknown"
    again.close()


def test_a_thousand_unknown_ids_are_waited_for_together(store: FeedbackStore) -> None:
    """They are looked for a handful of times, not each for half a second; a known one among them is recorded once."""
    looks: list[int] = []
    opened = store._open

    def counted() -> Any:
        looks.append(1)
        return opened()

    store._open = counted  # type: ignore[method-assign]  # counts the transactions
    store.remember([Prediction("known", -1, NOW.timestamp(), "v1", 1)])
    done = store.label([("known", -1, 1), *((f"unknown-{number}", -1, 1) for number in range(999))])
    assert [each.status for each in done] == ["recorded", *["unknown"] * 999]
    assert 1 <= len(looks) < 50


def test_feedback_over_http(client: FlaskClient) -> None:
    """200, again 200, corrected 200, unknown 404; a batch names each; counts by class."""
    people = {"instances": [GUIDE_REQUEST, {**GUIDE_REQUEST, "duration": 3000}]}
    single = client.post("/predict", json=GUIDE_REQUEST).get_json()
    batch = client.post("/predict", json=people).get_json()
    label = {"request_id": single["request_id"], "actual": 1}
    assert client.post("/feedback", json=label).get_json()["status"] == "recorded"
    assert client.post("/feedback", json=label).get_json()["status"] == "unchanged"
    assert client.post("/feedback", json={**label, "actual": "no"}).get_json()["status"] == "corrected"
    assert client.post("/feedback", json={"request_id": "nobody", "actual": 1}).status_code == 404
    assert client.post("/feedback", json={"request_id": batch["request_id"], "actual": 1}).status_code == 404
    done = client.post(
        "/feedback",
        json={
            "feedback": [
                {"request_id": batch["request_id"], "instance": 1, "actual": 1},
                {"request_id": "nobody", "actual": 0},
            ]
        },
    ).get_json()
    assert [each["status"] for each in done["feedback"]] == ["recorded", "unknown"]
    found = samples(client.get("/metrics").text)
    assert sum(value for name, value in found.items() if name.startswith("ml_feedback_total")) == 3
    assert found["ml_feedback_delay_seconds_count"] == 3


@pytest.mark.parametrize("body", [{}, [], {"request_id": "a"}, {"request_id": "a", "actual": 2}, {"feedback": []},
                                  {"request_id": "a", "actual": True}, {"request_id": 1, "actual": 1},
                                  {"request_id": "a", "actual": 1, "instance": -1}])  # fmt: skip
def test_feedback_that_does_not_fit_is_422(client: FlaskClient, body: object) -> None:
    """Each fault is refused."""
    assert client.post("/feedback", json=body).status_code == 422


def test_the_figures_go_live_at_the_minimum_and_are_the_generators_truth(
    make: Callable[..., Service], clock: Clock
) -> None:
    """With labels of known noise: hold-out until 200 of them, then exactly what the generator knows."""
    app, state = make(live_minimum=200)
    client = app.test_client()
    hold_out = samples(client.get("/metrics").text)["ml_model_accuracy"]
    chance = np.random.default_rng(1)
    cells = np.zeros((2, 2))
    for number in range(210):
        person = {**GUIDE_REQUEST, "duration": int(chance.integers(50, 3000)), "poutcome": "success"}
        answer = client.post("/predict", json=person).get_json()
        actual = answer["prediction"] if chance.random() > 0.1 else 1 - answer["prediction"]
        cells[answer["prediction"], actual] += 1
        assert client.post("/feedback", json={"request_id": answer["request_id"], "actual": actual}).status_code == 200
        if number == 198:
            clock.now += 5
            found = samples(client.get("/metrics").text)
            assert (found["ml_model_accuracy"], found["ml_model_metrics_live"]) == (hold_out, 0)
    clock.now += 5
    found = samples(client.get("/metrics").text)
    assert found["ml_model_metrics_live"] == 1
    assert found["ml_feedback_labels"] == 210
    assert cells.sum(axis=1).min() > 10
    assert found["ml_model_accuracy"] == pytest.approx((cells[0, 0] + cells[1, 1]) / 210)
    assert found["ml_model_precision"] == pytest.approx(cells[1, 1] / cells[1].sum())
    assert found["ml_model_recall"] == pytest.approx(cells[1, 1] / cells[:, 1].sum())
    assert client.get("/status").get_json()["model"]["scores_live"] is True
    clock.now += 8 * 86_400
    assert samples(client.get("/metrics").text)["ml_model_metrics_live"] == 0
    assert state.feedback.last_error is None


def test_live_scores_and_drift_are_kept_by_version(
    make: Callable[..., Service], model_dir: Path, trained: bundle.Bundle, clock: Clock
) -> None:
    """Labels that come after an activation count for the version that predicted; rolled back, its window goes on."""
    app, state = make(drift_minimum=3)
    client = app.test_client()
    assert state.model is not None
    first = state.model.about.version
    made = [client.post("/predict", json=GUIDE_REQUEST).get_json() for _ in range(4)]
    later = msgspec.structs.replace(trained.manifest, trained_at=NOW + dt.timedelta(days=1))
    second = bundle.save(bundle.Bundle(later, trained.scorer), model_dir).version

    def active(version: str) -> None:
        bundle.activate(model_dir, version, NOW)
        state.reload()
        assert state.model is not None
        assert state.model.about.version == version

    active(second)
    made.append(client.post("/predict", json=GUIDE_REQUEST).get_json())
    assert samples(client.get("/metrics").text)['ml_feature_psi_samples{feature="age"}'] == 1
    for number, each in enumerate(made):
        actual = 1 - each["prediction"] if number in (0, 4) else each["prediction"]
        client.post("/feedback", json={"request_id": each["request_id"], "actual": actual})
    clock.now += 5
    found = samples(client.get("/metrics").text)
    assert found[f'ml_model_live_labels{{version="{first}"}}'] == 4
    assert found[f'ml_model_live_score{{metric="accuracy",version="{first}"}}'] == 0.75
    assert found[f'ml_model_live_score{{metric="accuracy",version="{second}"}}'] == 0
    assert found["ml_feedback_labels"] == 1
    told = client.get("/status").get_json()["feedback"]["versions"]
    assert {version: each["labels"] for version, each in told.items()} == {first: 4, second: 1}
    active(first)
    found = samples(client.get("/metrics").text)
    assert (found["ml_feedback_labels"], found['ml_feature_psi_samples{feature="age"}']) == (4, 4)


def test_a_model_that_cannot_be_loaded_is_told_while_the_one_before_answers(
    make: Callable[..., Service], model_dir: Path, trained: bundle.Bundle, tmp_path: Path
) -> None:
    """The gauge of ModelNotLoaded is 1 and /status names the file, until a whole model is active."""
    app, state = make()
    client = app.test_client()
    assert state.model is not None
    first = state.model.about.version

    def told() -> tuple[float, float, str | None]:
        found = samples(client.get("/metrics").text)
        return found["ml_model_loaded"], found["ml_model_load_failing"], client.get("/status").get_json()["model_error"]

    assert told() == (1, 0, None)
    later = msgspec.structs.replace(trained.manifest, trained_at=NOW + dt.timedelta(days=1))
    second = bundle.save(bundle.Bundle(later, trained.scorer), model_dir).version
    bundle.activate(model_dir, second, NOW)
    (model_dir / second / "arrays.npz").write_bytes(b"copied in part")
    state.reload()
    loaded, failing, why = told()
    assert (loaded, failing) == (1, 1)
    assert why is not None
    assert f"{second}/arrays.npz" in why
    assert client.post("/predict", json=GUIDE_REQUEST).get_json()["model_version"] == first
    bundle.activate(model_dir, first, NOW)
    state.reload()
    assert told() == (1, 0, None)
    empty, _ = make(model_dir=tmp_path / "none")
    client = empty.test_client()
    assert told()[:2] == (0, 1)
    assert client.post("/predict", json=GUIDE_REQUEST).status_code == 503


def test_a_worker_goes_on_in_the_files_of_the_one_it_replaces(tmp_path: Path, clock: Clock) -> None:
    """The lowest free place is taken, with what was counted there; a living process keeps its own."""
    first, second = Place(tmp_path), Place(tmp_path)
    assert (first.number, second.number) == (0, 1)
    for place in (first, second):
        Window(tmp_path, "errors", 2, 300, 1, clock, place.number).add([0])
        ActiveUsers(tmp_path, b"k" * 32, 300, clock, place=place.number).seen(f"user{place.number}")
    first.leave()  # as its death does
    third = Place(tmp_path)
    assert third.number == 0
    window = Window(tmp_path, "errors", 2, 300, 1, clock, third.number)
    users = ActiveUsers(tmp_path, b"k" * 32, 300, clock, place=third.number)
    assert (window.total().tolist(), users.count()) == ([2, 0], 2)
    window.add([0, 1])
    users.seen("user0")
    assert (window.total().tolist(), users.count()) == ([3, 1], 2)
    assert len(list(tmp_path.glob("*.window"))) == 4
    clock.now += 301
    assert (window.total().tolist(), users.count()) == ([0, 0], 0)
    second.leave()
    third.leave()


def test_workers_that_start_together_share_the_feedback(tmp_path: Path) -> None:
    """Many stores opened at the same moment on a new file all come up."""
    script = (
        "import sys, time; from pathlib import Path; from app.monitoring.feedback import FeedbackStore\n"
        "time.sleep(max(0.0, float(sys.argv[2]) - time.time()))\n"
        "FeedbackStore(Path(sys.argv[1]), 30, 1000, time.time, lambda _: None).close()\n"
    )
    for turn in range(3):
        moment = str(time.time() + 1.5)
        arguments = [sys.executable, "-c", script, str(tmp_path / f"feedback-{turn}.sqlite"), moment]
        started = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(6)]
        said = [process.communicate(timeout=60)[1] for process in started]
        assert [process.returncode for process in started] == [0] * 6, said
