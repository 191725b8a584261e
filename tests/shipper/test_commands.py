"""The commands as a user runs them: what they print and how they end."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shipper.deadletter import DeadLetters
from shipper.inspection import lacking
from tests.ports import free_port
from tests.shipper import cluster as faults
from tests.shipper.conftest import VOLUME, Shipping, line, until
from tests.shipper.test_delivery import refuse


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
    assert told.stdout.startswith("1 dead letter in ")
    assert "document_parsing_exception: no such value" in told.stdout
    again = command(shipping, "replay")
    assert (again.returncode, again.stdout.splitlines()[0]) == (1, "0 taken, 0 there already, 1 refused again")
    shipping.cluster.judge = None
    done = command(shipping, "replay")
    assert (done.returncode, done.stdout) == (0, "1 taken, 0 there already, 0 refused again\n")
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


FOREIGN = [
    (b'{"@timestamp": "2026-11-25T10:00:00Z", "level": "INFO", "message": "m"}', ""),
    (b"", ""),
    (b"a line of text", "no JSON object"),
    (b"[1]", "no JSON object"),
    (b'{"time": 1, "level": "INFO", "msg": "m"}', "no @timestamp (`time` is not taken for it), no message (`msg`"),
    (
        b'{"asctime": "x", "levelname": "INFO", "message": "m"}',
        "no level (`levelname` is not taken for it): l",
    ),
    (b'{"@timestamp": "x", "message": "m"}', "has no level: let its writer use these names"),
    (b'{"@timestamp": "x", "message": "m", "level": 30}', "has a level that is none of DEBUG, INFO"),
    (b'{"@timestamp": "x", "message": "m", "level": ["INFO"]}', "has a level that is none of DEBUG, INFO"),
]


@pytest.mark.parametrize(("raw", "words"), FOREIGN, ids=[raw.decode() or "empty" for raw, _ in FOREIGN])
def test_check_says_what_another_program_s_lines_lack(raw: bytes, words: str) -> None:
    """No word where all is there, or nothing yet; else the field that is missing and what it is called instead."""
    assert words in (found := lacking(raw))
    assert bool(words) == bool(found)


def test_check_looks_into_each_file(shipping: Shipping) -> None:
    """One lack is told once, with the first file that has it; a packed file and an unfinished line are let be."""
    (shipping.logs / "a.log").write_bytes(line(0))
    for name in ("b.log", "c.log"):
        (shipping.logs / name).write_bytes(b'{"ts": 1, "level": "INFO", "message": "m"}\n')
    (shipping.logs / "d.log").write_bytes(b'{"half')
    (shipping.logs / "e.log").write_bytes(gzip.compress(b"text\n" * 100))
    said = [row for row in command(shipping, "check").stdout.splitlines() if "its first line" in row]
    assert len(said) == 1
    assert "b.log: its first line has no @timestamp (`ts` is not taken for it)" in said[0]


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


def on_a_terminal(shipping: Shipping, *arguments: str, leave_at: str = "", **more: str) -> tuple[int, str]:
    """Run a command on a terminal of its own; Ctrl-C when it shows a word; return exit code and what was shown."""
    ours, theirs = pty.openpty()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # where it is ignored, a child ignores it too
    process = subprocess.Popen(
        [sys.executable, "-m", "shipper", *arguments],
        env=environment(shipping, TERM="xterm", COLUMNS="150", LINES="50", **more),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            try:
                while data := terminal.read(65536):
                    shown.extend(data)
            except OSError:  # the other side is closed
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        if leave_at:
            until(lambda: leave_at.encode() in shown or process.poll() is not None, f"it shows {leave_at}")
            process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        reader.join(60)
    return process.returncode, shown.decode(errors="replace")


def test_a_drain_shows_a_bar_on_a_terminal(shipping: Shipping) -> None:
    """How many bytes of how many are acknowledged, to the end; the summary stands below it."""
    data = shipping.lines(0, 40_000)
    (shipping.logs / "a.log").write_bytes(data)
    code, shown = on_a_terminal(shipping, "drain")
    assert code == 0
    assert "shipping" in shown
    whole = f"{len(data) / 1e6:.1f}"
    assert f"{whole}/{whole} MB" in shown, shown[-2000:]
    assert "40,000 acknowledged, 0 already there, 0 dead letters, 0 expired" in shown


def test_status_is_shown_again_and_again_until_ctrl_c(shipping: Shipping) -> None:
    """A live table: what arrives while it is shown appears in it."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "shipper", "run"],
        env=environment(shipping, SHIPPER_PORT=str(port)),
        stderr=subprocess.DEVNULL,
    )
    try:
        (shipping.logs / "a.log").write_bytes(shipping.lines(0, 11))
        until(lambda: len(shipping.cluster.documents) == 11, "it ships", 60)
        until(lambda: command(shipping, "status", SHIPPER_PORT=str(port)).returncode == 0, "status answers", 60)
        more = threading.Timer(3.0, lambda: (shipping.logs / "b.log").write_bytes(shipping.lines(11, 11)))
        more.start()
        code, shown = on_a_terminal(shipping, "status", "--watch", leave_at="acknowledged 22", SHIPPER_PORT=str(port))
        more.join()
        assert code == 0
        assert "acknowledged 11" in shown
        assert "acknowledged 22" in shown
        assert "b.log" in shown
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_drain_that_cannot_read_a_file_does_not_say_that_all_is_well(shipping: Shipping) -> None:
    """What cannot be read is not acknowledged: 2, and the file is named."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
    (shipping.logs / "b.log.gz").write_bytes(b"\x1f\x8b\x08\x00 no more than a beginning")
    done = command(shipping, "drain")
    assert done.returncode == 2
    assert "10 acknowledged" in done.stdout
    assert "b.log.gz" in done.stderr


def test_check_finds_nothing_where_all_is_right_and_the_template_where_it_is_not(
    shipping: Shipping, embedded_store: str
) -> None:
    """Against a store that answers as Elasticsearch does: a new index is simulated, before and after the set-up."""
    (shipping.logs / "a.log").write_bytes(shipping.lines(0, 10))
    store = {"SHIPPER_URL": embedded_store}
    verify = command(shipping, "check", **store, SHIPPER_SETUP="verify")
    if verify.returncode:  # another test may have set the session's store up before
        assert "another one hides it" in verify.stdout
        assert "ml-shipper setup" in verify.stdout
    assert command(shipping, "setup", **store).returncode == 0
    done = command(shipping, "check", **store, SHIPPER_SETUP="verify")
    assert done.returncode == 0, done.stdout
    assert "index templates and lifecycle policy are as they must be" in done.stdout
    assert "1 log file, 840 bytes" in done.stdout
    short = command(shipping, "check", **store, SHIPPER_SETUP="verify", SHIPPER_RETENTION_DAYS="9999")
    assert short.returncode == 1
    assert "make the two fit" in short.stdout


def test_check_names_folders_that_cannot_be_used(shipping: Shipping) -> None:
    """A state folder below a file, a log folder that is not there, and no paths at all."""
    (shipping.logs / "file").touch()
    done = command(
        shipping,
        "check",
        SHIPPER_STATE_DIR=str(shipping.logs / "file" / "state"),
        SHIPPER_PATHS=f"{shipping.logs}/none/*.log",
    )
    assert done.returncode == 1
    assert f"{shipping.logs}/file is not writable" in done.stdout
    assert f"{shipping.logs}/none is not there yet" in done.stdout
    assert "SHIPPER_PATHS: name the log files" in command(shipping, "check", SHIPPER_PATHS="").stdout
    (shipping.logs / "a.log").write_bytes(line(0))
    mixed = command(shipping, "check", SHIPPER_STATE_DIR=str(shipping.logs))
    assert "is a log folder: keep it on another volume" in mixed.stdout
