"""Kibana's objects: the checker accepts ours, refuses each known mistake, and the queries give what a count gives."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest
from elasticsearch import Elasticsearch, helpers

from compose.provision import kibana
from compose.provision.panels import dashboards
from compose.provision.visualisations import (
    DASHBOARD_ID,
    ERROR_ANALYSIS,
    ERROR_BURST,
    ERROR_SEARCH,
    LOG_LEVELS,
    REQUEST_DURATION,
    SUCCESS_RATE,
    VISUALISATIONS,
    Visualisation,
    search_body,
)
from compose.stack import setup
from tests.provision.kibana_check import complaints, template_fields
from tests.provision.kql import KqlError, to_dsl
from tests.provision.recording import END, START, log_lines

FIELDS = template_fields(json.loads((files("index_templates") / "ml-pipeline.mappings.json").read_text()))
INDEX = "ml-pipeline-provision-2026.11.24"  # the template wants a date at the end
Objects = dict[str, dict[str, Any]]


def test_ours_are_right() -> None:
    """The checker has nothing to say about what we ship."""
    assert complaints(kibana.ndjson(), FIELDS) == []


def _lens(objects: Objects, key: str) -> dict[str, Any]:
    state: dict[str, Any] = objects[key]["attributes"]["state"]
    return state


def _column(objects: Objects, key: str, column: str) -> dict[str, Any]:
    found: dict[str, Any] = _lens(objects, key)["datasourceStates"]["formBased"]["layers"]["lines"]["columns"][column]
    return found


MISTAKES: dict[str, tuple[Callable[[Objects], object], str]] = {
    "new stamp": (lambda o: o[LOG_LEVELS.id].update(typeMigrationVersion="10.1.0"), "stamps are not"),
    "legacy accessor": (
        lambda o: (
            _lens(o, SUCCESS_RATE.id)["visualization"].update(accessor="count")
            or _lens(o, SUCCESS_RATE.id)["visualization"].pop("metricAccessor")
        ),
        "has no metricAccessor",
    ),
    "field not there": (
        lambda o: _column(o, REQUEST_DURATION.id, "mean").update(sourceField="latency"),
        "field latency is not in the index template",
    ),
    "text cannot be aggregated": (
        lambda o: _column(o, ERROR_ANALYSIS.id, "message").update(sourceField="message"),
        "last_value cannot work on message, a text",
    ),
    "average of a keyword": (
        lambda o: _column(o, REQUEST_DURATION.id, "mean").update(sourceField="level"),
        "average cannot work on level",
    ),
    "unknown accessor": (
        lambda o: _lens(o, LOG_LEVELS.id)["visualization"]["layers"][0].update(splitAccessor="nobody"),
        "accessor nobody is no column",
    ),
    "other layer": (
        lambda o: _lens(o, SUCCESS_RATE.id)["visualization"].update(layerId="other"),
        "shows layer other",
    ),
    "reference of no layer": (
        lambda o: o[LOG_LEVELS.id]["references"][0].update(name="indexpattern-datasource-layer-x"),
        "are not those of the layers",
    ),
    "reference to nothing": (
        lambda o: o[LOG_LEVELS.id]["references"][0].update(id="gone"),
        "points to index-pattern gone",
    ),
    "column order": (
        lambda o: _lens(o, LOG_LEVELS.id)["datasourceStates"]["formBased"]["layers"]["lines"]["columnOrder"].pop(),
        "is not a permutation",
    ),
    "bucket flag": (lambda o: _column(o, LOG_LEVELS.id, "level").update(isBucketed=False), "isBucketed is wrong"),
    "KQL field": (
        lambda o: _lens(o, SUCCESS_RATE.id)["query"].update(query="NOT errors: *"),
        "KQL field errors is not",
    ),
    "KQL syntax": (lambda o: _lens(o, SUCCESS_RATE.id)["query"].update(query="level = ERROR"), "is not understood"),
    "panels decoded": (
        lambda o: o[DASHBOARD_ID]["attributes"].update(panelsJSON=[]),
        "panelsJSON is not JSON in a string",
    ),
    "unknown dashboard key": (
        lambda o: o[DASHBOARD_ID]["attributes"].update(controls=[]),
        "attribute controls would be refused",
    ),
    "panel reference": (
        lambda o: o[DASHBOARD_ID]["references"][0].update(name="panel_p1"),
        "do not belong together",
    ),
    "managed": (lambda o: o[ERROR_SEARCH.id].update(managed=True), "managed is not false"),
    "unused reference": (
        lambda o: o[LOG_LEVELS.id]["references"].append(
            {"type": "index-pattern", "id": "ml-pipeline-logs", "name": "nobody"}
        ),
        "are not those of the layers",
    ),
    "data view with a reference": (
        lambda o: o["ml-pipeline-logs"]["references"].append(
            {"type": "index-pattern", "id": "ml-pipeline-logs", "name": "itself"}
        ),
        "needs no references",
    ),
    "wrong time field": (
        lambda o: o["ml-pipeline-logs"]["attributes"].update(timeFieldName="timestamp"),
        "is no date in the index template",
    ),
    "ordered by nothing": (
        lambda o: _column(o, LOG_LEVELS.id, "level")["params"]["orderBy"].update(columnId="gone"),
        "which is no metric of this layer",
    ),
    "column of another id": (
        lambda o: _lens(o, REQUEST_DURATION.id)["visualization"]["layers"][0].update(accessors=[]),
        "column mean is shown nowhere",
    ),
    "overlap": (
        lambda o: o[DASHBOARD_ID]["attributes"].update(
            panelsJSON=o[DASHBOARD_ID]["attributes"]["panelsJSON"].replace('"x": 24', '"x": 20')
        ),
        "overlap",
    ),
    "search column": (
        lambda o: o[ERROR_SEARCH.id]["attributes"]["columns"].append("stack_trace"),
        "column stack_trace is not",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_found(name: str) -> None:
    """What Kibana imports with 200 and then shows nothing for, the checker names."""
    spoil, words = MISTAKES[name]
    objects = {each["id"]: each for each in kibana.saved_objects()}
    spoil(objects)
    found = complaints("".join(json.dumps(each) + "\n" for each in objects.values()), FIELDS)
    assert any(words in text for text in found), found


def test_a_double_and_a_broken_line_are_found() -> None:
    """The same id twice and a line that is not JSON are named."""
    text = kibana.ndjson() + kibana.ndjson().splitlines()[0] + "\n{\n"
    found = complaints(text, FIELDS)
    assert any("is there twice" in each for each in found)
    assert any("line 9: not JSON" in each for each in found)


def test_the_alert_counts_every_error_in_its_window() -> None:
    """With Kibana's default, hits of the run before would not count: the rule says otherwise."""
    params = kibana.rule_body()["params"]
    assert params["excludeHitsFromPreviousRun"] is False
    assert params["threshold"] == [5]
    assert (params["timeWindowSize"], params["timeWindowUnit"]) == (5, "m")
    assert json.loads(params["esQuery"]) == {"query": ERROR_BURST.query}


