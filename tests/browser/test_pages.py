"""Every page with data, empty, and with the store away; accessible, and readable on a phone."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from compose.console.timerange import rfc3339
from tests.browser.conftest import answers
from tests.browser.viewer import PATIENCE, Viewer
from tests.stack.running import RunningStack, until

PAGES = {
    "/": "Predictions per Minute",
    "/logs": "lines",
    "/dashboard": "Log Levels Over Time",
    "/model": "The active model",
    "/pipeline": "Indices",
    "/try": "Its log line",
}
WITH_DATA = {
    "/": "the service answers and logs arrive",
    "/logs": "prediction served",
    "/dashboard": "scoring:",
    "/model": "40 labels since the service started",
    "/pipeline": "foreign.jsonl",
    "/try": "has a housing loan",
}
EMPTY = {
    "/": "The service is unwell: it does not answer.",
    "/logs": "No log lines match in this time range.",
    "/dashboard": "No log lines in this time range.",
    "/model": "The model service is away",
    "/pipeline": "No index is there yet.",
    "/try": "is away",
}
STORELESS = {
    "/": "the store does not answer; lines wait in the log files",
    "/logs": "is away",
    "/dashboard": "is away",
    "/model": "is away",
    "/pipeline": "is away",
    "/try": "has a housing loan",
}

# Each page wide and narrow, dark and light: in two looks, whose pairs alternate from page to page.
LOOKS = [
    (path, width, scheme)
    for place, path in enumerate(PAGES)
    for width, scheme in (((1440, "light"), (380, "dark")), ((1440, "dark"), (380, "light")))[place % 2]
]

pytestmark = pytest.mark.timeout(900)  # the first one starts the stack, and may train its model


@pytest.mark.parametrize(("path", "width", "scheme"), LOOKS)
def test_a_page_with_data(
    path: str, width: int, scheme: str, stack: RunningStack, visit: Callable[..., Viewer]
) -> None:
    """With data every page shows it, asks nobody else, is accessible (axe: WCAG 2.1 AA) and fits the window."""
    viewer = visit("about:blank", width=width, scheme=scheme)
    foreign: list[str] = []
    viewer.page.on("request", lambda request: foreign.append(request.url))
    viewer.page.goto(stack.console + path)
    viewer.says(PAGES[path])
    viewer.says(WITH_DATA[path])
    viewer.settled()
    viewer.page.wait_for_load_state("networkidle", timeout=PATIENCE)
    assert foreign
    assert [url for url in foreign if not url.startswith((stack.console, "data:", "blob:"))] == []
    assert viewer.violations() == []
    assert viewer.width_of_content() <= width


@pytest.mark.parametrize("path", PAGES)
def test_a_page_without_data(path: str, empty: str, visit: Callable[..., Viewer]) -> None:
    """On an empty store every page says in words that there is nothing, and what is away."""
    viewer = visit(empty + path)
    viewer.says(EMPTY[path])
    viewer.settled()
    viewer.says(EMPTY[path])


@pytest.mark.parametrize("path", PAGES)
def test_a_page_with_the_store_away(path: str, storeless: str, visit: Callable[..., Viewer]) -> None:
    """With the store away every page stands, says so, and shows what the other services tell."""
    viewer = visit(storeless + path)
    viewer.says(PAGES[path] if path != "/logs" else "No answer")
    viewer.says(STORELESS[path])
    viewer.settled()


def test_a_path_that_is_not_there(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """Another path says that there is no such page."""
    visit(stack.console + "/nowhere").says("There is no page /nowhere.")


def test_the_page_stays_when_the_store_goes(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """A store that dies under an open page leaves the page standing; the verdict is well again once it is back."""
    viewer = visit(stack.console + "/")
    viewer.says("the service answers and logs arrive")
    before = stack.pid("store")
    stack.kill("store")
    viewer.page.get_by_role("button", name="Refresh").click()
    viewer.page.wait_for_timeout(50)
    viewer.says("Model Accuracy")
    until(lambda: stack.pid("store") != before and answers(f"{stack.store}/_cluster/health"), "the store is back")
    viewer.page.wait_for_function(
        "back => { document.getElementById('refresh').click();"
        " const at = document.querySelector('#overview-verdict time');"
        " return at && at.dateTime > back && /is well|All is well/.test(document.getElementById('page').innerText); }",
        arg=rfc3339(time.time()),
        polling=1500,
        timeout=60_000,
    )


def test_a_console_that_is_gone_is_said_and_comes_back(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """While the console does not answer the page says that it is old; once it answers the page asked for is there."""
    viewer = visit(stack.console + "/pipeline")
    viewer.says("Verdicts since its start")
    viewer.page.context.set_offline(True)
    viewer.page.get_by_role("link", name="Model", exact=True).click()
    viewer.says("The console has not answered since", "#connection")
    assert "Verdicts since its start" in viewer.page.inner_text("#page")  # what the browser complains of is this:
    viewer.complaints.clear()
    viewer.page.context.set_offline(False)
    viewer.says("The active model")
    expect(viewer.page.locator("#connection")).to_be_hidden(timeout=PATIENCE)
    viewer.complaints.clear()
