"""STACK_* settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.environment import SettingsError
from compose.stack.services import services, stop_order
from compose.stack.settings import read_settings


def test_defaults_are_the_documented_ports() -> None:
    """Without variables the ports are the guide's and everything lies in one folder."""
    settings = read_settings({})
    assert (settings.app_port, settings.store_port, settings.shipper_port) == (5000, 9200, 9108)
    assert settings.console_port == 5601
    assert settings.stack_dir.name == ".stack"


def test_variables_win(tmp_path: Path) -> None:
    """Folder and ports come from the environment; a relative folder becomes absolute."""
    settings = read_settings({"STACK_DIR": str(tmp_path), "APP_PORT": "5001"})
    assert settings.stack_dir == tmp_path
    assert settings.app_url == "http://127.0.0.1:5001"
    assert read_settings({"STACK_DIR": "here"}).stack_dir.is_absolute()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"STACK_DRI": "x"}, "STACK_DRI is not a setting; did you mean STACK_DIR"),
        ({"APP_PORT": "http"}, "APP_PORT='http' is not a port: a whole number from 1 to 65535"),
        ({"STORE_PORT": "70000"}, "STORE_PORT='70000' is not a port"),
        ({"APP_PORT": "9200"}, "are both 9200"),
    ],
)
def test_a_bad_setting_is_named(environment: dict[str, str], words: str) -> None:
    """The error names the variable, its value and what it may be."""
    with pytest.raises(SettingsError, match=words):
        read_settings(environment)


def test_a_kubernetes_service_link_is_not_a_port() -> None:
    """SHIPPER_PORT=tcp://… comes from Kubernetes and changes nothing."""
    assert read_settings({"SHIPPER_PORT": "tcp://10.0.0.7:9108"}).shipper_port == 9108


def test_what_writes_stops_before_what_reads() -> None:
    """The app stops first, then the shipper, which empties the files, then the store."""
    parts = services(read_settings({}))
    assert [part.name for part in parts] == ["store", "app", "shipper", "console"]
    assert [part.name for part in stop_order(parts)] == ["console", "app", "shipper", "store"]


def test_the_callers_variables_win_over_ours() -> None:
    """A variable the user set reaches the process unchanged."""
    shipper = services(read_settings({}))[2]
    assert shipper.full_environment({"SHIPPER_URL": "http://other:9200"})["SHIPPER_URL"] == "http://other:9200"
    assert shipper.full_environment({})["SHIPPER_URL"] == "http://127.0.0.1:9200"
