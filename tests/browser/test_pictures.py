"""The pictures of the README: taken by this test, kept in docs/pictures with ML_KEEP_PICTURES=1.

ML_CONSOLE_URL takes them of a console that has run for a while, whose charts are fuller than those of a fresh one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.viewer import Viewer

pytestmark = pytest.mark.timeout(900)  # the first one starts the stack, and may train its model
ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docs" / "pictures"
MOST_BYTES = 250_000
CHARTS_FIT = """() => Array.from(document.querySelectorAll('.js-plotly-plot .main-svg')).every(
  (svg) => Math.abs(svg.getBoundingClientRect().width - svg.closest('.chart').getBoundingClientRect().width) < 2)"""
SHOWN = {"overview": ("/", "log pipeline"), "logs": ("/logs", "prediction served")}


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> str:
    """The console to look at."""
    given = os.environ.get("ML_CONSOLE_URL")
    return given or str(request.getfixturevalue("stack").console)


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture(name: str, scheme: str, url: str, visit: Callable[..., Viewer], tmp_path: Path) -> None:
    """Overview and Logs are drawn at both widths in both themes, and the picture is small enough for a repository."""
    path, text = SHOWN[name]
    viewer = visit(url + path, scheme=scheme)
    for width in (1440, 380):
        viewer.page.set_viewport_size({"width": width, "height": 1180 if (width, name) == (1440, "overview") else 900})
        viewer.page.wait_for_function(
            "text => (document.getElementById('page')?.innerText || '').toLowerCase().includes(text)", arg=text.lower()
        )
        viewer.settled()
        viewer.page.wait_for_function(CHARTS_FIT)  # Plotly follows the window's new width a moment later
        picture = tmp_path / f"{name}-{width}-{scheme}.png"
        viewer.page.screenshot(path=picture, animations="disabled", caret="hide")
        assert 10_000 < picture.stat().st_size < MOST_BYTES
        if os.environ.get("ML_KEEP_PICTURES") == "1":
            FOLDER.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, FOLDER / picture.name)


def test_the_readme_shows_pictures_that_are_there() -> None:
    """Each picture that README and docs show is in the repository, and each one kept there is shown."""
    texts = "".join((ROOT / name).read_text() for name in ("README.md", "docs/console.md"))
    kept = {picture.name for picture in FOLDER.glob("*.png")}
    assert kept
    assert all(name in texts for name in kept)
