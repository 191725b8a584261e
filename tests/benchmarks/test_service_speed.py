"""The model service against MLServer's scikit-learn runtime and BentoML: the same model, rows and core, in one run.

Prints figures, asserts none of them. MLServer and BentoML live in environments of their own, made from PyPI at the
first run in ML_BENCH_ENVIRONMENTS (default: ~/.cache/ml-pipeline-bench). Each server is held to core 0, the client to
another; each has one process without worker pools, and one OpenMP thread.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import psutil
import pytest

from app.model import bundle, generated
from app.model.reference import build
from app.model.scoring import Scorer, compile_trees
from app.model.training import CANDIDATES, fit, train, with_missing
from app.schema import FIELDS
from tests.app.conftest import NOW
from tests.app.server import serving, until
from tests.ports import free_port

REQUESTS = int(os.environ.get("ML_BENCH_REQUESTS", "4000"))
CONNECTIONS = 4
ROUNDS = 3
ENVIRONMENTS = Path(os.environ.get("ML_BENCH_ENVIRONMENTS", "~/.cache/ml-pipeline-bench")).expanduser()
PACKAGES = {
    "mlserver": ["mlserver==1.7.1", "mlserver-sklearn==1.7.1", "scikit-learn==1.9.1"],
    "bentoml": ["bentoml==1.4.40", "scikit-learn==1.9.1"],
}
FIT = """
import sys, joblib, numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
data = np.load(sys.argv[1])
model = HistGradientBoostingClassifier(**eval(sys.argv[2])).fit(data["rows"], data["labels"])
joblib.dump(model, sys.argv[3])
"""
BENTO = """
import bentoml, joblib, numpy as np
@bentoml.service(workers=1)
class Bank:
    def __init__(self):
        self.model = joblib.load("model.joblib")
    @bentoml.api
    def predict(self, row: list[float]) -> dict:
        return {"probability": float(self.model.predict_proba(np.array([row]))[0, 1])}
"""
Answer = Callable[[dict[str, Any]], float]


class Contender(msgspec.Struct):
    """A running server: where to send what, how to read the probability, and its processes."""

    name: str
    port: int
    path: str
    bodies: list[bytes]
    read: Answer
    pid: int

    def processes(self) -> list[psutil.Process]:
        """Its process and all below."""
        top = psutil.Process(self.pid)
        return [top, *top.children(recursive=True)]

    def cpu(self) -> float:
        """CPU seconds used so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())


