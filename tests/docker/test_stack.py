"""The real compose.yaml on a real daemon: built, started, used, killed, filled up, stopped and started again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from compose.stack import sbom
from compose.stack.dependencies import canonical
from tests.docker.clients import EXAMPLE, Clients, each_once
from tests.docker.daemon import Daemon
from tests.docker.project import HERE, Project, defaults, wait_for

LASTING = ("app", "shipper", "elasticsearch", "prometheus", "alertmanager", "elasticsearch-exporter")
OWN = ("app", "shipper")
WORDS = {
    "app": "app serve", "shipper": "shipper run", "elasticsearch": "org.elasticsearch.server",
    "prometheus": "/bin/prometheus", "alertmanager": "/bin/alertmanager",
    "elasticsearch-exporter": "/bin/elasticsearch_exporter",
}  # fmt: skip

# The first test builds what the cache lacks; the machine may be busy.
pytestmark = pytest.mark.timeout(1500)


def test_everything_is_up_and_healthy(stack: Project) -> None:
    """One command brings every service up; the one-off set-up ended well and left the snapshot repository."""
    for service in LASTING:
        assert stack.healthy(service), stack.logs(service)
    for service in ("setup", "rights"):
        assert stack.inspect(service)["State"]["ExitCode"] == 0, stack.logs(service)
    repository = httpx.get(stack.url("elasticsearch", "/_snapshot/backup")).json()
    assert repository["backup"]["type"] == "fs"


def test_a_prediction_becomes_one_document(stack: Project) -> None:
    """The guide's request is answered, and is found by the guide's search within seconds, once."""
    answer = httpx.post(stack.url("app", "/predict"), json=EXAMPLE)
    assert answer.status_code == 200, answer.text
    each_once(stack, {answer.json()["request_id"]})


def test_traffic_flows_on_demand(stack: Project) -> None:
    """The profile `traffic` sends requests, most of which are served, until it is stopped."""
    before = stack.documents()
    stack.compose("--profile", "traffic", "up", "-d", "traffic")
    try:
        wait_for(lambda: stack.documents("level:INFO") > before + 20, "its requests are documents")
        assert stack.healthy("traffic")
    finally:
        stack.compose("--profile", "traffic", "rm", "-fsv", "traffic")


def test_only_loopback_is_listened_on(stack: Project) -> None:
    """Each published port is bound to 127.0.0.1 and nothing else."""
    published = 0
    for service in LASTING:
        for bindings in (stack.inspect(service)["NetworkSettings"]["Ports"] or {}).values():
            for binding in bindings or []:
                published += 1
                assert binding["HostIp"] == "127.0.0.1", f"{service}: {binding}"
    assert published == 5


@pytest.mark.parametrize("service", OWN)
def test_our_processes_have_no_rights_beyond_their_work(stack: Project, service: str) -> None:
    """As seen by the kernel: not root, no capability, no new privileges, nothing to write but the volumes."""
    status = Path(f"/proc/{stack.process(service, WORDS[service])}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == "10001"
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind], 16) == 0, kind
    assert fields["NoNewPrivs"] == "1"
    probe = "import pathlib; pathlib.Path('/srv/probe').write_text('x')"
    refused = stack.compose("exec", "-T", service, "python", "-c", probe, check=False)
    assert "Read-only file system" in refused.stderr


def test_each_volume_belongs_to_who_writes_it(stack: Project) -> None:
    """Logs and model to our user, snapshots to Elasticsearch's; the app's image has no shipper and the reverse."""
    look = "import os; print(*[os.stat(p).st_uid for p in ('/var/log/ml-pipeline', '/var/lib/ml-pipeline')])"
    assert stack.compose("exec", "-T", "app", "python", "-c", look).stdout.split() == ["10001", "10001"]
    shown = stack.compose("exec", "-T", "elasticsearch", "stat", "-c", "%u", "/usr/share/elasticsearch/snapshots")
    assert shown.stdout.strip() == "1000"
    assert stack.compose("exec", "-T", "app", "ls", "/srv").stdout.split() == ["app"]
    assert stack.compose("exec", "-T", "shipper", "ls", "/srv").stdout.split() == ["index_templates", "shipper"]


def test_an_image_installs_what_its_bill_of_materials_says(
    stack: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each package of the lock is in the image in that version, and no other; sizes and start time are printed."""
    look = "import importlib.metadata as m; print(*(d.metadata['Name'] + '==' + d.version for d in m.distributions()))"
    for file in sbom.write(tmp_path, lambda _line: None):
        image = file.name.partition(".")[0]
        tag = f"ml-pipeline/{image}"
        listed = json.loads(file.read_text())["components"]
        wanted = {f"{each['name']}=={each['version']}" for each in listed if each["type"] == "library"}
        shown = stack.daemon.docker("run", "--rm", "--entrypoint", "python", tag, "-c", look).stdout.split()
        found = {f"{canonical(name)}=={version}" for name, _, version in (each.partition("==") for each in shown)}
        assert found == wanted, image
        inside, base = (
            int(stack.daemon.docker("image", "inspect", "-f", "{{.Size}}", name).stdout)
            for name in (tag, defaults()["PYTHON_IMAGE"])
        )
        with capsys.disabled():
            print(f"\n{tag}: {inside / 1e6:.0f} MB, {(inside - base) / 1e6:.0f} MB of it above the Python stand-in")
        assert inside > base
    with capsys.disabled():
        print(f"up to healthy, images built, nothing cached in the volumes: {stack.seconds_to_healthy:.0f} s")


