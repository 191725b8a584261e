"""The recorded run: 20 minutes of the real stack with an error burst in minutes 10 to 14; recorder.py makes it anew."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).parent / "recorded"
START = 1_795_510_800  # 2026-11-24T09:00:00Z: any instant will do
STEP = 15  # seconds between two scrapes
MINUTES = 20
END = START + MINUTES * 60
INDEX = "ml-pipeline-2026.11.24"


@functools.cache
def openmetrics() -> str:
    """Return every sample of app, shipper, store, Prometheus and Alertmanager as OpenMetrics text."""
    return gzip.decompress((FOLDER / "metrics.om.gz").read_bytes()).decode()


@functools.cache
def log_lines() -> list[dict[str, Any]]:
    """Return the documents that the shipper delivered in those 20 minutes, oldest first."""
    lines = gzip.decompress((FOLDER / "lines.jsonl.gz").read_bytes()).splitlines()
    return [msgspec.json.decode(line) for line in lines]
