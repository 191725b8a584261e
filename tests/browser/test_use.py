"""The other pages as a person uses them: from a point to its lines, ranges, themes, keyboard, one prediction."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import TimeoutError as LateError
from playwright.sync_api import expect

from tests.browser.conftest import GUIDES, running_console
from tests.browser.viewer import PATIENCE, Viewer
from tests.stack.running import RunningStack, until

pytestmark = pytest.mark.timeout(900)  # the first one starts the stack, and may train its model


def test_one_click_leads_from_a_point_to_its_log_lines(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """A click on a point of a panel opens the Logs page with the panel's query and the time around the point."""
    httpx.post(
        f"{stack.app}/predict", json=GUIDES, headers={"X-Request-ID": "just-sent"}, timeout=30
    ).raise_for_status()
    just_sent = {"query": {"term": {"request_id": "just-sent"}}, "size": 0}
    until(lambda: stack.search(just_sent)["hits"]["total"]["value"] == 1, "its line is in the store")
    viewer = visit(stack.console + "/?from=now-15m")
    viewer.says("the service answers and logs arrive")
    viewer.settled()
    area = viewer.page.locator(".panel.timeseries .nsewdrag").first
    box = area.bounding_box()
    assert box is not None

    def clicked() -> bool:
        viewer.page.mouse.move(box["x"] + box["width"] - 30, box["y"] + box["height"] / 2)
        viewer.page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2, steps=4)
        viewer.page.wait_for_timeout(200)  # Plotly looks for the point under the pointer a moment later
        viewer.page.mouse.down()
        viewer.page.mouse.up()
        with contextlib.suppress(LateError):
            viewer.page.wait_for_url("**/logs**", timeout=1000)
        return "/logs" in viewer.page.url

    until(clicked, "the click leads to the log lines")
    parameters = httpx.URL(viewer.page.url).params
    assert parameters["q"] == "prediction:*"
    span = {"gte": parameters["from"], "lt": parameters["to"]}
    behind = {"bool": {"filter": [{"exists": {"field": "prediction"}}, {"range": {"@timestamp": span}}]}}
    total = stack.search({"query": behind, "size": 0, "track_total_hits": True})["hits"]["total"]["value"]
    viewer.says(f"{total:,} line", "#logs-total")
    earlier = dt.datetime.fromisoformat(parameters["to"]) - dt.datetime.fromisoformat(parameters["from"])
    assert earlier >= dt.timedelta(minutes=2)


