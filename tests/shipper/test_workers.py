"""Several workers as real processes: what is promised, counted and shown, whichever of them is killed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shipper import crew
from shipper.deadletter import read
from shipper.monitoring import reasons
from shipper.settings import ShipperSettings
from shipper.sharing import Sharing
from shipper.wire import Flush, Job, Part, Report, Tune, orders, pair, reports, send
from tests.ports import free_port
from tests.shipper.conftest import Shipping, line, until
from tests.shipper.test_commands import command, environment
from tests.shipper.test_delivery import refuse
from tests.shipper.test_rotation import append
from tests.shipper.threads import Thread, thread


class Running:
    """`ml-shipper run` with workers, as a process.

    Attributes:
        process: the first one.
        errors: file with what it said.
    """

    def __init__(self, shipping: Shipping, workers: int, **more: str) -> None:
        self.shipping = shipping
        self.port = free_port()
        self.errors = shipping.logs.parent / f"errors-{self.port}"
        quick = {
            "SHIPPER_WORKERS": str(workers), "SHIPPER_PORT": str(self.port),
            "SHIPPER_FLUSH_SECONDS": "0.02", "SHIPPER_CHECKPOINT_SECONDS": "0.05", "SHIPPER_POLL_SECONDS": "0.2",
        }  # fmt: skip
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shipper", "run"],
                env=environment(shipping, **(quick | more)),
                stderr=errors,
            )

    def children(self) -> list[psutil.Process]:
        """Return the worker processes that live."""
        try:
            found = psutil.Process(self.process.pid).children()
            return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
        except psutil.NoSuchProcess:
            return []

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of an endpoint; 0 while none answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> dict[str, float]:
        """Return all samples by name and labels."""
        return {
            sample.name + "".join(f"|{value}" for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
        }

    def arrived(self, count: int) -> None:
        """Wait until so many documents are there."""
        until(lambda: len(self.shipping.cluster.documents) >= count, f"{count} arrive", 120)

    def stop(self) -> str:
        """End it as a service manager does; return what it said."""
        workers = self.children()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.errors.read_text()
        gone(workers)
        return self.errors.read_text()


def gone(workers: list[psutil.Process]) -> None:
    """Wait until none of them lives."""
    until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers), "they end")


@pytest.fixture
def begun(shipping: Shipping) -> Iterator[list[Running]]:
    """What a test has started, ended at the latest with it."""
    made: list[Running] = []
    yield made
    for running in made:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait(60)


def test_two_workers_through_every_rotation(shipping: Shipping, begun: list[Running]) -> None:
    """A cascade of renames, copytruncate, packing, a deletion and a truncation while they run: each line once."""
    running = Running(shipping, 2)
    begun.append(running)
    a, b = shipping.logs / "a.log", shipping.logs / "b.log"
    a.write_bytes(shipping.lines(0, 50))
    b.write_bytes(shipping.lines(50, 50))
    running.arrived(100)
    assert len(running.children()) == 2
    append(a, shipping.lines(100, 10))
    a.rename(shipping.logs / "a.log.1")
    a.write_bytes(shipping.lines(110, 40))
    running.arrived(150)
    (shipping.logs / "a.log.1").rename(shipping.logs / "a.log.2")
    a.rename(shipping.logs / "a.log.1")
    a.write_bytes(shipping.lines(150, 10))
    (shipping.logs / "a.log.2.gz").write_bytes(gzip.compress((shipping.logs / "a.log.2").read_bytes()))
    (shipping.logs / "a.log.2").unlink()
    shutil.copyfile(b, shipping.logs / "b.log.1")
    os.truncate(b, 0)
    append(b, shipping.lines(160, 90))
    running.arrived(250)
    a.unlink()
    a.write_bytes(shipping.lines(250, 50))
    running.arrived(300)
    running.stop()
    shipping.each_once(300)


def test_the_number_of_workers_may_change_at_each_start(shipping: Shipping) -> None:
    """1, 2, 3, 1: each goes on where the one before it was, and sends nothing that was sent."""
    for place, workers in enumerate((1, 2, 3, 1)):
        for number in range(4):
            path = shipping.logs / f"{number}.log"
            append(path, shipping.lines(200 * place + 50 * number, 50))
        (shipping.logs / "0.log").rename(shipping.logs / f"0.log.{place}")
        done = command(shipping, "drain", SHIPPER_WORKERS=str(workers))
        assert (done.returncode, done.stdout.split(",")[:2]) == (0, ["200 acknowledged", " 0 already there"]), done
    shipping.each_once(800)
    assert shipping.cluster.refused == 0


def test_a_worker_that_is_killed_is_said_counted_and_started_again(shipping: Shipping, begun: list[Running]) -> None:
    """Each of two in turn, while a log is written: nothing is lost, nothing doubles, /metrics and the log tell."""
    running = Running(shipping, 2)
    begun.append(running)
    written = 0
    for turn in range(4):
        append(shipping.logs / f"{turn % 2}.log", shipping.lines(written, 500))
        written += 500
        until(lambda: len(running.children()) == 2, "both live")
        victim = running.children()[turn % 2].pid
        os.kill(victim, signal.SIGKILL)
        append(shipping.logs / f"{turn % 2}.log", shipping.lines(written, 500))
        written += 500
        until(lambda turn=turn: running.metrics().get("ml_shipper_worker_restarts_total") == turn + 1.0, "counted")
    running.arrived(written)
    until(lambda: running.metrics().get("ml_shipper_lag_bytes") == 0.0, "all is acknowledged")
    assert "SIGKILL" in running.stop()
    shipping.each_once(written)


def test_no_worker_outlives_the_first_process(shipping: Shipping, begun: list[Running]) -> None:
    """Killed without a word, it leaves none behind, and the next one goes on at once and sends what is left."""
    running = Running(shipping, 3)
    begun.append(running)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 2000))
    running.arrived(1)
    until(lambda: len(running.children()) == 3, "all live")
    workers = running.children()
    running.process.kill()
    running.process.wait(60)
    gone(workers)
    append(shipping.logs / "a.log", shipping.lines(2000, 100))
    shipping.ship()
    shipping.each_once(2100)


def test_a_signal_to_the_whole_group_ends_it_in_order(shipping: Shipping, begun: list[Running]) -> None:
    """Ctrl-C and a container's end reach the workers too; they leave the end to the first process."""
    running = Running(shipping, 2)
    begun.append(running)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 3000))
    reported = [f"ml_shipper_worker_cpu_seconds_total|{worker}" for worker in (1, 2)]
    until(lambda: all(running.metrics().get(name, 0.0) > 0 for name in reported), "both are past their start")
    for worker in running.children():
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGINT)
        worker.send_signal(signal.SIGHUP)
    said = running.stop()
    shipping.each_once(3000)
    assert "ended" not in said


