"""The official client works on both servers as it is: helpers, scrolling, what Kibana asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import BadRequestError, ConflictError, Elasticsearch, NotFoundError, helpers

from tests.contract.dataset import COUNT, documents, index_body
from tests.contract.server import Server

INDEX = "contract-client"


@pytest.fixture
def client(server: Server) -> Iterator[Elasticsearch]:
    """The official client on each server; its index is deleted afterwards."""
    with Elasticsearch(server.url, request_timeout=60) as made:
        made.options(ignore_status=404).indices.delete(index=INDEX)
        yield made
        made.options(ignore_status=404).indices.delete(index=INDEX)


def test_bulk_and_scan(client: Elasticsearch) -> None:
    """helpers.bulk writes each document once and helpers.scan reads them all back."""
    sources = {name: source for _, name, source in documents()}
    actions = [
        {"_op_type": "create", "_index": INDEX, "_id": name, "_source": source} for name, source in sources.items()
    ]
    client.indices.create(index=INDEX, **index_body())
    assert helpers.bulk(client, actions, chunk_size=70, refresh=True) == (COUNT, [])
    read = {hit["_id"]: hit["_source"] for hit in helpers.scan(client, index=INDEX, size=37)}
    assert read == sources


def test_conflicts_are_reported(client: Elasticsearch) -> None:
    """A second creation with the same id is a 409 of its item and leaves the first."""
    action = {"_op_type": "create", "_index": INDEX, "_id": "1", "n": 1}
    helpers.bulk(client, [action], refresh=True)
    _, errors = helpers.bulk(client, [action], raise_on_error=False)
    assert [error["create"]["status"] for error in errors] == [409]  # type: ignore[union-attr]  # a list by default
    with pytest.raises(ConflictError):
        client.create(index=INDEX, id="1", document={"n": 2})


def test_paging_with_search_after_reaches_all(client: Elasticsearch) -> None:
    """Pages by search_after are complete and do not overlap."""
    seen: list[str] = []
    after = None
    while True:
        hits = client.search(
            index="contract-2026*", size=41, sort=[{"@timestamp": "desc"}, {"request_id": "asc"}], search_after=after
        )["hits"]["hits"]
        if not hits:
            break
        seen += [hit["_id"] for hit in hits]
        after = hits[-1]["sort"]
    assert len(seen) == len(set(seen)) == COUNT


def test_scroll_keeps_its_view(client: Elasticsearch) -> None:
    """A scroll goes on with what was there when it began, and an ended one is gone."""
    helpers.bulk(client, [{"_index": INDEX, "_id": str(n), "n": n} for n in range(10)], refresh=True)
    page = client.search(index=INDEX, scroll="1m", size=4, sort="n")
    client.index(index=INDEX, id="new", document={"n": 0}, refresh=True)
    found = [hit["_id"] for hit in page["hits"]["hits"]]
    while hits := (page := client.scroll(scroll_id=page["_scroll_id"], scroll="1m"))["hits"]["hits"]:
        found += [hit["_id"] for hit in hits]
    assert found == [str(n) for n in range(10)]
    client.clear_scroll(scroll_id=page["_scroll_id"])
    with pytest.raises(NotFoundError):
        client.scroll(scroll_id=page["_scroll_id"])


def test_what_kibana_asks(client: Elasticsearch) -> None:
    """Field capabilities name searchable, aggregatable types, and several searches go in one call."""
    fields = client.field_caps(index="contract-2026*", fields="*")["fields"]
    assert fields["@timestamp"]["date"]["aggregatable"] is True
    assert fields["message"]["text"]["aggregatable"] is False
    responses = client.msearch(searches=[{"index": "contract-2026*"}, {"size": 0}, {"index": "no-such"}, {"size": 0}])[
        "responses"
    ]
    assert [response["status"] for response in responses] == [200, 404]


def test_answers_of_the_cluster(client: Elasticsearch, server: Server) -> None:
    """Health, the list of indices, existence and information are there for the guide's calls."""
    assert client.info()["version"]["number"].startswith("8.")
    assert client.cluster.health()["status"] in ("green", "yellow")
    listed: Any = client.cat.indices(index="contract-2026*", format="json").body
    assert sum(int(row["docs.count"]) for row in listed) == COUNT
    assert bool(client.indices.exists(index="contract-empty")) is True
    assert bool(client.indices.exists(index="no-such")) is False
    assert server.call("GET", "/").headers["x-elastic-product"] == "Elasticsearch"
    with pytest.raises(BadRequestError):
        client.indices.create(index="contract-empty")
