"""Charts: the axis on the day on which the clocks change, and what a panel says of values that ended."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import numpy as np
import pytest

from compose.console import figures, panel_data
from compose.console.evaluation import Curve
from compose.console.history import SampleHistory
from compose.console.own_panels import PANELS
from compose.console.pages.panels import legend
from compose.console.samples import Floats
from compose.console.settings import ConsoleSettings
from compose.console.store import Store
from compose.console.timerange import TimeRange, Zone

BERLIN = Zone("Europe/Berlin")


def span(text: str, hours: float) -> TimeRange:
    """Return the hours from a time in UTC on."""
    start = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    return TimeRange(start=start, end=start + 3600 * hours)


@pytest.mark.parametrize(
    ("text", "first", "changes"),
    [
        ("2026-10-24T23:00", "2026-10-24 23:00:00.000", True),  # 02:30 comes twice in Berlin
        ("2026-03-28T23:00", "2026-03-28 23:00:00.000", True),  # and does not come at all
        ("2026-10-25T23:00", "2026-10-26 00:00:00.000", False),
    ],
)
def test_an_hour_that_comes_twice(text: str, first: str, changes: bool) -> None:
    """Where the clocks change an axis is in UTC and says so, to the reader and to the script; else in the zone."""
    spread = span(text, 5)
    times = np.linspace(spread.start, spread.end, 21).tolist()
    one = figures.Line(name="a", times=times, values=[1.0] * 21)
    for figure in (figures.lines([one], spread, BERLIN), figures.bars([one], spread, BERLIN, 0)):
        axis = figure["data"][0]["x"]
        assert axis[0] == figure["layout"]["xaxis"]["range"][0] == first
        assert all(before < after for before, after in itertools.pairwise(axis))
        assert figure["layout"]["meta"].get("utc", False) == changes
        assert ("title" in figure["layout"]["xaxis"]) == changes


class Told(SampleHistory):
    """A source that gives series by the number of values that they have at the end of the range."""

    def __init__(self, *missing: int, value: float = 0.5) -> None:
        super().__init__(Store(ConsoleSettings()))
        self.missing, self.value = missing, value

    def curves(self, expr: str, times: Floats) -> list[Curve]:
        """Return a series for each, without values at its last moments."""
        found = []
        for number, missing in enumerate(self.missing):
            there = np.arange(len(times)) < len(times) - missing
            found.append(Curve({"endpoint": f"/{number}"}, np.where(there, self.value, np.nan), there))
        return found


def test_a_value_that_ended_is_not_shown_as_todays() -> None:
    """A stat whose newest value is old says of when it is, and has lost its colour; one that goes on has it."""
    spread = span("2026-11-25T12:00", 1)
    shown = panel_data.drawn(PANELS["model-accuracy"], Told(40), spread, BERLIN)
    assert shown.notice == "The newest value is of 25 Nov 13:40:00."
    assert (shown.value, shown.colour) == ("50.0 %", "plain")
    shown = panel_data.drawn(PANELS["model-accuracy"], Told(0), spread, BERLIN)
    assert (shown.notice, shown.colour) == ("", "red")


def test_counts_of_nothing_are_no_ring() -> None:
    """Before the first prediction there is nothing to share out, and that is said."""
    shown = panel_data.drawn(PANELS["prediction-distribution"], Told(0, value=0.0), span("2026-11-25T12:00", 1), BERLIN)
    assert shown.figure is None
    assert shown.notice.startswith("No data: ")


def test_the_legend_stands_under_the_chart() -> None:
    """Several series are named outside of the chart, with their colours and newest values: its height is its own."""
    spread = span("2026-11-25T12:00", 1)
    shown = panel_data.drawn(PANELS["latency-p95"], Told(0, 0, 0), spread, BERLIN)
    assert shown.figure is not None
    assert shown.figure["layout"]["showlegend"] is False
    assert [(each.name, each.value) for each in shown.legend] == [(f"/{number}", "500 ms") for number in range(3)]
    assert [each.colour for each in shown.legend] == [trace["line"]["color"] for trace in shown.figure["data"]]
    assert [entry.children[0].style["background"] for entry in legend(shown.legend)] == list(figures.PALETTE[:3])
    shown = panel_data.drawn(PANELS["latency-p95"], Told(0, 40), spread, BERLIN)
    assert [each.value for each in shown.legend] == ["500 ms", "ended"]
    assert panel_data.drawn(PANELS["latency-p95"], Told(0), spread, BERLIN).legend == ()
