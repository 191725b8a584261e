"""Pipeline: the way of the log lines: files, verdicts, dead letters, indices, checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from dash import Input, Output, html

from compose.console import dead_letters, parts, units
from compose.console.first import FirstContent
from compose.console.overview_data import Parts
from compose.console.own_panels import PANELS
from compose.console.pages.panels import panel_card
from compose.console.parts import Component
from compose.console.services import ServiceState
from compose.console.shell import viewer_zone
from compose.console.store import AwayError, Store
from compose.console.timerange import Zone, ago, parse_moment
from compose.console.verdict import ICON, Mood

SHOWN = (
    "shipper-lag",
    "shipper-lag-bytes",
    "shipper-verdicts",
    "shipper-retries",
    "shipper-dead-letters",
    "log-dropped",
)
INDICES = "ml-pipeline-*,ml-metrics-*"
FILES_SHOWN = 50
# What the shipper counts that should stay at nothing, and how bad it is where it does not.
GRAVE: dict[str, Mood] = {"dead_letters": "attention", "lost_files": "bad", "lost_bytes": "bad"}


def layout() -> Component:
    """Return the page's frame."""
    return html.Div(
        [
            html.H1("Pipeline", className="page-title"),
            html.Div(parts.notice("Asking the shipper and the store …"), id="pipeline-top"),
            html.Div(id="pipeline-files"),
            html.Div(id="pipeline-letters"),
            html.Div([panel_card(PANELS[key]) for key in SHOWN], className="grid three"),
            html.Div(id="pipeline-indices"),
        ],
        className="pipeline",
    )


class Rates:
    """How fast each file is acknowledged, from one look to the next, whoever looks."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int, float | None]] = {}

    def rate(self, path: str, acknowledged: int, now: float) -> float | None:
        """Return bytes a second since a look at least two seconds ago; None at the first one."""
        known = self._seen.get(path)
        if known is None or acknowledged < known[1]:
            self._seen[path] = (now, acknowledged, None)
            return None
        before, then, last = known
        if now - before < 2:
            return last
        speed = (acknowledged - then) / (now - before)
        self._seen[path] = (now, acknowledged, speed)
        return speed

    def keep(self, paths: set[str]) -> None:
        """Forget all other files: each day of each process has files of its own."""
        self._seen = {path: known for path, known in self._seen.items() if path in paths}


def top_cards(shipper: ServiceState, now: float) -> Component:
    """Return the shipper's state, its verdicts and its checkpoint."""
    if shipper.health == "away":
        return parts.card("Shipper", parts.notice(f"The shipper is away: {shipper.words}.", "bad"))
    told = shipper.told
    mood: Mood = "good" if shipper.health == "ready" else "bad"
    reasons = told.get("reasons") or []
    cluster = told.get("elasticsearch") or {}
    last = told.get("last_acknowledged_at")
    waiting = float(told.get("lag_bytes") or 0)
    state = [
        ("state", parts.state(mood, str(told.get("state", "unknown")), ICON[mood])),
        ("store reachable", {True: "yes", False: "no", None: "not known"}[cluster.get("reachable")]),
        ("last acknowledgement", [parts.since(parse_moment(last, now), now), " ago"] if last else "none yet"),
        ("checkpoint age", ago(float(told.get("checkpoint_age_seconds") or 0))),
        ("waiting", f"{units.bytes_text(waiting)}, {units.seconds_text(float(told.get('lag_seconds') or 0))}"),
    ]
    verdicts = [
        ("acknowledged", "acknowledged"),
        ("already there", "already_there"),
        ("dead letters", "dead_letters"),
        ("tried again", "retries"),
    ]
    losses = [
        ("wrapped, not JSON", "wrapped"),
        ("older than retention", "expired"),
        ("files lost unread", "lost_files"),
        ("bytes lost unread", "lost_bytes"),
    ]
    shown: list[Component] = [_facts(state)]
    shown += [parts.notice(str(reason), "bad") for reason in reasons]
    if error := told.get("last_error"):
        shown.append(html.P(f"last error: {error}", className="hint after"))
    return html.Div(
        [
            parts.card("Shipper", *shown),
            parts.card("Verdicts since its start", _facts([(n, _counted(k, told)) for n, k in verdicts])),
            parts.card("Treated or lost since its start", _facts([(n, _counted(k, told)) for n, k in losses])),
        ],
        className="grid three",
    )


