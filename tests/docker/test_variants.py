"""Every variant of the compose file as the compose plugin itself reads it, and the cluster brought up and hurt."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docker.clients import EXAMPLE, Clients, each_once
from tests.docker.daemon import BRIDGE_ADDRESS, Daemon
from tests.docker.project import COMPOSE, HERE, ROOT, Project, wait_for
from tests.optional import lacking

pytestmark = pytest.mark.timeout(1500)
NODE_FILES = 65535  # bootstrap check "file descriptor check" of Elasticsearch
VARIANTS = {
    "base": ["compose.yaml"],
    "secure": ["compose.yaml", "compose.secure.yaml"],
    "cluster": ["compose.yaml", "compose.cluster.yaml"],
    "host": ["compose.yaml", "compose.host.yaml"],
}


def configured(docker: Daemon, folder: Path, variant: str) -> dict[str, Any]:
    """Return a variant with everything filled in, as `docker compose config` prints it."""
    project = Project(docker, folder, VARIANTS[variant])
    text = project.compose("--profile", "*", "config", "--format", "json").stdout
    services: dict[str, Any] = json.loads(text)["services"]
    return services


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_variant_is_valid_and_listens_on_loopback_alone(docker: Daemon, tmp_path: Path, variant: str) -> None:
    """`docker compose config` accepts it; every port is on 127.0.0.1; every image has a version."""
    services = configured(docker, tmp_path, variant)
    for name, service in services.items():
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name
        assert service["image"].startswith("ml-pipeline/") or ":" in service["image"].rpartition("/")[2], name
        assert not service["image"].endswith(":latest")


def test_the_stack_is_found_from_the_root_and_from_its_folder(docker: Daemon) -> None:
    """Without any option, `docker compose` reads the same stack in both folders."""
    root, folder = (
        docker.docker("compose", "config", "--format", "json", cwd=where).stdout for where in (ROOT, COMPOSE)
    )
    assert json.loads(root) == json.loads(folder)
    assert json.loads(root)["name"] == "ml-pipeline"
    assert {"app", "shipper", "elasticsearch", "kibana", "grafana"} <= json.loads(root)["services"].keys()


def test_in_the_secure_variant_only_the_proxy_and_elasticsearch_are_published(docker: Daemon, tmp_path: Path) -> None:
    """Whoever has no login of its own has no port of its own."""
    services = configured(docker, tmp_path, "secure")
    assert {name for name, service in services.items() if service.get("ports")} == {"proxy", "elasticsearch"}
    assert "GF_SECURITY_ADMIN_PASSWORD" not in services["grafana"]["environment"]


def test_with_the_app_on_the_host_prometheus_and_shipper_see_it(docker: Daemon, tmp_path: Path) -> None:
    """`app` is this machine for Prometheus; the shipper reads the host's log folder as the host's user."""
    services = configured(docker, tmp_path, "host")
    assert services["prometheus"]["extra_hosts"] == ["app=host-gateway"]
    sources = {volume["target"]: volume for volume in services["shipper"]["volumes"]}
    assert sources["/var/log/ml-pipeline"]["type"] == "bind"
    assert services["shipper"]["user"] == "1000:1000"
    assert set(services["shipper"]["depends_on"]) == {"rights"}


def test_with_the_app_on_the_host_its_lines_and_metrics_arrive(docker: Daemon, tmp_path: Path) -> None:
    """The guide's steps 1 and 2: a process of this machine, the stack in Docker, the folder read-only there."""
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o700)
    key = tmp_path / "key"
    key.write_text("a-key-of-more-than-sixteen-characters")
    files: list[str | Path] = [*VARIANTS["host"], HERE / "left-out.yaml"]
    project = Project(
        docker, tmp_path, files, COMPOSE_PROJECT_NAME="host", HOST_UID=str(os.getuid()), HOST_GID=str(os.getgid()),
        HOST_LOG_DIR=str(logs), LOGS_ACCESS="ro", SHIPPER_DELETE_ACKNOWLEDGED="false",
    )  # fmt: skip
    # Where containers reach this machine, and nobody else does; the scrape configuration names port 5000.
    address = BRIDGE_ADDRESS.partition("/")[0]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APP_")} | {
        "APP_HOST": address, "APP_PORT": "5000", "APP_API_KEY_FILE": str(key), "APP_LOG_DIR": str(logs),
        "APP_MODEL_DIR": str(tmp_path / "models"), "APP_STATE_DIR": str(tmp_path / "app"),
    }  # fmt: skip
    python = [sys.executable, "-m", "app"]
    subprocess.run([*python, "train", "--rows", "2000"], cwd=ROOT, env=environment, check=True, capture_output=True)
    with (tmp_path / "app.log").open("wb") as output:
        app = subprocess.Popen([*python, "serve"], cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            url = f"http://{address}:5000"
            project.compose("build", "-q", "shipper", "rights", timeout=900)
            wanted = ["shipper", "elasticsearch", "prometheus"]
            project.compose("up", "-d", "--wait", "--wait-timeout", "600", *wanted, timeout=700)
            wait_for(lambda: httpx.get(f"{url}/ready").status_code == 200, "the service on this machine is ready")
            assert httpx.post(f"{url}/predict", json=EXAMPLE).status_code == 401
            headers = {"X-API-Key": key.read_text()}
            answers = [httpx.post(f"{url}/predict", json=EXAMPLE, headers=headers) for _ in range(20)]
            each_once(project, {answer.json()["request_id"] for answer in answers})

            def scraped() -> bool:
                targets = httpx.get(project.url("prometheus", "/api/v1/targets")).json()["data"]["activeTargets"]
                states = {target["labels"]["job"]: target["health"] for target in targets}
                return bool(states["app"] == states["shipper"] == "up")

            wait_for(scraped, "Prometheus sees the service on this machine")
            probe = "import pathlib; pathlib.Path('/var/log/ml-pipeline/probe').write_text('x')"
            refused = project.compose("exec", "-T", "shipper", "python", "-c", probe, check=False)
            assert "Read-only file system" in refused.stderr
            assert list(logs.glob("*.jsonl")), "nobody deletes what is acknowledged"
            assert project.healthy("shipper")
        finally:
            app.terminate()
            app.wait(60)
            project.end()


@pytest.fixture
def cluster(docker: Daemon, tmp_path: Path) -> Iterator[Project]:
    """Three nodes, the app and the shipper."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < NODE_FILES:
        lacking(f"a limit of {NODE_FILES} open files", "Elasticsearch's bootstrap check asks for it beyond one node")
    files: list[str | Path] = [*VARIANTS["cluster"], HERE / "left-out.yaml"]
    project = Project(docker, tmp_path, files, COMPOSE_PROJECT_NAME="cluster", ELASTICSEARCH_HEAP="384m")
    try:
        project.compose("build", "-q", "app", "shipper", "setup", timeout=900)
        wanted = ["app", "shipper", "elasticsearch", "elasticsearch-2", "elasticsearch-3"]
        project.compose("up", "-d", "--wait", "--wait-timeout", "600", *wanted, timeout=700)
        yield project
    finally:
        project.end()


@pytest.mark.soak  # three nodes on two cores take minutes to form
def test_a_cluster_loses_a_node_and_no_line(cluster: Project) -> None:
    """One of three nodes is killed under traffic: its shards have a replica, and each request is one document."""
    health = {"params": {"wait_for_nodes": "3", "timeout": "60s"}, "timeout": 90}
    url = cluster.url("elasticsearch", "/_cluster/health")
    assert httpx.get(url, **health).json()["number_of_nodes"] == 3  # type: ignore[arg-type]  # httpx's own options
    with Clients(cluster) as clients:
        wait_for(lambda: len(clients.answered) > 20, "traffic flows")
        green = {"params": {"wait_for_status": "green", "timeout": "60s"}, "timeout": 90}
        assert httpx.get(url, **green).json()["status"] == "green"  # type: ignore[arg-type]  # httpx's own options
        index = httpx.get(cluster.url("elasticsearch", "/_cat/indices/ml-pipeline-2*?format=json")).json()[0]
        assert index["rep"] == "1"
        os.kill(cluster.process("elasticsearch-3", "org.elasticsearch.server"), signal.SIGKILL)
        seen = len(clients.answered)
        wait_for(lambda: len(clients.answered) > seen + 100, "traffic goes on")
    assert clients.unanswered == 0
    each_once(cluster, clients.answered)
