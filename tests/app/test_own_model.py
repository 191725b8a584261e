"""A model of the user's own: what is refused at the start, what is answered, logged and counted, and how it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from app.__main__ import main
from app.model.served_own import ServedOwn
from app.monitoring import drift
from app.own_model import Field, OwnModel, OwnModelError, load
from app.state import ServiceState
from compose.provision.objectives import Objectives
from compose.stack import check
from compose.stack.remote import Addresses, Servers
from tests.app.conftest import ROOT, lines, samples
from tests.app.server import keeps_to_its_document, refused, serving, until

PAGE = ROOT / "docs" / "own-model.md"
REQUEST = {"weight": 2.5, "colour": "red"}
SMALL = """
    from app.own_model import Field, OwnModel

    FIELDS = [
        Field(name="weight", low=0, high=10),
        Field(name="colour", categories=("red", "blue"), description="of the thing"),
        Field(name="depth", low=-1, high=1, required=False),
    ]

    def make():
        return OwnModel(type="rule", version="rule.1", fields=FIELDS, predict_proba=lambda rows: ANSWER)
"""


CRASHES = """
import os

def make():
    os._exit(7 if (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("1", "PASSIVE") else 8)
"""


def example() -> str:
    """The page's module."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module that can be imported; return its APP_MODEL."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        name = f"own_{tmp_path.name.replace('-', '_')}_{len(list(tmp_path.glob('own_*.py')))}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return f"{name}:make"

    return write


def small(answer: str) -> str:
    """A module whose model answers with an expression over `rows`."""
    return SMALL.replace("ANSWER", answer)


WRONG = [
    (
        "import not_there_at_all",
        r"cannot be imported \(ModuleNotFoundError: No module named 'not_there_at_all'\); install .* my_libs not_th",
    ),
    ("raise SystemExit(3)", r"cannot be imported \(SystemExit"),
    ("made = 1", "has no function make"),
    ("def make(): raise ValueError('no weights here')", "raised ValueError: no weights here"),
    ("def make(): return {}", "returned a dict, not an app.own_model.OwnModel"),
    (small("0").replace("rule.1", "my rule"), "version must be 1 to 64 letters"),
    (small("0").replace('name="weight"', 'name="the weight"'), "field 'the weight': a name is"),
    (small("0").replace('name="weight"', 'name="instances"'), "and not `instances`"),
    (small("0").replace('name="weight"', 'name="depth"'), "field depth: the name stands twice"),
    (small("0").replace("low=0, high=10", "low=0"), "field weight: a number needs low and high"),
    (small("0").replace("high=10", "high=float('inf')"), "finite"),
    (small("0").replace('("red", "blue")', '("red", 3)'), "field colour: categories must be texts"),
    (small("0").replace("fields=FIELDS", "fields=[]"), "fields must be a list"),
    (small("0").replace("lambda rows: 0", "0.5"), "predict_proba must be callable"),
    (small("[0] * len(rows)").replace("fields=F", "reference=[[1, 'red', 0]], fields=F"), "1 rows are too few"),
    (
        small("[0] * len(rows)").replace("fields=F", "reference=[[1, 'red']] * 300, fields=F"),
        "rows of 3 values are wanted",
    ),
    (
        small("[0] * len(rows)").replace("fields=F", "reference=[[1, 'green', 0]] * 300, fields=F"),
        "row 0, colour: it must be one",
    ),
    (
        small("[0] * len(rows)").replace("fields=F", "reference=[['x', 'red', 0]] * 300, fields=F"),
        "row 0, weight: it must be a num",
    ),
    (
        small("0").replace("fields=F", "reference=[[1, 'red', 0]] * 300, fields=F"),
        r"shape \(\) for 1 row; \(1,\) or \(1, 2\)",
    ),
    (
        small("np.squeeze(np.array([0.5] * len(rows)))").replace("FIELDS =", "import numpy as np; FIELDS ="),
        "for 1 row;",
    ),
    (small("[0.5]"), "rule rule.1: predict_proba gave shape .1,. for 2 rows"),
    (small("[[0.2, 0.3, 0.5] for _ in rows]"), "one against the rest: predict_proba.rows..:, 2. for class 2"),
    (small("[0.1 / rows[0]]"), "raised TypeError: .* .asked for 1 row made up from the fields.$"),
    (small("[0 if int(row[2] * 1) else 0 for row in rows]"), "ValueError: cannot convert .* the second without depth"),
    (small("[2 - row[0] for row in rows]"), "no probability: below 0"),
    (small("[0.5] * len(rows)").replace("fields=F", "holdout=([[1, 'red', 0]] * 2, [0, 2]), fields=F"), "given: 0, 2"),
    (
        small("[0.5] * len(rows)").replace("fields=F", "holdout=([[1, 'red', 0]] * 2, [0]), fields=F"),
        "one for each row",
    ),
    (
        small("[0] * len(rows)").replace("fields=F", "holdout=([[1, 'red', 0]] * 2, [1, 1]), fields=F"),
        "both must occur",
    ),
    (small("1/0").replace("fields=F", "holdout=([[1, 'red', 0]] * 2, [0, 1]), fields=F"), "raised ZeroDivisionError"),
    (small("0").replace("fields=F", "trained_at=__import__('datetime').datetime(2026, 1, 1), fields=F"), "time zone"),
]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_cannot_be_served_is_refused_with_the_reason(written: Callable[[str], str], text: str, words: str) -> None:
    """Import, function, return value, names, ranges, reference and hold-out rows: each in one sentence."""
    with pytest.raises(OwnModelError, match=words):
        ServedOwn(load(written(text)))


def test_numpy_s_bounds_and_categories_are_taken(written: Callable[[str], str]) -> None:
    """What a fitted pipeline or a table hands over (numpy's numbers, an array of texts, a list) becomes Python's."""
    text = small("[np.float32(0.25)] * len(rows)").replace("FIELDS =", "import numpy as np; FIELDS =")
    text = text.replace("low=0, high=10", "low=np.int64(0), high=np.float32(10)")
    text = text.replace('("red", "blue")', 'np.array(["red", "blue"])')
    own = ServedOwn(load(written(text)))
    weight, colour, _ = own.schema.fields
    assert [type(each) for each in (weight.low, weight.high)] == [int, float]
    assert (colour.categories, [type(each) for each in colour.categories]) == (("red", "blue"), [str, str])
    assert own.probabilities([[1, "red", 0.5]]) == [0.25]


Service = tuple[Flask, ServiceState]
Made = Callable[[str], FlaskClient]


@pytest.fixture
def served(make: Callable[..., Service], written: Callable[[str], str]) -> Made:
    """Serve a model that answers with an expression."""
    return lambda answer: make(model=written(small(answer)))[0].test_client()


def test_it_is_validated_answered_logged_and_counted_like_the_bank_model(served: Made, tmp_path: Path) -> None:
    """0 or 1 with confidence, its fields named in 422, the contract's log line without inputs, the same counts."""
    client = served("[row[0] / 10 for row in rows]")
    answer = client.post("/predict", json={**REQUEST, "weight": 7.5}).get_json()
    assert (answer["prediction"], answer["confidence"]) == (1, 0.75)
    assert (answer["model_type"], answer["model_version"]) == ("rule", "rule.1")
    batch = client.post("/predict", json={"instances": [REQUEST, {**REQUEST, "depth": None, "weight": 0}]}).get_json()
    assert [each["probability"] for each in batch["predictions"]] == [0.25, 0]
    wrong = client.post("/predict", json={"weight": 11, "colour": "green", "age": 3})
    assert wrong.status_code == 422
    assert {each["field"]: each["detail"] for each in wrong.get_json(force=True)["errors"]} == {
        "weight": "must be a number from 0 to 10",
        "colour": "must be one of red, blue",
        "age": "is not a field; known: weight, colour, depth",
    }
    logged = [line for line in lines(tmp_path / "logs") if "prediction" in line]
    assert set().union(*logged) == {
        "@timestamp", "level", "service", "message", "logger", "host", "request_id", "instance", "prediction",
        "confidence", "duration", "model_type", "model_version", "endpoint", "method", "status",
    }  # fmt: skip
    found = samples(client.get("/metrics").text)
    assert found["ml_predictions_total"] == found["ml_prediction_confidence_count"] == 3
    assert found["ml_input_validation_failures_total"] == found["ml_active_users"] == 1
    assert found['ml_model_info{model_type="rule",trained_at="",version="rule.1"}'] == 1


def test_what_it_does_not_bring_is_said_to_be_absent(served: Made) -> None:
    """Without reference and hold-out: drift off, no scores and no series of them, rather than zeros."""
    client = served("[0.9 for _ in rows]")
    client.post("/predict", json=REQUEST)
    model = client.get("/status").get_json()["model"]
    assert model["drift"] == "off: the model has no reference rows"
    assert (model["scores"], model["holdout"], model["trained_at"]) == ({}, {}, None)
    found = samples(client.get("/metrics").text)
    assert not [name for name in found if name.startswith(("ml_feature_psi", "ml_model_accuracy", "ml_model_eval"))]
    assert found["ml_model_loaded"] == 1
    assert found["ml_model_metrics_live"] == 0
    assert client.get("/ready").status_code == 200
    text = client.get("/metrics").text
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=text))
    with Servers(Addresses(), transport=transport) as servers:
        findings = [check._model(servers, Objectives()), check._drift(servers)]
    assert [(each.state, each.what) for each in findings] == [("left out", "model"), ("left out", "feature drift")]


