"""What a request may hold: fields, their ranges and error details; and the fields of UCI Bank Marketing.

Source of names and categories: S. Moro, P. Rita, P. Cortez (2014), Bank Marketing, doi 10.24432/C5K306.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

MISSING = math.nan
MAX_PROBLEMS = 100
# A field name that is safe to repeat to the client who sent it.
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a model: a category with known values, or a number within a range.

    Attributes:
        name: as in the request.
        description: what it means.
        categories: the values it may have; empty for a number.
        low, high: smallest and largest number.
        whole: whether the number has no fraction.
        required: whether a request must have it.
    """

    name: str
    description: str = ""
    categories: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    whole: bool = False
    required: bool = True

    def wanted(self) -> str:
        """Return what a value must be, in words."""
        if self.categories:
            return f"must be one of {', '.join(self.categories)}"
        return f"must be a {'whole ' if self.whole else ''}number from {self.low} to {self.high}"


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


class Schema:
    """The fields of one model, and how a request becomes its row.

    Args:
        fields: in the order of the row.
        codes: per category field, the text that a request may hold (aliases included) to its value in the row.
        blank: the row of a request that gives nothing.
    """

    def __init__(self, fields: Sequence[Field], codes: Mapping[str, Mapping[str, Any]], blank: Sequence[Any]) -> None:
        self.fields, self.codes = tuple(fields), codes
        self.names = tuple(field.name for field in fields)
        self._column = {name: column for column, name in enumerate(self.names)}
        self._required = tuple(field.name for field in fields if field.required)
        self._blank = tuple(blank)

    def encode(self, document: dict[str, Any], path: str = "") -> tuple[list[Any], list[Problem]]:
        """Turn one request object into the model's row.

        Args:
            document: the decoded JSON object.
            path: where it stands in the body, as a prefix of field names.

        Returns:
            One row of as many values as there are fields (the codes of categories, numbers, and the blank row's value
            for what is missing), and what is wrong; the row is of use only when nothing is.
        """
        row = list(self._blank)
        problems: list[Problem] = []
        for name, value in document.items():
            column = self._column.get(name)
            if column is None:
                shown = name if _PLAIN_NAME.fullmatch(name) else "(unknown field)"
                detail = f"is not a field; known: {', '.join(self.names)}"
                problems.append(Problem(path + shown, detail, f"{path}(unknown field)"))
                continue
            field = self.fields[column]
            if value is None:
                if field.required:
                    problems.append(Problem(path + name, "must not be null", path + name))
            elif field.categories:
                code = self.codes[name].get(value) if isinstance(value, str) else None
                if code is None:
                    problems.append(Problem(path + name, field.wanted(), path + name))
                else:
                    row[column] = code
            elif (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not field.low <= value <= field.high
                or (field.whole and value != int(value))
            ):
                problems.append(Problem(path + name, field.wanted(), path + name))
            else:
                row[column] = float(value)
        problems.extend(
            Problem(path + name, "is missing", path + name) for name in self._required if name not in document
        )
        return row, problems


# Categories first: scikit-learn's boosting puts them there, so its columns are ours.
FIELDS: tuple[Field, ...] = (
    Field(
        name="job",
        description="kind of job; `admin` is taken as `admin.`",
        categories=(
            "admin.", "blue-collar", "entrepreneur", "housemaid", "management", "retired",
            "self-employed", "services", "student", "technician", "unemployed", "unknown",
        ),
    ),
    Field(name="marital", description="marital status", categories=("divorced", "married", "single")),
    Field(
        name="education",
        description="level of education",
        categories=("primary", "secondary", "tertiary", "unknown"),
    ),
    Field(name="housing", description="has a housing loan", categories=("no", "yes")),
    Field(name="loan", description="has a personal loan", categories=("no", "yes")),
    Field(name="default", description="has credit in default", categories=("no", "yes"), required=False),
    Field(
        name="contact",
        description="kind of contact",
        categories=("cellular", "telephone", "unknown"),
        required=False,
    ),
    Field(
        name="month",
        description="month of the last contact",
        categories=("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        required=False,
    ),
    Field(
        name="poutcome",
        description="outcome of the previous campaign",
        categories=("failure", "other", "success", "unknown"),
        required=False,
    ),
    Field(name="age", description="years", whole=True, low=17, high=120),
    Field(name="duration", description="length of the last call in seconds", whole=True, low=0, high=36_000),
    Field(name="campaign", description="contacts in this campaign, with this one", whole=True, low=1, high=1_000),
    Field(
        name="balance",
        description="average yearly balance in euros",
        whole=True,
        low=-10_000_000,
        high=10_000_000,
        required=False,
    ),
    Field(name="day", description="day of the month of the last contact", whole=True, low=1, high=31, required=False),
    Field(
        name="pdays",
        description="days since the previous campaign's contact; -1: none",
        whole=True,
        low=-1,
        high=10_000,
        required=False,
    ),
    Field(
        name="previous", description="contacts before this campaign", whole=True, low=0, high=10_000, required=False
    ),
)  # fmt: skip
NAMES = tuple(field.name for field in FIELDS)
COLUMN = {name: column for column, name in enumerate(NAMES)}
CATEGORICAL = tuple(column for column, field in enumerate(FIELDS) if field.categories)
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
BANK = Schema(FIELDS, CODES, (MISSING,) * len(FIELDS))
