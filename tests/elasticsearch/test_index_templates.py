"""The files of index_templates/ on a real Elasticsearch: what an index made from them does with documents."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from tests.elasticsearch import installation

INDEX = "ml-pipeline-2026.11.20"
TYPES = {
    "@timestamp": "date",
    "level": "keyword",
    "service": "keyword",
    "message": "text",
    "request_id": "keyword",
    "instance": "integer",
    "prediction": "integer",
    "confidence": "float",
    "duration": "float",
    "error": "keyword",
    "model_type": "keyword",
    "model_version": "keyword",
    "endpoint": "keyword",
    "method": "keyword",
    "status": "short",
    "logger": "keyword",
    "host": "keyword",
    "trace_id": "keyword",
}


@pytest.fixture
def installed(real_client: Elasticsearch) -> Iterator[Elasticsearch]:
    """A server that holds our templates and policy, and none of our indices; cleared afterwards."""
    installation.uninstall(real_client)
    installation.install(real_client)
    yield real_client
    installation.uninstall(real_client)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Poll until `condition` holds, or fail saying `what` did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def source(**fields: Any) -> dict[str, Any]:
    """A document with a valid @timestamp and `fields`."""
    return {"@timestamp": "2026-11-20T10:00:00.123456Z", **fields}


def test_types_are_those_of_the_contract(installed: Elasticsearch) -> None:
    """An index from the template has the log line's fields with the types of contract 1, and their sub-fields."""
    installed.index(index=INDEX, document=source())
    mapping = installed.indices.get_mapping(index=INDEX)[INDEX]["mappings"]
    assert {name: field["type"] for name, field in mapping["properties"].items()} == TYPES
    assert mapping["properties"]["message"]["fields"]["keyword"]["type"] == "keyword"
    assert mapping["properties"]["error"]["fields"]["text"]["type"] == "text"


def test_every_keyword_is_bounded(installed: Elasticsearch) -> None:
    """Every keyword has ignore_above: no value is an immense term (over 32,766 bytes) that refuses its document."""
    installed.index(index=INDEX, document=source(new="text"))
    properties = installed.indices.get_mapping(index=INDEX)[INDEX]["mappings"]["properties"]
    fields = [*properties.items(), *((name, f) for name, p in properties.items() for f in p.get("fields", {}).values())]
    unbounded = [name for name, field in fields if field["type"] == "keyword" and "ignore_above" not in field]
    assert unbounded == []
    assert all(field.get("ignore_above", 0) * 4 < 32766 for _, field in fields)


def test_settings_take_effect(installed: Elasticsearch) -> None:
    """The simulated index carries the settings, and a single node needs no replica."""
    simulated = installed.indices.simulate_index_template(name=INDEX)["template"]["settings"]["index"]
    assert simulated["codec"] == "best_compression"
    assert simulated["lifecycle"] == {"name": "ml-pipeline", "parse_origination_date": "true"}
    installed.index(index=INDEX, document=source())
    assert installed.cluster.health(index=INDEX, wait_for_status="green")["status"] == "green"


@pytest.mark.parametrize("malformed", ["yesterday", {"a": 1}, "2026-13-01T00:00:00Z"])
def test_malformed_timestamp_is_refused(installed: Elasticsearch, malformed: object) -> None:
    """A document without a usable @timestamp is refused: every search by time would miss it."""
    with pytest.raises(BadRequestError, match="document_parsing_exception"):
        installed.index(index=INDEX, document={"@timestamp": malformed})


@pytest.mark.parametrize(
    ("field", "value"),
    [("confidence", "high"), ("status", "OK"), ("status", 99999), ("prediction", "1.x"), ("duration", "0.1 s")],
)
def test_malformed_value_is_ignored_and_marked(installed: Elasticsearch, field: str, value: object) -> None:
    """A malformed number costs its own field, not its document, and `_ignored` finds the document."""
    installed.index(index=INDEX, id="1", document=source(**{field: value}), refresh=True)
    found = installed.search(index=INDEX, query={"exists": {"field": "_ignored"}})["hits"]["hits"]
    assert [hit["_ignored"] for hit in found] == [[field]]
    assert found[0]["_source"][field] == value


def test_object_for_a_number_is_refused(installed: Elasticsearch) -> None:
    """ignore_malformed does not cover an object where a value belongs: such a record is the dead letters'."""
    with pytest.raises(BadRequestError, match="Cannot parse object as number"):
        installed.index(index=INDEX, document=source(duration={"s": 1}))


def test_too_long_keyword_is_kept_but_not_indexed(installed: Elasticsearch) -> None:
    """A value beyond ignore_above stays in the source and is marked in `_ignored`; its words are found as text."""
    long = "word " * 8000
    installed.index(index=INDEX, id="1", document=source(message=long, error=long), refresh=True)
    hit = installed.search(index=INDEX, query={"match": {"error.text": "word"}})["hits"]["hits"][0]
    assert hit["_source"]["message"] == long
    assert sorted(hit["_ignored"]) == ["error", "message.keyword"]


