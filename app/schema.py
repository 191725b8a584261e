"""What a request may hold: the fields of UCI Bank Marketing, their ranges, aliases and error details.

Source of names and categories: S. Moro, P. Rita, P. Cortez (2014), Bank Marketing, doi 10.24432/C5K306.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

MISSING = math.nan
MAX_PROBLEMS = 100
# A field name that is safe to repeat to the client who sent it.
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the model.

    Attributes:
        name: as in the data set.
        description: what it means.
        categories: the values it may have; empty for a whole number.
        low, high: smallest and largest number.
        required: whether a request must have it.
    """

    name: str
    description: str
    categories: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    required: bool = False


# Categories first: scikit-learn's boosting puts them there, so its columns are ours.
FIELDS: tuple[Field, ...] = (
    Field(
        name="job",
        description="kind of job; `admin` is taken as `admin.`",
        categories=(
            "admin.", "blue-collar", "entrepreneur", "housemaid", "management", "retired",
            "self-employed", "services", "student", "technician", "unemployed", "unknown",
        ),
        required=True,
    ),
    Field(
        name="marital", description="marital status", categories=("divorced", "married", "single"), required=True
    ),
    Field(
        name="education",
        description="level of education",
        categories=("primary", "secondary", "tertiary", "unknown"),
        required=True,
    ),
    Field(name="housing", description="has a housing loan", categories=("no", "yes"), required=True),
    Field(name="loan", description="has a personal loan", categories=("no", "yes"), required=True),
    Field(name="default", description="has credit in default", categories=("no", "yes")),
    Field(name="contact", description="kind of contact", categories=("cellular", "telephone", "unknown")),
    Field(
        name="month",
        description="month of the last contact",
        categories=("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ),
    Field(
        name="poutcome",
        description="outcome of the previous campaign",
        categories=("failure", "other", "success", "unknown"),
    ),
    Field(name="age", description="years", low=17, high=120, required=True),
    Field(name="duration", description="length of the last call in seconds", low=0, high=36_000, required=True),
    Field(name="campaign", description="contacts in this campaign, with this one", low=1, high=1_000, required=True),
    Field(name="balance", description="average yearly balance in euros", low=-10_000_000, high=10_000_000),
    Field(name="day", description="day of the month of the last contact", low=1, high=31),
    Field(name="pdays", description="days since the previous campaign's contact; -1: none", low=-1, high=10_000),
    Field(name="previous", description="contacts before this campaign", low=0, high=10_000),
)  # fmt: skip
NAMES = tuple(field.name for field in FIELDS)
COLUMN = {name: column for column, name in enumerate(NAMES)}
CATEGORICAL = tuple(column for column, field in enumerate(FIELDS) if field.categories)
REQUIRED = tuple(column for column, field in enumerate(FIELDS) if field.required)
OPTIONAL = tuple(column for column, field in enumerate(FIELDS) if not field.required)
ALIASES = {"job": {"admin": "admin."}}

# Text of a category, aliases included, to its code.
CODES: dict[str, dict[str, float]] = {
    field.name: {
        **{text: float(code) for code, text in enumerate(field.categories)},
        **{alias: float(field.categories.index(meant)) for alias, meant in ALIASES.get(field.name, {}).items()},
    }
    for field in FIELDS
    if field.categories
}
_BLANK = (MISSING,) * len(FIELDS)


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request.

    Attributes:
        field: path of the field as the client wrote it, e.g. `age` or `instances[3].age`.
        detail: what is wanted; never the value that was sent.
        logged: the field as the log may show it: never a name that the client made up.
    """

    field: str
    detail: str
    logged: str


def encode(document: dict[str, Any], path: str = "") -> tuple[list[float], list[Problem]]:
    """Turn one request object into the model's row.

    Args:
        document: the decoded JSON object.
        path: where it stands in the body, as a prefix of field names.

    Returns:
        One row of len(FIELDS) numbers (category codes and whole numbers, NaN for what is missing), and what is
        wrong; the row is of use only when nothing is.
    """
    row = list(_BLANK)
    problems: list[Problem] = []
    for name, value in document.items():
        column = COLUMN.get(name)
        if column is None:
            shown = name if _PLAIN_NAME.fullmatch(name) else "(unknown field)"
            problems.append(
                Problem(path + shown, f"is not a field; known: {', '.join(NAMES)}", f"{path}(unknown field)")
            )
            continue
        field = FIELDS[column]
        if value is None:
            if field.required:
                problems.append(Problem(path + name, "must not be null", path + name))
        elif field.categories:
            code = CODES[name].get(value) if isinstance(value, str) else None
            if code is None:
                wanted = f"must be one of {', '.join(field.categories)}"
                problems.append(Problem(path + name, wanted, path + name))
            else:
                row[column] = code
        elif (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not field.low <= value <= field.high
            or value != int(value)
        ):
            wanted = f"must be a whole number from {field.low} to {field.high}"
            problems.append(Problem(path + name, wanted, path + name))
        else:
            row[column] = float(value)
    problems.extend(
        Problem(path + NAMES[column], "is missing", path + NAMES[column])
        for column in REQUIRED
        if NAMES[column] not in document
    )
    return row, problems
