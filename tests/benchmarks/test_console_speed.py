"""The console over a million documents: first meaningful paint, live page, and each callback with the store's share.

Writes its tables into docs/console.md; asserts no figure.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Page, Response, sync_playwright

from tests.benchmarks import report
from tests.benchmarks.console_data import DAYS, fill_lines, fill_samples
from tests.browser.conftest import running_console
from tests.browser.viewer import ARGUMENTS, Viewer
from tests.elasticsearch.embedded import EmbeddedStore
from tests.optional import need
from tests.ports import free_ports

DOCUMENTS = int(os.environ.get("ML_BENCH_DOCUMENTS", "1000000"))
ROUNDS = int(os.environ.get("ML_BENCH_ROUNDS", "5"))
TRIALS = 3
PAGE = report.PAGE.parent / "console.md"
# page → what is its first meaningful content
PAGES = {
    "/": ".verdict-sentence",
    "/?from=now-7d": ".verdict-sentence",
    "/logs": ".log-row .message",
    "/logs?from=now-7d": ".log-row .message",
    "/logs?from=now-7d&q=refused AND status:422": ".log-row .message",
    "/dashboard?from=now-7d": ".panel-value.stat",
    "/model?from=now-7d": "[id$=model-drift] .card",
    "/pipeline?from=now-7d": "[id$=pipeline-indices] table",
}
Times = dict[tuple[str, str], list[tuple[float, float]]]  # (page, callback) → whole and store's milliseconds


def timings(header: str) -> dict[str, float]:
    """Return the milliseconds of a Server-Timing header."""
    return {part.split(";")[0].strip(): float(part.split("=")[1]) for part in header.split(",") if "=" in part}


def callback_name(output: str) -> str:
    """Return the first element that a callback fills: `logs-lines`, `panel`."""
    first = output.strip(".").split("...")[0].rpartition(".")[0]
    found = re.search(r'"key":"([^"]+)"', first) or re.search(r'"type":"([^"]+)"', first)
    return found[1] if found else first


class Opened(NamedTuple):
    """One opening of a page.

    Attributes:
        document: milliseconds that the console took for the document.
        content: seconds until the page's own data were on the screen.
        live: seconds until the page that its scripts drew had taken over, with all its answers.
    """

    document: float
    content: float
    live: float


def tables(paints: dict[str, list[Opened]], callbacks: Times, samples: int) -> str:
    """Return both tables and what they were made on."""
    made_on = (
        f"{report.machine()}. {DOCUMENTS:,} log lines over {DAYS} days in the embedded store and {samples:,} documents"
        f" of samples; {ROUNDS} rounds in Chromium on the same machine, the first with nothing in memory."
    )
    lines = [
        made_on,
        "",
        "| page | document, median | first content, median | slowest | live, median | slowest |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for path, opened in paints.items():
        documents, contents, lives = zip(*opened, strict=True)
        lines.append(
            f"| `{path}` | {statistics.median(documents):.0f} ms | {statistics.median(contents):.2f} s |"
            f" {max(contents):.2f} s | {statistics.median(lives):.2f} s | {max(lives):.2f} s |"
        )
    lines += [
        "",
        "| page | callback at Refresh | median | slowest | of the median the store's |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (path, name), pairs in callbacks.items():
        whole, share = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        lines.append(
            f"| `{path}` | {name} | {statistics.median(whole):.0f} ms | {max(whole):.0f} ms |"
            f" {statistics.median(share):.0f} ms |"
        )
    return "\n".join(lines)


def first_content(page: Page, url: str, selector: str) -> Opened:
    """Open a page, wait until it is complete; return when its first content was there, drawn, and when it was live.

    Raises:
        playwright.sync_api.Error: it was not in half a minute.
    """
    began = time.perf_counter()
    answer = page.goto(url, wait_until="commit")
    page.wait_for_selector(selector, timeout=30_000)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    content = time.perf_counter() - began
    viewer = Viewer(page)
    viewer.live()
    live = time.perf_counter() - began
    viewer.settled()
    page.wait_for_load_state("networkidle")
    document = timings(answer.headers.get("server-timing", "")) if answer else {}
    return Opened(document.get("total", 0.0), content, live)


def refresh(page: Page) -> None:
    """Press Refresh and wait for all answers: a new page's callbacks are given what its document holds already."""
    with page.expect_response(lambda response: "_dash-update-component" in response.url):
        page.locator("#refresh").click()
    Viewer(page).settled()
    page.wait_for_load_state("networkidle")


@pytest.mark.bench
@pytest.mark.timeout(3600)  # filling the store takes most of it
def test_console_over_a_million_documents(tmp_path: Path) -> None:
    """Write for each page the median time to its first content, and every callback's time and the store's share."""
    program = need("chromium", apt="chromium")
    store = EmbeddedStore(tmp_path)
    nowhere = [f"http://127.0.0.1:{port}" for port in free_ports(3)]
    callbacks: Times = {}
    paints: dict[str, list[Opened]] = {path: [] for path in PAGES}
    path, is_refresh = "", False

    def heard(response: Response) -> None:
        asked: Any = response.request.post_data_json if "_dash-update-component" in response.url else None
        if asked and is_refresh:
            told = timings(response.headers.get("server-timing", ""))
            key = (path, callback_name(str(asked["output"])))
            callbacks.setdefault(key, []).append((told.get("total", 0.0), told.get("store", 0.0)))

    try:
        fill_lines(store.url, DOCUMENTS)
        samples = fill_samples(store.url, time.time())
        with (
            running_console(
                tmp_path, CONSOLE_STORE_URL=store.url, CONSOLE_APP_URL=nowhere[0], CONSOLE_SHIPPER_URL=nowhere[1],
                CONSOLE_PROMETHEUS_URL=nowhere[2], CONSOLE_REQUEST_SECONDS="30",
            ) as url,
            sync_playwright() as playwright,
        ):  # fmt: skip
            chromium = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
            for _ in range(ROUNDS):
                for path, selector in PAGES.items():
                    for trial in range(TRIALS):
                        page = chromium.new_page()
                        page.on("response", heard)
                        is_refresh = False
                        try:
                            opened = first_content(page, url + path, selector)
                            is_refresh = True
                            refresh(page)
                            paints[path].append(opened)
                            break
                        except (
                            TimeoutError
                        ):  # Chromium drops what is under way when an interface of the machine changes
                            if trial == TRIALS - 1:
                                raise
                        finally:
                            page.close()
            chromium.close()
    finally:
        store.stop()
    report.write("speed", tables(paints, callbacks, samples), PAGE)