def _counted(key: str, told: dict[str, Any]) -> Component:
    """Return a count of the shipper's; one that should be nothing and is not stands out."""
    count = int(told.get(key) or 0)
    mood = GRAVE.get(key)
    return parts.state(mood, f"{count:,}", ICON[mood]) if count and mood else f"{count:,}"


def _facts(pairs: list[tuple[str, Component]]) -> Component:
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs], className="facts")


def files_card(shipper: ServiceState, rates: Rates, now: float) -> Component:
    """Return the log files under way."""
    found = shipper.told.get("files") or []
    rows: list[list[Component]] = []
    for file in found[:FILES_SHOWN]:
        rate = rates.rate(file["path"], int(file["acknowledged"]), now)
        rows.append(
            [
                html.Span(Path(file["path"]).name, title=file["path"]),
                units.bytes_text(file["size"]),
                f"{file['acknowledged']:,}",
                units.bytes_text(file["lag_bytes"]) if file["lag_bytes"] else "0",
                units.seconds_text(file["lag_seconds"]) if file["lag_bytes"] else "–",
                "measuring" if rate is None else f"{units.bytes_text(rate)}/s",
            ]
        )
    if shipper.health != "away":
        rates.keep({file["path"] for file in found})
    total = int(shipper.told.get("files_total") or len(found))
    more = html.Span(f"{total:,} under way", className="hint")
    headings = ["file", "size", "offset acknowledged", "waiting", "for", "rate"]
    empty = "The shipper is away." if shipper.health == "away" else "No log file is there yet."
    return parts.card("Log files", parts.table(headings, rows, empty=empty, label="Log files"), more=more)


def letters_card(folder: Path | None, zone: Zone, now: float) -> Component:
    """Return the newest dead letters, and how to replay them."""
    found, why = dead_letters.newest(folder)
    rows: list[list[Component]] = [
        [
            parts.moment(parse_moment(str(letter["at"]), now), zone),
            html.Span(parts.visible(f"{Path(str(letter.get('file', ''))).name} at {letter.get('offset', '')}")),
            str(letter.get("index", "")),
            [html.Strong(f"{letter.get('status', '')} {letter.get('type', '')}"),
             html.Span(parts.visible(str(letter.get("reason", "")), parts.LONGEST_TEXT), className="hint block")],
            dead_letters.hint(letter),
        ]
        for letter in found
    ]  # fmt: skip
    headings = ["when", "line", "index", "reason", "what to do"]
    table = parts.table(headings, rows, empty=why or "No dead letters: no line was refused.", label="Dead letters")
    command: Component = ""
    if rows:
        command = html.P(["Once the cause is mended: ", html.Code("ml-shipper replay"), " sends them again."])
    return parts.card("Dead letters", table, command)


def indices_card(store: Store, now: float) -> Component:
    """Return the daily indices with when they were made, size, documents and lifecycle phase."""
    try:
        columns = "h=index,creation.date,docs.count,store.size"
        rows = store.get(f"/_cat/indices/{INDICES}?format=json&bytes=b&s=index:desc&{columns}")
        managed = store.get(f"/{INDICES}/_ilm/explain")["indices"]
    except AwayError as error:
        return parts.card("Indices", parts.notice(f"Not known: {error}", "attention"))
    shown: list[list[Component]] = []
    for row in rows:
        policy = managed.get(row["index"], {})
        shown.append(
            [
                row["index"],
                # Not the lifecycle's date, which is the midnight in the index's name.
                [parts.since(int(row["creation.date"]) / 1000, now), " ago"],
                f"{int(row.get('docs.count') or 0):,}",
                units.bytes_text(float(row.get("store.size") or 0)),
                policy.get("phase") or "no policy",
                policy.get("policy") or "–",
            ]
        )
    headings = ["index", "made", "documents", "size", "phase", "policy"]
    return parts.card("Indices", parts.table(headings, shown, empty="No index is there yet.", label="Indices"))


def callbacks(first: FirstContent, asked: Parts, folder: Path | None) -> None:
    """Register the page's callback."""
    rates = Rates()

    @first.callback(
        Output("pipeline-top", "children"),
        Output("pipeline-files", "children"),
        Output("pipeline-letters", "children"),
        Output("pipeline-indices", "children"),
        Input("tick", "n_intervals"),
        Input("refresh", "n_clicks"),
    )
    def pipeline(_ticks: int, _clicks: int) -> tuple[Any, ...]:
        now, zone = time.time(), viewer_zone()
        shipper = asked.services.shipper()
        return (
            top_cards(shipper, now),
            files_card(shipper, rates, now),
            letters_card(folder, zone, now),
            indices_card(asked.store, now),
        )