def test_prometheus_scrapes_every_part(stack: Project) -> None:
    """Each target but the left-out Grafana is up, and the rules are loaded."""

    def up() -> bool:
        targets = httpx.get(stack.url("prometheus", "/api/v1/targets")).json()["data"]["activeTargets"]
        states = {target["labels"]["job"]: target["health"] for target in targets}
        return states.pop("grafana") == "down" and set(states.values()) == {"up"} and len(states) == 5

    wait_for(up, "every target is up")
    groups = httpx.get(stack.url("prometheus", "/api/v1/rules")).json()["data"]["groups"]
    assert sum(len(group["rules"]) for group in groups) > 20


@pytest.mark.parametrize("service", LASTING)
def test_a_killed_process_is_started_again_and_nothing_is_lost_or_doubled(stack: Project, service: str) -> None:
    """SIGKILL under traffic: Docker starts it again by itself; every answered request is one document."""
    before = stack.inspect(service)["RestartCount"]
    with Clients(stack) as clients:
        wait_for(lambda: len(clients.answered) > 20, "traffic flows")
        # The container's first process is the init: with what it runs gone, the container ends.
        os.kill(stack.process(service, WORDS[service]), signal.SIGKILL)
        wait_for(lambda: stack.inspect(service)["RestartCount"] > before, f"{service} was started again")
        wait_for(lambda: stack.healthy(service), f"{service} is healthy again")
        seen = len(clients.answered)
        wait_for(lambda: len(clients.answered) > seen + 20, "traffic flows again")
    if service != "app":
        assert clients.unanswered == 0, "only the app's own end may cost an answer"
    each_once(stack, clients.answered)


def test_elasticsearch_down_for_a_while_costs_nothing(stack: Project) -> None:
    """Predictions go on, the shipper says that it waits, and all lines arrive once when Elasticsearch is back."""
    with Clients(stack) as clients:
        wait_for(lambda: len(clients.answered) > 20, "traffic flows")
        stack.compose("stop", "elasticsearch")
        down = len(clients.answered)
        wait_for(lambda: len(clients.answered) > down + 200, "predictions are served without Elasticsearch")
        told = wait_for(
            lambda: httpx.get(stack.url("shipper", "/status")).json().get("last_error"), "the shipper says why it waits"
        )
        assert stack.healthy("shipper"), "an outage of Elasticsearch is no reason to restart the shipper"
        stack.compose("start", "elasticsearch")
        wait_for(lambda: stack.healthy("elasticsearch"), "Elasticsearch is healthy again")
    assert told
    assert clients.unanswered == 0
    each_once(stack, clients.answered)


