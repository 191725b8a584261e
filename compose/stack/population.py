"""Who calls the service in made-up traffic: requests with the guide's fields, drawn like the real data."""

from __future__ import annotations

import importlib.resources
import random
from typing import Any

import msgspec

YOUNGEST = 18  # in the data; the lowest band begins below
Counts = dict[str, int]
Request = dict[str, Any]


class Population(msgspec.Struct, frozen=True):
    """Counts over the real data set; see `source` in population.json.

    Attributes:
        age_by_job: per job, counts of ages in bands of five years, named by the lower edge.
        duration: counts of call durations in bands of 50 s, named by the lower edge.
    """

    source: str
    rows: int
    job: Counts
    age_by_job: dict[str, Counts]
    marital_by_age: dict[str, Counts]
    education_by_job: dict[str, Counts]
    housing_by_job: dict[str, Counts]
    loan_by_housing: dict[str, Counts]
    duration: Counts
    campaign: Counts


def load() -> Population:
    """Return the counts that lie beside this module."""
    text = importlib.resources.files("compose.stack").joinpath("population.json").read_bytes()
    return msgspec.json.decode(text, type=Population)


def draw(chance: random.Random, counts: Counts) -> str:
    """Return one key, each as likely as its count."""
    return chance.choices(list(counts), weights=list(counts.values()))[0]


def customer(population: Population, chance: random.Random) -> Request:
    """Return a valid request body with the guide's eight fields, drawn like the data over its whole ranges.

    The guide's own loop keeps to age 25-64, duration 100-399 s and campaign 1-5: of such calls hardly any is predicted
    to succeed, and the drift alert rightly tells that they are not what the model was trained on.
    """
    job = draw(chance, population.job)
    age_band = draw(chance, population.age_by_job[job])
    housing = draw(chance, population.housing_by_job[job])
    return {
        "age": max(YOUNGEST, int(age_band) + chance.randrange(5)),
        "job": job,
        "marital": draw(chance, population.marital_by_age[age_band]),
        "education": draw(chance, population.education_by_job[job]),
        "housing": housing,
        "loan": draw(chance, population.loan_by_housing[housing]),
        "duration": int(draw(chance, population.duration)) + chance.randrange(50),
        "campaign": int(draw(chance, population.campaign)),
    }


def faulty(request: Request, chance: random.Random) -> bytes:
    """Return the request as a client with a bug would send it; the service must refuse each of these."""
    kind = chance.choice(("missing", "category", "range", "type", "unknown", "json"))
    body = dict(request)
    if kind == "missing":
        del body[chance.choice(sorted(body))]
    elif kind == "category":
        body[chance.choice(("job", "marital", "education"))] = "astronaut"
    elif kind == "range":
        body["age"] = chance.choice((-1, 7000))
    elif kind == "type":
        body["duration"] = "long"
    elif kind == "unknown":
        body["favourite_colour"] = "blue"
    text = msgspec.json.encode(body)
    return text[:-1] if kind == "json" else text
