"""The Docker daemon of the tests and the images on it: one for this room, ended with it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker import daemon as daemons
from tests.docker import images
from tests.docker.daemon import Daemon, DaemonError
from tests.docker.plugins import BuildError, compose_plugin
from tests.docker.project import HERE, Project, defaults
from tests.optional import lacking, need


@pytest.fixture(scope="package")
def plugin() -> Path:
    """The compose plugin, built on first use."""
    try:
        return compose_plugin(need("go", apt="golang"))
    except BuildError as error:
        lacking("the compose plugin", f"Go builds it through its proxy: {str(error).splitlines()[0]}")
        raise


@pytest.fixture(scope="package")
def docker(plugin: Path) -> Iterator[Daemon]:
    """A daemon with every base and vendor image that the stack names, as stand-ins."""
    if os.getuid():
        lacking("the right to start a Docker daemon", "run the tests as root")
    for program, package in {"dockerd": "docker.io", "iptables": "iptables", "docker": "docker.io"}.items():
        need(program, apt=package)
    tags = defaults()
    names = {
        "python": tags["PYTHON_IMAGE"],
        "elasticsearch": f"docker.elastic.co/elasticsearch/elasticsearch:{tags['ELASTIC_VERSION']}",
        "prometheus": f"prom/prometheus:{tags['PROMETHEUS_VERSION']}",
        "alertmanager": f"prom/alertmanager:{tags['ALERTMANAGER_VERSION']}",
        "exporter": f"quay.io/prometheuscommunity/elasticsearch-exporter:{tags['EXPORTER_VERSION']}",
        "nginx": f"nginxinc/nginx-unprivileged:{tags['NGINX_VERSION']}",
    }
    try:
        with daemons.running(plugin) as daemon:
            images.make(daemon, names)
            yield daemon
    except DaemonError as error:
        lacking("a Docker daemon", f"it did not start or could not build: {error}")
        raise


@pytest.fixture(scope="package")
def stack(docker: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The real compose.yaml, without Kibana and Grafana, up and healthy; its images are built first."""
    project = Project(docker, tmp_path_factory.mktemp("stack"), ["compose.yaml", HERE / "left-out.yaml"])
    try:
        project.compose("build", "-q", timeout=900)
        begun = time.monotonic()
        project.compose("up", "-d", "--wait", "--wait-timeout", "600", timeout=700)
        project.seconds_to_healthy = time.monotonic() - begun
        yield project
    finally:
        project.end()
