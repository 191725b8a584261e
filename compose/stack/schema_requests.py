"""Made-up requests for any schema: valid and faulty bodies from what the service's OpenAPI document says it takes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from compose.stack import population

Request = dict[str, Any]
GIVEN = 0.5  # share of requests in which an optional field is given


class Requests(msgspec.Struct, frozen=True):
    """Makes valid bodies, and breaks them.

    Attributes:
        valid: returns one valid request.
        faulty: returns the bytes of a request as a client with a bug would send it.
        note: what a person should know of them; empty: nothing.
    """

    valid: Callable[[random.Random], Request]
    faulty: Callable[[Request, random.Random], bytes]
    note: str = ""


def requests_for(client: httpx.Client) -> Requests:
    """Return what to send to a service: customers like the data's for the bank model, else values from its schema.

    A service that does not describe itself, or is away, is taken for the bank model's.
    """
    people = population.load()
    bank = Requests(lambda chance: population.customer(people, chance), population.faulty)
    try:
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Instance"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return bank
    if set(schema["required"]) == set(population.customer(people, random.Random(0))):  # noqa: S311 - made up
        return bank
    return Requests(
        lambda chance: valid(schema, chance),
        lambda request, chance: faulty(schema, request, chance),
        "the model is not the bank's: values are drawn evenly from the service's schema, so drift is to be expected",
    )


def valid(schema: dict[str, Any], chance: random.Random) -> Request:
    """Return a valid request: each required field, optional ones now and then, values drawn evenly."""
    required = set(schema["required"])
    return {
        name: _value(_kind(described), chance)
        for name, described in schema["properties"].items()
        if name in required or chance.random() < GIVEN
    }


def faulty(schema: dict[str, Any], request: Request, chance: random.Random) -> bytes:
    """Return the request with one fault, which the service must refuse."""
    body = dict(request)
    kind = chance.choice(("missing", "value", "type", "unknown", "json"))
    name = chance.choice(sorted(schema["required"]) or sorted(body))
    described = _kind(schema["properties"][name])
    if kind == "missing" and schema["required"]:
        del body[name]
    elif kind == "value":
        body[name] = "no such value" if "enum" in described else described["maximum"] + 1
    elif kind == "type":
        body[name] = 7 if "enum" in described else "many"
    elif kind in ("unknown", "missing"):
        body["no_such_field"] = 1
    text = msgspec.json.encode(body)
    return text[:-1] if kind == "json" else text


def _kind(described: dict[str, Any]) -> dict[str, Any]:
    """Return what a field's value is, without the null that an optional one may be."""
    kinds = [each for each in described.get("anyOf", [described]) if each.get("type") != "null"]
    return dict(kinds[0])


def _value(kind: dict[str, Any], chance: random.Random) -> str | int | float:
    if "enum" in kind:
        text: str = chance.choice(kind["enum"])
        return text
    if kind["type"] == "integer":
        return chance.randint(int(kind["minimum"]), int(kind["maximum"]))
    return chance.uniform(kind["minimum"], kind["maximum"])
