"""Logs, Dashboard and Pipeline in a browser: a console on a real Elasticsearch shows what one on our store shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from playwright.sync_api import expect

from compose.console.timerange import rfc3339
from tests.browser.conftest import running_console
from tests.browser.viewer import PATIENCE, Viewer
from tests.console import stores
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(900)  # Elasticsearch may have to be fetched and started
LINES = "#logs-lines > li"
# what is drawn, not how: names and values of each series of each chart of the page
DRAWN = """() => Array.from(document.querySelectorAll('.js-plotly-plot')).map(
  (plot) => plot.data.map((series) => [series.name, Array.from(series.x || []), Array.from(series.y || [])]))"""


class Pair(msgspec.Struct, frozen=True):
    """Two consoles over the same lines: on a real Elasticsearch and on the embedded store."""

    consoles: tuple[str, str]
    filled: stores.Filled

    def address(self, path: str, *, query: str = "") -> tuple[str, str]:
        """Return a page's address at both, over all lines."""
        span = f"?from={rfc3339(self.filled.start)}&to={rfc3339(self.filled.end + 1)}{query}"
        first, second = (console + path + span for console in self.consoles)
        return first, second


@pytest.fixture(scope="module")
def pair(real_elasticsearch: str, embedded_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both consoles; no other service is there."""
    nowhere = [f"http://127.0.0.1:{port}" for port in free_ports(3)]
    settings = {
        "CONSOLE_APP_URL": nowhere[0],
        "CONSOLE_SHIPPER_URL": nowhere[1],
        "CONSOLE_PROMETHEUS_URL": nowhere[2],
        "CONSOLE_REQUEST_SECONDS": "30",
    }
    for filled in stores.filled(real_elasticsearch, embedded_store):
        with (
            running_console(tmp_path_factory.mktemp("real"), CONSOLE_STORE_URL=real_elasticsearch, **settings) as first,
            running_console(tmp_path_factory.mktemp("own"), CONSOLE_STORE_URL=embedded_store, **settings) as second,
        ):
            yield Pair((first, second), filled)


def drawn(viewer: Viewer) -> Any:
    """Return what the page's charts hold, once they are there."""
    viewer.settled()
    return viewer.page.evaluate(DRAWN)


def test_logs(pair: Pair, visit: Callable[..., Viewer]) -> None:
    """Total, chips and histogram are the same; scrolling brings every hit once; the export is the same."""
    seen = []
    for url in pair.address("/logs", query="&q=refused"):
        viewer = visit(url)
        wanted = sum("refused" in line["message"] for line in pair.filled.documents)
        viewer.says(f"{wanted} lines", "#logs-total")
        viewer.page.wait_for_function(
            f"() => {{ window.scrollTo(0, document.body.scrollHeight);"
            f" return document.querySelectorAll('{LINES}').length >= {wanted}; }}",
            polling=300,
            timeout=PATIENCE,
        )
        expect(viewer.page.locator(LINES)).to_have_count(wanted, timeout=PATIENCE)
        bars = drawn(viewer)
        assert sum(sum(values) for _, _, values in bars[0]) == wanted
        with viewer.page.expect_download() as download:
            viewer.page.get_by_role("link", name="NDJSON").click()
        seen.append(
            (
                bars,
                viewer.page.locator(".chips .count").all_inner_texts(),
                sorted(download.value.path().read_bytes().splitlines()),
                sorted(viewer.page.locator(f"{LINES} summary").all_inner_texts()),
            )
        )
    assert seen[0] == seen[1]


def test_dashboard(pair: Pair, visit: Callable[..., Viewer]) -> None:
    """The four visualisations and the error list show the same charts, figures and rows."""
    seen = []
    for url in pair.address("/dashboard"):
        viewer = visit(url)
        served = sum("error" not in line for line in pair.filled.documents)
        viewer.says(f"{served:,}", "#dashboard-success")
        expect(viewer.page.locator("#dashboard-list > li")).to_have_count(20, timeout=PATIENCE)
        texts = [viewer.page.locator(name).inner_text() for name in ("#dashboard-errors", "#dashboard-list")]
        seen.append((drawn(viewer), texts, viewer.page.locator("#dashboard-success").inner_text()))
        assert len(viewer.page.locator("#dashboard-errors tbody tr").all()) > 10
    assert seen[0] == seen[1]


def test_pipeline_and_overview(pair: Pair, visit: Callable[..., Viewer]) -> None:
    """The Pipeline page lists the same days and documents; the Overview names the store and draws from its samples."""
    rows, charts = [], []
    for console, kind in zip(pair.consoles, ("Elasticsearch", "embedded store"), strict=True):
        viewer = visit(console + "/pipeline")
        viewer.says(datetime.now(UTC).strftime("ml-metrics-%Y.%m.%d"), "#pipeline-indices")
        cells = [
            re.split(r"\s*\t\s*", row) for row in viewer.page.locator("#pipeline-indices tbody tr").all_inner_texts()
        ]
        rows.append([(cell[0], cell[2], cell[-1]) for cell in cells])  # sizes and ages are each server's own
        viewer = visit(f"{console}/?from={rfc3339(pair.filled.now - 900)}&to={rfc3339(pair.filled.now)}")
        viewer.says("figures: samples in the store")
        viewer.says(f"{kind} ", "#overview-below")
        viewer.says("Model accuracy is below", "#overview-below")
        charts.append(drawn(viewer))
    assert rows[0] == rows[1]
    assert charts[0] == charts[1]
    assert sum(bool(plot) for plot in charts[0]) >= 4
