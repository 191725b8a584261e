"""Components as HTML: text stays text, nothing that listens seems to, ids are there once."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from dash import dcc, html

from compose.console.markup import markup

HOSTILE = '<script>x</script> "><img src=x onerror=y> {%config%} & \u2028'


class Read(HTMLParser):
    """What a parser finds: tags with attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def test_text_and_attributes_stay_text() -> None:
    """Markup, quotes and Dash's own placeholders in a text or an attribute come back from a parser as they went in."""
    written = markup(html.P([HOSTILE], title=HOSTILE, id=HOSTILE, style={"color": HOSTILE}))
    assert "{%" not in written
    found = Read(written)
    assert [tag for tag, _ in found.tags] == ["p"]
    assert found.text == HOSTILE
    assert found.tags[0][1] == {"title": HOSTILE, "id": "first-" + HOSTILE, "style": "color:" + HOSTILE}


def test_what_nobody_listens_to_is_disabled() -> None:
    """Buttons and inputs are disabled; a button's count of presses and a graph's figure are not written."""
    drawn: list[Any] = [
        html.Button("Go", id="go", n_clicks=0),
        dcc.Input(id={"type": "a", "key": "b"}, value=HOSTILE, className="wide"),
        dcc.Graph(id="chart", figure={"data": [1]}, className="chart", style={"height": 190}),
        dcc.Interval(id="tick"),
        dcc.Store(id="held", data="secret"),
    ]
    assert Read(markup(drawn)).tags == [
        ("button", {"id": "first-go", "disabled": None}),
        ("div", {"class": "dash-input-container dash-input wide"}),
        ("input", {"id": 'first-{"key":"b","type":"a"}', "value": HOSTILE, "class": "dash-input-element",
                   "disabled": None}),
        ("div", {"class": "chart", "style": "height:190px"}),
    ]  # fmt: skip


@pytest.mark.parametrize("href", ["javascript:alert(1)", "data:text/html,x", "//elsewhere.example", " javascript:x"])
def test_a_link_that_runs_or_leaves_is_no_link(href: str) -> None:
    """An address that is a script, data, or another host without a scheme is left out."""
    assert Read(markup(dcc.Link("there", href=href))).tags == [("a", {})]


def test_links_and_labels_lead_to_the_right_place() -> None:
    """Addresses of pages stay; a label names the element that is written with it."""
    written = markup([dcc.Link("Logs", href="/logs?q=a&level=b"), html.Label("Text", htmlFor="box")])
    assert Read(written).tags == [("a", {"href": "/logs?q=a&level=b"}), ("label", {"for": "first-box"})]


def test_a_script_has_no_place() -> None:
    """A component that would run or embed something is refused."""
    with pytest.raises(ValueError, match="script has no place"):
        markup(html.Script("x"))
