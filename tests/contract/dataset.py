"""The fixed documents of the contract tests: log lines of three days with every edge that a field can have."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

from tests.contract.server import Server
from tests.elasticsearch.documents import log_documents

START = datetime(2026, 11, 18, 22, 30, tzinfo=UTC)
STEP = timedelta(minutes=11, seconds=7, microseconds=123457)
COUNT = 300

WORDS = [
    "Model loaded in 3.14 seconds from /var/lib/models/v1.2.3/model.bin",
    "user-agent foo_bar don't e-mail a.b.c@example.org 10.0.0.1",
    "Übergröße naïve СЛОВО 東京 emoji 🎉 done",
    "ERROR error Error: timeout=30s; retry #4 (of 5)",
    "",
    "   spaces   and\ttabs  ",
    "quick brown fox jumps over the lazy dog",
    "brown quick fox",
    "the quick-brown fox",
    "x" * 1500,
]
EXTRAS: list[dict[str, Any]] = [
    {"tags": ["blue", "green"], "labels": {"team": "a", "tier": 1}},
    {"tags": ["green"], "labels": {"team": "b"}},
    {"tags": [], "labels": {}},
    {"tags": None, "flag": True},
    {"flag": False, "big": 9007199254740993},
    {"flag": True, "ratio": 0.25, "big": -5},
    {"ratio": -1.5, "labels": {"team": "A", "tier": 3}},
    {"error": "a b"},
    {"error": None, "prediction": None},
    {"instance": 2147483647, "status": 32767, "confidence": 0.0},
    {"instance": -1, "status": 0, "duration": 0.0},
    {"prediction": [0, 1], "confidence": [0.1, 0.9]},
    {"host": "Node-0"},
    {"host": "node 0"},
    {"host": ""},
    {"confidence": "not a number"},
]


def documents() -> list[tuple[str, str, dict[str, Any]]]:
    """Return every document as (index, id, source); the same ones in every run."""
    made = []
    for number, document in enumerate(log_documents(COUNT, seed=5, start=START, step=STEP)):
        if number % 5 == 0:
            document["message"] = WORDS[number // 5 % len(WORDS)]
        if number % 3 == 0:
            document.update(EXTRAS[number // 3 % len(EXTRAS)])
        if number % 17 == 0:
            for field in ("host", "duration", "message", "trace_id"):
                document.pop(field, None)
        index = "contract-" + document["@timestamp"][:10].replace("-", ".")
        made.append((index, f"doc-{number:04}", document))
    return made


def index_body() -> dict[str, Any]:
    """Return what an index of the data set is created with: our own mappings and settings, no lifecycle."""
    folder = files("index_templates")
    mappings = json.loads((folder / "ml-pipeline.mappings.json").read_text())["template"]["mappings"]
    settings = json.loads((folder / "ml-pipeline.settings.json").read_text())["template"]["settings"]
    return {"mappings": mappings, "settings": settings}


def load(server: Server) -> None:
    """Put the data set into a server: three days, an empty index and one with other types."""
    every = documents()
    for index in sorted({index for index, _, _ in every} | {"contract-empty"}):
        server.ok("PUT", f"/{index}", index_body())
    other = {"mappings": {"properties": {"@timestamp": {"type": "date"}, "status": {"type": "keyword"}}}}
    server.ok("PUT", "/other-types", other)
    lines: list[Any] = []
    for index, name, source in every:
        lines += [{"create": {"_index": index, "_id": name}}, source]
    lines += [{"index": {"_index": "other-types", "_id": "o1"}}, {"@timestamp": "2026-11-19", "status": "fine"}]
    answer = server.ok("POST", "/_bulk?refresh=true", lines)
    assert not answer["errors"], [item for item in answer["items"] if item.popitem()[1]["status"] > 299]


def unload(server: Server) -> None:
    """Delete the data set's indices, as far as they are there."""
    for index in sorted({index for index, _, _ in documents()} | {"contract-empty", "other-types"}):
        server.call("DELETE", f"/{index}")