@pytest.fixture(scope="module", params=["real", "embedded"])
def client(request: pytest.FixtureRequest) -> Iterator[Elasticsearch]:
    """The recorded run's log lines under our templates, in a real Elasticsearch and in the embedded store."""
    url: str = request.getfixturevalue("real_elasticsearch" if request.param == "real" else "embedded_store")
    with Elasticsearch(url, request_timeout=60) as made:
        setup.run(setup.Plan(elasticsearch=url, wait=60), lambda _line: None)
        made.indices.delete(index=INDEX, ignore_unavailable=True)
        helpers.bulk(made, ({"_index": INDEX, "_source": each} for each in log_lines()), refresh=True)
        try:
            yield made
        finally:
            made.indices.delete(index=INDEX)


def _ask(client: Elasticsearch, visualisation: Visualisation) -> dict[str, Any]:
    body = search_body(visualisation, gte=_text(START), lte=_text(END), interval="1m")
    return dict(client.search(index=INDEX, body=body).body)


def _text(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _milliseconds(document: dict[str, Any]) -> int:
    return int(datetime.fromisoformat(document["@timestamp"]).timestamp() * 1000)


def _errors() -> list[dict[str, Any]]:
    return [each for each in log_lines() if each.get("level") == "ERROR"]


def test_levels_are_counted_as_they_are(client: Elasticsearch) -> None:
    """Log Levels Over Time gives for each minute and level what a direct count gives; the burst is seen."""
    answer = _ask(client, LOG_LEVELS)
    found = {
        (bucket["key_as_string"][:16], level["key"]): level["doc_count"]
        for bucket in answer["aggregations"]["time"]["buckets"]
        for level in bucket["level"]["buckets"]
    }
    wanted = Counter((each["@timestamp"][:16], each["level"]) for each in log_lines() if "level" in each)
    assert found == wanted
    assert found["2026-11-24T09:12", "ERROR"] > 10
    assert ("2026-11-24T09:05", "ERROR") not in found


def test_errors_are_listed_newest_first(client: Elasticsearch) -> None:
    """Error Analysis has the newest failed requests, each with its own last values."""
    answer = _ask(client, ERROR_ANALYSIS)
    rows = answer["aggregations"]["request"]["buckets"]
    errors = {each["request_id"]: each for each in _errors()}
    newest = sorted((_milliseconds(each) for each in errors.values()), reverse=True)[: len(rows)]
    assert len(rows) == 50
    assert [int(row["time"]["value"]) for row in rows] == newest
    for row in rows:
        told = row["error"]["hits"]["hits"][0]["_source"]["error"]
        assert told == errors[row["key"]]["error"]
    assert answer["hits"]["total"]["value"] == len(_errors())


def test_durations_are_averaged(client: Elasticsearch) -> None:
    """Request Duration Trends is the mean of the durations of each minute."""
    answer = _ask(client, REQUEST_DURATION)
    groups: dict[str, list[float]] = {}
    for each in log_lines():
        if "duration" in each:
            groups.setdefault(each["@timestamp"][:16], []).append(each["duration"])
    found = {
        bucket["key_as_string"][:16]: bucket["mean"]["value"] for bucket in answer["aggregations"]["time"]["buckets"]
    }
    means = {minute: sum(values) / len(values) for minute, values in groups.items()}
    assert {minute: value for minute, value in found.items() if value is not None} == pytest.approx(means, rel=1e-5)


def test_successes_are_lines_without_an_error(client: Elasticsearch) -> None:
    """Prediction Success Rate counts the lines without the field `error`."""
    wanted = sum("error" not in each for each in log_lines())
    assert _ask(client, SUCCESS_RATE)["hits"]["total"]["value"] == wanted
    assert 0 < wanted < len(log_lines())


def test_the_grafana_panel_counts_the_same_errors(client: Elasticsearch) -> None:
    """The Lucene query of Grafana's panel Errors in the Log finds the ERROR lines."""
    query = next(q.expr for page in dashboards() for panel in page.panels() for q in panel.queries
                 if q.source == "elasticsearch")  # fmt: skip
    found = client.count(index=INDEX, query={"query_string": {"query": query}})["count"]
    assert found == len(_errors()) > 0


def test_kql_and_query_are_the_same_filter(client: Elasticsearch) -> None:
    """The KQL that Kibana gets, parsed, selects what the query that the console sends selects."""
    for each in (*VISUALISATIONS, ERROR_SEARCH):
        ours = client.count(index=INDEX, query=each.query)["count"]
        assert ours == client.count(index=INDEX, query=to_dsl(each.kql, FIELDS))["count"]
        assert 0 < ours <= len(log_lines())


COUNTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "level: ERROR": lambda d: d.get("level") == "ERROR",
    "NOT error: *": lambda d: "error" not in d,
    "prediction: *": lambda d: "prediction" in d,
    'endpoint: "/predict" and not status: 200': lambda d: d.get("endpoint") == "/predict" and d["status"] != 200,
    "(level: ERROR or level: WARNING) and duration >= 0.001": lambda d: (
        d.get("level") in ("ERROR", "WARNING") and d.get("duration", 0) >= 0.001
    ),
    "message: feedback": lambda d: "feedback" in d.get("message", ""),
}


