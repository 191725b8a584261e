"""The commands as a user runs them: what they print and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from shipper.deadletter import DeadLetters
from tests.shipper import cluster as faults
from tests.shipper.conftest import VOLUME, Shipping, free_port, line
from tests.shipper.test_delivery import refuse, until


def environment(shipping: Shipping, **more: str) -> dict[str, str]:
    """Return the variables that name the folders and the cluster."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")}
    return inherited | {
        "SHIPPER_PATHS": shipping.settings.paths,
        "SHIPPER_URL": shipping.cluster.url,
        "SHIPPER_STATE_DIR": str(shipping.settings.state_dir),
        "SHIPPER_SETUP": "off",
        "SHIPPER_VOLUME_ID": VOLUME,
        "SHIPPER_PORT": "0",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **more,
    }


def command(shipping: Shipping, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "shipper", *arguments],
        env=environment(shipping, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_drain_says_what_it_did_by_its_exit_code(shipping: Shipping) -> None:
    """0 when all is acknowledged, 1 with a dead letter, 2 when it gave up."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    done = command(shipping, "drain")
    assert (done.returncode, done.stdout) == (0, "20 acknowledged, 0 already there, 0 dead letters, 0 expired\n")
    shipping.cluster.judge = refuse("line 25")
    (shipping.logs / "b.log").write_bytes(shipping.lines(20, 20))
    assert command(shipping, "drain").returncode == 1
    shipping.cluster.odds = {faults.UNAVAILABLE: 1.0}
    (shipping.logs / "c.log").write_bytes(shipping.lines(40, 20))
    done = command(shipping, "drain", "--timeout", "1")
    assert done.returncode == 2
    assert "not finished" in done.stdout


def test_dead_letters_are_listed_and_replayed(shipping: Shipping) -> None:
    """A dry run tells, a replay sends; what is refused again stays, what is taken goes."""
    shipping.cluster.judge = refuse("line 5")
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 20))
    shipping.ship()
    told = command(shipping, "replay", "--dry-run")
    assert told.stdout.startswith("1 dead letters in ")
    assert "document_parsing_exception: no such value" in told.stdout
    again = command(shipping, "replay")
    assert (again.returncode, again.stdout.splitlines()[0]) == (1, "0 taken, 0 were there already, 1 refused again")
    shipping.cluster.judge = None
    done = command(shipping, "replay")
    assert (done.returncode, done.stdout) == (0, "1 taken, 0 were there already, 0 refused again\n")
    shipping.each_once(20)
    assert DeadLetters(shipping.settings.state_dir, 1).files() == []


def test_check_names_what_is_wrong(shipping: Shipping) -> None:
    """A server that is away is an error with its address; an unknown setting names the nearest one."""
    shipping.cluster.close()
    done = command(shipping, "check")
    assert done.returncode == 1
    assert "error" in done.stdout
    assert shipping.cluster.url in done.stdout
    wrong = command(shipping, "check", SHIPPER_FLUSH_SECOND="1")
    assert wrong.returncode == 1
    assert "did you mean SHIPPER_FLUSH_SECONDS" in wrong.stderr


def test_a_second_shipper_on_one_checkpoint_is_refused(shipping: Shipping) -> None:
    """The one that comes second says which process holds the folder."""
    first = subprocess.Popen(
        [sys.executable, "-m", "shipper", "run"], env=environment(shipping), stderr=subprocess.DEVNULL
    )
    try:
        until((shipping.settings.state_dir / "lock").exists, "the first one runs")
        until((shipping.settings.state_dir / "checkpoint.json").exists, "the first one has its state")
        done = command(shipping, "drain")
        assert done.returncode == 1
        assert f"another shipper (process {first.pid})" in done.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0


def test_a_stop_reads_to_the_end(shipping: Shipping) -> None:
    """SIGTERM ends it with 0, after everything that was written before has arrived."""
    process = subprocess.Popen(
        [sys.executable, "-m", "shipper", "run"], env=environment(shipping), stderr=subprocess.DEVNULL
    )
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 5000))
    until(lambda: len(shipping.cluster.documents) > 0, "it ships")
    with (shipping.logs / "a.log").open("ab") as file:
        file.write(shipping.lines(5000, 100))
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    shipping.each_once(5100)


def test_status_shows_a_running_shipper(shipping: Shipping) -> None:
    """As a table and as JSON; 2 when none answers."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "shipper", "run"],
        env=environment(shipping, SHIPPER_PORT=str(port)),
        stderr=subprocess.DEVNULL,
    )
    try:
        (shipping.logs / "a.log").write_bytes(line(0))
        until(lambda: len(shipping.cluster.documents) == 1, "it ships")
        until(lambda: command(shipping, "status", SHIPPER_PORT=str(port)).returncode == 0, "status answers")
        told = json.loads(command(shipping, "status", "--json", SHIPPER_PORT=str(port)).stdout)
        assert told["acknowledged"] == 1
        assert "a.log" in command(shipping, "status", SHIPPER_PORT=str(port), COLUMNS="200").stdout
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    gone = command(shipping, "status", SHIPPER_PORT=str(port))
    assert gone.returncode == 2
    assert "no shipper answers" in gone.stderr
