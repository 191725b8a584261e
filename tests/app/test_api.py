"""The endpoints, in one process: answers, problem details, log lines, counts, privacy, limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.gate import Gate
from app.model.served import ServedBundle
from app.schema import NAMES
from app.state import ServiceState
from tests.app.conftest import GUIDE_REQUEST, NOW, Clock, flush, lines, samples
from tests.rounds import rounds

Service = tuple[Flask, ServiceState]


def metrics(client: FlaskClient) -> dict[str, float]:
    """Scrape."""
    return samples(client.get("/metrics").text)


def test_a_prediction_is_answered_counted_and_logged(client: FlaskClient, tmp_path: Path) -> None:
    """0 or 1 with a confidence; one INFO line with the contract's fields; one count each."""
    answer = client.post("/predict", json=GUIDE_REQUEST)
    body = answer.get_json()
    assert answer.status_code == 200
    assert body["prediction"] in (0, 1)
    assert 0.5 <= body["confidence"] <= 1
    assert answer.headers["X-Request-ID"] == body["request_id"]
    (line,) = [line for line in lines(tmp_path / "logs") if "prediction" in line]
    assert set(line) == {
        "@timestamp", "level", "service", "message", "logger", "host", "request_id", "prediction", "confidence",
        "duration", "model_type", "model_version", "endpoint", "method", "status",
    }  # fmt: skip
    assert line["request_id"] == body["request_id"]
    found = metrics(client)
    assert found["ml_predictions_total"] == 1
    assert found[f'ml_predictions_by_class_total{{prediction_class="{body["prediction"]}"}}'] == 1
    assert found["ml_prediction_confidence_count"] == found["ml_feature_processing_seconds_count"] == 1
    assert found["ml_active_users"] == 1


def test_all_series_of_the_guide_exist_from_the_first_scrape(client: FlaskClient) -> None:
    """Every name of the guide, before any request."""
    found = metrics(client)
    for name in (
        "ml_model_accuracy", "ml_model_precision", "ml_model_recall", "ml_model_f1_score", "ml_predictions_total",
        'ml_predictions_by_class_total{prediction_class="0"}', 'ml_predictions_by_class_total{prediction_class="1"}',
        "ml_prediction_confidence_count", "ml_prediction_error_rate", "ml_feature_processing_seconds_count",
        'http_request_duration_seconds_bucket{endpoint="/predict",le="0.5"}', "ml_model_load_seconds",
        'http_request_duration_seconds_bucket{endpoint="/predict",le="1.0"}', "ml_app_memory_bytes",
        "ml_input_validation_failures_total", "ml_active_users", "ml_model_metrics_live",
        'ml_feedback_total{actual="1",predicted="0"}', 'ml_log_dropped_total{reason="full"}',
    ):  # fmt: skip
        assert name in found, name
    assert found["ml_app_memory_bytes"] > 1e7
    assert found["ml_log_disk_free_bytes"] > 1e6
    (activated,) = [value for name, value in found.items() if name.startswith("ml_model_activated_timestamp_seconds{")]
    assert activated == NOW.timestamp()


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (400, {"data": b'{"age": 30', "content_type": "application/json"}),
        (400, {"data": b"\xff\xfe", "content_type": "application/json"}),
        (400, {"data": b"[" * 100_000, "content_type": "application/json"}),
        (400, {"data": b"", "content_type": "application/json"}),
        (415, {"data": b"age=30", "content_type": "application/x-www-form-urlencoded"}),
        (415, {"data": b"{}"}),
        (413, {"data": b" " * (1024 * 1024 + 1), "content_type": "application/json"}),
        (422, {"json": {**GUIDE_REQUEST, "age": "old"}}),
        (422, {"json": [GUIDE_REQUEST]}),
        (422, {"json": {"instances": []}}),
        (422, {"json": {"instances": [GUIDE_REQUEST] * 1001}}),
        (422, {"json": {"instances": [GUIDE_REQUEST], "more": 1}}),
        (422, {"json": {"instances": [1, GUIDE_REQUEST]}}),
    ],
)
def test_a_refusal_is_a_problem_a_warning_line_and_a_count(
    client: FlaskClient, tmp_path: Path, status: int, arguments: dict[str, Any]
) -> None:
    """RFC 9457, one WARNING line with `error`, counted as a failed validation and not as an error."""
    answer = client.post("/predict", **arguments)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    body = msgspec.json.decode(answer.data)
    assert body["status"] == status
    assert body["request_id"] == answer.headers["X-Request-ID"]
    (line,) = [line for line in lines(tmp_path / "logs") if line["level"] != "INFO"]
    assert (line["level"], line["status"], line["endpoint"]) == ("WARNING", status, "/predict")
    assert line["error"]
    found = metrics(client)
    assert found["ml_input_validation_failures_total"] == 1
    assert found["ml_prediction_error_rate"] == found["ml_predictions_total"] == 0


