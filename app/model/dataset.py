"""Labelled rows: the UCI Bank Marketing file, the same from OpenML, and what both have in common."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from app.schema import CODES, FIELDS, NAMES

Rows = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
OPENML_ID = 1461  # bank-marketing, version 1: the same 45,211 rows, columns named V1 to V16
OPENML_COLUMNS = (
    "age", "job", "marital", "education", "default", "balance", "housing", "loan", "contact", "day", "month",
    "duration", "campaign", "pdays", "previous", "poutcome",
)  # fmt: skip


class DataError(ValueError):
    """The data cannot be used; the message says where and why."""


class Dataset(msgspec.Struct, frozen=True):
    """Labelled rows.

    Attributes:
        rows: shape (n, len(FIELDS)): category codes and whole numbers, NaN for missing.
        labels: shape (n,): 1 where the customer subscribed.
        source: where they come from, in words.
    """

    rows: Rows
    labels: Labels
    source: str

    def digest(self) -> str:
        """Return the SHA-256 of rows and labels in hexadecimal."""
        digest = hashlib.sha256(np.ascontiguousarray(self.rows).tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()


def read_csv(path: Path) -> Dataset:
    """Read bank-full.csv, with semicolons as UCI has it or with commas.

    Raises:
        DataError: it cannot be read, lacks a column, or a value does not fit its field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; bank-full.csv is text") from None
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in header else ",")
    missing = {*NAMES, "y"} - set(reader.fieldnames or ())
    if missing:
        raise DataError(f"{path}: the header lacks {', '.join(sorted(missing))}")
    return from_records(reader, str(path.name))


def from_records(records: Iterable[Mapping[str, str]], source: str) -> Dataset:
    """Encode records of text by field name, with `y` as the label.

    Raises:
        DataError: a value does not fit its field; line 2 is the first record.
    """
    rows: list[list[float]] = []
    labels: list[int] = []
    for line, record in enumerate(records, start=2):
        rows.append([_number(record.get(field.name), column, source, line) for column, field in enumerate(FIELDS)])
        label = str(record.get("y", "")).strip().lower()
        if label not in ("yes", "no", "1", "0", "2"):
            raise DataError(f"{source}, line {line}: y must be yes or no")
        # OpenML writes 1 for no and 2 for yes; a file with 0 and 1 is unambiguous as long as it has no 2.
        labels.append({"no": 0, "yes": 1}.get(label, int(label) if label.isdigit() else 0))
    if not rows:
        raise DataError(f"{source}: there is no row in it")
    encoded = np.array(labels, dtype=np.int64)
    if encoded.max() == 2:
        encoded -= 1
    if len(set(encoded.tolist())) != 2:
        raise DataError(f"{source}: both labels, yes and no, are needed")
    return Dataset(np.array(rows, dtype=np.float64), encoded, source)


def _number(text: str | None, column: int, source: str, line: int) -> float:
    field = FIELDS[column]
    cleaned = (text or "").strip().strip('"')
    if not cleaned:
        return float("nan")
    if field.categories:
        code = CODES[field.name].get(cleaned)
        if code is None:
            raise DataError(f"{source}, line {line}: {field.name} must be one of {', '.join(field.categories)}")
        return code
    try:
        number = float(cleaned)
    except ValueError:
        raise DataError(f"{source}, line {line}: {field.name} must be a number") from None
    if not field.low <= number <= field.high:
        raise DataError(f"{source}, line {line}: {field.name} must be from {field.low} to {field.high}")
    return number


def fetch_openml_dataset() -> Dataset:
    """Fetch the data set from OpenML.

    Raises:
        DataError: it cannot be reached or is not what is expected.
    """
    from sklearn.datasets import fetch_openml

    try:
        bunch = fetch_openml(data_id=OPENML_ID, as_frame=False, parser="liac-arff")
    except Exception as error:
        raise DataError(
            f"OpenML data set {OPENML_ID} cannot be fetched ({type(error).__name__}): is the network there? "
            "Else download bank-full.csv from UCI and use --data"
        ) from error
    nominal: dict[str, list[str]] = getattr(bunch, "categories", None) or {}
    records = []
    for values, label in zip(bunch.data, bunch.target, strict=True):
        record = {"y": str(label)}
        for name, column, value in zip(OPENML_COLUMNS, bunch.feature_names, values, strict=True):
            # as_frame=False gives a nominal value as its position among the column's categories
            record[name] = nominal[column][int(value)] if column in nominal else str(value)
        records.append(record)
    return from_records(records, f"OpenML {OPENML_ID}")
