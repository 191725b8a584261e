"""The main job, end to end, with the real processes: from a prediction to a searchable log."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from compose.stack import population, state
from tests.stack.running import RunningStack, running_stack, until

PEOPLE = population.load()
PARTS = ["store", "app", "shipper", "console"]
GUIDE_REQUEST = {
    "age": 30,
    "job": "admin",
    "marital": "single",
    "education": "secondary",
    "housing": "yes",
    "loan": "no",
    "duration": 200,
    "campaign": 2,
}


def predict(stack: RunningStack, body: dict[str, Any]) -> dict[str, Any]:
    """Send one request; return the answer's body."""
    answer = httpx.post(f"{stack.app}/predict", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = msgspec.json.decode(answer.content)
    return result


def test_every_prediction_is_one_document_through_kills(tmp_path: Path) -> None:
    """200 requests, SIGKILL of the shipper in the middle and of the store once: 200 documents, each once."""
    with running_stack(tmp_path / "stack") as stack:
        chance = random.Random(1)
        sent = []
        for number in range(200):
            if number == 80:
                stack.kill("shipper")
            if number == 120:
                stack.kill("store")
            sent.append(predict(stack, population.customer(PEOPLE, chance))["request_id"])
            time.sleep(0.01)
        until(lambda: len(stack.predictions()) >= 200, "200 documents are in the store")
        time.sleep(2)  # a document sent twice would come now
        assert sorted(stack.predictions()) == sorted(sent)
        until(
            lambda: (
                {
                    part["name"]: (part["state"], part["restarts"])
                    for part in msgspec.json.decode(stack.command("status", "--json").stdout)
                }
                == {"store": ("ready", 1), "app": ("ready", 0), "shipper": ("ready", 1), "console": ("ready", 0)}
            ),
            "store and shipper run again, each after one restart",
        )
        assert stack.interrupt() == 0
        assert "stopped" in stack.said()


def test_the_guides_loop_is_searchable_at_once(stack: RunningStack) -> None:
    """Each of 20 predictions answers 0 or 1 with a confidence and is found, as itself, in today's index."""
    for number in range(20):
        body = {**GUIDE_REQUEST, "age": 25 + number, "duration": 100 + 10 * number, "campaign": 1 + number % 5}
        answer = predict(stack, body)
        assert answer["prediction"] in (0, 1)
        assert 0.5 <= answer["confidence"] <= 1
        query = {"query": {"term": {"request_id": answer["request_id"]}}}
        until(lambda query=query: stack.search(query)["hits"]["total"]["value"] == 1, "the document is there")  # type: ignore[misc]
        hit = stack.search(query)["hits"]["hits"][0]
        today = dt.datetime.now(dt.UTC)
        assert hit["_index"] in {f"ml-pipeline-{day:%Y.%m.%d}" for day in (today, today - dt.timedelta(minutes=1))}
        source = hit["_source"]
        assert (source["level"], source["service"]) == ("INFO", "ml-pipeline")
        assert source["prediction"] == answer["prediction"]
        assert source["confidence"] == pytest.approx(answer["confidence"], abs=1e-6)


def test_the_guides_searches_give_the_right_answers(stack: RunningStack) -> None:
    """Health, indices, the last hour newest first, errors, the distribution with the average confidence."""
    answers = [predict(stack, GUIDE_REQUEST) for _ in range(3)]
    until(lambda: {answer["request_id"] for answer in answers} <= set(stack.predictions()), "all three are there")

    assert httpx.get(f"{stack.store}/_cluster/health").json()["status"] in ("green", "yellow")
    assert "ml-pipeline-" in httpx.get(f"{stack.store}/_cat/indices?v").text

    recent = stack.search(
        {"query": {"range": {"@timestamp": {"gte": "now-1h"}}}, "sort": [{"@timestamp": {"order": "desc"}}], "size": 10}
    )
    stamps = [hit["_source"]["@timestamp"] for hit in recent["hits"]["hits"]]
    assert stamps == sorted(stamps, reverse=True)
    assert answers[-1]["request_id"] in {hit["_source"].get("request_id") for hit in recent["hits"]["hits"]}

    assert stack.search({"query": {"match": {"level": "ERROR"}}})["hits"]["total"]["value"] == 0
    by_uri = httpx.get(f"{stack.store}/ml-pipeline-*/_search?q=level:INFO&sort=@timestamp:desc&size=5").json()
    assert len(by_uri["hits"]["hits"]) == 5
    assert (
        httpx.get(f"{stack.store}/ml-pipeline-*/_search?q=level:ERROR&sort=@timestamp:desc&size=5").json()["hits"][
            "hits"
        ]
        == []
    )

    found = stack.search(
        {
            "aggs": {
                "prediction_distribution": {"terms": {"field": "prediction"}},
                "avg_confidence": {"avg": {"field": "confidence"}},
            },
            "size": 0,
        }
    )
    everything = stack.search({"query": {"exists": {"field": "prediction"}}, "size": 10_000})["hits"]["hits"]
    by_class = {
        bucket["key"]: bucket["doc_count"] for bucket in found["aggregations"]["prediction_distribution"]["buckets"]
    }
    counted = [hit["_source"]["prediction"] for hit in everything]
    assert by_class == {key: counted.count(key) for key in set(counted)}
    mean = sum(hit["_source"]["confidence"] for hit in everything) / len(everything)
    assert found["aggregations"]["avg_confidence"]["value"] == pytest.approx(mean, abs=1e-4)


def test_a_refused_request_is_a_warning_line(stack: RunningStack) -> None:
    """A faulty request is refused with its field named, and is one WARNING document with an error."""
    before = stack.search({"query": {"match": {"level": "WARNING"}}})["hits"]["total"]["value"]
    answer = httpx.post(f"{stack.app}/predict", json={**GUIDE_REQUEST, "age": "old"})
    assert answer.status_code == 422
    assert "age" in answer.text
    until(
        lambda: stack.search({"query": {"match": {"level": "WARNING"}}})["hits"]["total"]["value"] == before + 1,
        "the refusal is logged",
    )
    newest = stack.search({"query": {"match": {"level": "WARNING"}}, "sort": [{"@timestamp": "desc"}], "size": 1})
    source = newest["hits"]["hits"][0]["_source"]
    assert source["status"] == 422
    assert source["error"]
    assert "old" not in msgspec.json.encode(source).decode()


def test_traffic_is_answered_as_it_should_be(stack: RunningStack) -> None:
    """`traffic` ends with 0 when valid requests were served and faulty ones refused, and says how many."""
    done = stack.command("traffic", "--rate", "50", "--count", "100", "--errors", "20%", "--seed", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 sent" in done.stdout
    assert "refused as they should be" in done.stdout


def test_the_service_tells_how_it_is(stack: RunningStack) -> None:
    """/health, /ready, /status and /metrics of app and shipper answer."""
    for url in (f"{stack.app}/health", f"{stack.app}/ready", f"{stack.shipper}/health", f"{stack.shipper}/ready"):
        assert httpx.get(url).status_code == 200, url
    assert httpx.get(f"{stack.app}/status").json()["model"]["version"]
    metrics = httpx.get(f"{stack.app}/metrics").text
    for name in ("ml_model_accuracy", "ml_predictions_total", "ml_prediction_error_rate", "ml_app_memory_bytes"):
        assert f"\n{name} " in metrics
    assert "ml_shipper_" in httpx.get(f"{stack.shipper}/metrics").text


def test_status_is_a_table_and_json(stack: RunningStack) -> None:
    """`status` shows each part as ready, for people and for programs, and ends with 0."""
    table = stack.command("status")
    assert table.returncode == 0, table.stdout
    assert table.stdout.count("ready") == len(PARTS)
    rows = table.stdout.splitlines()[1 : len(PARTS) + 1]
    assert [row.split()[0] for row in rows] == PARTS, "in a pipe one line a part, nothing cut"
    assert "…" not in table.stdout
    parts = msgspec.json.decode(stack.command("status", "--json").stdout)
    assert [part["name"] for part in parts] == PARTS
    assert all(part["pid"] and part["up_seconds"] > 0 for part in parts)


def test_a_second_up_is_refused_with_words(stack: RunningStack) -> None:
    """Two stacks in one folder: the second says what to do."""
    done = stack.command("up")
    assert done.returncode == 1
    assert "is running already" in done.stderr


@pytest.mark.long
def test_down_stops_it_and_the_next_up_has_everything(tmp_path: Path) -> None:
    """A first start trains; `down` from another terminal ends `up` with 0; a second start finds model and documents."""
    with running_stack(tmp_path / "stack", untrained=True) as stack:
        assert "is active, after" in stack.said()
        first = predict(stack, GUIDE_REQUEST)["request_id"]
        done = stack.command("down")
        assert done.returncode == 0, done.stderr
        assert stack.process is not None
        assert stack.process.wait(timeout=60) == 0
        assert stack.command("status").returncode == 1
        stack.up()
        assert "there is a model already" in stack.said()
        second = predict(stack, GUIDE_REQUEST)["request_id"]
        until(lambda: sorted(stack.predictions()) == sorted([first, second]), "both documents are there")


def test_predictions_go_on_while_the_store_is_away(stack: RunningStack) -> None:
    """With the store stopped for a while requests are served and their lines arrive once it is back."""
    store = psutil.Process(stack.pid("store"))
    store.suspend()  # neither answers nor dies: the worst kind of away
    try:
        sent = [predict(stack, GUIDE_REQUEST)["request_id"] for _ in range(20)]
    finally:
        store.resume()
    until(lambda: set(sent) <= set(stack.predictions()), "all lines arrived")
    found = stack.predictions()
    assert len(found) == len(set(found)), "each once"


def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    """After SIGKILL of the supervisor the next `down` finds and stops what it had started."""
    with running_stack(tmp_path / "stack") as stack:
        path = stack.folder / "run" / "state.json"
        known = state.read(path)
        assert known is not None
        assert stack.process is not None
        os.kill(stack.process.pid, signal.SIGKILL)
        stack.process.wait()
        assert sorted(name for name, _process in state.orphans(path)) == sorted(PARTS)
        shown = stack.command("status")
        assert shown.returncode == 1, "nobody would start again what dies"
        assert "its `up` was killed" in shown.stdout
        done = stack.command("down")
        assert done.returncode == 0, done.stderr
        assert not any(state.alive(part.pid, part.created) for part in known.services.values())


def test_a_taken_port_is_named_before_anything_starts(stack: RunningStack, tmp_path: Path) -> None:
    """A port of another process stops `up` with the port, its owner and the setting."""
    environment = {**stack.environment, "STACK_DIR": str(tmp_path / "other")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "compose.stack", "up"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for part in ("app", "store", "shipper"):
        assert f"(pid {stack.pid(part)})" in done.stderr
    assert "APP_PORT=" in done.stderr
    proposed = done.stderr.rpartition("a second stack beside it: ")[2]
    assert all(f"{part}_PORT=" in proposed for part in ("APP", "STORE", "SHIPPER", "CONSOLE")), done.stderr