def test_each_wrong_field_of_a_batch_is_named(client: FlaskClient) -> None:
    """The path says which instance."""
    wrong = {**GUIDE_REQUEST, "job": "astronaut", "loan": None}
    body = msgspec.json.decode(client.post("/predict", json={"instances": [GUIDE_REQUEST, wrong]}).data)
    assert [error["field"] for error in body["errors"]] == ["instances[1].job", "instances[1].loan"]


def test_a_batch_is_one_line_an_instance(client: FlaskClient, tmp_path: Path) -> None:
    """Three answers, three lines with `instance`, and the same answers as one by one."""
    people = [{**GUIDE_REQUEST, "duration": seconds} for seconds in (100, 900, 2000)]
    body = client.post("/predict", json={"instances": people}).get_json()
    single = [client.post("/predict", json=person).get_json()["probability"] for person in people]
    assert [each["probability"] for each in body["predictions"]] == pytest.approx(single, abs=1e-6)
    found = [line for line in lines(tmp_path / "logs") if line.get("request_id") == body["request_id"]]
    assert [line["instance"] for line in found] == [0, 1, 2]
    assert metrics(client)["ml_predictions_total"] == 6


class Failing:
    """A scorer that fails with a text that holds what the client sent."""

    def intervals(self, row: list[float]) -> list[int]:
        """Work."""
        return [0] * len(row)

    def probabilities(self, intervals: list[list[int]]) -> None:
        """Fail."""
        raise RuntimeError("canary-in-the-exception")


def test_a_failing_model_is_a_500_with_an_error_line(service: Service, tmp_path: Path, clock: Clock) -> None:
    """No stack trace to the client; ERROR with `error`; the error rate is the failed share of five minutes."""
    app, state = service
    client = app.test_client()
    client.post("/predict", json=GUIDE_REQUEST)
    assert state.model is not None
    served = state.model.served
    assert isinstance(served, ServedBundle)
    good, served.scorer = served.scorer, Failing()  # type: ignore[assignment]  # a model that is broken
    answer = client.post("/predict", json=GUIDE_REQUEST)
    served.scorer = good
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert "Traceback" not in answer.text
    (line,) = [line for line in lines(tmp_path / "logs") if line["level"] == "ERROR"]
    assert "RuntimeError" in line["error"]
    assert "canary" not in line["error"]
    assert line["request_id"] == answer.headers["X-Request-ID"]
    assert metrics(client)["ml_prediction_error_rate"] == 0.5
    clock.now += 299
    client.post("/predict", json=GUIDE_REQUEST)
    clock.now += 2
    assert metrics(client)["ml_prediction_error_rate"] == 0
    clock.now += 1000
    assert metrics(client)["ml_prediction_error_rate"] == 0


