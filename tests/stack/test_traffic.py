"""Made-up traffic."""

from __future__ import annotations

import collections
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.stack import population, traffic

PEOPLE = population.load()


@given(seed=st.integers())
def test_customers_lie_in_the_datas_ranges(seed: int) -> None:
    """Age 18-99, duration below 1800 s, campaign 1-63, categories of the data set."""
    request = population.customer(PEOPLE, random.Random(seed))
    assert 18 <= request["age"] <= 99
    assert 0 <= request["duration"] < 1800
    assert 1 <= request["campaign"] <= 63
    assert request["job"] in PEOPLE.job
    assert request["marital"] in {"single", "married", "divorced"}
    assert request["housing"] in {"yes", "no"}


def test_customers_are_drawn_like_the_data() -> None:
    """The share of each job in 20,000 requests is the data's, within four standard errors."""
    chance = random.Random(7)
    drawn = collections.Counter(population.customer(PEOPLE, chance)["job"] for _ in range(20_000))
    for job, count in PEOPLE.job.items():
        share = count / PEOPLE.rows
        assert abs(drawn[job] / 20_000 - share) < 4 * (share * (1 - share) / 20_000) ** 0.5


def test_calls_last_as_long_as_in_the_data() -> None:
    """One call in six is longer than the guide's 399 s, as in the data, within four standard errors."""
    chance = random.Random(8)
    longer = sum(population.customer(PEOPLE, chance)["duration"] > 399 for _ in range(20_000)) / 20_000
    share = sum(count for edge, count in PEOPLE.duration.items() if int(edge) >= 400) / PEOPLE.rows
    assert 0.1 < share < 0.2
    assert abs(longer - share) < 4 * (share * (1 - share) / 20_000) ** 0.5


@given(seed=st.integers())
def test_a_faulty_request_differs_from_the_valid_one(seed: int) -> None:
    """Each faulty body is broken JSON or has another content than the valid request."""
    chance = random.Random(seed)
    request = population.customer(PEOPLE, chance)
    body = population.faulty(request, chance)
    try:
        assert msgspec.json.decode(body) != request
    except msgspec.DecodeError:
        assert body == msgspec.json.encode(request)[:-1]


def test_the_tally_tells_right_answers_from_wrong_ones() -> None:
    """A refused faulty request is as expected; a refused valid one, a served faulty one and a 5xx are not."""
    tally = traffic.Tally()
    tally.answered(200, is_faulty=False, seconds=0.004)
    tally.answered(422, is_faulty=True, seconds=0.002)
    assert tally.as_expected()
    tally.answered(422, is_faulty=False, seconds=0.002)
    tally.answered(200, is_faulty=True, seconds=0.002)
    tally.answered(500, is_faulty=False, seconds=0.002)
    assert not tally.as_expected()
    assert "3 answered wrongly (1 × 200, 1 × 422, 1 × 500)" in tally.line(1.0)


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("30s", 30), ("1m", 60), ("1.5h", 5400)])
def test_times_are_read(text: str, seconds: float) -> None:
    """Seconds, minutes and hours."""
    assert traffic.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1s", "0", "nan", "inf", "1d"])
def test_bad_times_are_refused(text: str) -> None:
    """What is no time above zero is an error."""
    with pytest.raises(ValueError, match=r"time|float"):
        traffic.parse_seconds(text)


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), ("0.5", 0.5), ("100%", 1), ("0", 0)])
def test_shares_are_read(text: str, share: float) -> None:
    """Per cent or a fraction."""
    assert traffic.parse_share(text) == share


@pytest.mark.parametrize("text", ["200%", "-1", "nan", "x"])
def test_bad_shares_are_refused(text: str) -> None:
    """What is no share is an error."""
    with pytest.raises(ValueError, match=r"share|float"):
        traffic.parse_share(text)


def test_no_answer_is_lost_while_many_senders_count_and_one_reads() -> None:
    """Counts of all senders add up, and the live line can be made at any moment."""
    tally, each = traffic.Tally(), 2000

    def send(number: int) -> None:
        for _ in range(each):
            tally.answered(200 if number % 2 else 500 + number, is_faulty=False, seconds=0.001)
            tally.missed(f"kind {number}")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as senders:
            sent = [senders.submit(send, number) for number in range(8)]
            while not all(future.done() for future in sent):
                tally.line(1.0)
    finally:
        sys.setswitchinterval(interval)
    for future in sent:
        future.result()
    assert (tally.served, tally.wrong.total(), tally.unanswered.total()) == (4 * each, 4 * each, 8 * each)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_an_answer_that_is_no_prediction_is_not_counted_as_served(body: bytes) -> None:
    """Another program at the address answers 200 to everything: that is not served."""
    tally = traffic.Tally()
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=body))
    with httpx.Client(base_url="http://127.0.0.1:9", transport=transport) as client:
        traffic._send(client, b"{}", False, True, tally)
    assert (tally.served, tally.unanswered.total()) == (0, 1)
    assert not tally.as_expected()
