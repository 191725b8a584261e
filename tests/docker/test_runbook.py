"""Each command of docs/runbook.md, as printed, against the Docker stack; only addresses and names are this stack's."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from compose.stack.remote import SERVERS
from tests.docker.project import ROOT, WITHOUT, Project, defaults, wait_for
from tests.optional import need
from tests.test_docs import PROGRAMS, commands

pytestmark = pytest.mark.timeout(1500)
PAGE = ROOT / "docs" / "runbook.md"
OLD_DAY = "ml-pipeline-1999.01.01"
# Run by another test, because the stack has to be another one for it.
_LOCAL = "tests/stack/test_documented_commands.py::test_a_documented_command_works_as_printed"
_LOCAL_BACK = "tests/stack/test_local_restore.py::test_a_local_backup_is_put_back_into_a_new_folder"
_LOCAL_SAVED = "tests/stack/test_guide.py::test_a_local_backup_holds_model_labels_metrics_and_logs"
_BACK = "tests/docker/test_operations.py::test_a_backup_is_put_back_into_an_empty_stack"
ELSEWHERE = {
    r"python3 compose status": _LOCAL,
    r"python3 compose backup": _LOCAL_SAVED,
    r"python3 compose (store|up)|export STACK_DIR=.+": _LOCAL_BACK,
    r"python3 compose restore newest --prometheus-data .+": _LOCAL_BACK,
    r"docker compose restart prometheus": "tests/docker/test_stack.py::test_the_guides_commands_work_as_printed",
    r"ml-stack migrate": "tests/contract/test_migrate.py::test_the_command_says_what_is_where",
    r"docker compose up -d --wait setup prometheus grafana": _BACK,
    r"docker compose run --rm operations restore newest": _BACK,
}
# Kibana and Grafana cannot be had here: the same from Alertmanager's side, on the same network.
REPLACED = {"exec grafana": "exec alertmanager"}


def every_command() -> list[str]:
    """The page's commands, in fenced blocks and in running text, each once."""
    text = re.sub(r"^```.*?^```$", "", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    inline = [code for code in re.findall(r"`([^`\n]+)`", text) if code.split()[0] in PROGRAMS and " " in code]
    return sorted({*commands(PAGE), *inline} - {"docker compose"})


HERE = [command for command in every_command() if not any(re.fullmatch(each, command) for each in ELSEWHERE)]


def test_the_list_of_other_tests_is_true() -> None:
    """Each pattern is of a command of the page, and the test that runs it is there."""
    for pattern, node in ELSEWHERE.items():
        assert any(re.fullmatch(pattern, command) for command in every_command()), pattern
        file, _, function = node.partition("::")
        assert f"\ndef {function}(" in (ROOT / file).read_text(), node
    assert len(HERE) > 20


def adapted(command: str, stack: Project) -> str:
    """Return a command with the addresses of this stack, and a name for each <placeholder>."""
    text = command.replace("ml-pipeline-<day>", OLD_DAY)
    text = re.sub(r"<(part|service)>", "shipper", text)
    for name, port in defaults().items():
        if name.endswith("_PORT"):
            text = re.sub(rf"//(localhost|127\.0\.0\.1):{port}\b", f"//127.0.0.1:{stack.settings[name]}", text)
    for there, here in REPLACED.items():
        text = text.replace(there, here)
    return text


@pytest.mark.parametrize("command", HERE)
def test_a_command_of_the_runbook_works_as_printed(stack: Project, command: str, tmp_path: Path) -> None:
    """It ends well and says something; a check may also end with 1 or 2, which is its verdict."""
    if "DELETE" in command:
        there = stack.url("elasticsearch", f"/{OLD_DAY}/_doc?refresh=true")
        line = {"@timestamp": "1999-01-01T00:00:00Z", "level": "INFO", "message": "old"}
        assert httpx.post(there, json=line, timeout=60).status_code == 201
    text = adapted(command, stack)
    if text.startswith("docker compose "):
        words = shlex.split(text.removeprefix("docker compose "))
        if words[0] == "stats" and "--no-stream" not in words:
            words.append("--no-stream")  # it would go on for ever
        if words[0] == "run":
            words[1:1] = ["-T", "-e", f"OPS_WITHOUT={WITHOUT}"]
        if words[0] == "exec":
            words.insert(1, "-T")
        profile = ["--profile", "operations"] if "operations" in words else []
        done = stack.compose(*profile, *words, check=False)
    else:
        need(text.split()[0], apt={"promtool": "prometheus"}.get(text.split()[0], text.split()[0]))
        text = re.sub(r"^curl ", "curl --silent --show-error --globoff ", text)
        if text.endswith("alert test"):
            text += f" --alertmanager {stack.url('alertmanager')} --prometheus {stack.url('prometheus')}"
        text = text.replace("python3 compose", "python3 -m compose.stack")
        text = re.sub(r"^python3? ", f"{shlex.quote(sys.executable)} -P ", text)
        servers = {f"OPS_{name.upper()}": stack.url(name) for name in SERVERS if name not in WITHOUT.split()}
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=ROOT,
            env=os.environ | servers | {"OPS_WITHOUT": WITHOUT, "STACK_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
    well = (0, 1, 2) if " check " in text else (0,)
    assert done.returncode in well, f"{text}\n{done.stdout}{done.stderr}"
    if " logs " not in text:  # a part that is well may have had nothing to say since its start
        assert (done.stdout + done.stderr).strip(), f"{text} said nothing"
    if text.startswith("curl") and "allocation/explain" not in text:  # which is an error while all is well
        assert '"error"' not in done.stdout, done.stdout
    if "restart" in command:
        service = command.rsplit(maxsplit=1)[-1].replace("<part>", "shipper")
        wait_for(lambda: stack.healthy(service), f"{service} is healthy again")


def test_the_page_is_read_whole() -> None:
    """Commands in blocks and in running text are both found."""
    assert "docker compose run --rm operations backup --keep 7" in HERE
    assert "curl http://localhost:9090/api/v1/targets" in HERE
    assert all(Path(PAGE).read_text().count(command) for command in HERE)
