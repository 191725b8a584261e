"""Each question that the console's pages ask, put to a real Elasticsearch and the embedded store."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from dash import html

from compose.console import exporting, failed_requests, own_panels
from compose.console.alerting import states
from compose.console.definitions import needs_prometheus, written_out
from compose.console.history import History, SampleHistory
from compose.console.log_search import PAGE, Asked, bar_width, histogram_body, page_body, sums
from compose.console.overview_data import newest_line
from compose.console.pages.logs import FOLLOWED
from compose.console.pages.pipeline import indices_card
from compose.console.samples import Floats
from compose.console.settings import ConsoleSettings
from compose.console.store import AwayError, Store
from compose.console.timerange import TimeRange, parse_moment, rfc3339
from compose.provision.grafana import dashboard_json
from compose.provision.panels import Panel, dashboards
from compose.provision.visualisations import (
    ERROR_ANALYSIS,
    ERROR_SEARCH,
    INDEX_PATTERN,
    LOG_LEVELS,
    REQUEST_DURATION,
    SUCCESS_RATE,
    Visualisation,
    search_body,
)
from tests.console import stores
from tests.console.stores import Filled
from tests.ports import free_port

Chosen = Callable[[dict[str, Any]], bool]
# what a person writes in the search box → the lines that it means
SEARCHES: dict[str, Chosen] = {
    "": lambda _: True,
    "level:ERROR": lambda line: line.get("level") == "ERROR",
    "level: ERROR AND status: 500": lambda line: line.get("level") == "ERROR" and line.get("status") == 500,
    "duration:>=0.02": lambda line: line.get("duration", 0) >= 0.02,
    "duration >= 0.02 AND NOT error:*": lambda line: line.get("duration", 0) >= 0.02 and "error" not in line,
    "refused": lambda line: "refused" in line.get("message", ""),
    'endpoint:"/predict" AND status:422': lambda line: line.get("status") == 422,
    "_exists_:instance": lambda line: "instance" in line,
    "message:(served OR refused) AND -prediction:1": lambda line: (
        ("served" in line["message"] or "refused" in line["message"]) and line.get("prediction") != 1
    ),
    "host:node-*": lambda line: "host" in line,
    "東京": lambda line: "東京" in line.get("message", ""),
    "request_id:foreign-1": lambda _: False,  # keywords keep their case
    "NOT level:*": lambda line: "level" not in line,
}


@pytest.fixture(scope="module")
def both(real_elasticsearch: str, embedded_store: str) -> Iterator[Filled]:
    """Both stores with the same lines and samples."""
    yield from stores.filled(real_elasticsearch, embedded_store)


def asked(both: Filled, text: str = "", *levels: str) -> Asked:
    """Return a search over all lines."""
    address = {"q": text, "level": ",".join(levels), "from": rfc3339(both.start), "to": rfc3339(both.end + 1)}
    return Asked.from_address(address, both.now)


def pages(store: Store, wanted: Asked) -> list[dict[str, Any]]:
    """Return all hits as endless scrolling gets them."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        hits = store.search(INDEX_PATTERN, page_body(wanted, after))["hits"]["hits"]
        found += hits
        if len(hits) < PAGE:
            return found
        after = hits[-1]["sort"]


@pytest.mark.parametrize("text", SEARCHES)
def test_a_search_scrolls_over_the_lines_that_it_means(text: str, both: Filled) -> None:
    """Scrolling shows on both stores exactly the lines that a direct look finds, newest first and each once."""
    wanted = [line for line in both.documents if SEARCHES[text](line)]
    for store in both.stores:
        hits = pages(store, asked(both, text))
        ids = [hit["_id"] for hit in hits]
        assert len(ids) == len(set(ids)), store.url
        told = [hit["_source"] for hit in hits]
        assert sorted(map(msgspec.json.encode, told)) == sorted(map(msgspec.json.encode, wanted)), store.url
        times = [str(each["@timestamp"])[:23] for each in told]  # Elasticsearch's dates end at milliseconds
        assert times == sorted(times, reverse=True), store.url


