"""The rows of the error table: what its Kibana definition shows, asked for in a way that stays fast.

The definition's aggregation orders all failed requests by their newest line and looks each one up; the table needs the
newest 50. Reading lines newest first until there are 50 requests gives the same rows (a test compares them), exactly,
while Elasticsearch's own order by a metric is an estimate over several shards.
"""

from __future__ import annotations

from typing import Any

from compose.console.store import Store
from compose.console.timerange import TimeRange
from compose.provision.visualisations import ERROR_ANALYSIS, INDEX_PATTERN, TIME_FIELD

PAGE = 200
PAGES = 10  # a request with thousands of lines must not make the page read them all
REQUEST = ERROR_ANALYSIS.columns[0]


def body(spread: TimeRange, after: list[Any] | None) -> dict[str, Any]:
    """Return the search of one page of the lines behind the table, newest first."""
    filters = [ERROR_ANALYSIS.query, {"exists": {"field": REQUEST.field}}, spread.filter()]
    asked: dict[str, Any] = {
        "size": PAGE,
        "track_total_hits": False,
        "query": {"bool": {"filter": filters}},
        "sort": [{TIME_FIELD: {"order": "desc", "format": "strict_date_optional_time_nanos"}}, {"_doc": "desc"}],
    }
    return asked | ({"search_after": after} if after else {})


def newest(store: Store, spread: TimeRange) -> list[dict[str, Any]]:
    """Return the newest line of each of the requests that failed last, newest first.

    Raises:
        AwayError: the store is away.
    """
    wanted = REQUEST.size
    found: dict[str, dict[str, Any]] = {}
    after: list[Any] | None = None
    for _ in range(PAGES):
        hits = store.search(INDEX_PATTERN, body(spread, after))["hits"]["hits"]
        for hit in hits:
            found.setdefault(str(hit["_source"][str(REQUEST.field)]), hit["_source"])
        if len(hits) < PAGE or len(found) >= wanted:
            break
        after = hits[-1]["sort"]
    return list(found.values())[:wanted]