def test_request_id_and_trace_are_taken_when_valid(client: FlaskClient, tmp_path: Path) -> None:
    """A valid X-Request-ID is kept, another is replaced; the trace id goes into the line."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-ID": "order-7", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert client.post("/predict", json=GUIDE_REQUEST, headers=headers).get_json()["request_id"] == "order-7"
    assert lines(tmp_path / "logs")[-1]["trace_id"] == trace
    bad = {"X-Request-ID": "a b@c", "traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}
    assert client.post("/predict", json=GUIDE_REQUEST, headers=bad).get_json()["request_id"] != "a b@c"
    assert "trace_id" not in lines(tmp_path / "logs")[-1]


def test_the_looks_of_a_monitor_are_not_logged(client: FlaskClient, tmp_path: Path) -> None:
    """/health, /ready, /metrics and /status answer and leave no line, but are timed."""
    before = len(lines(tmp_path / "logs"))
    for path in ("/health", "/ready", "/metrics", "/status"):
        assert client.get(path).status_code == 200
    assert len(lines(tmp_path / "logs")) == before
    assert metrics(client)['http_request_duration_seconds_count{endpoint="/health"}'] == 1


@pytest.mark.parametrize("obstacle", ["file", "absent"])
def test_a_log_folder_that_cannot_be_written_costs_lines_not_requests(
    make: Callable[..., Service], tmp_path: Path, obstacle: str
) -> None:
    """Requests are served, and the drops are counted and shown."""
    folder = tmp_path / "in-the-way"
    folder.write_text("")
    client = make(log_dir=folder if obstacle == "file" else folder / "below")[0].test_client()
    for _ in range(3):
        assert client.post("/predict", json=GUIDE_REQUEST).status_code == 200
    flush()
    found = metrics(client)
    assert found['ml_log_dropped_total{reason="unwritable"}'] >= 3
    status = client.get("/status").get_json()
    assert status["log"]["dropped"] >= 3
    assert status["log"]["last_error"]
    assert client.get("/ready").get_json()["log"] == "failing"


def test_no_model_is_not_ready(make: Callable[..., Service], tmp_path: Path) -> None:
    """Alive, but not ready; a prediction is 503."""
    client = make(model_dir=tmp_path / "none")[0].test_client()
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 503
    assert client.post("/predict", json=GUIDE_REQUEST).status_code == 503
    assert "ml_model_accuracy" not in metrics(client)


def test_an_api_key_is_asked_for(make: Callable[..., Service], tmp_path: Path) -> None:
    """Without it 401; with it, by either header, 200; health needs none; the key is nowhere in the log."""
    key = tmp_path / "key"
    key.write_text("correct-horse-battery\n")
    client = make(api_key_file=key)[0].test_client()
    assert client.post("/predict", json=GUIDE_REQUEST).status_code == 401
    wrong = client.post("/predict", json=GUIDE_REQUEST, headers={"X-API-Key": "wrong-key-ünïcode"})
    assert wrong.status_code == 401
    for headers in ({"X-API-Key": "correct-horse-battery"}, {"Authorization": "Bearer correct-horse-battery"}):
        assert client.post("/predict", json=GUIDE_REQUEST, headers=headers).status_code == 200
    assert client.get("/health").status_code == 200
    assert all("wrong-key" not in str(line) and "horse" not in str(line) for line in lines(tmp_path / "logs"))


def test_clients_behind_a_proxy_are_told_apart(make: Callable[..., Service]) -> None:
    """The trusted hop's entry counts; what a client writes before it does not."""
    client = make(trusted_hops=1)[0].test_client()
    for forwarded in ("1.1.1.1", "6.6.6.6, 1.1.1.1", "2.2.2.2"):
        client.post("/predict", json=GUIDE_REQUEST, headers={"X-Forwarded-For": forwarded})
    assert metrics(client)["ml_active_users"] == 2
    client.post("/predict", json=GUIDE_REQUEST, headers={"X-User-ID": "ann"})
    assert metrics(client)["ml_active_users"] == 3


