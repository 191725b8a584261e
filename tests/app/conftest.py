"""Fixtures of the model service's tests: one small trained model a session, a worker's state, the real file."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.model import bundle, generated
from app.model.dataset import Dataset, read_csv
from app.model.training import train
from app.service import create_app
from app.settings import AppSettings
from app.state import ServiceState
from tests.kept import kept

ROOT = Path(__file__).resolve().parents[2]
GUIDE_REQUEST: dict[str, Any] = {
    "age": 30,
    "job": "admin",
    "marital": "single",
    "education": "secondary",
    "housing": "yes",
    "loan": "no",
    "duration": 200,
    "campaign": 2,
}
NOW = dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = NOW.timestamp()) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def trained() -> bundle.Bundle:
    """A model of 4,000 generated rows, as it comes back from its folder."""

    def save(folder: Path) -> None:
        made = train(generated.generate(generated.load(), 4000, 7), 1, NOW, lambda _: None)
        bundle.activate(folder, bundle.save(made, folder).version, NOW)

    return bundle.load_active(kept("small-model", save))


@pytest.fixture
def model_dir(trained: bundle.Bundle, tmp_path: Path) -> Path:
    """A model folder with that model active."""
    folder = tmp_path / "models"
    manifest = bundle.save(trained, folder)
    bundle.activate(folder, manifest.version, NOW)
    return folder


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


Service = tuple[Flask, ServiceState]
RUNNING: list[ServiceState] = []  # whose lines may still be on their way to the file


@pytest.fixture
def make(model_dir: Path, tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Service]]:
    """Make services with settings of the test's own; all end with the test."""
    states: list[ServiceState] = []

    def made(**settings: Any) -> Service:
        run = tmp_path / f"run{len(states)}"
        run.mkdir()
        chosen = AppSettings(
            **{
                "log_dir": tmp_path / "logs",
                "model_dir": model_dir,
                "state_dir": tmp_path / "state",
                **settings,
            }
        )
        state = ServiceState(chosen, run, b"k" * 32, clock)
        states.append(state)
        RUNNING.append(state)
        return create_app(state), state

    yield made
    for state in states:
        state.close()
    RUNNING.clear()


@pytest.fixture
def service(make: Callable[..., Service]) -> Service:
    """A service with the defaults."""
    return make()


@pytest.fixture
def client(service: Service) -> FlaskClient:
    """A client of that service."""
    return service[0].test_client()


def flush() -> None:
    """Append what services that `make` made have put."""
    for state in RUNNING:
        if state.log_buffer is not None:
            state.log_buffer.flush()


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return all log lines of a folder, oldest file first, the newest of the services that `make` made among them."""
    flush()
    return [
        msgspec.json.decode(line)
        for path in sorted(folder.glob("app-*.jsonl"))
        for line in path.read_bytes().split(b"\n")
        if line
    ]


def samples(text: str) -> dict[str, float]:
    """Return the series of a Prometheus exposition."""
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
    }


@pytest.fixture(scope="session")
def bank() -> Dataset:
    """The real file; the test is skipped where it is not."""
    path = Path(os.environ.get("BANK_CSV") or ROOT.parent / "shared" / "data" / "bank-full.csv")
    if not path.exists():
        pytest.skip("bank-full.csv is not here; BANK_CSV=path/to/bank-full.csv names it")
    return read_csv(path)
