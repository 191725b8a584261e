"""The Logs page as a person uses it: search, levels, zoom, address, scrolling, following, export, hostile lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import msgspec
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FAILED, GUIDES, INJECTION, PREDICTIONS, REFUSED
from tests.browser.viewer import PATIENCE, Viewer
from tests.stack.running import RunningStack, until

pytestmark = pytest.mark.timeout(900)  # the first one starts the stack, and may train its model
LINES = "#logs-lines > li"


def refused(stack: RunningStack) -> int:
    """How many requests were refused so far; the form's own test may have added one."""
    count = int(stack.search({"query": {"term": {"status": 422}}, "size": 0})["hits"]["total"]["value"])
    assert count >= REFUSED
    return count


def shows_all_refused(viewer: Viewer, stack: RunningStack) -> None:
    """Wait until the page counts what the store counts; another test's line may still be on its way."""
    total = viewer.page.locator("#logs-total").first
    until(lambda: total.inner_text().strip() == f"{refused(stack)} lines", "the page counts all refused requests", 120)


def test_a_search_and_a_level_filter_and_the_address_keeps_them(
    stack: RunningStack, visit: Callable[..., Viewer]
) -> None:
    """A search and a level chip narrow the lines; the address alone brings the same view back."""
    viewer = visit(stack.console + "/logs")
    viewer.says("prediction served", "#logs-lines")
    page = viewer.page
    page.get_by_label("Search the log lines").fill("status: 422")
    page.get_by_role("button", name="Search").click()
    shows_all_refused(viewer, stack)
    expect(page.locator(LINES)).to_have_count(refused(stack), timeout=PATIENCE)
    page.get_by_role("button", name="ERROR", exact=False).first.click()
    viewer.says("No lines", "#logs-total")
    page.get_by_label("Search the log lines").fill("")
    page.get_by_role("button", name="Search").click()
    viewer.says(f"{FAILED} lines", "#logs-total")
    assert "level=ERROR" in page.url
    again = visit(page.url)
    again.says(f"{FAILED} lines", "#logs-total")
    expect(again.page.locator(LINES)).to_have_count(FAILED, timeout=PATIENCE)
    assert again.page.get_by_role("button", name="ERROR", exact=False).first.get_attribute("aria-pressed") == "true"
    again.page.go_back()