def test_too_many_waiting_are_told_to_come_back(make: Callable[..., Service]) -> None:
    """One runs, one waits, the third is 503 with Retry-After and counted."""
    app, state = make(threads=1, queue=1, queue_seconds=30)
    assert state.model is not None
    served = state.model.served
    assert isinstance(served, ServedBundle)
    scorer, entered, go_on = served.scorer, threading.Event(), threading.Event()

    class Slow(Failing):
        def probabilities(self, intervals: list[list[int]]) -> Any:
            entered.set()
            go_on.wait(20)
            return scorer.probabilities(intervals)

    served.scorer = Slow()  # type: ignore[assignment]  # a model that takes its time
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(app.test_client().post("/predict", json=GUIDE_REQUEST).status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    deadline = time.monotonic() + 10
    places = app.extensions["gate"]._places
    while places._value and time.monotonic() < deadline:
        time.sleep(0.01)
    answer = app.test_client().post("/predict", json=GUIDE_REQUEST)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert sorted([*statuses, answer.status_code]) == [200, 200, 503]
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert metrics(app.test_client())["ml_overload_total"] == 1


def test_the_gate_gives_up_a_place_after_a_while() -> None:
    """A wait that took too long is refused and leaves no place taken."""
    gate = Gate(1, 1, 0.01)
    assert gate.enter()
    assert not gate.enter()
    gate.leave()
    assert gate.enter()


def test_no_canary_is_found_anywhere(client: FlaskClient, tmp_path: Path) -> None:
    """Values in every field, header, path, query and broken body are in no log line, metric or status."""
    canary = "canary7391"
    for name in (*NAMES, canary):
        client.post("/predict", json={**GUIDE_REQUEST, name: canary})
        client.post("/predict", json={"instances": [{**GUIDE_REQUEST, name: canary}]})
    client.post("/predict", json={**GUIDE_REQUEST, "age": 7391007391})
    for body in (f'{{"age": "{canary}', canary, f'"{canary}"', f"{{{canary}: 1}}", f"[{canary}]"):
        client.post("/predict", data=body, content_type="application/json")
        client.post("/feedback", data=body, content_type="application/json")
    client.post("/predict", data=canary, content_type=f"text/{canary}")
    headers = {"X-User-ID": canary, "X-API-Key": canary, "Authorization": f"Bearer {canary}", "User-Agent": canary,
               "Referer": canary, "Cookie": f"a={canary}", "X-Forwarded-For": canary, "traceparent": canary,
               "X-Request-ID": f"{canary}@x"}  # fmt: skip
    client.post(f"/predict?q={canary}", json=GUIDE_REQUEST, headers=headers)
    client.get(f"/{canary}", headers=headers)
    client.open("/predict", method=canary.upper())
    client.post("/feedback", json={"request_id": canary, "actual": canary, canary: canary})
    client.post("/feedback", json={"request_id": canary, "actual": 1})
    flush()
    logged = b"".join(path.read_bytes() for path in (tmp_path / "logs").iterdir())
    assert logged.count(b"\n") > 30
    for text in (logged.decode(), client.get("/metrics").text, client.get("/status").text):
        assert canary not in text.lower()
        assert "7391007391" not in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)
NEARLY = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)).map(lambda more: {**GUIDE_REQUEST, **more})
BODY = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: msgspec.json.encode(value, enc_hook=str)),
    NEARLY.map(msgspec.json.encode),
    st.lists(NEARLY | JSON, max_size=3).map(lambda items: msgspec.json.encode({"instances": items})),
    st.lists(JSON, max_size=3).map(lambda items: msgspec.json.encode({"feedback": items})),
)


def fuzz(client: FlaskClient, body: bytes) -> None:
    """Send one body to both endpoints; nothing but 200 and 4xx may come back."""
    for path in ("/predict", "/feedback"):
        answer = client.post(path, data=body, content_type="application/json")
        assert answer.status_code in (200, 400, 404, 413, 422), answer.text
        assert answer.is_json or answer.content_type == "application/problem+json"


@settings(max_examples=rounds(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODY)
def test_no_body_makes_a_5xx(client: FlaskClient, body: bytes) -> None:
    """Hundreds of made-up bodies."""
    fuzz(client, body)


@pytest.mark.soak
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODY)
def test_ten_thousand_bodies_make_no_5xx(client: FlaskClient, body: bytes) -> None:
    """10,000 made-up bodies."""
    fuzz(client, body)
