"""What a document shows before, and without, its scripts: real content, accessible, hostile lines as text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import INJECTION
from tests.browser.test_pages import WITH_DATA
from tests.browser.viewer import PATIENCE, Viewer
from tests.stack.running import RunningStack

pytestmark = pytest.mark.timeout(900)  # the first one starts the stack, and may train its model
SAID = WITH_DATA | {"/logs": INJECTION}


class Held:
    """The scripts that a page asks for, kept from it until they are released."""

    def __init__(self, page: Page) -> None:
        self.held: list[Route] = []
        self.is_open = False
        page.route("**/*.js*", self._asked)

    def _asked(self, route: Route) -> None:
        if self.is_open:
            route.continue_()
        else:
            self.held.append(route)

    def release(self) -> None:
        """Let all of them through, and those that follow."""
        self.is_open = True
        for route in self.held:
            route.continue_()


@pytest.mark.parametrize(
    ("path", "width"), [(path, (1440, 380)[place % 2]) for place, path in enumerate(SAID)]
)  # fmt: skip
def test_a_page_without_its_scripts(path: str, width: int, stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """While no script has come, the page already shows its data, accessible and within the window."""
    viewer = visit("about:blank", width=width)
    page = viewer.page
    scripts = Held(page)
    page.goto(stack.console + path + ("?level=ERROR" if path == "/logs" else ""), wait_until="commit")
    expect(page.locator("#first-page")).to_contain_text(SAID[path], timeout=PATIENCE)
    assert scripts.held
    assert viewer.violations() == []
    assert viewer.width_of_content() <= width
    assert page.evaluate("() => window.pwned") is None
    assert page.locator("#first-page script, #first-page img").count() == 0
    assert page.locator("#first button:enabled, #first input:enabled").count() == 0
    scripts.release()
    viewer.live()
    viewer.says(SAID[path])


def test_what_was_opened_and_focused_stays_so(stack: RunningStack, visit: Callable[..., Viewer]) -> None:
    """A line that is opened before the scripts came is open afterwards; the focus stays on the link that had it."""
    viewer = visit("about:blank")
    page = viewer.page
    page.context.add_cookies([{"name": "zone", "value": "Europe/Berlin", "url": stack.console}])
    scripts = Held(page)
    page.goto(stack.console + "/logs?level=ERROR", wait_until="commit")
    page.locator("#first-logs-lines summary").first.click(timeout=PATIENCE)
    page.locator("#first-nav-model").focus()
    scripts.release()
    viewer.live()
    expect(page.locator("#logs-lines pre").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#nav-model")).to_be_focused(timeout=PATIENCE)