def test_scores_go_live_with_enough_labels(make: Callable[..., Service], written: Callable[[str], str]) -> None:
    """Feedback is taken as for any model, and its scores appear with the least number of labels."""
    client = make(model=written(small("[row[0] / 10 for row in rows]")), live_minimum=3)[0].test_client()
    for weight, actual in ((9, 1), (8, 1), (7, 0), (1, 0)):
        made = client.post("/predict", json={**REQUEST, "weight": weight}).get_json()
        label = {"request_id": made["request_id"], "actual": actual}
        assert client.post("/feedback", json=label).get_json()["status"] == "recorded"
    found = samples(client.get("/metrics").text)
    assert (found["ml_model_metrics_live"], found["ml_model_accuracy"], found["ml_model_recall"]) == (1, 0.75, 1)


def test_the_api_s_document_has_its_fields(served: Made) -> None:
    """Number, category and optional field as JSON schema."""
    instance = served("[0.5] * len(rows)").get("/openapi.json").get_json()["components"]["schemas"]["Instance"]
    assert instance["required"] == ["weight", "colour"]
    assert instance["properties"]["weight"] == {"type": "number", "minimum": 0, "maximum": 10, "description": ""}
    assert instance["properties"]["colour"]["enum"] == ["red", "blue"]
    assert {"type": "null"} in instance["properties"]["depth"]["anyOf"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("[0.5, 0.5]", "predict_proba gave shape (2,) for 1 row; (1,) or (1, 2) is wanted"),
        ("[[0.2, 0.3, 0.5]]", "predict_proba gave shape (1, 3) for 1 row"),
        ("[[0.9, 0.9]]", "two columns that do not add up to 1"),
        ("[1.5]", "no probability: below 0, above 1, or NaN"),
        ("[-0.5]", "no probability"),
        ("[float('nan')]", "no probability"),
        ("['much']", "no array of numbers"),
        ("None", "predict_proba gave"),
        ("int('canary-' + rows[0][1])", ".<lambda>, line 11"),
    ],
)
def test_a_wrong_answer_is_a_500_with_an_error_line(served: Made, tmp_path: Path, answer: str, words: str) -> None:
    """The reason is in the log and not in the answer, nothing that was sent is in either, and the next is served."""
    client = served(f"{answer} if rows[0][0] == 2.5 else [[0.1, 0.9]] * len(rows)")
    failed = client.post("/predict", json=REQUEST)
    assert failed.status_code == 500
    assert failed.content_type == "application/problem+json"
    (line,) = [line for line in lines(tmp_path / "logs") if line["level"] == "ERROR"]
    assert words in line["error"]
    assert words not in failed.text
    if "canary" in answer:
        assert re.search(r": ValueError in own_\w+\.<lambda>, line 11$", line["error"])
    for text in (line["error"], failed.text):
        assert "canary" not in text
        assert "red" not in text.split()
    assert (line["status"], line["model_version"], line["request_id"]) == (
        500, "rule.1", failed.headers["X-Request-ID"]
    )  # fmt: skip
    assert "prediction" not in line
    assert client.post("/predict", json={**REQUEST, "weight": 1}).get_json()["prediction"] == 1
    found = samples(client.get("/metrics").text)
    assert (found["ml_prediction_error_rate"], found["ml_predictions_total"]) == (0.5, 1)