def drive(contender: Contender, count: int) -> list[float]:
    """Send requests over four kept connections; return the latencies in seconds."""
    latencies: list[float] = []

    def send(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", contender.port, timeout=60)
        for number in range(first, count, CONNECTIONS):
            body = contender.bodies[number % len(contender.bodies)]
            began = time.perf_counter()
            connection.request("POST", contender.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            latencies.append(time.perf_counter() - began)
            assert answer.status == 200, text[:300]
        connection.close()

    threads = [threading.Thread(target=send, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(latencies) == count
    return latencies


def environment(name: str) -> Path:
    """Return the folder of a contender's programs; make it at the first run."""
    folder = ENVIRONMENTS / name
    if not (folder / "bin" / name).exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
    return folder / "bin"


@contextlib.contextmanager
def running(command: Sequence[str | Path], folder: Path, port: int, ready: str) -> Iterator[int]:
    """Run a contender until its address answers; stop it afterwards."""
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "True"}
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=settings, stdout=output, stderr=output)

        def answers() -> bool:
            assert process.poll() is None, (folder / "output.txt").read_text()[-3000:]
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"http://127.0.0.1:{port}{ready}", timeout=5).status_code == 200
            return False

        try:
            until(answers, f"{command[0]} answers", 180)
            yield process.pid
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.terminate()
            process.terminate()
            process.wait(60)


def measure(contenders: list[Contender], count: int, said: Callable[[str], None]) -> dict[str, float]:
    """Drive each in turns; say latencies and requests per CPU second, and return the latter by name."""
    cores = sorted(psutil.Process().cpu_affinity() or [0])
    psutil.Process().cpu_affinity(cores[1:] or cores)
    latencies: dict[str, list[float]] = {each.name: [] for each in contenders}
    spent = dict.fromkeys(latencies, 0.0)
    try:
        for each in contenders:
            for process in each.processes():
                for thread in process.threads():
                    with contextlib.suppress(psutil.Error):
                        psutil.Process(thread.id).cpu_affinity(cores[:1])
            drive(each, count // 5)
        for _ in range(ROUNDS):
            for each in contenders:
                before = each.cpu()
                latencies[each.name] += drive(each, count // ROUNDS)
                spent[each.name] += each.cpu() - before
    finally:
        psutil.Process().cpu_affinity(cores)
    rates = {name: len(latencies[name]) / spent[name] for name in latencies}
    said("| | requests per CPU second | p50 | p99 |\n| --- | --- | --- | --- |")
    for name, times in latencies.items():
        p99 = statistics.quantiles(times, n=100)[98]
        said(f"| {name} | {rates[name]:,.0f} | {1000 * statistics.median(times):.2f} ms | {1000 * p99:.2f} ms |")
    return rates


@pytest.mark.bench
def test_the_service_against_mlserver_and_bentoml(tmp_path: Path) -> None:
    """Print requests per CPU second and latencies of the three, which give the same probability for the same rows."""
    data = generated.generate(generated.load(), 20_000, 1)
    candidate = CANDIDATES[0]
    model = fit(data.rows, data.labels, candidate, 1)
    scorer = Scorer(compile_trees(model))
    small = train(generated.generate(generated.load(), 2000, 1), 1, NOW, lambda _: None).manifest
    trees = scorer.trees
    manifest = msgspec.structs.replace(
        small, thresholds=trees.thresholds, first=trees.first, baseline=trees.baseline, slope=1.0, intercept=0.0,
        reference=build(scorer, data.rows), trained_at=NOW,
    )  # fmt: skip
    models = tmp_path / "models"
    bundle.activate(models, bundle.save(bundle.Bundle(manifest, scorer), models).version, NOW)
    rows = data.rows[:200].tolist()
    expected = scorer.predict(rows)
    np.savez(
        tmp_path / "data.npz",
        rows=np.vstack([data.rows, with_missing(data.rows, 1)]),
        labels=np.concatenate([data.labels, data.labels]),
    )
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(models, tmp_path, APP_THREADS=str(CONNECTIONS)))
        documents = [
            {
                field.name: field.categories[int(value)] if field.categories else int(value)
                for field, value in zip(FIELDS, row, strict=True)
            }
            for row in rows
        ]
        contenders = [
            Contender(
                "this service", int(server.url.rpartition(":")[2]), "/predict",
                [json.dumps(each).encode() for each in documents],
                lambda answer: float(answer["probability"]), server.process.pid,
            )
        ]  # fmt: skip
        folder = tmp_path / "mlserver"
        folder.mkdir()
        programs = environment("mlserver")
        parameters = repr({name: value for name, value in model.get_params().items() if value is not None})
        subprocess.run([programs / "python", "-c", FIT, tmp_path / "data.npz", parameters, "model.joblib"], cwd=folder,
                       check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
        port = free_port()
        settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "host": "127.0.0.1",
                    "parallel_workers": 0, "debug": False}  # fmt: skip
        (folder / "settings.json").write_text(json.dumps(settings))
        about = {
            "name": "bank",
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": "./model.joblib"},
        }
        (folder / "model-settings.json").write_text(json.dumps(about))
        pid = stack.enter_context(running([programs / "mlserver", "start", "."], folder, port, "/v2/models/bank/ready"))
        bodies = [
            json.dumps(
                {
                    "inputs": [{"name": "rows", "shape": [1, len(FIELDS)], "datatype": "FP64", "data": row}],
                    "outputs": [{"name": "predict_proba"}],
                }
            ).encode()
            for row in rows
        ]
        contenders.append(
            Contender("MLServer 1.7.1", port, "/v2/models/bank/infer", bodies,
                      lambda answer: float(answer["outputs"][0]["data"][1]), pid)
        )  # fmt: skip
        bento = tmp_path / "bentoml"
        bento.mkdir()
        (bento / "model.joblib").write_bytes((folder / "model.joblib").read_bytes())
        (bento / "service.py").write_text(BENTO)
        port = free_port()
        command: list[str | Path] = [
            environment("bentoml") / "bentoml",
            "serve",
            "service:Bank",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        pid = stack.enter_context(running(command, bento, port, "/readyz"))
        bodies = [json.dumps({"row": row}).encode() for row in rows]
        contenders.append(
            Contender("BentoML 1.4.40", port, "/predict", bodies, lambda answer: float(answer["probability"]), pid)
        )
        for each in contenders:
            for body, wanted in zip(each.bodies[:20], expected, strict=False):
                answer = httpx.post(f"http://127.0.0.1:{each.port}{each.path}", content=body, timeout=60,
                                    headers={"Content-Type": "application/json"})  # fmt: skip
                assert each.read(answer.raise_for_status().json()) == pytest.approx(wanted, abs=1e-5), each.name
        print(f"\n{REQUESTS:,} requests, {CONNECTIONS} connections, load average {os.getloadavg()[0]:.1f}")
        rates = measure(contenders, REQUESTS, print)
        for name in list(rates)[1:]:
            print(
                f"per CPU second this service answers {rates['this service'] / rates[name]:.1f} times as much as {name}"
            )
