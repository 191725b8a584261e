"""What the Logs page asks, from the address to the search body: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from compose.console.timerange import RangeError, TimeRange, parse_range
from compose.provision.visualisations import TIME_FIELD

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MOST_LEVELS = 20  # lines of other programs may have levels of their own
PAGE = 50
LONGEST_QUERY = 2000
BARS = 60
_WIDTHS = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
# `field >= 5` and `field: /path` are Kibana's; query_string wants field:>=5 and quotes around a slash.
_COMPARED = re.compile(r"(?<![\w.@\"])([\w.@]+)\s*(>=|<=|>|<)\s*(-?[\w.:+-]+)")
_SPACED = re.compile(r"(?<![\w.@\"])([\w.@]+):\s+(?=\S)")
_SLASHED = re.compile(r":(/[^\s\"/]+)(?=\s|$|\))")


class AskError(ValueError):
    """The address asks for something that cannot be; the message says what."""


def query_string(text: str) -> str:
    """Return a query as query_string takes it: Kibana's `field: value` and `field >= 5` are written its way.

    What stands in quotes is left as it is.
    """
    pieces = re.split(r'("(?:[^"\\]|\\.)*")', text.strip())
    for place in range(0, len(pieces), 2):
        piece = _COMPARED.sub(r"\1:\2\3", pieces[place])
        piece = _SPACED.sub(r"\1:", piece)
        pieces[place] = _SLASHED.sub(r':"\1"', piece)
    return "".join(pieces)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One search: text, levels (none: all), time range, whether new lines are followed."""

    text: str
    levels: tuple[str, ...]
    spread: TimeRange
    tail: bool = False

    @classmethod
    def from_address(cls, parameters: Mapping[str, str], now: float) -> Asked:
        """Read the address's parameters q, level, from, to, tail.

        Raises:
            AskError: one of them does not fit.
        """
        text = parameters.get("q", "")
        if len(text) > LONGEST_QUERY:
            raise AskError(f"the query is longer than {LONGEST_QUERY} characters")
        levels = tuple(level for level in parameters.get("level", "").split(",") if level)
        if unknown := [level for level in levels if level not in LEVELS]:
            raise AskError(f"{unknown[0][:20]!r} is no level; there are {', '.join(LEVELS)}")
        try:
            spread = parse_range(parameters, now)
        except RangeError as error:
            raise AskError(f"time range: {error}") from None
        return cls(text=text, levels=levels, spread=spread, tail=parameters.get("tail") == "1")

    def filters(self, *, with_levels: bool = True) -> list[dict[str, Any]]:
        """Return the filters that every search of this page has."""
        found: list[dict[str, Any]] = [self.spread.filter()]
        if self.text.strip():
            found.append({"query_string": {"query": query_string(self.text), "default_operator": "AND"}})
        if self.levels and with_levels:
            found.append({"terms": {"level": list(self.levels)}})
        return found


def bar_width(span: float) -> int:
    """Return the width of a bar in seconds so that about BARS of them fill the range."""
    return next((width for width in _WIDTHS if span / width <= BARS), 86_400)


def histogram_body(asked: Asked) -> dict[str, Any]:
    """Return the search of the bars: lines over time by level; all numbers of the page are sums of these."""
    width = bar_width(asked.spread.span)
    return {
        "size": 0,
        "track_total_hits": False,
        "query": {"bool": {"filter": asked.filters(with_levels=False)}},
        "aggs": {
            "time": {
                "date_histogram": {"field": TIME_FIELD, "fixed_interval": f"{width}s", "min_doc_count": 1},
                "aggs": {"level": {"terms": {"field": "level", "size": MOST_LEVELS}}},
            },
        },
    }


def sums(answer: dict[str, Any]) -> tuple[int, dict[str, int]]:
    """Return how many lines the bars hold together, and how many of each level."""
    total, levels = 0, dict[str, int]()
    for bucket in answer["aggregations"]["time"]["buckets"]:
        total += bucket["doc_count"]
        for level in bucket["level"]["buckets"]:
            levels[str(level["key"])] = levels.get(str(level["key"]), 0) + level["doc_count"]
    return total, levels


def page_body(asked: Asked, after: list[Any] | None = None, size: int = PAGE) -> dict[str, Any]:
    """Return the search of one page of lines, newest first.

    Args:
        after: the `sort` of the last line shown; None for the first page.
    """
    body: dict[str, Any] = {
        "size": size,
        "track_total_hits": after is None,
        "query": {"bool": {"filter": asked.filters()}},
        "sort": [{TIME_FIELD: {"order": "desc", "format": "strict_date_optional_time_nanos"}}, {"_doc": "desc"}],
    }
    return body | ({"search_after": after} if after else {})
