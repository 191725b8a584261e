"""The shipper's own messages: JSON lines on stderr."""

from __future__ import annotations

import datetime as dt
import logging
import sys

from pythonjsonlogger.json import JsonFormatter


class _Formatter(JsonFormatter):
    """Writes the moment as our log lines have it: RFC 3339, UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        return moment.strftime(datefmt or "%Y-%m-%dT%H:%M:%S.%fZ")


def log_to_stderr(**fields: int) -> None:
    """Write the messages of this process as JSON lines.

    Args:
        fields: in each line, such as the number of a worker.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "@timestamp", "levelname": "level", "name": "logger"},
            static_fields=fields or None,
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