@pytest.mark.parametrize("kql", COUNTS)
def test_kql_selects_what_a_direct_count_gives(client: Elasticsearch, kql: str) -> None:
    """Each form of the language, turned into a query, selects what Python selects from the same lines."""
    found = client.count(index=INDEX, query=to_dsl(kql, FIELDS))["count"]
    assert found == sum(map(COUNTS[kql], log_lines()))
    assert found > 0


@pytest.mark.parametrize(
    ("kql", "words"),
    [
        ("level = ERROR", "is not understood"),
        ("level:", "ends too early"),
        ("(level: ERROR", "ends too early"),
        ("level: ERROR duration: 1", "'duration' is not understood"),
        ("levels: ERROR", "field levels is not in the index template"),
        ("message > 5", "is a text and cannot be compared"),
        ("error: time*", "wildcards inside a value"),
    ],
)
def test_kql_that_we_do_not_understand_is_refused(kql: str, words: str) -> None:
    """A query is either understood wholly or named."""
    with pytest.raises(KqlError, match=re.escape(words)):
        to_dsl(kql, FIELDS)


def rule_count() -> dict[str, Any]:
    """The question that Kibana's rule type puts, from the rule's own parameters: its query within its window."""
    asked = kibana.rule_body()["params"]
    window = {"range": {asked["timeField"]: {"gt": f"now-{asked['timeWindowSize']}{asked['timeWindowUnit']}"}}}
    return {"query": {"bool": {"filter": [json.loads(asked["esQuery"])["query"], window]}}}


@pytest.mark.parametrize(("errors", "fires"), [(5, False), (6, True)])
def test_the_alert_fires_above_five(client: Elasticsearch, errors: int, fires: bool) -> None:
    """Six ERROR lines in five minutes are above the threshold, five are not; older and other lines do not count."""
    index = f"ml-pipeline-alert{errors}-2026.11.24"  # the template wants a date at the end
    now = datetime.now(UTC)
    ages = [(timedelta(seconds=40 * number), "ERROR") for number in range(errors)]
    ages += [(timedelta(minutes=6), "ERROR")] * 9 + [(timedelta(seconds=10), "WARNING")] * 9
    lines = [{"@timestamp": (now - age).isoformat(), "level": level} for age, level in ages]
    try:
        helpers.bulk(client, ({"_index": index, "_source": line} for line in lines), refresh=True)
        count = client.count(index=index, body=rule_count())["count"]
    finally:
        client.indices.delete(index=index)
    assert (count > ERROR_BURST.threshold) is fires
    assert count == errors
