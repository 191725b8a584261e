"""What the user's guide prints, row by row: each text as it stands there, and how it is tried.

`localhost` with the guide's ports is replaced by where the tests' stack listens; nothing else is.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import msgspec

LOOP = """for i in $(seq 1 20); do
  curl -s -X POST http://localhost:5000/predict -H 'Content-Type: application/json' \\
    -d "{\\"age\\": $((RANDOM % 40 + 25)), \\"job\\": \\"management\\", \\"marital\\": \\"single\\",
         \\"education\\": \\"secondary\\", \\"housing\\": \\"yes\\", \\"loan\\": \\"no\\",
         \\"duration\\": $((RANDOM % 300 + 100)), \\"campaign\\": $((RANDOM % 5 + 1))}"; echo
done"""
REQUEST = (
    '{"age": 30, "job": "admin", "marital": "single", "education": "secondary", "housing": "yes", "loan": "no", '
    '"duration": 200, "campaign": 2}'
)
METRICS = (
    "ml_model_accuracy", "ml_model_precision", "ml_model_recall", "ml_model_f1_score", "ml_predictions_total",
    "ml_predictions_by_class_total", "ml_prediction_confidence", "ml_prediction_error_rate",
    "http_request_duration_seconds", "ml_feature_processing_seconds", "ml_model_load_seconds", "ml_app_memory_bytes",
    "ml_input_validation_failures_total", "ml_active_users",
)  # fmt: skip
PROMQL = (
    "ml_model_accuracy",
    "rate(ml_predictions_total[1m]) * 60",
    "ml_prediction_error_rate * 100",
    "rate(http_request_duration_seconds_sum[5m]) / rate(http_request_duration_seconds_count[5m])",
    "histogram_quantile(0.95, http_request_duration_seconds_bucket)",
    "histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m]))",
    "ml_app_memory_bytes / 1024 / 1024",
    "ml_predictions_by_class_total",
    'ml_predictions_by_class_total{prediction_class="0"}',
    'ml_predictions_by_class_total{prediction_class="1"}',
    "rate(ml_prediction_confidence_sum[5m]) / rate(ml_prediction_confidence_count[5m])",
    "rate(ml_predictions_total[1m])",
    "rate(ml_predictions_total[1h])",
)
VOLUME = (
    r"curl -s http://localhost:9090/api/v1/query?query=rate\(ml_predictions_total\[1h\]\) "
    "| jq '.data.result[0].value[1]'"
)
LOG_FIELDS = (
    "@timestamp", "level", "service", "message", "request_id", "prediction", "confidence", "duration", "error",
    "model_type", "endpoint",
)  # fmt: skip
RANGE = (
    '{"query": {"range": {"@timestamp": {"gte": "now-1h"}}}, "sort": [{"@timestamp": {"order": "desc"}}], "size": 10}'
)
ERRORS = '{"query": {"match": {"level": "ERROR"}}}'
DISTRIBUTION = (
    '{"aggs": {"prediction_distribution": {"terms": {"field": "prediction"}}, "avg_confidence": {"avg": '
    '{"field": "confidence"}}}, "size": 0}'
)
SEARCHES = (RANGE, ERRORS, DISTRIBUTION)


class Place(msgspec.Struct, frozen=True):
    """Where the tests' stack listens: the guide's `localhost:PORT` to an address."""

    addresses: dict[int, str]

    def __getitem__(self, port: int) -> str:
        return self.addresses[port]

    def here(self, text: str) -> str:
        """Return the guide's text with its addresses replaced."""
        for port, address in self.addresses.items():
            text = text.replace(f"http://localhost:{port}", address).replace(f"localhost:{port}", address)
        return text

    def shell(self, text: str) -> str:
        """Run the guide's command in bash; return what it prints.

        Raises:
            AssertionError: it failed.
        """
        done = subprocess.run(["bash", "-c", self.here(text)], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def request(self, text: str, body: str | None = None, port: int = 9200) -> httpx.Response:
        """Send `GET /path` or the like; assert that it is answered 2xx."""
        method, _, path = text.partition(" ")
        headers = {"Content-Type": "application/json"} if body else {}
        answer = httpx.request(method, self[port] + path, content=body, headers=headers, timeout=30)
        assert answer.is_success, f"{text}: {answer.status_code} {answer.text[:500]}"
        return answer

    def promql(self, expression: str) -> list[float]:
        """Ask Prometheus; return the values of the instant vector."""
        answer = httpx.get(self[9090] + "/api/v1/query", params={"query": expression}, timeout=30)
        assert answer.is_success, answer.text
        return [float(sample["value"][1]) for sample in answer.json()["data"]["result"]]


def finite(values: list[float]) -> list[float]:
    """Return the values that are numbers."""
    return [value for value in values if not math.isnan(value)]


def hits(answer: httpx.Response) -> list[Mapping[str, Any]]:
    """Return the sources of a search's hits."""
    return [hit["_source"] for hit in answer.json()["hits"]["hits"]]


Check = Callable[[Place], str]


class Row(msgspec.Struct, frozen=True):
    """One thing of the guide.

    Attributes:
        section: the guide's heading.
        text: as printed.
        check: tries it; returns in a few words what was seen, or raises AssertionError.
    """

    section: str
    text: str
    check: Check
