"""The shippers that are compared: how each is started on a folder of logs, with the committed configuration."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

CONFIGURATIONS = Path(__file__).resolve().parent / "configurations"
CHECKED = ", lines checked"  # of those that pass bytes through unless told to look at them
ROOT = CONFIGURATIONS.parent.parent.parent
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/opt/fluent-bit/bin"


Start = Callable[[Path, Path, int], tuple[list[str], dict[str, str]]]


class Contender(msgspec.Struct, frozen=True):
    """One shipper.

    Attributes:
        name: as in the table.
        program: its path.
        version: what it says of itself.
        start: of state folder, log folder and the sink's port: the command and its environment.
        ids: what its documents' ids are made of.
    """

    name: str
    program: str
    version: str
    start: Start
    ids: str


def _filled(name: str, state: Path, logs: Path, port: int, **choices: str) -> Path:
    """Write a committed configuration with its places filled in."""
    text = (CONFIGURATIONS / name).read_text(encoding="utf-8")
    for place, value in {"state": str(state), "logs": str(logs), "port": str(port), **choices}.items():
        text = text.replace(f"@{place.upper()}@", value)
    path = state / name
    path.write_text(text, encoding="utf-8")
    return path


@functools.cache
def locked_python() -> str:
    """Return an interpreter with what the shipper's image has, and no more; made once for each lock and Python."""
    lock = ROOT / "compose" / "locks" / "shipper.txt"
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"ml-bench-shipper-{key}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        install = ["install", "--quiet", "--require-hashes", "--requirement", str(lock)]
        subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
        (folder / "ready").touch()
    return str(python)


def ours(name: str = "ours", **settings: object) -> Contender:
    """Return our shipper with the default settings, or with some of its SHIPPER_ settings changed."""

    def start(state: Path, logs: Path, port: int) -> tuple[list[str], dict[str, str]]:
        environment = {
            "SHIPPER_PATHS": f"{logs}/*.jsonl",
            "SHIPPER_URL": f"http://127.0.0.1:{port}",
            "SHIPPER_STATE_DIR": str(state / "state"),
            "SHIPPER_PORT": "0",
            "SHIPPER_SETUP": "off",  # a sink has no templates; the others do not look after any either
            "SHIPPER_VOLUME_ID": "benchmark",
            "PYTHONPATH": str(ROOT),
        }
        environment |= {f"SHIPPER_{key.upper()}": str(value) for key, value in settings.items()}
        return [locked_python(), "-m", "shipper", "run"], environment

    version = f"Python {sys.version.split()[0]}"
    return Contender(name, sys.executable, version, start, "generation, offset, keyed hash of the line")


def _rsyslog(check: str = "", *, by_line: bool = False) -> Start:
    def start(state: Path, logs: Path, port: int) -> tuple[list[str], dict[str, str]]:
        identity = "%$!hash%" if by_line else "%$!metadata!filename%-%$!metadata!fileoffset%"
        hashed = "  set $!hash = hash64($msg);\n" if by_line else ""
        path = _filled("rsyslog.conf", state, logs, port, check=hashed + check, id=identity)
        return ["rsyslogd", "-n", "-f", str(path), "-i", str(state / "pid")], {}

    return start


def _syslog_ng(check: str = "", *, by_line: bool = False) -> Start:
    def start(state: Path, logs: Path, port: int) -> tuple[list[str], dict[str, str]]:
        identity = '"$MESSAGE"' if by_line else '"$FILE_NAME" "$MESSAGE"'
        path = _filled("syslog-ng.conf", state, logs, port, check=check, id=identity)
        files = [f"--persist-file={state}/persist", f"--pidfile={state}/pid", f"--control={state}/control"]
        return ["syslog-ng", "-F", "-f", str(path), *files, "--no-caps"], {}

    return start


def _fluent_bit(buffer: str) -> Start:
    def start(state: Path, logs: Path, port: int) -> tuple[list[str], dict[str, str]]:
        shutil.copy(CONFIGURATIONS / "fluent-bit.parsers.conf", state / "parsers.conf")
        return ["fluent-bit", "-c", str(_filled("fluent-bit.conf", state, logs, port, buffer=buffer))], {}

    return start


def _filebeat(configuration: str) -> Start:
    def start(state: Path, logs: Path, port: int) -> tuple[list[str], dict[str, str]]:
        return ["filebeat", "-c", str(_filled(configuration, state, logs, port)), "--strict.perms=false"], {}

    return start


def _vector(identity: str) -> Start:
    def start(state: Path, logs: Path, port: int) -> tuple[list[str], dict[str, str]]:
        return ["vector", "--quiet", "--config", str(_filled("vector.toml", state, logs, port, id=identity))], {}

    return start


_PLACE, _LINE = "hash of file name and offset", "hash of the line"
_PEERS = (
    ("rsyslog", "rsyslogd", "-v", _rsyslog(), "file name, offset"),
    ("syslog-ng", "syslog-ng", "--version", _syslog_ng(), "hash of file name and line"),
    (f"rsyslog{CHECKED}", "rsyslogd", "-v", _rsyslog('action(type="mmjsonparse" cookie="")\n'), "file name, offset"),
    (
        f"syslog-ng{CHECKED}",
        "syslog-ng",
        "--version",
        _syslog_ng(' parser { json-parser(prefix(".line.")); };'),
        "hash of file name and line",
    ),
    ("Fluent Bit", "fluent-bit", "--version", _fluent_bit("memory"), "hash of the record"),
    ("Filebeat", "filebeat", "version", _filebeat("filebeat.yml"), _PLACE),
    ("Vector", "vector", "--version", _vector('file + "-" + offset'), _PLACE),
)
# An id of file name and offset is the cheapest, but both come again when a file is renamed or made anew,
# and the second line would be taken for the first: among the faults ids are of the line.
_FAULTY = (
    ("Filebeat", "filebeat", "version", _filebeat("filebeat-line-ids.yml"), _LINE),
    ("Fluent Bit", "fluent-bit", "--version", _fluent_bit("memory"), "hash of the record"),
    ("Fluent Bit, buffer on disk", "fluent-bit", "--version", _fluent_bit("filesystem"), "hash of the record"),
    ("Vector", "vector", "--version", _vector("line"), _LINE),
    ("rsyslog", "rsyslogd", "-v", _rsyslog(by_line=True), _LINE),
    ("syslog-ng", "syslog-ng", "--version", _syslog_ng(by_line=True), _LINE),
)


def peers() -> tuple[list[Contender], list[str]]:
    """Return the peers of the race that are on PATH, and the names of those that are not."""
    return _present(_PEERS)


def faulty_peers() -> tuple[list[Contender], list[str]]:
    """Return the peers for the faults that are on PATH, and the names of those that are not."""
    return _present(_FAULTY)


def _present(wanted: Iterable[tuple[str, str, str, Start, str]]) -> tuple[list[Contender], list[str]]:
    found, absent = [], []
    for name, program, option, start, ids in wanted:
        path = shutil.which(program, path=PATH)
        if path is None:
            absent.append(name)
            continue
        said = subprocess.run([path, option], capture_output=True, text=True, check=False)
        version = re.search(r"\d+(\.\d+)+", said.stdout or said.stderr)
        found.append(Contender(name, path, version[0] if version else "unknown", start, ids))
    return found, absent