def test_the_guides_commands_work_as_printed(stack: Project) -> None:
    """`docker compose ps`, `restart prometheus` and `stats` do what the guide uses them for."""
    listed = stack.compose("ps", "--format", "json").stdout
    running = {json.loads(line)["Service"] for line in listed.splitlines()}
    assert set(LASTING) <= running
    stack.compose("restart", "prometheus")
    wait_for(lambda: stack.healthy("prometheus"), "Prometheus is healthy again")
    table = stack.compose("stats", "--no-stream").stdout
    assert all(f"-{service}-1" in table for service in LASTING)


def test_down_and_up_keeps_everything(stack: Project) -> None:
    """Documents, model and metrics are there after `down` and `up`; the same model answers."""
    before = stack.documents()
    model = httpx.get(stack.url("app", "/status")).json()["model"]["version"]
    stack.compose("down", timeout=200)
    stack.compose("up", "-d", "--wait", "--wait-timeout", "600", timeout=700)
    assert stack.documents() >= before > 0
    assert httpx.get(stack.url("app", "/status")).json()["model"]["version"] == model
    kept = httpx.get(stack.url("prometheus", "/api/v1/query"), params={"query": "max_over_time(up[1h:15s])"}).json()
    assert kept["data"]["result"]


def test_down_keeps_the_volumes_and_down_with_v_removes_them(docker: Daemon, tmp_path: Path) -> None:
    """`down` leaves the data, `down -v` leaves nothing."""
    project = Project(docker, tmp_path, ["compose.yaml", HERE / "left-out.yaml"], COMPOSE_PROJECT_NAME="short")

    def left(kind: str) -> list[str]:
        return docker.docker(kind, "ls", "-q", "--filter", "label=com.docker.compose.project=short").stdout.split()

    try:
        project.compose("up", "-d", "--wait", "alertmanager")
        project.compose("down")
        assert left("volume")
        assert not left("network")
    finally:
        project.end()
    assert not left("volume")


def test_a_full_log_volume_fails_no_prediction(docker: Daemon, tmp_path: Path) -> None:
    """With no room left for a line, requests are answered, and the lines that could not be written are counted."""
    files: list[str | Path] = ["compose.yaml", HERE / "left-out.yaml", HERE / "small-logs.yaml"]
    project = Project(docker, tmp_path, files, COMPOSE_PROJECT_NAME="full")

    def metric(name: str) -> float:
        text = httpx.get(project.url("app", "/metrics")).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def lines_written() -> int:
        return int(httpx.get(project.url("app", "/status")).json()["log"]["written"])

    try:
        project.compose("build", "-q", "app", timeout=900)
        project.compose("up", "-d", "--wait", "--wait-timeout", "600", "app", timeout=700)
        fill = "open('/var/log/ml-pipeline/somebody-elses', 'wb').write(b'x' * 4_000_000)"
        assert "No space left" in project.compose("exec", "-T", "app", "python", "-c", fill, check=False).stderr
        assert metric("ml_log_dropped_total") == 0
        with httpx.Client() as client:
            answers = [client.post(project.url("app", "/predict"), json=EXAMPLE) for _ in range(60)]
        assert {answer.status_code for answer in answers} == {200}
        wait_for(lambda: metric("ml_log_dropped_total") > 0, "what could not be written is counted")
        before = lines_written()
        project.compose("exec", "-T", "app", "rm", "/var/log/ml-pipeline/somebody-elses")

        def written() -> bool:
            assert httpx.post(project.url("app", "/predict"), json=EXAMPLE).status_code == 200
            return lines_written() > before + 1

        wait_for(written, "with room again, lines are written again")
    finally:
        project.end()