def test_metrics_and_status_are_those_of_one_shipper(shipping: Shipping, begun: list[Running]) -> None:
    """Counts of two workers added up, files and lag in one place, dead letters in one folder, ready and healthy."""
    shipping.cluster.judge = refuse("line 7")
    running = Running(shipping, 2)
    begun.append(running)
    for number in range(10):
        append(shipping.logs / f"{number}.log", shipping.lines(number * 100, 100) + b"no json\n")
    running.arrived(1009)
    until(lambda: running.metrics().get("ml_shipper_lag_bytes") == 0.0, "all is acknowledged")
    found = running.metrics()
    assert found["ml_shipper_records_total|acknowledged"] == 1009
    assert found["ml_shipper_records_total|dead_letter"] == found["ml_shipper_dead_letters_total"] == 1
    assert found["ml_shipper_refusals_total|document_parsing_exception"] == 1
    assert found["ml_shipper_lines_total|wrapped"] == 10
    assert found["ml_shipper_requests_total"] == len(shipping.cluster.bodies)
    assert all(found[f"ml_shipper_worker_cpu_seconds_total|{worker}"] > 0 for worker in (1, 2))
    assert all(found[f"ml_shipper_worker_resident_bytes|{worker}"] > 1e7 for worker in (1, 2))
    assert (found["ml_shipper_workers"], found["ml_shipper_worker_restarts_total"]) == (2, 0)
    told = json.loads(running.get("/status")[1])
    assert (told["state"], told["files_total"], told["lag_bytes"], told["acknowledged"]) == ("shipping", 10, 0, 1009)
    assert running.get("/ready")[0] == running.get("/health")[0] == 200
    assert command(shipping, "status", SHIPPER_PORT=str(running.port)).returncode == 0
    running.stop()
    letters = [letter for path in shipping.settings.state_dir.glob("dead-letters-*.jsonl") for letter in read(path)]
    assert [(letter.file, letter.offset) for letter in letters] == [
        (str(shipping.logs / "0.log"), len(shipping.lines(0, 7)))
    ]
    shipping.cluster.judge = None
    assert command(shipping, "replay").stdout == "1 taken, 0 there already, 0 refused again\n"


