"""The console over a million documents: first meaningful paint, and each callback with the store's share.

Prints figures, asserts none.
"""

from __future__ import annotations

import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import Response, sync_playwright

from tests.browser.conftest import running_console
from tests.browser.viewer import ARGUMENTS, Viewer
from tests.contract.dataset import index_body
from tests.elasticsearch.documents import bulk_bodies, log_documents
from tests.elasticsearch.embedded import EmbeddedStore
from tests.optional import need
from tests.stack.running import free_ports

DOCUMENTS = int(os.environ.get("ML_BENCH_DOCUMENTS", "1000000"))
DAYS = 7
ROUNDS = 5
PAGES = {"/": "verdict-sentence", "/logs?from=now-7d": "log-row message", "/dashboard?from=now-7d": "panel-value stat"}


def fill(url: str) -> None:
    """Write the documents over the last days, and wait until they can be searched."""
    start = datetime.now(UTC) - timedelta(days=DAYS)
    documents = log_documents(DOCUMENTS, seed=11, start=start, step=timedelta(days=DAYS) / DOCUMENTS)
    with httpx.Client(base_url=url, timeout=300) as client:
        for day in range(DAYS + 1):
            client.put(f"/ml-pipeline-{start + timedelta(days=day):%Y.%m.%d}", json=index_body())
        for body in bulk_bodies(documents, seed=11, size=2000, prefix="ml-pipeline-"):
            client.post("/_bulk", content=body, headers={"content-type": "application/x-ndjson"}).raise_for_status()
        client.post("/ml-pipeline-*/_refresh").raise_for_status()


def timings(header: str) -> dict[str, float]:
    """Return the milliseconds of a Server-Timing header."""
    return {part.split(";")[0].strip(): float(part.split("=")[1]) for part in header.split(",") if "=" in part}


@pytest.mark.bench
def test_console_over_a_million_documents(tmp_path: Path) -> None:
    """Print for each page the median time to its first content, and every callback's time and the store's share."""
    program = need("chromium", apt="chromium")
    store = EmbeddedStore(tmp_path)
    nowhere = [f"http://127.0.0.1:{port}" for port in free_ports(3)]
    callbacks: dict[str, list[tuple[float, float]]] = {}
    paints: dict[str, list[float]] = {path: [] for path in PAGES}

    def heard(response: Response) -> None:
        asked: Any = response.request.post_data_json if "_dash-update-component" in response.url else None
        if asked:
            told = timings(response.headers.get("server-timing", ""))
            name = str(asked["output"])[:60]
            callbacks.setdefault(name, []).append((told.get("total", 0.0), told.get("store", 0.0)))

    try:
        fill(store.url)
        with (
            running_console(
                tmp_path, CONSOLE_STORE_URL=store.url, CONSOLE_APP_URL=nowhere[0], CONSOLE_SHIPPER_URL=nowhere[1],
                CONSOLE_PROMETHEUS_URL=nowhere[2], CONSOLE_REQUEST_SECONDS="30",
            ) as url,
            sync_playwright() as playwright,
        ):  # fmt: skip
            chromium = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
            for _ in range(ROUNDS):
                for path, name in PAGES.items():
                    page = chromium.new_page()
                    page.on("response", heard)
                    began = time.perf_counter()
                    page.goto(url + path, wait_until="commit")
                    page.wait_for_selector("." + name.replace(" ", " ."), timeout=60_000)
                    paints[path].append(time.perf_counter() - began)
                    Viewer(page).settled()
                    page.close()
            chromium.close()
    finally:
        store.stop()
    print(f"\n{DOCUMENTS:,} documents over {DAYS} days, {psutil.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| page | first content, median of 5 |\n| --- | --- |")
    for path, seconds in paints.items():
        print(f"| {path} | {statistics.median(seconds):.2f} s |")
    print("| callback | median | slowest | of it the store, median |\n| --- | --- | --- | --- |")
    for name, pairs in sorted(callbacks.items()):
        whole, share = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        print(
            f"| {name} | {statistics.median(whole):.0f} ms | {max(whole):.0f} ms | {statistics.median(share):.0f} ms |"
        )