def test_unknown_strings_become_keywords(installed: Elasticsearch) -> None:
    """A field nobody declared is a keyword, also where its first value looks like a date."""
    installed.index(index=INDEX, document=source(tenant="a", since="2026-11-20"))
    installed.index(index=INDEX, document=source(since="not a date"), refresh=True)
    assert installed.count(index=INDEX, query={"term": {"since": "not a date"}})["count"] == 1


def test_too_many_fields_refuse_nothing(installed: Elasticsearch) -> None:
    """Beyond the limit of fields a new one is kept in the source and not mapped; the document is taken."""
    document = source(**{f"field_{number:04}": number for number in range(800)})
    installed.index(index=INDEX, document=document, refresh=True)
    hit = installed.search(index=INDEX)["hits"]["hits"][0]
    assert hit["_source"] == document
    assert len(hit["_ignored"]) > 250


def test_undated_index_can_be_made(installed: Elasticsearch) -> None:
    """`ml-pipeline-undated` has the same fields and no lifecycle; any other name without a date is refused."""
    installed.index(index="ml-pipeline-undated", document=source())
    settings = installed.indices.get_settings(index="ml-pipeline-undated")["ml-pipeline-undated"]["settings"]["index"]
    assert "lifecycle" not in settings
    assert settings["codec"] == "best_compression"
    with pytest.raises(BadRequestError, match="does not match pattern"):
        installed.index(index="ml-pipeline-somewhen", document=source())


def test_foreign_template_of_higher_priority_shows_in_simulate(installed: Elasticsearch) -> None:
    """Simulating our index tells that somebody else's template would win: what set-up relies on to refuse."""
    installed.indices.put_index_template(name="foreign", index_patterns=["ml-*"], priority=900, template={})
    try:
        simulated = installed.indices.simulate_index_template(name=INDEX)
        assert "lifecycle" not in simulated["template"]["settings"].get("index", {})
        assert "ml-pipeline" in [each["name"] for each in simulated["overlapping"]]
    finally:
        installed.indices.delete_index_template(name="foreign")


def test_installing_twice_changes_nothing(installed: Elasticsearch) -> None:
    """A second installation leaves templates and the policy's version as they were."""
    before = installed.ilm.get_lifecycle(name="ml-pipeline")["ml-pipeline"]["version"]
    installation.install(installed)
    assert installed.ilm.get_lifecycle(name="ml-pipeline")["ml-pipeline"]["version"] == before


def test_policy_uses_no_step_that_refuses_late_events() -> None:
    """No phase makes an index read-only, and none rolls over: a re-sent record must meet its first copy."""
    policy = installation.bodies()["/_ilm/policy/ml-pipeline"]["policy"]
    actions = {action for phase in policy["phases"].values() for action in phase["actions"]}
    assert actions == {"set_priority", "forcemerge", "delete"}


def shortened(ages: dict[str, str]) -> dict[str, Any]:
    """The policy file's body with other ages, all else as it is."""
    body = copy.deepcopy(installation.bodies()["/_ilm/policy/ml-pipeline"])
    for phase, age in ages.items():
        body["policy"]["phases"][phase]["min_age"] = age
    return body


def explain(client: Elasticsearch, index: str) -> dict[str, Any]:
    """What the lifecycle says of one index; empty where there is none."""
    try:
        indices: dict[str, Any] = client.ilm.explain_lifecycle(index=index)["indices"]
    except NotFoundError:
        return {}
    return dict(indices.get(index, {}))


def test_index_goes_through_its_phases_and_disappears(real_client: Elasticsearch) -> None:
    """With short ages an index of today is hot, then warm and merged, takes a late event there, and is deleted."""
    installation.uninstall(real_client)
    now = datetime.now(UTC)
    # The age counts from the midnight that the name says.
    since_midnight = (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    warm, gone = int(since_midnight) + 5, int(since_midnight) + 12
    installation.install(real_client, policy=shortened({"warm": f"{warm}s", "delete": f"{gone}s"}))
    index = f"ml-pipeline-{now:%Y.%m.%d}"
    try:
        for _ in range(3):  # three segments
            real_client.index(index=index, document=source(), refresh=True)
        wait_for(lambda: explain(real_client, index).get("phase") == "hot", "phase hot")
        wait_for(lambda: explain(real_client, index).get("phase") == "warm", "phase warm")
        wait_for(lambda: explain(real_client, index).get("action") == "complete", "the merge")
        assert real_client.indices.stats(index=index)["_all"]["primaries"]["segments"]["count"] == 1
        assert real_client.index(index=index, id="late", document=source(), refresh=True)["result"] == "created"
        wait_for(lambda: not real_client.indices.exists(index=index), "the deletion")
    finally:
        installation.uninstall(real_client)


def test_old_event_makes_an_index_that_is_deleted_at_once(real_client: Elasticsearch) -> None:
    """An event older than the retention makes a day index that the next poll deletes: why the shipper expires them."""
    installation.uninstall(real_client)
    installation.install(real_client)
    old = datetime.now(UTC) - timedelta(days=40)
    index = f"ml-pipeline-{old:%Y.%m.%d}"
    try:
        real_client.index(index=index, document=source(), refresh=True)
        wait_for(lambda: not real_client.indices.exists(index=index), "the deletion")
    finally:
        installation.uninstall(real_client)
