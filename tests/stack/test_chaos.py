"""Every process of the stack is killed and held in turn, under traffic: nothing is lost, doubled or left ill."""

from __future__ import annotations

import collections
import contextlib
import functools
import random
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from compose.stack import population
from compose.stack.settings import read_settings
from compose.stack.status import collect
from tests.stack.running import RunningStack, running_stack, until

ROUNDS = [1, pytest.param(8, marks=pytest.mark.soak)]


class Traffic(threading.Thread):
    """Sends requests until it is ended, and notes which were answered."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.answered: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        """Send about twenty requests a second."""
        people, chance = population.load(), random.Random(1)
        while not self.ended.wait(0.05):
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.post(f"{self.url}/predict", json=population.customer(people, chance), timeout=10)
                if answer.status_code == 200:
                    self.answered.append(answer.json()["request_id"])


def processes(stack: RunningStack) -> list[tuple[str, psutil.Process]]:
    """Each part's first process and those it began."""
    found = []
    for name in ("store", "app", "shipper", "console"):
        with contextlib.suppress(psutil.NoSuchProcess):  # it died, and the supervisor has not seen it yet
            first = psutil.Process(stack.pid(name))
            found += [(name, first), *((name, child) for child in first.children(recursive=True))]
    return found


def has_more(stack: RunningStack, number: int) -> bool:
    """Whether the parts have more than so many processes."""
    return len(processes(stack)) > number


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_any_process_may_die_or_hang(tmp_path: Path, rounds: int) -> None:
    """After each fault every part is well again; at the end each answered prediction is one document."""
    with running_stack(tmp_path / "stack", APP_WORKERS="2") as stack:
        settings = read_settings({**stack.environment, "STACK_DIR": str(stack.folder)})

        def ill() -> dict[str, str | None]:
            return {part.name: part.last_error for part in collect(settings) if part.state != "ready"}

        def is_ill(name: str) -> bool:
            return name in ill()

        traffic = Traffic(stack.app)
        traffic.start()
        seen: set[psutil.Process] = set()
        try:
            for number in range(rounds):
                for place in range(len(processes(stack))):
                    # A part is well with one of its workers: the other one may still be on its way back.
                    until(functools.partial(has_more, stack, place), "each process is there again")
                    name, process = processes(stack)[place]
                    process.kill()
                    until(functools.partial(is_gone, process), "it died")
                    until(lambda: not ill(), f"all is well after process {place}, of {name}, was killed: {ill()}", 120)
                    seen.update(each for _, each in processes(stack))
                name = ("app", "store", "shipper")[number % 3]
                held = [each for part, each in processes(stack) if part == name]
                for each in held:
                    each.suspend()
                try:
                    until(functools.partial(is_ill, name), f"{name}, which hangs, is told to be ill")
                finally:
                    for each in held:
                        each.resume()
                until(lambda: not ill(), f"all is well after {name} hung: {ill()}", 120)
        finally:
            traffic.ended.set()
            traffic.join()
        assert len(traffic.answered) > 20
        until(lambda: set(traffic.answered) <= set(stack.predictions()), "each answered prediction is a document")
        time.sleep(2)  # a document sent twice would come now
        doubled = {name: count for name, count in collections.Counter(stack.predictions()).items() if count > 1}
        assert not doubled
        assert stack.interrupt() == 0
        assert [each.pid for each in seen if not is_gone(each)] == []
