"""The daily and the weekly check against a running local stack, and what they make of what they see."""

from __future__ import annotations

import datetime as dt
from io import StringIO

import httpx
import pytest
from rich.console import Console

from compose.provision.objectives import Objectives
from compose.stack.acceptance import accept
from compose.stack.check import HEALTH, Finding, daily, exit_code, old_indices, render, weekly
from compose.stack.remote import SERVERS, Addresses, Servers

NOW = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("states", "code"), [(["ok", "left out"], 0), (["ok", "warning"], 1), (["warning", "bad", "ok"], 2)]
)
def test_the_exit_code_is_the_worst_finding(states: list[str], code: int) -> None:
    """0 well, 1 warnings, 2 bad."""
    assert exit_code(Finding(state, "x", "y") for state in states) == code


def test_an_index_is_old_a_day_after_its_retention() -> None:
    """Only daily indices of ours count; the lifecycle has a day to act."""
    names = [f"ml-pipeline-{NOW - dt.timedelta(days=age):%Y.%m.%d}" for age in (0, 30, 31, 32, 400)]
    others = ["ml-pipeline-undated", "ml-metrics-2020.01.01", "ml-pipeline-2020.01.01-copy"]
    assert old_indices([*names, *others], NOW, 30) == sorted(names[3:])


def test_a_finding_keeps_its_words_on_the_screen() -> None:
    """What was found and what to do are both shown."""
    from io import StringIO

    from rich.console import Console

    screen = StringIO()
    Console(file=screen, width=160).print(
        render([Finding("bad", "app", "no answer", "docker compose logs app")], "daily")
    )
    assert "no answer" in screen.getvalue()
    assert "docker compose logs app" in screen.getvalue()


def shown(findings: list[Finding]) -> str:
    """Return the screen."""
    screen = StringIO()
    Console(file=screen, width=300).print(render(findings, "daily"))
    return screen.getvalue()


@pytest.mark.parametrize("words", ["[/tmp/data] is gone", "[bold]", "[link=http://evil]click[/link]"])
def test_what_a_log_line_says_is_no_markup(words: str) -> None:
    """An error text with brackets is shown as it is, and does not end the check."""
    assert words in shown([Finding("bad", words, words, words)])


def test_a_log_line_does_not_command_the_terminal() -> None:
    """Escape sequences in an error text are shown, not sent."""
    text = shown([Finding("warning", "recent errors", "1× \x1b]0;owned\x07\x1b[2J", "")])
    assert "\x1b" not in text
    assert "\\x1b]0;owned" in text


def test_an_index_with_an_impossible_date_is_somebodys_own() -> None:
    """`ml-pipeline-2026.13.45` neither ends the check nor counts as old."""
    assert old_indices(["ml-pipeline-2026.13.45", "ml-pipeline-2020.01.01"], NOW, 30) == ["ml-pipeline-2020.01.01"]


ODD = [b"<html>a proxy's page</html>", b"[]", b"{}", b"null", b'{"status": "green"}', b'{"hits": {}, "data": []}']


@pytest.mark.parametrize("body", ODD)
@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_no_check_ends_with_a_traceback_whatever_the_servers_answer(body: bytes, status: int) -> None:
    """Each look becomes a finding; a stack that answers nonsense is not called well."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, content=body))
    with Servers(Addresses(), transport=transport) as servers:
        for findings in (daily(servers, Objectives(), NOW), weekly(servers, Objectives(), NOW, 30)):
            assert exit_code(findings) == 2
            assert len(findings) == 16 if findings[0].what == "app" else 10
            assert shown(findings)


def test_no_check_ends_with_a_traceback_when_nobody_answers() -> None:
    """The guide's routine on a stack that is down: each server is named."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with Servers(Addresses(), transport=httpx.MockTransport(refuse)) as servers:
        findings = daily(servers, Objectives(), NOW)
    assert [finding.what for finding in findings[:7]] == list(HEALTH)
    assert all(finding.state == "bad" for finding in findings)


def test_predictions_without_a_confidence_are_counted_by_day() -> None:
    """A service of the user's own need not log it."""
    day = {"key_as_string": "2026-11-25T00:00:00.000Z", "doc_count": 4, "confidence": {"value": None}}
    answer = {"aggregations": {"days": {"buckets": [day | {"share": {"value": 0.25}}]}}}
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=answer))
    with Servers(Addresses(), transport=transport) as servers:
        findings = weekly(servers, Objectives(), NOW, 30)
    (trend,) = (finding for finding in findings if finding.what == "predictions by day")
    assert trend.found == "11-25: 4, 25% yes"


def test_a_target_that_is_down_is_named_as_it_is_in_the_end() -> None:
    """The acceptance's sentence says who is down when it gives up, not who was when it began."""
    states = iter([["app", "store"], ["store"]])

    def answer(_request: httpx.Request) -> httpx.Response:
        down = next(states, ["store"])
        return httpx.Response(
            200, json={"data": {"activeTargets": [{"health": "down", "labels": {"job": job}} for job in down]}}
        )

    said: list[str] = []
    others = frozenset(SERVERS) - {"prometheus"}
    with Servers(Addresses(without=others), transport=httpx.MockTransport(answer)) as servers:
        assert accept(servers, said.append, patience=0.2) == 2
    (line,) = (line for line in said if "every target is up;" in line)
    assert line.endswith("down: store")


@pytest.mark.parametrize("period", ["daily", "weekly"])
def test_a_server_that_hangs_is_waited_for_once(period: str) -> None:
    """Ten looks at a store that takes connections and says nothing are not five minutes of silence."""
    waits: list[float] = []

    def hang(request: httpx.Request) -> httpx.Response:
        if request.url.port == 9200:
            waits.append(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("hangs", request=request)

    with Servers(Addresses(), transport=httpx.MockTransport(hang)) as servers:
        findings = daily(servers, Objectives(), NOW) if period == "daily" else weekly(servers, Objectives(), NOW, 30)
    assert exit_code(findings) == 2
    assert len(waits) > 5
    assert waits[0] >= 5
    assert max(waits[1:]) <= 2
