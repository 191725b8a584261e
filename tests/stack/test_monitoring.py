"""Prometheus and Alertmanager in the local stack: settings, configuration, what is said where they cannot run."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import msgspec
import pytest
import yaml

from compose.environment import SettingsError
from compose.stack import monitoring
from compose.stack.monitoring import absence, find, monitoring_services, write_configuration
from compose.stack.services import Service, services, stop_order
from compose.stack.settings import StackSettings, read_settings
from compose.stack.supervisor import Supervisor
from compose.stack.up import monitoring_parts
from tests.ports import free_port, free_ports


def _parts(settings: StackSettings) -> tuple[Service, ...]:
    return monitoring_services(settings, prometheus_program="/p", alertmanager_program="/a")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PROMETHEUS_RETENTION": "a week"}, "PROMETHEUS_RETENTION='a week' is not a duration: .* such as 15d"),
        ({"STACK_MONITORING": "yes"}, "STACK_MONITORING='yes' is not auto or off"),
        ({"PROMETHEUS_PORT": "0"}, "PROMETHEUS_PORT='0' is not a port"),
        ({"ALERTMANAGER_PORT": "9090"}, "ALERTMANAGER_PORT and PROMETHEUS_PORT are both 9090"),
        ({"ALERT_WEBHOOK_URL": "hook?token=s3cret"}, "ALERT_WEBHOOK_URL is not an address"),
    ],
)
def test_a_bad_setting_is_named(environment: dict[str, str], words: str) -> None:
    """The error names the variable and what it may be; a webhook's address, which may be secret, is not repeated."""
    with pytest.raises(SettingsError, match=words) as caught:
        read_settings(environment)
    assert "s3cret" not in str(caught.value)


def test_retention_port_and_admin_api_reach_the_program() -> None:
    """Prometheus is told its port on loopback, how long it keeps series, and to take the guide's snapshot."""
    settings = read_settings({"PROMETHEUS_PORT": "9999", "PROMETHEUS_RETENTION": "3d"})
    command = next(part for part in _parts(settings) if part.name == "prometheus").command()
    assert command[0] == "/p"
    assert {
        "--web.listen-address=127.0.0.1:9999",
        "--storage.tsdb.retention.time=3d",
        "--web.enable-admin-api",
    } <= set(command)


def test_the_configuration_has_this_stacks_ports(tmp_path: Path) -> None:
    """Targets and Alertmanager are those of the settings; objectives are followed; the webhook is kept private."""
    settings = read_settings(
        {"STACK_DIR": str(tmp_path), "APP_PORT": "5001", "ALERTMANAGER_PORT": "9999", "ALERT_WEBHOOK_URL": "http://h/k"}
    )
    write_configuration(settings, _parts(settings), {"OBJECTIVE_ACCURACY": "0.77"})
    content = yaml.safe_load((settings.monitoring_dir / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in content["scrape_configs"]}
    assert targets["app"] == ["127.0.0.1:5001"]
    assert targets.keys() == {"app", "shipper", "store", "prometheus", "alertmanager"}
    assert content["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9999"]
    assert "ml_model_accuracy < 0.77" in (settings.monitoring_dir / "rules.yml").read_text()
    manager = settings.monitoring_dir / "alertmanager.yml"
    assert "url: http://h/k" in manager.read_text()
    assert manager.stat().st_mode & 0o777 == 0o600


def test_without_alertmanager_prometheus_runs_alone(tmp_path: Path) -> None:
    """Where only Prometheus is installed it is configured without an Alertmanager."""
    settings = read_settings({"STACK_DIR": str(tmp_path)})
    write_configuration(settings, monitoring_services(settings, prometheus_program="/p"), {})
    content = yaml.safe_load((settings.monitoring_dir / "prometheus.yml").read_text())
    assert "alerting" not in content
    assert "alertmanager" not in {job["job_name"] for job in content["scrape_configs"]}


def test_an_objective_that_is_none_is_named(tmp_path: Path) -> None:
    """A misspelt objective ends the start with a sentence."""
    settings = read_settings({"STACK_DIR": str(tmp_path)})
    with pytest.raises(SettingsError, match="OBJECTIVE_ACURACY is not a setting; did you mean OBJECTIVE_ACCURACY"):
        write_configuration(settings, _parts(settings), {"OBJECTIVE_ACURACY": "0.8"})


def test_absence_is_one_sentence() -> None:
    """What is not installed is named with the command that helps; nothing is said where all is there."""
    settings = read_settings({})
    none = absence(settings, ())
    assert none is not None
    assert none.startswith("Prometheus and Alertmanager not installed, the rest works without (on Debian: apt-get")
    assert (absence(settings, monitoring_services(settings, prometheus_program="/p")) or "").startswith("Alertmanager")
    assert absence(settings, _parts(settings)) is None
    assert "STACK_MONITORING=off" in (absence(read_settings({"STACK_MONITORING": "off"}), ()) or "")


def test_debians_name_is_found(tmp_path: Path) -> None:
    """Upstream's name of Alertmanager wins over Debian's; an unknown program is not found."""
    for name in ("alertmanager", "prometheus-alertmanager"):
        shutil.copy("/bin/true", tmp_path / name)
    assert find(monitoring.ALERTMANAGER_NAMES, {"PATH": str(tmp_path)}) == str(tmp_path / "alertmanager")
    assert find(("no-such-program-anywhere",), {"PATH": str(tmp_path)}) is None


def test_a_taken_port_leaves_it_out_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another Prometheus on the port (Debian starts one at once) does not stop the stack; the sentence names it."""
    manager_port, own = free_ports(2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        settings = read_settings(
            {"STACK_DIR": str(tmp_path), "PROMETHEUS_PORT": str(taken), "ALERTMANAGER_PORT": str(manager_port),
             "APP_PORT": str(own)}
        )  # fmt: skip
        monkeypatch.setattr("compose.stack.up.installed", _parts)
        said: list[str] = []
        assert [part.name for part in monitoring_parts(settings, said.append)] == ["alertmanager"]
    assert "prometheus of this stack is left out: port" in said[0]
    proposed = int(said[0].partition("PROMETHEUS_PORT=")[2].split()[0])
    assert taken < proposed < 65536, "the next one that nothing listens on"


def test_who_only_looks_on_stops_first() -> None:
    """A stop that was asked for must not look like an outage to Prometheus."""
    settings = read_settings({})
    order = [part.name for part in stop_order((*services(settings), *_parts(settings)))]
    assert order == ["console", "alertmanager", "prometheus", "app", "shipper", "store"]


def test_an_optional_part_that_does_not_start_is_left_out(tmp_path: Path) -> None:
    """The stack goes on without Prometheus where that ends at once, and says what it printed."""
    settings = read_settings({"STACK_DIR": str(tmp_path)})
    port = free_port()
    part = msgspec.structs.replace(_parts(settings)[1], program="/bin/sh", arguments=("-c", "echo corrupt; exit 3"),
                                   port=port, url=f"http://127.0.0.1:{port}")  # fmt: skip
    said: list[str] = []
    supervisor = Supervisor(settings, (part,), said.append)
    supervisor.start()
    assert supervisor.parts == {}
    assert said == ["  prometheus is left out: prometheus ended at once (exit code 3):\n  corrupt"]
    supervisor.stop()