def people(count: int, seed: int, share: float = 0.7) -> list[list[Any]]:
    """Rows of a number, a category and a number that is missing in half of them."""
    chance = np.random.default_rng(seed)
    return [
        [
            float(chance.normal(5, 1)),
            "red" if chance.random() < share else "blue",
            float(chance.random()) if chance.random() < 0.5 else None,
        ]
        for _ in range(count)
    ]


def test_drift_is_measured_against_the_reference_rows() -> None:
    """No alarm in 40 windows like the reference; another mix of categories is named in each, also in the output."""
    fields = [
        Field(name="weight", low=0, high=10),
        Field(name="colour", categories=("red", "blue", "never")),
        Field(name="depth", low=0, high=1, required=False),
    ]
    model = OwnModel(
        type="rule", version="1", fields=fields, reference=people(3000, 1),
        predict_proba=lambda rows: [0.9 if row[1] == "blue" else row[0] / 20 for row in rows],
    )  # fmt: skip
    own = ServedOwn(model)
    assert [feature.name for feature in own.features] == ["weight", "colour", "depth", "prediction"]
    assert sum(own.features[0].counts) == 3000
    assert 1300 < sum(own.features[2].counts) < 1700

    def drifted(seed: int, share: float) -> list[str]:
        counts = np.zeros(sum(len(feature.counts) for feature in own.features))
        rows = [[*row[:2], np.nan if row[2] is None else row[2]] for row in people(600, seed, share)]
        for row, probability in zip(rows, own.probabilities(rows), strict=True):
            for number in own.bins(row, own.prepare(row), probability):
                counts[number] += 1
        return [each.feature for each in drift.measure(own.features, counts, 200) if each.drifted]

    assert sum(bool(drifted(seed, 0.7)) for seed in range(10, 50)) <= 1
    assert {"colour", "prediction"} <= set(drifted(3, 0.4))


