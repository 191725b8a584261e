"""A program that is not our app: its JSON lines become documents, and the dashboards' log panels show them."""

from __future__ import annotations

import datetime as dt
import json
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
from compose.stack.settings import CHECKOUT
from shipper.inspection import lacking
from tests.elasticsearch.embedded import EmbeddedStore
from tests.optional import need
from tests.test_docs import commands

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "own-service.md"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """An embedded store of its own."""
    (tmp_path / "store").mkdir()
    running = EmbeddedStore(tmp_path / "store")
    yield running.url
    running.stop()


def shell(command: str, folder: Path, store: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the page; a shipper ends by itself once nothing grows."""
    surroundings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SHIPPER_URL": store,
        "SHIPPER_PORT": "0",
        "SHIPPER_VOLUME_ID": "own-service",
        "SHIPPER_IDLE_EXIT_SECONDS": "1",
    }
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=surroundings, capture_output=True, text=True, check=False, timeout=240
    )


@pytest.mark.long
def test_the_shipper_is_installed_alone_as_the_page_says(store: str, tmp_path: Path) -> None:
    """The page's three lines in a checkout, with no more packages than it says; then a line is delivered."""
    alone = tmp_path / "alone"
    lines = [command for command in commands(PAGE) if "shipper-venv" in command]
    assert len(lines) == 3
    for line in lines:
        done = shell(line.replace("shipper-venv", str(alone)), CHECKOUT, store)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    listed = subprocess.run([alone / "bin" / "pip", "list", "--format", "json"], capture_output=True, check=True).stdout
    names = {package["name"] for package in json.loads(listed)} - {"pip", "setuptools"}
    locked, every = (
        len(re.findall(r"^[\w.-]+==", (CHECKOUT / f"compose/locks/{room}.txt").read_text(), re.MULTILINE))
        for room in ("shipper", "runtime")
    )
    assert len(names) == locked + 1
    assert f"({locked} packages with checked hashes, not {every})" in PAGE.read_text()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_text('{"@timestamp": "2026-11-26T04:12:08Z", "service": "alone"}\n')
    done = shell(
        f"SHIPPER_PATHS=logs/*.jsonl SHIPPER_STATE_DIR=state SHIPPER_RETENTION_DAYS=36500 {alone}/bin/ml-shipper drain",
        tmp_path,
        store,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    httpx.post(f"{store}/ml-pipeline-*/_refresh")
    assert httpx.get(f"{store}/ml-pipeline-*/_count?q=service:alone").json()["count"] == 1


@pytest.mark.parametrize("language", ["python", "go", "sh"])
def test_the_page_s_other_loggers_write_the_contract_s_names(language: str, tmp_path: Path) -> None:
    """python-json-logger, log/slog, and jq behind a foreign program, as printed: `check` has nothing to say."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text().partition("## Other loggers' names")[2], re.DOTALL)
    (text,) = [block for name, block in blocks if name == language]
    written = tmp_path / "logs" / "other.jsonl"
    written.parent.mkdir()
    if language == "python":
        (tmp_path / "service.py").write_text(text)
        run = [sys.executable, "service.py", str(written)]
    elif language == "go":
        need("go", apt="golang")
        (tmp_path / "main.go").write_text(text)
        run = ["go", "run", "main.go", str(written)]
    else:
        need("jq", apt="jq")
        line = '{"ts": "2026-11-26T04:12:08Z", "severity": "warning", "msg": "order 7"}'
        (tmp_path / "program").write_text(f"#!/bin/sh\necho '{line}'\n")
        (tmp_path / "program").chmod(0o755)
        run = ["bash", "-c", text]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (raw,) = written.read_bytes().splitlines()
    assert lacking(raw) == ""
    fields = json.loads(raw)
    assert fields["message"] == "order 7"
    moment = dt.datetime.fromisoformat(fields["@timestamp"])
    assert moment.utcoffset() == dt.timedelta(0)


def test_the_page_s_program_is_seen_by_every_log_panel(store: str, tmp_path: Path) -> None:
    """The program as printed, our shipper and a store: 50 documents, each once, and the four panels are filled."""
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert program is not None
    assert len(program[1].splitlines()) <= 10
    (tmp_path / "orders.py").write_text(program[1])
    (tmp_path / "logs").mkdir()
    subprocess.run([sys.executable, "orders.py", "logs/orders.jsonl"], cwd=tmp_path, check=True)
    checked, shipped = (shell(command, tmp_path, store) for command in commands(PAGE) if "ml-shipper" in command)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "its first line" not in checked.stdout
    assert shipped.returncode == 0, shipped.stderr
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
