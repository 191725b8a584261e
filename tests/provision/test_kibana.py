"""Kibana's objects: the checker accepts ours, refuses each known mistake, and the queries give what a count gives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest
from elasticsearch import Elasticsearch, helpers

from compose.provision import kibana
from compose.provision.kibana_check import complaints, template_fields
from compose.provision.visualisations import (
    DASHBOARD_ID,
    ERROR_ANALYSIS,
    ERROR_BURST,
    ERROR_SEARCH,
    LOG_LEVELS,
    REQUEST_DURATION,
    SUCCESS_RATE,
    VISUALISATIONS,
    alert_body,
    search_body,
)
from tests.elasticsearch.documents import log_documents

FIELDS = template_fields(json.loads((files("index_templates") / "ml-pipeline.mappings.json").read_text()))
START = datetime(2026, 11, 24, 9, tzinfo=UTC)
INDEX = "ml-pipeline-provision-2026.11.24"
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


@pytest.fixture(scope="module")
def documents(real_client: Elasticsearch) -> list[dict[str, Any]]:
    """Two hours of log lines, in the real Elasticsearch under our template."""
    made = list(log_documents(3000, seed=7, start=START, step=timedelta(seconds=2.4)))
    for kind, path in (("settings", "ml-pipeline-settings"), ("mappings", "ml-pipeline-mappings")):
        body = json.loads((files("index_templates") / f"ml-pipeline.{kind}.json").read_text())
        real_client.cluster.put_component_template(name=path, body=body)
    policy = json.loads((files("index_templates") / "ml-pipeline.ilm.json").read_text())
    real_client.ilm.put_lifecycle(name="ml-pipeline", policy=policy["policy"])
    template = json.loads((files("index_templates") / "ml-pipeline.template.json").read_text())
    real_client.indices.put_index_template(name="ml-pipeline", body=template)
    real_client.indices.delete(index=INDEX, ignore_unavailable=True)
    helpers.bulk(real_client, ({"_index": INDEX, "_source": each} for each in made), refresh=True)
    return made


def _ask(client: Elasticsearch, body: dict[str, Any]) -> dict[str, Any]:
    return dict(client.search(index=INDEX, body=body).body)


def _body(visualisation: Any) -> dict[str, Any]:
    end = START + timedelta(hours=3)
    return search_body(visualisation, gte=START.isoformat(), lte=end.isoformat(), interval="10m")


def test_levels_are_counted_as_they_are(real_client: Elasticsearch, documents: list[dict[str, Any]]) -> None:
    """Log Levels Over Time gives for each interval and level what a direct count gives."""
    answer = _ask(real_client, _body(LOG_LEVELS))
    found = {
        (bucket["key_as_string"][:16], level["key"]): level["doc_count"]
        for bucket in answer["aggregations"]["time"]["buckets"]
        for level in bucket["level"]["buckets"]
    }
    wanted = Counter((each["@timestamp"][:15] + "0", each["level"]) for each in documents)
    assert found == wanted


def test_errors_are_listed_newest_first(real_client: Elasticsearch, documents: list[dict[str, Any]]) -> None:
    """Error Analysis has the newest failed requests, each with its own last values."""
    answer = _ask(real_client, _body(ERROR_ANALYSIS))
    rows = answer["aggregations"]["request"]["buckets"]
    errors = sorted((each for each in documents if each["level"] == "ERROR"), key=lambda each: each["@timestamp"])
    assert [row["key"] for row in rows] == [each["request_id"] for each in reversed(errors)][:50]
    assert rows[0]["error"]["hits"]["hits"][0]["_source"]["error"] == errors[-1]["error"]
    assert answer["hits"]["total"]["value"] == len(errors)


def test_durations_are_averaged(real_client: Elasticsearch, documents: list[dict[str, Any]]) -> None:
    """Request Duration Trends is the mean of the durations of each interval."""
    answer = _ask(real_client, _body(REQUEST_DURATION))
    groups: dict[str, list[float]] = {}
    for each in documents:
        groups.setdefault(each["@timestamp"][:15] + "0", []).append(each["duration"])
    for bucket in answer["aggregations"]["time"]["buckets"]:
        values = groups[bucket["key_as_string"][:16]]
        assert bucket["mean"]["value"] == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_successes_are_lines_without_an_error(real_client: Elasticsearch, documents: list[dict[str, Any]]) -> None:
    """Prediction Success Rate counts the lines without the field `error`."""
    answer = _ask(real_client, _body(SUCCESS_RATE))
    assert answer["hits"]["total"]["value"] == sum("error" not in each for each in documents)


def test_kql_and_query_are_the_same_filter(real_client: Elasticsearch, documents: list[dict[str, Any]]) -> None:
    """The KQL that Kibana gets selects what the query that the console sends selects (as query_string)."""
    for each in (*VISUALISATIONS, ERROR_SEARCH):
        text = each.kql.replace(": *", ":*").replace(": ", ":") or "*"
        ours = real_client.count(index=INDEX, query=each.query)["count"]
        assert ours == real_client.count(index=INDEX, query={"query_string": {"query": text}})["count"]
        assert 0 < ours <= len(documents)


@pytest.mark.parametrize(("errors", "fires"), [(5, False), (6, True)])
def test_the_alert_fires_above_five(real_client: Elasticsearch, errors: int, fires: bool) -> None:
    """Six ERROR lines in five minutes are above the threshold, five are not; older and other lines do not count."""
    index = f"ml-pipeline-alert{errors}-2026.11.24"  # the template wants a date at the end
    now = datetime.now(UTC)
    ages = [(timedelta(seconds=40 * number), "ERROR") for number in range(errors)]
    ages += [(timedelta(minutes=6), "ERROR")] * 9 + [(timedelta(seconds=10), "WARNING")] * 9
    lines = [{"@timestamp": (now - age).isoformat(), "level": level} for age, level in ages]
    try:
        helpers.bulk(real_client, ({"_index": index, "_source": line} for line in lines), refresh=True)
        count = real_client.count(index=index, body=alert_body())["count"]
    finally:
        real_client.indices.delete(index=index)
    assert (count > ERROR_BURST.threshold) is fires
    assert count == errors
