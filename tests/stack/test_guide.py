"""The guide as a test: each of its commands, queries and names against a live stack, with a table of results."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from compose.stack import acceptance
from compose.stack.backup import read_manifest
from compose.stack.ports import is_free
from tests.optional import need
from tests.ports import free_ports
from tests.stack.guide import PROMQL, REQUEST, Place
from tests.stack.guide_rows import ROWS
from tests.stack.running import RunningStack, running_stack, until

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = ROOT.parent / "shared" / "GUIDE.md"
TEXT = Path(__file__).parent / "guide.md"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A running stack with its own Prometheus, and with traffic, refusals and errors in it."""
    for program, package in (("curl", "curl"), ("jq", "jq"), ("prometheus", "prometheus")):
        need(program, apt=package)
    prometheus, alertmanager = free_ports(2)
    ports: dict[str, Any] = {
        "PROMETHEUS_PORT": str(prometheus),
        "ALERTMANAGER_PORT": str(alertmanager),
        "STACK_MONITORING": "auto",
    }
    with running_stack(tmp_path_factory.mktemp("guide") / "stack", **ports) as stack:
        sent = stack.command("traffic", "--rate", "50", "--count", "150", "--errors", "5%", "--seed", "7")
        assert sent.returncode == 0, sent.stdout + sent.stderr
        # Nothing fails by itself here: another program's errors on the same volume are the ERROR lines.
        stamp = dt.datetime.now(dt.UTC)
        lines = [
            {"@timestamp": (stamp + dt.timedelta(milliseconds=number)).isoformat(), "level": "ERROR", "error": "boom",
             "service": "ml-pipeline", "message": f"failed {number}"}
            for number in range(8)
        ]  # fmt: skip
        other = stack.folder / "logs" / "other.jsonl"
        other.write_text("".join(json.dumps(line) + "\n" for line in lines))
        until(lambda: errors(stack) == len(lines), "the errors are in the store")
        # Rates need predictions between two scrapes.
        steady = subprocess.Popen(
            [sys.executable, "-P", "-m", "compose.stack", "traffic", "--rate", "5", "--for", "1h"],
            env=stack.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield stack
        finally:
            steady.terminate()
            steady.wait(30)
        assert stack.command("down").returncode == 0
        assert "prometheus   stopped" in stack.said()
        assert is_free(prometheus)


@pytest.fixture(scope="module")
def place(stack: RunningStack) -> Place:
    """Where its services listen."""
    return Place({**stack.addresses(), 9090: f"http://127.0.0.1:{stack.environment['PROMETHEUS_PORT']}"})


def errors(stack: RunningStack) -> int:
    """Return how many ERROR documents there are."""
    total = stack.search({"query": {"match": {"level": "ERROR"}}, "track_total_hits": True})["hits"]["total"]
    return int(total["value"])


def test_every_row_of_the_guide_works(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command, query and name gives what the guide promises; all are tried, then the failures are told."""
    table, failed = [], []
    for row in ROWS:
        try:
            seen = row.check(place)
        except (AssertionError, LookupError, ValueError, StopIteration, httpx.HTTPError) as error:
            seen = f"FAILED: {type(error).__name__} {str(error)[:200]}"
            failed.append(f"{row.section}: {row.text}: {seen}")
        table.append((row.section, row.text, seen))
    with capsys.disabled():
        width = shutil.get_terminal_size((160, 40)).columns
        print(f"\n{'the guide':14}{'as printed':60}  seen")
        for section, text, seen in table:
            print(f"{section:14}{text[:60]:60}  {seen}"[:width])
    assert not failed, "\n".join(failed)


def printed(text: str) -> list[str]:
    """Return all that the guide prints for somebody to type, ask, open or see, as it stands there."""
    lines = [
        line.split("   (and")[0].strip()
        for block in re.findall(r"```\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    lines += re.findall(r"^\|.*\|$", text, re.MULTILINE)[2:]  # the panels, without the table's head
    flat = " ".join(re.sub(r"```\n.*?```", "", text, flags=re.DOTALL).split())
    lines += re.findall(r"`((?:curl|GET|POST|PUT|\{)[^`]*)`", flat)
    lines += [each.rstrip(".") for each in re.findall(r"(?:GET|POST|PUT) /[^\s`,]+", flat)]
    lines += [path.rstrip(".,") for path in re.findall(r"(?<=[\s(`])/[-_a-z][^\s`,;)]*", flat)]
    lines += re.findall(r"\w+, port \d+", flat)
    lines += re.findall(r"ml_\w+ [<>] [\d.]+ \(every \w+, for \w+\)", flat)
    lines += re.findall(r"Data (?:source|view) [^.;]*?[\w/](?=\.\s)", flat)
    lines += re.findall(r'Dashboard "[^"]+"[\w ,]*[\w]', flat)
    kibana = flat.partition("Visualisations: ")[2].partition(" Dashboard ")[0]
    lines += [re.sub(r"\(.*", "", each).strip() for each in re.sub(r"\([^)]*\)", "", kibana).rstrip(".").split(";")]
    lines += re.findall(r"Alert: ([^.]+)\.", flat)
    lines += flat.partition("## Prometheus alert rules ")[2].partition("; gradual")[0].split(", ")
    lines += flat.partition("Targets: ")[2].partition(". ")[0].split(", ")
    verbs = re.findall(r"`docker compose ([a-z|]+)`", flat)
    lines += [f"docker compose {verb}" for each in verbs for verb in each.split("|")]
    lines += flat.partition("Log fields: ")[2].partition(". ")[0].replace("(", ",").split(",")
    lines += sorted({*re.findall(r"\bml_[a-z0-9_]+\b", flat), "http_request_duration_seconds", "admin/admin at first"})
    return [line.strip() for line in lines if line.strip()]


# What stands in the guide's list of log fields and is no field but a value of one, or is tried under another row.
VALUES = {"INFO", "ERROR", "WARNING)", "ml-pipeline)", "0/1)"}


def test_no_line_of_the_guide_is_missing_or_altered() -> None:
    """Each command, query, address, panel, name and number that the guide prints is in a row, letter by letter."""
    wanted = [each for each in printed(TEXT.read_text()) if each not in VALUES]
    known = [re.sub(r"\s+", "", row.text) for row in ROWS]
    # A bare name has to be a row of its own: as a part of a longer one it would be found anywhere.
    missing = [
        each
        for each in wanted
        if not (each in known if re.fullmatch(r"@?\w+", each) else any(re.sub(r"\s+", "", each) in t for t in known))
    ]
    assert missing == []
    assert len(wanted) > 80, "the guide is read whole"


@pytest.mark.skipif(not GUIDE.exists(), reason="the guide itself is not beside this checkout")
def test_the_guide_is_the_guide() -> None:
    """Our copy of the guide's text is as it was given."""
    assert TEXT.read_text() == GUIDE.read_text()


def test_the_acceptance_check_asks_what_the_guide_prints() -> None:
    """The program's own list, which goes with a wheel, holds each query and the request of the guide's text."""
    assert set(PROMQL) <= set(acceptance.QUERIES)
    assert json.loads(REQUEST) == acceptance.EXAMPLE


def test_every_part_is_scraped_and_shown(stack: RunningStack, place: Place) -> None:
    """Prometheus and Alertmanager run where they are installed: each part's target is up, and `status` knows both."""
    need("prometheus-alertmanager", apt="prometheus-alertmanager")
    url = place[9090]
    assert f"Prometheus    {url}" in stack.said()
    assert "scrape_interval: 15s" in httpx.get(f"{url}/api/v1/status/config").json()["data"]["yaml"]

    def health() -> dict[str, str]:
        found = httpx.get(f"{url}/api/v1/targets").json()["data"]["activeTargets"]
        return {each["labels"]["job"]: each["health"] for each in found}

    every = dict.fromkeys(("app", "shipper", "store", "prometheus", "alertmanager"), "up")
    until(lambda: health() == every, "every part is scraped")
    answer = httpx.get(f"{url}/api/v1/query", params={"query": "ml_model_accuracy"}).json()["data"]["result"]
    assert 0 < float(answer[0]["value"][1]) <= 1
    snapshot = httpx.post(f"{url}/api/v1/admin/tsdb/snapshot").json()
    assert (stack.folder / "monitoring/prometheus/snapshots" / snapshot["data"]["name"]).is_dir()
    shown = {part["name"]: part for part in json.loads(stack.command("status", "--json").stdout)}
    assert shown["prometheus"]["state"] == shown["alertmanager"]["state"] == "ready"
    assert shown["prometheus"]["detail"].endswith(" series")


def test_the_acceptance_check_passes_on_the_local_stack(stack: RunningStack) -> None:
    """`check --acceptance` tries the guide's checks; only Grafana and Kibana are left out."""
    done = stack.command("check", "--acceptance")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed, 0 failed, 2 left out" in done.stdout


def test_a_local_backup_holds_model_labels_metrics_and_logs(stack: RunningStack) -> None:
    """`backup` needs no option beside a running local stack, and lies beside its folder."""
    done = stack.command("backup")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in it: model, feedback, metrics, logs" in done.stdout
    (made,) = (stack.folder.parent / "backups").iterdir()
    assert read_manifest(made).store == "embedded"
