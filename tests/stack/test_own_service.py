"""A program that is not our app: its JSON lines become documents, and the dashboards' log panels show them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from compose.console import failed_requests, level_bars
from compose.console.pages import dashboard
from compose.console.settings import ConsoleSettings
from compose.console.store import Store
from compose.console.timerange import Zone, parse_range
from compose.provision.visualisations import LOG_LEVELS, REQUEST_DURATION, SUCCESS_RATE, search_body
from tests.elasticsearch.embedded import EmbeddedStore

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "own-service.md"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """An embedded store of its own."""
    (tmp_path / "store").mkdir()
    running = EmbeddedStore(tmp_path / "store")
    yield running.url
    running.stop()


def test_the_page_s_program_is_seen_by_every_log_panel(store: str, tmp_path: Path) -> None:
    """The program as printed, our shipper and a store: 50 documents, each once, and the four panels are filled."""
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert program is not None
    assert len(program[1].splitlines()) <= 10
    (tmp_path / "orders.py").write_text(program[1])
    (tmp_path / "logs").mkdir()
    subprocess.run([sys.executable, "orders.py", "logs/orders.jsonl"], cwd=tmp_path, check=True)
    shipped = subprocess.run(
        [sys.executable, "-P", "-m", "shipper", "drain", "--timeout", "120"],
        cwd=tmp_path,
        env={**os.environ, "SHIPPER_PATHS": "logs/*.jsonl", "SHIPPER_STATE_DIR": "state", "SHIPPER_URL": store},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shipped.returncode == 0, shipped.stderr
    assert "50 acknowledged" in shipped.stdout
    httpx.post(f"{store}/ml-pipeline-*/_refresh")
    assert httpx.get(f"{store}/ml-pipeline-*/_count?q=service:orders").json()["count"] == 50

    def asked(panel: object) -> dict[str, object]:
        body = search_body(panel, gte="now-1h", lte="now+1h")  # type: ignore[arg-type]  # one of the four below
        answer = httpx.post(f"{store}/ml-pipeline-*/_search", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    spread, zone = parse_range({}, time.time()), Zone("UTC")
    bars = level_bars.figure(asked(LOG_LEVELS), spread, zone, 60, height=230)["data"]
    assert {bar["name"]: sum(bar["y"]) for bar in bars} == {"INFO": 45, "ERROR": 5}
    means = dashboard.duration_figure(asked(REQUEST_DURATION), spread, zone)["data"][0]["y"]
    assert any(mean is not None and mean > 0 for mean in means)
    console = Store(ConsoleSettings(store_url=store))
    table = str(dashboard.errors_table(failed_requests.newest(console, spread), zone))
    console.close()
    assert table.count("out of stock") == 5
    assert asked(SUCCESS_RATE)["hits"]["total"]["value"] == 45  # type: ignore[index]  # as Elasticsearch answers
