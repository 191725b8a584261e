"""Log documents of contract 1, made up but alike in distribution, with the ids that the shipper gives."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

ENDPOINT = "/predict"
REFUSALS = (
    "age: expected an integer between 17 and 120, got {number}",
    "job: unknown value 'astronaut {number}'; known are admin., blue-collar, management",
    "body is not JSON: unexpected character at offset {number}",
)
FAILURES = ("model file could not be read: errno {number}", "deadline of {number} ms exceeded while scoring")


def log_documents(count: int, *, seed: int, start: datetime, step: timedelta) -> Iterator[dict[str, Any]]:
    """Yield `count` log lines as objects, one every `step` from `start` on.

    Args:
        count: how many.
        seed: of the random numbers; the same seed gives the same documents.
        start: instant of the first, with a zone.
        step: time between two.
    """
    chance = random.Random(seed)
    for number in range(count):
        yield _document(chance, start + step * number)


def _document(chance: random.Random, at: datetime) -> dict[str, Any]:
    kind = chance.random()
    document: dict[str, Any] = {
        "@timestamp": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "level": "INFO",
        "service": "ml-pipeline",
        "message": "",
        "request_id": f"{chance.getrandbits(128):032x}",
        "duration": round(chance.lognormvariate(-4.5, 0.6), 6),
        "model_type": "gradient_boosting",
        "model_version": f"2026.11.{chance.randrange(1, 4)}",
        "endpoint": ENDPOINT,
        "method": "POST",
        "status": 200,
        "logger": "app.api.predict",
        "host": f"node-{chance.randrange(3)}",
        "trace_id": f"{chance.getrandbits(128):032x}",
    }
    if kind < 0.93:
        confidence = round(0.5 + chance.betavariate(2, 1.2) / 2, 6)
        document["prediction"] = int(chance.random() < 0.12)
        document["confidence"] = confidence
        document["message"] = f"prediction served: class {document['prediction']} with confidence {confidence:.3f}"
        if chance.random() < 0.1:
            document["instance"] = chance.randrange(50)
    elif kind < 0.98:
        reason = chance.choice(REFUSALS).format(number=chance.randrange(1000))
        document.update(level="WARNING", message=f"request refused: {reason}", error=reason)
        document["status"] = chance.choice((400, 413, 415, 422))
    else:
        reason = chance.choice(FAILURES).format(number=chance.randrange(1000))
        document.update(level="ERROR", message=f"request failed: {reason}", error=reason, status=500)
    return document


def document_id(number: int, seed: int) -> str:
    """Return an id in the shipper's form: generation, zero-padded offset, hash."""
    generation = f"{random.Random(seed).getrandbits(64):016x}"
    offset = number * 420
    mixed = (offset * 0x9E3779B97F4A7C15 + seed) & 0xFFFFFFFFFFFFFFFF
    return f"{generation}-{offset:012d}-{mixed:016x}"


def index_of(document: dict[str, Any], prefix: str = "ml-pipeline-") -> str:
    """Return the daily index of a document: the UTC date of its own @timestamp."""
    return prefix + str(document["@timestamp"])[:10].replace("-", ".")


def bulk_bodies(
    documents: Iterator[dict[str, Any]], *, seed: int, size: int, prefix: str = "ml-pipeline-"
) -> Iterator[bytes]:
    """Yield bodies of `_bulk` with `size` creations each, as the shipper sends them."""
    lines: list[str] = []
    for number, document in enumerate(documents):
        action = {"create": {"_index": index_of(document, prefix), "_id": document_id(number, seed)}}
        lines += [json.dumps(action), json.dumps(document, separators=(",", ":"))]
        if len(lines) == 2 * size:
            yield ("\n".join(lines) + "\n").encode()
            lines = []
    if lines:
        yield ("\n".join(lines) + "\n").encode()