def test_what_troubles_a_worker_shows(shipping: Shipping, begun: list[Running]) -> None:
    """A server that fails is in /ready with its reason as from one process, and so is its end."""
    running = Running(shipping, 2)
    begun.append(running)
    (shipping.logs / "a.log").write_bytes(line(0))
    running.arrived(1)
    shipping.cluster.odds = {"401": 1.0}
    append(shipping.logs / "a.log", line(1))
    until(lambda: "SHIPPER_PASSWORD_FILE" in running.get("/ready")[1], "it says what to do")
    assert running.get("/ready")[0] == 503
    assert running.metrics()["ml_shipper_ready"] == 0
    shipping.cluster.odds = {}
    until(lambda: running.get("/ready")[0] == 200, "it is over")
    running.stop()
    shipping.each_once(2)


def test_sighup_reaches_the_workers_and_the_number_of_them_stays(
    shipping: Shipping, begun: list[Running], tmp_path: Path
) -> None:
    """Other settings are used by those that live; another number of workers is refused with a word."""
    file = tmp_path / "shipper.toml"
    file.write_text("workers = 2\nredact_drop = ''\n")
    running = Running(shipping, 2, SHIPPER_CONFIG=str(file), SHIPPER_WORKERS="")
    begun.append(running)
    (shipping.logs / "a.log").write_bytes(line(0))
    running.arrived(1)
    file.write_text("workers = 2\nredact_drop = 'level'\n")
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.metrics().get("ml_shipper_reloads_total|applied") == 1.0, "it is applied")
    for number in range(1, 9):
        append(shipping.logs / f"{number}.log", line(number))
    running.arrived(9)
    with_level = [doc["message"] for doc in shipping.cluster.documents.values() if "level" in doc]
    assert with_level == ["line 0"]
    file.write_text("workers = 3\n")
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.metrics().get("ml_shipper_reloads_total|refused") == 1.0, "it is refused")
    assert "SHIPPER_WORKERS cannot change from 2 to 3 without a restart" in running.stop()


def test_the_templates_are_installed_once(shipping: Shipping, begun: list[Running], embedded_store: str) -> None:
    """By the first process, before anything is handed out: the workers find them and only look."""
    running = Running(shipping, 2, SHIPPER_URL=embedded_store, SHIPPER_SETUP="install")
    begun.append(running)
    for number in range(6):
        append(shipping.logs / f"{number}.log", shipping.lines(number * 50, 50))
    until(lambda: running.metrics().get("ml_shipper_records_total|acknowledged", 0.0) >= 300.0, "all arrive")
    said = running.stop()
    assert all('"worker"' not in text for text in said.splitlines() if "installed:" in text)


