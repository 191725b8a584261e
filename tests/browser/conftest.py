"""A real browser (Debian's Chromium), a real stack with traffic, an empty one, and consoles on them."""

from __future__ import annotations

import contextlib
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
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.viewer import ARGUMENTS, Viewer
from tests.elasticsearch.embedded import EmbeddedStore
from tests.optional import need
from tests.ports import free_port, free_ports
from tests.stack.running import RunningStack, running_stack, until

GUIDES = {
    "age": 30, "job": "admin", "marital": "single", "education": "secondary", "housing": "yes", "loan": "no",
    "duration": 200, "campaign": 2,
}  # fmt: skip
INJECTION = '<script>window.pwned=1</script><img src=x onerror="window.pwned=1"> {{7*7}} %{y}'
PREDICTIONS, REFUSED, FAILED = 120, 6, 3


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    program = need("chromium", apt="chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def running_console(folder: Path, **settings: str) -> Iterator[str]:
    """Run a console of its own; yield its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSOLE_")}
    with (folder / "console.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "compose.console"],
            env={**environment, "CONSOLE_PORT": str(port), **settings},
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: answers(f"{url}/health"), "the console answers")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def answers(url: str) -> bool:
    """Whether something answers 200 there."""
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def send_traffic(stack: RunningStack) -> None:
    """Send predictions, some refused, with labels for a third; and let a foreign writer log failures."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    failures = [
        {"@timestamp": now, "level": "ERROR", "service": "ml-pipeline", "message": f"prediction failed {INJECTION}",
         "error": f"scoring: {INJECTION}", "request_id": f"failed-{number}", "status": 500, "endpoint": "/predict",
         "duration": 0.7}
        for number in range(FAILED)
    ]  # fmt: skip
    with (stack.folder / "logs" / "foreign.jsonl").open("wb") as file:
        file.writelines(msgspec.json.encode(each) + b"\n" for each in failures)
    with httpx.Client(timeout=30) as client:
        for number in range(PREDICTIONS):
            body = GUIDES | {"age": 25 + number % 40, "duration": 100 + 9 * number % 900}
            answer = client.post(f"{stack.app}/predict", json=body).raise_for_status().json()
            if number % 3 == 0:
                label = {"request_id": answer["request_id"], "actual": answer["prediction"] ^ (number % 10 == 0)}
                until(lambda label=label: labelled(client, stack, label), "the prediction can be labelled")  # type: ignore[misc]
        for _ in range(REFUSED):
            assert client.post(f"{stack.app}/predict", json=GUIDES | {"age": "old"}).status_code == 422


def labelled(client: httpx.Client, stack: RunningStack, label: dict[str, Any]) -> bool:
    """Whether a label was taken; a prediction is kept a moment after its answer."""
    return client.post(f"{stack.app}/feedback", json=label).status_code == 200


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack with traffic, whose samples give rates."""
    port = free_port()  # nothing listens there: the figures come from samples
    with running_stack(
        tmp_path_factory.mktemp("browser") / "stack", PROMETHEUS_PORT=str(port), CONSOLE_FIRST_SECONDS="60"
    ) as running:
        send_traffic(running)
        body = {"query": {"exists": {"field": "request_id"}}, "size": 0, "track_total_hits": True}
        until(
            lambda: running.search(body)["hits"]["total"]["value"] >= PREDICTIONS + REFUSED + FAILED,
            "all lines are in the store",
        )
        until(lambda: has_rates(running), "the sampler has samples from before and after the traffic", 90)
        yield running


def has_rates(stack: RunningStack) -> bool:
    """Whether there are two samples of the app, the newest of which holds the traffic."""
    found = httpx.post(
        f"{stack.store}/ml-metrics-*/_search",
        json={"size": 2, "query": {"term": {"job": "app"}}, "sort": [{"@timestamp": "desc"}]},
        timeout=10,
    )
    if found.status_code != 200:
        return False
    documents = [hit["_source"]["samples"] for hit in found.json()["hits"]["hits"]]
    return len(documents) == 2 and documents[0].get("ml_predictions_total", {}).get("", 0) >= PREDICTIONS


@pytest.fixture(scope="package")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console on an empty store, with no other service."""
    folder = tmp_path_factory.mktemp("empty")
    store = EmbeddedStore(folder)
    nowhere = [f"http://127.0.0.1:{port}" for port in free_ports(3)]
    try:
        with running_console(
            folder,
            CONSOLE_STORE_URL=store.url,
            CONSOLE_APP_URL=nowhere[0],
            CONSOLE_SHIPPER_URL=nowhere[1],
            CONSOLE_PROMETHEUS_URL=nowhere[2],
        ) as url:
            yield url
    finally:
        store.stop()


@pytest.fixture(scope="package")
def storeless(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console whose store is away, beside services that answer."""
    nowhere = [f"http://127.0.0.1:{port}" for port in free_ports(2)]
    with running_console(
        tmp_path_factory.mktemp("storeless"),
        CONSOLE_STORE_URL=nowhere[0],
        CONSOLE_PROMETHEUS_URL=nowhere[1],
        CONSOLE_APP_URL=stack.app,
        CONSOLE_SHIPPER_URL=stack.shipper,
    ) as url:
        yield url


class Windows:
    """The browser's windows, one context for each width, theme and zone: what was loaded once is not loaded again."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: dict[tuple[int, str, str], BrowserContext] = {}

    def page(self, width: int, scheme: str, zone: str) -> Page:
        """Return a new page, without what earlier ones left behind."""
        context = self._contexts.get((width, scheme, zone))
        if context is None:
            context = self._browser.new_context(
                viewport={"width": width, "height": 900},
                color_scheme="dark" if scheme == "dark" else "light",
                timezone_id=zone,
                accept_downloads=True,
            )
            context.set_default_timeout(60_000)
            self._contexts[width, scheme, zone] = context
        context.clear_cookies()
        return context.new_page()

    def close(self) -> None:
        """Close all of them."""
        for context in self._contexts.values():
            context.close()


@pytest.fixture(scope="package")
def windows(browser: Browser) -> Iterator[Windows]:
    """The windows that the tests share."""
    held = Windows(browser)
    yield held
    held.close()


@pytest.fixture
def visit(windows: Windows) -> Iterator[Callable[..., Viewer]]:
    """Open a page: `visit(url, width=1440, scheme="light")`; what its console complains of fails the test."""
    opened: list[Viewer] = []

    def go(url: str, *, width: int = 1440, scheme: str = "light", zone: str = "Europe/Berlin") -> Viewer:
        viewer = Viewer(windows.page(width, scheme, zone))
        opened.append(viewer)
        viewer.page.goto(url)
        for _ in range(3):
            # Another program changed the machine's interfaces: Chromium then drops what is under way.
            if not any("ERR_NETWORK_CHANGED" in text for text in viewer.complaints):
                break
            viewer.page.wait_for_load_state("networkidle")
            viewer.complaints.clear()
            viewer.page.reload()
        if url.startswith("http"):
            viewer.live()
        return viewer

    yield go
    for viewer in opened:
        if viewer.page.url.startswith("http"):  # a test may have gone back to the empty page
            viewer.page.evaluate("() => window.localStorage.clear()")
        viewer.page.close()
    assert not [text for viewer in opened for text in viewer.complaints]