@pytest.mark.parametrize("text", SEARCHES)
def test_the_histogram_and_the_chips_count_the_same(text: str, both: Filled) -> None:
    """Bars by level, counts of the chips and the total are the same from both, and those of a direct count."""
    wanted = [line for line in both.documents if SEARCHES[text](line)]
    search = asked(both, text)
    width = bar_width(search.spread.span)
    moments = [parse_moment(str(line["@timestamp"]), 0) // width * width for line in wanted]
    bars = Counter(zip(moments, (line.get("level") for line in wanted), strict=True))
    for store in both.stores:
        answer = store.search(INDEX_PATTERN, histogram_body(search))
        total, chips = sums(answer)
        assert total == len(wanted), store.url
        found = {
            (bucket["key"] / 1000, level["key"]): level["doc_count"]
            for bucket in answer["aggregations"]["time"]["buckets"]
            for level in bucket["level"]["buckets"]
        }
        assert found == {key: count for key, count in bars.items() if key[1]}, store.url
        assert chips == Counter(line["level"] for line in wanted if "level" in line), store.url


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_the_export_holds_every_hit(kind: str, both: Filled) -> None:
    """The export over several pages holds every line once, the same from both stores, and ends at its limit."""
    exports = [b"".join(exporting.lines(store, asked(both), kind, 100_000)) for store in both.stores]
    for text in exports:
        rows: list[dict[str, Any]] = (
            [msgspec.json.decode(row) for row in text.splitlines()]
            if kind == "ndjson"
            else list(csv.DictReader(io.StringIO(text.decode(), newline="")))
        )
        assert len(rows) == len(both.documents) > exporting.PAGE
        wanted = Counter(str(line.get("request_id", "")) for line in both.documents)
        assert Counter(str(row.get("request_id", "")) for row in rows) == wanted
    assert sorted(exports[0].splitlines()) == sorted(exports[1].splitlines())
    few = list(exporting.sources(both.stores[0], asked(both), 1200))
    assert len(few) == 1200


def test_following_shows_the_newest(both: Filled) -> None:
    """The newest lines within search and level are found on both stores, newest first."""
    found = [each for each in both.documents if each.get("level") == "INFO" and "served" in str(each.get("message"))]
    wanted = sorted((str(each["@timestamp"])[:23] for each in found), reverse=True)[:FOLLOWED]
    search = asked(both, "served", "INFO")
    for store in both.stores:
        hits = store.search(INDEX_PATTERN, page_body(search, size=FOLLOWED))["hits"]["hits"]
        assert [hit["_source"]["@timestamp"][:23] for hit in hits] == wanted, store.url


def board(store: Store, visualisation: Visualisation, both: Filled) -> dict[str, Any]:
    """Return a visualisation's answer as the Dashboard page asks for it."""
    body = search_body(visualisation, gte=rfc3339(both.start), lte=rfc3339(both.end + 1), interval="3600s")
    return store.search(INDEX_PATTERN, body)


def test_log_levels_over_time(both: Filled) -> None:
    """The bars of the Dashboard are the same from both stores, and count every line that has a level."""
    first, second = (board(store, LOG_LEVELS, both)["aggregations"] for store in both.stores)
    counts = [
        {
            (bucket["key"], level["key"]): level["doc_count"]
            for bucket in answer["time"]["buckets"]
            for level in bucket["level"]["buckets"]
        }
        for answer in (first, second)
    ]
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) == sum("level" in line for line in both.documents)


