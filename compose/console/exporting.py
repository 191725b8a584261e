"""Writes the hits of a search as NDJSON or CSV, page by page, bounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import flask
import msgspec

from compose.console.log_search import Asked, page_body
from compose.console.store import AwayError, Store
from compose.provision.visualisations import INDEX_PATTERN

KINDS = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
PAGE = 1000
CSV_FIELDS = (
    "@timestamp", "level", "service", "message", "error", "request_id", "instance", "prediction", "confidence",
    "duration", "status", "endpoint", "method", "model_type", "model_version", "logger", "host", "trace_id",
)  # fmt: skip
# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def sources(store: Store, asked: Asked, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the hits' documents, newest first, at most `limit`.

    Raises:
        AwayError: the store is away.
    """
    after: list[Any] | None = None
    left = limit
    while left > 0:
        hits = store.search(INDEX_PATTERN, page_body(asked, after, min(PAGE, left)) | {"track_total_hits": False})
        found = hits["hits"]["hits"]
        yield from (hit["_source"] for hit in found)
        left -= len(found)
        if len(found) < PAGE:
            return
        after = found[-1]["sort"]


def cell(value: Any) -> str:
    """Return a CSV cell; text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return msgspec.json.encode(value).decode()


def csv_line(values: list[str]) -> str:
    """Return one line of CSV (RFC 4180)."""
    target = io.StringIO()
    csv.writer(target, lineterminator="\r\n").writerow(values)
    return target.getvalue()


def lines(store: Store, asked: Asked, kind: str, limit: int) -> Iterator[bytes]:
    """Yield the export in pieces; a store that goes away in the middle is said in the last line."""
    if kind == "csv":
        yield csv_line(list(CSV_FIELDS)).encode()
    try:
        for source in sources(store, asked, limit):
            if kind == "csv":
                yield csv_line([cell(source.get(field)) for field in CSV_FIELDS]).encode()
            else:
                yield msgspec.json.encode(source) + b"\n"
    except AwayError as error:
        sentence = f"the export ends here: {error}"
        yield (
            csv_line([sentence]).encode() if kind == "csv" else msgspec.json.encode({"export_error": sentence}) + b"\n"
        )


def answer(store: Store, asked: Asked, kind: str, limit: int) -> flask.Response:
    """Return the export as a download."""
    response = flask.Response(lines(store, asked, kind, limit), content_type=KINDS[kind])
    response.headers["Content-Disposition"] = f'attachment; filename="ml-pipeline-logs.{kind}"'
    return response