def test_a_wrong_query_is_said_in_words(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """A query that cannot be read ends in the store's own words, and the page stands."""
    viewer = visit(stack.console + "/logs?q=level:(")
    viewer.says("says:", "#logs-notice")
    visit(stack.console + "/logs?from=tomorrow").says("'tomorrow' is no time", "#logs-notice")
    visit(stack.console + "/logs?from=now-90d").says("longer than 31 days", "#logs-notice")


def test_dragging_over_the_histogram_zooms(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """A drag over the bars puts the range that was dragged over into the address, in UTC, and the page follows."""
    viewer = visit(stack.console + "/logs")
    viewer.says("prediction served", "#logs-lines")
    area = viewer.page.locator(".nsewdrag").first
    box = area.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    viewer.page.mouse.move(box["x"] + box["width"] * 0.25, middle)
    viewer.page.mouse.down()
    viewer.page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=8)
    viewer.page.mouse.up()
    viewer.page.wait_for_url(re.compile(r"from=.+&to=.+"), timeout=PATIENCE)
    found = httpx.URL(viewer.page.url).params
    start, end = (datetime.fromisoformat(found[name]) for name in ("from", "to"))
    assert 800 < (end - start).total_seconds() < 1000  # a quarter of the hour
    viewer.says("No log lines match in this time range.", "#logs-notice")  # the traffic is newer


def test_scrolling_loads_older_lines_without_end_or_doubles(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """Scrolling down loads page after page by search_after until every line is there once."""
    viewer = visit(stack.console + "/logs?q=_exists_:prediction")
    viewer.says("prediction served", "#logs-lines")
    viewer.page.wait_for_function(
        f"() => {{ window.scrollTo(0, document.body.scrollHeight);"
        f" return document.querySelectorAll('{LINES}').length >= {PREDICTIONS}; }}",
        polling=300,
        timeout=PATIENCE,
    )
    ids = viewer.page.eval_on_selector_all(
        f"{LINES} pre", "nodes => nodes.map(node => JSON.parse(node.textContent)['_id'])"
    )
    assert len(ids) == len(set(ids)) >= PREDICTIONS


def test_following_shows_a_new_line(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """With Follow on, the line of a request that is sent now appears on top by itself."""
    viewer = visit(stack.console + "/logs")
    viewer.says("prediction served", "#logs-lines")
    viewer.page.get_by_role("button", name="Follow").click()
    viewer.says("Following", "#logs-tail")
    sent = httpx.post(f"{stack.app}/predict", json=GUIDES, headers={"X-Request-ID": "followed-one"}, timeout=30)
    assert sent.status_code == 200
    viewer.says("followed-one", "#logs-lines")


def test_following_shows_a_line_that_comes_late(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """A line older than those on the page, as another worker's file brings it, is shown; an open line stays open."""
    viewer = visit(stack.console + "/logs?tail=1")
    viewer.says("prediction served", "#logs-lines")
    opened = viewer.page.locator(LINES).filter(has_text="prediction served").first
    request = opened.locator(".request").text_content() or ""
    opened.locator("summary").click()
    newest = viewer.page.locator(f"{LINES} time").first.get_attribute("datetime") or ""
    at = datetime.fromisoformat(newest) - timedelta(milliseconds=1)
    late = {"@timestamp": at.isoformat(), "level": "INFO", "message": "from another worker", "request_id": "late-one"}
    with (stack.folder / "logs" / "late.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(late) + b"\n")
    viewer.says("late-one", "#logs-lines")
    same = viewer.page.locator(LINES).filter(has=viewer.page.locator(".request", has_text=request)).first
    expect(same.locator("details")).to_have_attribute("open", "", timeout=PATIENCE)


def test_the_hits_are_exported(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """The export holds exactly the hits of the view, as NDJSON and as CSV that no spreadsheet takes for a formula."""
    viewer = visit(stack.console + "/logs?q=status:422")
    shows_all_refused(viewer, stack)
    with viewer.page.expect_download() as download:
        viewer.page.get_by_role("link", name="NDJSON").click()
    documents = [msgspec.json.decode(line) for line in download.value.path().read_bytes().splitlines()]
    assert len(documents) == refused(stack)
    assert all(document["status"] == 422 for document in documents)
    with viewer.page.expect_download() as download:
        viewer.page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert [row["request_id"] for row in rows] == [document["request_id"] for document in documents]


@pytest.mark.parametrize("path", ["/logs?level=ERROR", "/dashboard"])
def test_a_hostile_line_stays_text(path: str, stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """Markup in message and error is shown as it is written and never runs, in the lines, the JSON and the tables."""
    viewer = visit(stack.console + path)
    viewer.says(INJECTION)
    for summary in viewer.page.locator("summary.log-row").all():
        summary.click()
    viewer.settled()
    assert viewer.page.evaluate("() => window.pwned") is None
    assert viewer.page.locator("#page script, #page img").count() == 0


def test_times_are_the_viewers_with_utc_on_hover(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """A line's time is in the viewer's zone, its title in UTC: Kathmandu is 5:45 ahead."""
    viewer = visit(stack.console + "/logs?q=status:422", zone="Asia/Kathmandu")
    shows_all_refused(viewer, stack)
    first = viewer.page.locator(f"{LINES} time").first
    title = first.get_attribute("title")
    assert title is not None
    assert title.endswith(" UTC")
    shown = datetime.strptime((first.text_content() or "")[-12:-4], "%H:%M:%S")  # noqa: DTZ007 - a wall clock
    told = datetime.strptime(title[11:19], "%H:%M:%S")  # noqa: DTZ007 - a wall clock
    assert (shown - told).seconds == (5 * 60 + 45) * 60
