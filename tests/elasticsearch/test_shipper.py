"""The real shipper on the real Elasticsearch: template and policy are there, each line is a document once."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from tests.elasticsearch import installation
from tests.elasticsearch.documents import index_of, log_documents
from tests.optional import lacking
from tests.ports import free_port

COUNT = 500


@pytest.fixture
def empty(real_client: Elasticsearch) -> Iterator[Elasticsearch]:
    """A server without any of our indices, templates and policies."""
    if importlib.util.find_spec("shipper.__main__") is None:
        lacking("the shipper", "it cannot be run yet")
    installation.uninstall(real_client)
    yield real_client
    installation.uninstall(real_client)


def write_log(folder: Path) -> list[dict[str, object]]:
    """Write a log file of two days up to an hour ago; return its documents."""
    start = datetime.now(UTC) - timedelta(hours=25)
    documents = list(log_documents(COUNT, seed=3, start=start, step=timedelta(days=1) / COUNT))
    folder.mkdir()
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    (folder / "app-20261124T000000-7-1.jsonl").write_text(lines)
    return documents


def drain(url: str, logs: Path, state: Path, well: int = 0) -> None:
    """Run `shipper drain` as a user does; everything must be acknowledged, or with `well` 1 something a dead letter."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")}
    given = {
        "SHIPPER_PATHS": str(logs / "*.jsonl"),
        "SHIPPER_URL": url,
        "SHIPPER_STATE_DIR": str(state),
        "SHIPPER_SETUP": "install",
        "SHIPPER_VOLUME_ID": "0f0e7c1e-7c53-4d0e-9d38-2f3f6f6f3a11",
        "SHIPPER_PORT": str(free_port()),
    }
    done = subprocess.run(
        [sys.executable, "-m", "shipper", "drain"],
        env=inherited | given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == well, done.stderr[-4000:]


def test_each_line_is_a_document_once(empty: Elasticsearch, real_elasticsearch: str, tmp_path: Path) -> None:
    """Lines arrive in their day's index under our policy; sent again after a lost checkpoint, none doubles."""
    documents = write_log(tmp_path / "logs")
    drain(real_elasticsearch, tmp_path / "logs", tmp_path / "state")
    empty.indices.refresh(index="ml-pipeline-*")
    hits = empty.search(index="ml-pipeline-*", size=COUNT + 1)["hits"]["hits"]
    placed = sorted((hit["_index"], hit["_source"]["request_id"]) for hit in hits)
    assert placed == sorted((index_of(document), str(document["request_id"])) for document in documents)
    for index in {index for index, _ in placed}:
        assert empty.ilm.explain_lifecycle(index=index)["indices"][index]["policy"] == "ml-pipeline"
    before = {
        hit["_id"]: hit["_version"]
        for hit in empty.search(index="ml-pipeline-*", size=999, version=True)["hits"]["hits"]
    }
    drain(real_elasticsearch, tmp_path / "logs", tmp_path / "another-state")
    empty.indices.refresh(index="ml-pipeline-*")
    after = {
        hit["_id"]: hit["_version"]
        for hit in empty.search(index="ml-pipeline-*", size=999, version=True)["hits"]["hits"]
    }
    # Versions tell a document that was refused with 409 from one that was written over.
    assert after == before
    assert set(after.values()) == {1}


def test_what_the_shipper_installs_is_what_the_files_say(
    empty: Elasticsearch, real_elasticsearch: str, tmp_path: Path
) -> None:
    """After set-up the server holds every template and the policy, as the files of index_templates/ have them."""
    write_log(tmp_path / "logs")
    drain(real_elasticsearch, tmp_path / "logs", tmp_path / "state")
    held = {
        each["name"]: each["index_template"]
        for each in empty.indices.get_index_template(name="ml-pipeline*")["index_templates"]
    }
    assert set(held) == {"ml-pipeline", "ml-pipeline-undated"}
    assert held["ml-pipeline"]["composed_of"] == ["ml-pipeline-settings", "ml-pipeline-mappings"]
    policy = empty.ilm.get_lifecycle(name="ml-pipeline")["ml-pipeline"]["policy"]
    assert set(policy["phases"]) == {"hot", "warm", "delete"}


def nested(depth: int) -> dict[str, object]:
    """An object within an object, so deep."""
    made: dict[str, object] = {"deep": 1}
    for _ in range(depth):
        made = {"deep": made}
    return made


# What another program may put beside the fields of ours → whether Elasticsearch can hold it.
ODD: dict[str, tuple[dict[str, object], bool]] = {
    "a long string": ({"stack_trace": "at line\n" * 4000}, True),
    "a long error": ({"error": "x" * 40_000}, True),
    "a wrong type": ({"status": "OK", "confidence": "high", "duration": "0.1 s"}, True),
    "an array of arrays": ({"values": [[1, 2], [3]]}, True),
    "a null and nothing": ({"error": None, "tags": [], "more": {}}, True),
    "a name with a dot": ({"a.b": 1, "a": {"c": 2}}, True),
    "ten levels": (nested(10), True),
    "an object for a number": ({"duration": {"seconds": 1}}, False),
    "an object for a keyword": ({"request_id": {"id": 1}}, False),
    "thirty levels": (nested(30), False),
    "an empty name": ({"": 1}, False),
    "a name of dots": ({"..": 1}, False),
    # Beyond the limit of fields no new one is mapped, and nothing is refused for it: the last one.
    "many fields": ({f"field_{number}": number for number in range(900)}, True),
}


def test_an_odd_line_costs_at_most_itself(empty: Elasticsearch, real_elasticsearch: str, tmp_path: Path) -> None:
    """Each odd document is held, or is a dead letter with its reason; the lines around it arrive, and nothing waits."""
    (tmp_path / "logs").mkdir()
    stamp = datetime.now(UTC) - timedelta(hours=1)
    lines = []
    for number, (name, (fields, _)) in enumerate(ODD.items()):
        at = {"@timestamp": (stamp + timedelta(seconds=number)).isoformat(), "level": "INFO"}
        lines += [at | {"message": name} | fields, at | {"message": f"after {name}"}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "logs" / "other.jsonl").write_text(text)
    drain(real_elasticsearch, tmp_path / "logs", tmp_path / "state", well=1)
    empty.indices.refresh(index="ml-pipeline-*")
    hits = empty.search(index="ml-pipeline-*", size=200)["hits"]["hits"]
    arrived = {hit["_source"]["message"] for hit in hits}
    letters = [
        json.loads(line)
        for path in (tmp_path / "state").rglob("dead-letters-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert {f"after {name}" for name in ODD} <= arrived
    assert {name for name, (_, held) in ODD.items() if held} == arrived & set(ODD)
    assert len(letters) == sum(not held for _, held in ODD.values())
    assert all(letter["status"] == 400 and letter["reason"] for letter in letters)