def test_the_page_s_model_is_served_by_several_workers(tmp_path: Path) -> None:
    """The module as printed: hold-out scores, drift, feedback over workers, one activation line, commands."""
    (tmp_path / "tumour.py").write_text(example())
    request = {"radius": 14.1, "texture": 19.3, "smoothness": 0.096, "concavity": 0.089}
    own = {"APP_MODEL": "tumour:make", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    with serving(tmp_path / "none", tmp_path, APP_WORKERS="2", **own) as server:
        ids = []
        for _ in range(20):
            answer = httpx.post(f"{server.url}/predict", json=request, timeout=60)
            assert answer.status_code == 200, answer.text
            ids.append(answer.json()["request_id"])
        for request_id in ids:
            label = {"request_id": request_id, "actual": 1}
            assert httpx.post(f"{server.url}/feedback", json=label, timeout=60).status_code == 200
        until(lambda: server.metrics()["ml_feedback_labels"] == 20, "all labels are seen")
        found = [server.metrics() for _ in range(6)]
        assert found[0]["ml_predictions_total"] == 20
        assert 0.85 < found[0]["ml_model_accuracy"] < 1
        assert found[0]['ml_model_eval_score{dataset="holdout",fields="all",metric="roc_auc"}'] > 0.9
        assert {each['ml_feature_psi_samples{feature="radius"}'] for each in found} == {20}
        assert {each['ml_feature_psi_samples{feature="symmetry"}'] for each in found} == {0}
        since = {each['ml_model_activated_timestamp_seconds{version="tumour-1"}'] for each in found}
        assert len(since) == 1, "workers must tell the same moment"
        commands = {
            "train --if-missing": (0, "nothing to train"),
            "train": (1, "is served, and no bundle"),
            "models list": (1, "is served, and no bundle"),
            "models activate x": (1, "is served, and no bundle"),
            "models rollback": (1, "is served, and no bundle"),
            "evaluate --splits 2": (1, "is served, and no bundle"),
        }
        for words, (code, said) in commands.items():
            done = CliRunner().invoke(main, words.split(), env={"APP_MODEL": "tumour:make"})
            assert (done.exit_code, said in done.output) == (code, True), done.output
        evaluate = [sys.executable, "-P", "-m", "app", "evaluate"]
        shown = subprocess.run(
            evaluate, env=server.environment, capture_output=True, text=True, check=True, timeout=120
        )
        assert "logistic_regression tumour-1 on its hold-out" in shown.stdout
        assert server.stop() == 0
    messages = [line["message"] for line in lines(tmp_path / "logs") if line["logger"] == "app.service"]
    assert sorted(messages) == ["model activated", "service start", "service stop"]


def test_its_api_keeps_to_its_own_document(tmp_path: Path) -> None:
    """Schemathesis with the page's fields, one of them optional: no 5xx, no undocumented status, type or body."""
    (tmp_path / "tumour.py").write_text(example())
    own = {"APP_MODEL": "tumour:make", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    with serving(tmp_path / "none", tmp_path, **own) as server:
        instance = httpx.get(f"{server.url}/openapi.json", timeout=60).json()["components"]["schemas"]["Instance"]
        assert set(instance["properties"]) == {"radius", "texture", "smoothness", "concavity", "symmetry"}
        assert keeps_to_its_document(server, tmp_path) > 100
    failed = [line for line in lines(tmp_path / "logs") if line["level"] == "ERROR"]
    assert not failed


def test_serve_is_refused_with_words_when_the_model_cannot_be_made(tmp_path: Path) -> None:
    """A module that is not there, a name that is no path, a crash (with OpenMP's threads limited): 1 and a sentence."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("APP_")},
        "APP_PORT": "5999", "APP_LOG_DIR": str(tmp_path / "logs"), "APP_STATE_DIR": str(tmp_path / "state"),
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
    }  # fmt: skip
    assert "PYTHONPATH must name the folder" in refused({**environment, "APP_MODEL": "not_there:make"})
    assert "APP_MODEL=not_there: package.module:function, a name" in refused({**environment, "APP_MODEL": "not_there"})
    (tmp_path / "crashes.py").write_text(CRASHES)
    assert "ended with 7" in refused({**environment, "APP_MODEL": "crashes:make"})


def test_a_library_beside_the_module_is_found_before_the_environment_s(tmp_path: Path) -> None:
    """What a folder of PYTHONPATH holds wins over .venv's, as the page says of another scikit-learn."""
    (tmp_path / "my_libs").mkdir()
    (tmp_path / "my_libs" / "joblib.py").write_text("VERSION = 'beside'\n")
    text = small("[0.5] * len(rows)").replace("rule.1", "' + joblib.VERSION + '").replace('"', "'")
    (tmp_path / "beside.py").write_text("import joblib\n" + textwrap.dedent(text))
    code = "import sys; from app.own_model import check_apart; from pathlib import Path; "
    code += "print(check_apart('beside:make', Path(sys.argv[1])))"
    path = os.pathsep.join(map(str, (tmp_path, tmp_path / "my_libs", ROOT)))
    run = [sys.executable, "-P", "-c", code, str(tmp_path)]
    done = subprocess.run(run, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "beside", done.stderr