def test_a_range_goes_with_the_viewer_from_page_to_page(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """A chosen range stands in the address and in the picker, and the links to the other pages keep it."""
    viewer = visit(stack.console + "/")
    viewer.says("All is well")
    viewer.page.locator("#range-label").click()
    viewer.page.get_by_role("button", name="6 h").click()
    viewer.says("Last 6 hours", "#range-label")
    viewer.page.get_by_role("link", name="Logs", exact=True).click()
    viewer.page.wait_for_url(re.compile(r"/logs\?from=now-6h"), timeout=PATIENCE)
    viewer.says("one bar is", "#logs-bar")


def test_pause_and_theme(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """Pause says Resume and is announced; the theme changes at once and is remembered."""
    viewer = visit(stack.console + "/pipeline")
    viewer.says("foreign.jsonl")
    viewer.page.get_by_role("button", name="Pause").click()
    viewer.says("Resume", "#pause")
    viewer.page.get_by_role("button", name="Change between dark and light").click()
    expect(viewer.page.locator("html")).to_have_attribute("data-theme", "dark", timeout=PATIENCE)
    viewer.page.reload()
    expect(viewer.page.locator("html")).to_have_attribute("data-theme", "dark", timeout=PATIENCE)


def test_the_keyboard_is_enough(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """With Tab and Enter alone a person gets to the Logs page and opens a line."""
    viewer = visit(stack.console + "/logs?q=status:422")
    expect(viewer.page.locator("#logs-lines summary").first).to_be_visible(timeout=PATIENCE)
    for _ in range(60):
        viewer.page.keyboard.press("Tab")
        if viewer.page.evaluate("() => document.activeElement.matches('#logs-lines summary')"):
            break
    viewer.page.keyboard.press("Enter")
    expect(viewer.page.locator("#logs-lines pre").first).to_be_visible(timeout=PATIENCE)


def test_the_box_of_the_range_closes_as_a_menu_does(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """Escape closes it and leads back to its button, a press elsewhere closes it, and neither changes the range."""
    viewer = visit(stack.console + "/pipeline")
    viewer.says("Verdicts since its start")
    box, button = viewer.page.locator("#react-entry-point .picker-body"), viewer.page.locator("#range-label")
    button.click()
    expect(box).to_be_visible(timeout=PATIENCE)
    viewer.page.keyboard.press("Escape")
    expect(box).to_be_hidden(timeout=PATIENCE)
    expect(button).to_be_focused(timeout=PATIENCE)
    button.click()
    expect(box).to_be_visible(timeout=PATIENCE)
    viewer.page.get_by_role("heading", name="Pipeline").click()
    expect(box).to_be_hidden(timeout=PATIENCE)
    assert "from=" not in viewer.page.url


def test_a_tab_is_named_by_its_page(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """The title says which page it is, and follows a click and the way back."""
    viewer = visit(stack.console + "/logs")
    expect(viewer.page).to_have_title("Logs · ML pipeline console", timeout=PATIENCE)
    viewer.page.get_by_role("link", name="Model", exact=True).click()
    expect(viewer.page).to_have_title("Model · ML pipeline console", timeout=PATIENCE)
    viewer.page.go_back()
    expect(viewer.page).to_have_title("Logs · ML pipeline console", timeout=PATIENCE)


def test_one_prediction_from_form_to_log_line(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """The form's answer has a request_id, and the line with it appears as it reaches the store."""
    viewer = visit(stack.console + "/try")
    viewer.says("has a housing loan")
    viewer.page.get_by_role("button", name="Predict").click()
    viewer.says("status 200", "#try-answer")
    request_id = viewer.page.locator("#try-answer code").first.text_content()
    viewer.says("Found in the store", "#try-line")
    viewer.says(str(request_id), "#try-line")
    viewer.page.get_by_label("job").fill("astronaut")
    viewer.page.get_by_role("button", name="Predict").click()
    viewer.says("refused", "#try-answer")
    viewer.says("job", "#try-answer ul")


def test_an_alert_leads_to_what_to_do(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """The address that an alert carries opens the runbook at the alert's section, accessible and in view."""
    viewer = visit(stack.console + "/runbook#shipperdeadletters", width=380)
    section = viewer.page.locator("#shipperdeadletters")
    expect(section).to_have_class(re.compile("shown"), timeout=PATIENCE)
    expect(section).to_be_in_viewport(timeout=PATIENCE)
    assert viewer.violations() == []
    assert viewer.width_of_content() <= 380


def test_the_status_is_kibanas(stack: RunningStack) -> None:
    """/api/status, as the guide curls it, says `available` where Kibana says it; every answer carries the policy."""
    answer = httpx.get(f"{stack.console}/api/status", timeout=30)
    body = answer.json()
    assert body["status"]["overall"]["level"] == "available"
    assert body["status"]["core"]["elasticsearch"]["level"] == "available"
    policy = answer.headers["content-security-policy"]
    script = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe" not in script
    assert "default-src 'none'" in policy


def test_a_password_a_foreign_name_and_a_foreign_post(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With a password nothing is shown without it; a foreign host name and a post from another site are refused."""
    with running_console(
        tmp_path_factory.mktemp("locked"), CONSOLE_STORE_URL=stack.store, CONSOLE_PASSWORD="correct horse"
    ) as url:
        assert httpx.get(url, timeout=30).status_code == 401
        assert httpx.get(f"{url}/export.ndjson", timeout=30, auth=("console", "wrong")).status_code == 401
        assert httpx.get(url, timeout=30, auth=("console", "correct horse")).status_code == 200
    assert httpx.get(stack.console, timeout=30, headers={"host": "evil.example"}).status_code == 421
    posted = httpx.post(
        f"{stack.console}/_dash-update-component", timeout=30, json={}, headers={"sec-fetch-site": "cross-site"}
    )
    assert posted.status_code == 403
