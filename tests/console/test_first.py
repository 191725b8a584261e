"""What a document brings: the page's real content, in time, and given to its callback once."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from html import unescape

import msgspec
import pytest
from flask.testing import FlaskClient

from compose.console.first import KEPT_MOST, KEPT_SECONDS, Kept
from compose.console.service import create_console
from compose.console.settings import ConsoleSettings
from tests.ports import free_port, free_ports


def client(store: str, seconds: float = 5.0) -> FlaskClient:
    """Return a client of a console beside which only a store may be."""
    app, shipper, prometheus = (f"http://127.0.0.1:{port}" for port in free_ports(3))
    settings = ConsoleSettings(
        store_url=store, app_url=app, shipper_url=shipper, prometheus_url=prometheus, request_seconds=seconds
    )
    made: FlaskClient = create_console(settings).server.test_client()
    return made


@pytest.fixture
def away() -> FlaskClient:
    """A client of a console whose every neighbour is away."""
    port = free_port()
    return client(f"http://127.0.0.1:{port}")


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def text(page: FlaskClient, path: str) -> str:
    """Return what a document says before its scripts run."""
    answer = page.get(path)
    assert answer.status_code == 200
    brought = answer.get_data(as_text=True).partition('id="first"')[2].partition('id="react-entry-point"')[0]
    return unescape(re.sub(r"<[^>]*>", " ", brought))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "The service is unwell: it does not answer."),
        ("/logs", "is away"),
        ("/dashboard", "No data: the store at"),
        ("/model", "The model service is away"),
        ("/pipeline", "The shipper is away"),
        ("/try", "The form is made from the service's own description: the model service at"),
        ("/runbook", "Container logs are rotated"),
        ("/nowhere", "There is no page /nowhere."),
        ("/logs?from=tomorrow", "'tomorrow' is no time"),
    ],
)
def test_a_document_says_what_its_page_says(away: FlaskClient, path: str, said: str) -> None:
    """Each page's own sentence stands in the document, which is made of the same callbacks."""
    assert said in text(away, path)


def test_a_store_that_never_answers_holds_no_document_up(silent: str) -> None:
    """A document goes out while the store still owes its answer, and says that it is asked for."""
    waiting = client(silent, seconds=60.0)
    assert "Searching …" in text(waiting, "/logs")
    assert "Asking model, service and log pipeline …" in text(waiting, "/")


def test_the_address_is_in_the_document(away: FlaskClient) -> None:
    """Search, levels, range and the current page are in the document as the scripts would set them."""
    document = away.get("/logs?q=%22%3E%3Cb%3E&level=ERROR&from=now-6h").get_data(as_text=True)
    assert 'value="&quot;&gt;&lt;b&gt;"' in document
    assert "<b>" not in document
    assert "Last 6 hours" in document
    assert 'href="/model?from=now-6h"' in document
    pressed = [tag for tag in re.findall(r"<button[^>]*>", document) if 'aria-pressed="true"' in tag]
    assert len(pressed) == 1
    assert 'class="chip level error"' in pressed[0]
    assert re.findall(r'<a[^>]*aria-current="page"[^>]*>(\w+)</a>', document) == ["Logs"]


def test_the_theme_is_one_of_two(away: FlaskClient) -> None:
    """The theme that the browser remembers is set on the document; anything else in its cookie is not."""
    away.set_cookie("theme", "dark")
    assert '<html data-theme="dark" lang="en">' in away.get("/").get_data(as_text=True)
    away.set_cookie("theme", '"><script>')
    assert '<html lang="en">' in away.get("/").get_data(as_text=True)


def ask(page: FlaskClient, clicks: int) -> str:
    """Ask the callback of the verdict as the browser does; return the time that its answer is of."""
    outputs = [{"id": f"overview-{name}", "property": "children"} for name in ("verdict", "kpis", "below")]
    body = {
        "output": "..overview-verdict.children...overview-kpis.children...overview-below.children..",
        "outputs": outputs,
        "inputs": [
            {"id": "tick", "property": "n_intervals", "value": 0},
            {"id": "refresh", "property": "n_clicks", "value": clicks},
        ],
        "changedPropIds": ["refresh.n_clicks"] if clicks else [],
        "state": [],
    }
    answer = page.post("/_dash-update-component", json=body)
    assert answer.status_code == 200
    (moment,) = re.findall(r'"dateTime":"([^"]+)"', msgspec.json.encode(answer.json).decode())
    return str(moment)


def test_an_answer_is_given_to_its_callback_once(away: FlaskClient) -> None:
    """The callback that follows a document has the document's answer, with its time; the next one, and a press, ask."""
    document = away.get("/").get_data(as_text=True)
    (shown,) = re.findall(r'<time[^>]*datetime="([^"]+)"', document)
    pressed = ask(away, clicks=1)
    first, second = ask(away, clicks=0), ask(away, clicks=0)
    assert first == shown
    assert len({shown, pressed, second}) == 3


def test_what_is_kept_is_bounded() -> None:
    """An answer is too old after five seconds, and the oldest of too many is gone."""
    now = [100.0]
    kept = Kept(clock=lambda: now[0])
    kept.put(b"old", "answer")
    now[0] += KEPT_SECONDS
    assert kept.take(b"old") is None
    for number in range(KEPT_MOST + 1):
        kept.put(b"%d" % number, number)
    assert kept.take(b"0") is None
    assert kept.take(b"1") == 1
    assert kept.take(b"1") is None