def test_acknowledged_files_of_the_app_are_deleted(shipping: Shipping, begun: list[Running]) -> None:
    """By the first process, when what the workers sent of them is acknowledged and a newer one exists."""
    running = Running(shipping, 2, SHIPPER_DELETE_ACKNOWLEDGED="true")
    begun.append(running)
    names = [shipping.logs / f"app-20261120T100000Z-1-{number:06d}.jsonl" for number in range(1, 6)]
    for place, path in enumerate(names):
        append(path, shipping.lines(place * 100, 100))
    running.arrived(500)
    until(lambda: [path for path in names if path.exists()] == names[-1:], "the older ones go")
    running.stop()
    shipping.each_once(500)


def test_a_worker_that_cannot_be_started_is_no_silence(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every worker ends at once, /ready says so, nothing is lost, and one that works takes over."""
    broken = [True]

    def start(end: socket.socket, number: int) -> Thread:
        made = thread(end, number)
        if broken[0]:
            made.kill()
        return made

    monkeypatch.setattr(crew, "LONGEST_PAUSE", 0.2)
    shipping.set(workers=2)
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 100))
    service = Sharing(shipping.settings, start=start)
    runner = threading.Thread(target=service.run)
    runner.start()
    try:
        until(lambda: any("soon after its start" in text for text in reasons(service, time.monotonic())), "it is said")
        broken[0] = False
        until(lambda: len(shipping.cluster.documents) == 100, "it goes on")
    finally:
        service.stop()
        runner.join(60)
    assert service.restarts >= 6
    shipping.each_once(100)


def test_a_worker_that_hangs_is_killed(shipping: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is stopped says nothing any more: it is killed, and what it had is sent by the other one."""
    monkeypatch.setattr(crew, "SILENCE", 6.5)  # a healthy one speaks every 5 s
    shipping.set(workers=2, poll_seconds=0.1)
    service = Sharing(shipping.settings)
    runner = threading.Thread(target=service.run)
    runner.start()
    try:
        until(lambda: service.workers == 2 and all(hand.last.reachable is None for hand in service.crew.hands), "begun")
        os.kill(service.crew.hands[0].process.pid, signal.SIGSTOP)
        for number in range(20):
            append(shipping.logs / f"{number}.log", shipping.lines(number * 10, 10))
        until(lambda: len(shipping.cluster.documents) == 200, "all arrive", 120)
        until(lambda: service.restarts >= 1, "it is counted")
    finally:
        service.stop()
        runner.join(60)
    shipping.each_once(200)


def test_messages_come_as_they_were_sent() -> None:
    """Each kind over a real socket, the settings with their paths, and a file's handle beside a job."""
    here, there = pair()
    with here, there, Path(__file__).open("rb") as file:
        job = Job(1, 2, "/logs/a.log", -1, 3, b"\x00\xff\n", (9, "ab"), 4, True, "0f" * 8, 2**64 - 1, "2026", "")
        settings = ShipperSettings(paths="/logs/*", ca_file=Path("/ca.pem"), workers=3)
        send(here, job, file.fileno())
        send(here, Tune(settings, "uuid"))
        send(here, Flush())
        got, handle = orders(there) or (None, -1)
        with os.fdopen(handle, "rb") as same:
            assert os.path.sameopenfile(same.fileno(), file.fileno())
        assert got == job
        assert orders(there) == (Tune(settings, "uuid"), -1)
        assert orders(there) == (Flush(), -1)
        told = Report(
            job=1, parts=[Part(1, 2, b"\xfe", "2026", True)] * 100, settled=list(range(5000)), stuck={"a": "b"}
        )
        send(there, told)
        assert reports(here) == told
        here.close()
        assert orders(there) is None
    assert set(msgspec.structs.asdict(told)) >= {"counts", "held"}
