"""The Pipeline page over real dead letters and over days: a real shipper, refused lines, a week of samples."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.benchmarks.console_data import fill_samples
from tests.browser.conftest import answers, running_console
from tests.browser.viewer import Viewer
from tests.elasticsearch.embedded import EmbeddedStore
from tests.ports import free_ports
from tests.stack.running import until

pytestmark = pytest.mark.timeout(600)
REFUSED = 3
# charts of the page: title of its box → first and last moment and number of points of its longest series
DRAWN = """() => Object.fromEntries(Array.from(document.querySelectorAll('.js-plotly-plot')).map((plot) => {
  const longest = plot.data.reduce((a, b) => (b.customdata || []).length > a.length ? b.customdata : a, []);
  const moments = longest.map((each) => each[0]);
  const title = plot.closest('.card').querySelector('h2').innerText;
  return [title, [moments[0], moments[moments.length - 1], moments.length]];
}))"""


def lines() -> list[dict[str, Any]]:
    """Return good lines with some between them whose level is no keyword: the mapping refuses those."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    good = {"@timestamp": now, "level": "INFO", "service": "foreign", "message": "as it should be"}
    bad = {**good, "level": {"name": "INFO", "<b>number</b>": 20}}
    return [good, bad, good, bad, bad, good]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console beside a real shipper with dead letters and a store with a week of samples."""
    folder: Path = tmp_path_factory.mktemp("refused")
    for name in ("store", "logs", "state", "console"):
        (folder / name).mkdir()
    port, *nowhere = free_ports(3)
    store = EmbeddedStore(folder / "store")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")} | {
        "SHIPPER_PATHS": str(folder / "logs" / "*.jsonl"),
        "SHIPPER_URL": store.url,
        "SHIPPER_STATE_DIR": str(folder / "state"),
        "SHIPPER_PORT": str(port),
    }
    shipper = subprocess.Popen([sys.executable, "-P", "-m", "shipper", "run"], env=environment, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        (folder / "logs" / "foreign.jsonl").write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in lines()))
        until(lambda: answers(f"{address}/status"), "the shipper answers")
        until(lambda: httpx.get(f"{address}/status").json()["dead_letters"] == REFUSED, "the lines are refused")
        fill_samples(store.url, time.time())
        with running_console(
            folder / "console",
            CONSOLE_STORE_URL=store.url,
            CONSOLE_SHIPPER_URL=address,
            CONSOLE_DEAD_LETTERS=str(folder / "state"),
            CONSOLE_APP_URL=f"http://127.0.0.1:{nowhere[0]}",
            CONSOLE_PROMETHEUS_URL=f"http://127.0.0.1:{nowhere[1]}",
        ) as url:
            yield url
    finally:
        shipper.terminate()
        shipper.wait(timeout=60)
        store.stop()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (380, "light")])
def test_dead_letters(width: int, scheme: str, console: str, visit: Callable[..., Viewer]) -> None:
    """Each refused line has its place, index, the store's own reason and what to do; the page says how to replay."""
    viewer = visit(console + "/pipeline", width=width, scheme=scheme)
    viewer.says("document_parsing_exception", "#pipeline-letters")
    rows = viewer.page.locator("#pipeline-letters tbody tr").all_inner_texts()
    assert len(rows) == REFUSED
    size = len(msgspec.json.encode(lines()[0])) + 1
    assert sum(f"foreign.jsonl at {size}" in row for row in rows) == 1
    for row in rows:
        assert time.strftime("ml-pipeline-%Y.%m", time.gmtime()) in row
        assert "level" in row
        assert "change the mapping, or the writer, then replay" in row
    viewer.says("ml-shipper replay", "#pipeline-letters")
    viewer.says("3", "#pipeline-top")
    viewer.settled()
    assert viewer.violations() == []
    assert viewer.width_of_content() <= width


@pytest.mark.parametrize("days", [3, 7])
def test_days(days: int, console: str, visit: Callable[..., Viewer]) -> None:
    """Over days the panels reach from the beginning of the range to now, by samples that are further apart."""
    viewer = visit(f"{console}/pipeline?from=now-{days}d")
    viewer.says(f"Last {days} days", "#range-label")
    viewer.settled()
    titles = ("Shipper Lag", "Bytes not Acknowledged", "Shipper Verdicts", "Shipper Retries")
    until(lambda: viewer.page.evaluate(DRAWN).keys() >= set(titles), "the panels are drawn")
    found, now = viewer.page.evaluate(DRAWN), time.time()
    for title in titles:
        first, last, points = found[title]
        assert first < now - days * 86_400 + 7200, title
        assert last > now - 7200, title
        assert points > 100, title
    visit(f"{console}/?from=now-{days}d").says("figures: samples in the store")