def test_request_duration(both: Filled) -> None:
    """The mean duration of each hour is the same from both stores, and that of a direct mean."""
    found = [board(store, REQUEST_DURATION, both)["aggregations"]["time"]["buckets"] for store in both.stores]
    answers = [{bucket["key"]: bucket["mean"]["value"] for bucket in buckets} for buckets in found]
    hours: dict[int, list[float]] = {}
    for line in both.documents:
        if "duration" in line:
            hours.setdefault(int(parse_moment(str(line["@timestamp"]), 0) // 3600 * 3_600_000), []).append(
                line["duration"]
            )
    for answer in answers:
        means = {key: value for key, value in answer.items() if value is not None}
        assert means == pytest.approx({key: sum(all_) / len(all_) for key, all_ in hours.items()}, rel=1e-5)


def test_success_and_errors(both: Filled) -> None:
    """Success count, error table and error list are the same from both stores, and those of a direct count."""
    served = sum("error" not in line for line in both.documents)
    failed = {
        str(line["request_id"]) for line in both.documents if line.get("level") == "ERROR" and "request_id" in line
    }
    latest = sorted((line["@timestamp"] for line in both.documents if line.get("level") == "ERROR"), reverse=True)[:20]
    for store in both.stores:
        assert board(store, SUCCESS_RATE, both)["hits"]["total"]["value"] == served, store.url
        buckets = board(store, ERROR_ANALYSIS, both)["aggregations"]["request"]["buckets"]
        names = [bucket["key"] for bucket in buckets]
        assert len(names) == len(set(names))
        assert set(names) <= failed
        body = {"size": 20, "sort": [{"@timestamp": "desc"}], "query": {"bool": {"filter": [ERROR_SEARCH.query]}}}
        hits = store.search(INDEX_PATTERN, body)["hits"]["hits"]
        assert [hit["_source"]["@timestamp"] for hit in hits] == latest, store.url
    first, second = (board(store, ERROR_ANALYSIS, both)["aggregations"]["request"]["buckets"] for store in both.stores)
    assert [bucket["key"] for bucket in first] == [bucket["key"] for bucket in second]
    spread = TimeRange(start=both.start, end=both.end + 1)
    for store in both.stores:
        rows = failed_requests.newest(store, spread)
        assert [row["request_id"] for row in rows] == [bucket["key"] for bucket in first], store.url
        for column in ERROR_ANALYSIS.columns:
            if column.operation == "last_value":
                name = str(column.field).removesuffix(".keyword")
                told = [bucket[column.key]["hits"]["hits"][0]["_source"][name] for bucket in first]
                assert [row[name] for row in rows] == told, store.url


def test_the_newest_line_and_the_indices(both: Filled) -> None:
    """The Overview's newest line has the same age from both; the Pipeline page lists the same days and documents."""
    now = time.time()
    ages = [newest_line(store, now) for store in both.stores]
    assert ages[0] is not None
    assert ages[0] == pytest.approx(now - parse_moment(str(both.documents[-1]["@timestamp"]), 0), abs=0.1)
    assert ages[0] == pytest.approx(ages[1], abs=0.1)
    days = Counter(f"ml-pipeline-{str(line['@timestamp'])[:10].replace('-', '.')}" for line in both.documents)
    for store in both.stores:
        rows = [each for each in indices_card(store, now)._traverse() if isinstance(each, html.Tr)][1:]
        listed = {row.children[0].children: [cell.children for cell in row.children[1:]] for row in rows}
        assert {name: row[1] for name, row in listed.items() if "pipeline" in name} == {
            name: f"{count:,}" for name, count in days.items()
        }
        assert {row[4] for name, row in listed.items() if "pipeline" in name} == {"ml-pipeline"}, "the policy"
        assert {row[4] for name, row in listed.items() if "metrics" in name} == {"ml-metrics"}
        # of each index, not the midnight that its name begins with
        assert all(now - parse_moment(row[0][0].dateTime, now) < 3600 for row in listed.values())
        today = datetime.now(UTC).strftime("ml-pipeline-%Y.%m.%d")
        assert all(row[3] in ("hot", "warm", "new") for name, row in listed.items() if name == today)


PANELS = [panel for panel in own_panels.PANELS.values() if panel.queries[0].source == "prometheus"]


@pytest.mark.parametrize("panel", PANELS, ids=[panel.key for panel in PANELS])
def test_a_panel_from_samples(panel: Panel, both: Filled) -> None:
    """The real sampler's documents give each panel the same series and values out of both stores."""
    times: Floats = both.now - 15.0 * np.arange(60, -1, -1, dtype=np.float64)
    sources = [SampleHistory(store, clock=lambda: both.now + 1) for store in both.stores]
    for query in panel.queries:
        expr = written_out(query.expr, window=60, span=900)
        if needs_prometheus(expr):
            continue
        first, second = (source.curves(expr, times) for source in sources)
        assert [curve.labels for curve in first] == [curve.labels for curve in second]
        for one, other in zip(first, second, strict=True):
            assert one.there.tolist() == other.there.tolist()
            if panel.key != "scrape-duration":  # each store's samples were taken at a moment of their own
                assert one.values[one.there].tolist() == other.values[other.there].tolist()
        if panel.key in ("model-accuracy", "predictions-per-minute", "class-mix"):
            assert first[0].there.sum() > 50


def test_alerts_from_samples(both: Filled) -> None:
    """The alerts' states by the samples are the same out of both stores, and the falling accuracy fires."""
    port = free_port()
    told = []
    for store in both.stores:
        settings = ConsoleSettings(store_url=store.url, prometheus_url=f"http://127.0.0.1:{port}")
        found = states(History(settings, store, clock=lambda: both.now + 1), both.now)
        told.append([(state.alert.key, state.phase, state.since, state.labels) for state in found])
    assert told[0] == told[1]
    assert ("ModelAccuracyLow/warning", "firing") in {(key, phase) for key, phase, _, _ in told[0]}


def test_a_query_that_cannot_be_read_is_refused_by_both(both: Filled) -> None:
    """Half a query ends in a sentence on both stores, never in a number."""
    for store in both.stores:
        with pytest.raises(AwayError, match="says: "):
            store.search(INDEX_PATTERN, page_body(asked(both, "level:(")))


def test_the_lines_behind_a_panel(both: Filled) -> None:
    """Grafana's link to the console is an address that the Logs page reads; both stores have as many of its lines."""
    links = {
        link["url"]
        .replace("${__from:date:iso}", rfc3339(both.start))
        .replace("${__to:date:iso}", rfc3339(both.end + 1))
        for page in dashboards()
        for panel in dashboard_json(page)["panels"]
        for link in panel.get("links", [])
        if "console" in link["title"]
    }
    assert len(links) >= 5
    found = Counter[str]()
    for link in links:
        url = httpx.URL(link)
        assert (url.host, url.port, url.path) == (
            "localhost",
            5602,
            "/logs",
        )  # beside Kibana, as docs/dashboards.md says
        search = Asked.from_address(dict(url.params), both.now)
        assert search.spread.span == pytest.approx(both.end + 1 - both.start, abs=0.01)
        counts = [store.search(INDEX_PATTERN, page_body(search))["hits"]["total"]["value"] for store in both.stores]
        assert counts[0] == counts[1], search.text
        found[search.text] = counts[0]
    assert sum(count > 0 for count in found.values()) >= 3, found


def test_half_an_answer_is_none(both: Filled) -> None:
    """Where a shard of Elasticsearch fails, its 200 with the rest is said to be a part, not shown as the whole."""
    store, odd = both.stores[0], datetime.now(UTC).strftime("ml-pipeline-odd-%Y.%m.%d")
    answer = httpx.put(f"{store.url}/{odd}", json={"mappings": {"properties": {"duration": {"type": "text"}}}})
    assert answer.status_code == 200, answer.text
    line = {"@timestamp": both.documents[-1]["@timestamp"], "duration": "long"}
    try:
        httpx.post(f"{store.url}/{odd}/_doc?refresh=true", json=line).raise_for_status()
        with pytest.raises(AwayError, match=r"answered only in part: 1 of \d+ shards failed \(Fielddata is disabled"):
            board(store, REQUEST_DURATION, both)
    finally:
        httpx.delete(f"{store.url}/{odd}")
