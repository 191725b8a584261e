"""One open page as a person sees it: what it says, what its console complains of, axe's findings."""

from __future__ import annotations

import contextlib

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as LateError

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 60_000  # milliseconds; the machine may be busy
AXE_OPTIONS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
# as `to_contain_text` compares: whitespace counts as one space
SAYS = """([selector, text]) => {
  const found = document.querySelector(selector);
  return found && found.textContent.replace(/\\s+/g, ' ').includes(text);
}"""


class Viewer:
    """A page, watched."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error":
            self.complaints.append(text)

    def says(self, text: str, selector: str = "#page") -> None:
        """Wait until the page says it; each frame is looked at, where `expect` alone would look once a second."""
        with contextlib.suppress(LateError):
            self.page.wait_for_function(SAYS, arg=[selector, " ".join(text.split())], timeout=PATIENCE)
        expect(self.page.locator(selector).first).to_contain_text(text, timeout=5000)

    def live(self) -> None:
        """Wait until the page that its scripts draw has taken the place of what the document brought."""
        self.page.wait_for_function(
            "() => !document.getElementById('first') && document.querySelector('#react-entry-point #page')",
            timeout=PATIENCE,
        )

    def settled(self) -> None:
        """Wait until the page is live, no callback is under way and nothing says that it loads, every chart drawn."""
        self.live()
        self.page.wait_for_function(
            "() => !document.querySelector('[data-dash-is-loading]')"
            " && !/(Loading|Asking|Searching) …|Loading\\.\\.\\./.test(document.body.innerText)",
            timeout=PATIENCE,
        )
        self.page.wait_for_function(
            "() => Array.from(document.querySelectorAll('.dash-graph')).every((box) => box.querySelector('.main-svg'))",
            timeout=PATIENCE,
        )

    def violations(self) -> list[str]:
        """Return what axe finds against WCAG 2.1 AA and its best practices, one line each."""
        found = Axe().run(self.page, options=AXE_OPTIONS).response["violations"]
        return [
            f"{each['id']} ({each['impact']}): {node['target']} {node.get('failureSummary', '')[:300]}"
            for each in found
            for node in each["nodes"][:3]
        ]

    def width_of_content(self) -> int:
        """Return how wide the document is in pixels: more than the window would have to be scrolled sideways."""
        width: int = self.page.evaluate("() => document.documentElement.scrollWidth")
        return width
