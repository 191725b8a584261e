"""A model of the user's own in the service's container: the page's file beside compose.yaml."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.docker.daemon import Daemon
from tests.docker.project import ROOT, Project

pytestmark = pytest.mark.timeout(900)
NAME = ("-p", "own-model")  # beside the stack that other tests use


def test_the_page_s_file_puts_the_model_into_the_container(docker: Daemon, tmp_path: Path) -> None:
    """`up` with it: the container is healthy, and answers with the page's model."""
    page = (ROOT / "docs" / "own-model.md").read_text()
    blocks = dict(re.findall(r"```(python|yaml)\n(.*?)```", page, re.DOTALL))
    folder = tmp_path / "my_models"
    folder.mkdir()
    (folder / "tumour.py").write_text(blocks["python"])
    tmp_path.chmod(0o755)
    overlay = blocks["yaml"].replace("../my_models:", f"{folder}:")
    assert overlay != blocks["yaml"]
    (tmp_path / "my-model.yaml").write_text(overlay)
    project = Project(docker, tmp_path, ["compose.yaml", tmp_path / "my-model.yaml"], APP_WORKERS="2")
    try:
        project.compose(*NAME, "build", "-q", "app", timeout=700)
        project.compose(*NAME, "up", "-d", "--wait", "--wait-timeout", "300", "app", timeout=400)
        request = {"radius": 14.1, "texture": 19.3, "smoothness": 0.096, "concavity": 0.089}
        answer = httpx.post(project.url("app", "/predict"), json=request, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_version"] == "tumour-1"
        said = project.compose(*NAME, "logs", "--no-color", "app").stdout
        assert "there is nothing to train" in said
    finally:
        project.compose(*NAME, "down", "-v", "-t", "5", check=False)
