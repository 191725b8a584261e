"""SHIPPER_* settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipper.errors import SettingsError
from shipper.settings import ShipperSettings, read_settings


def test_an_unknown_variable_suggests_the_nearest() -> None:
    """A typing error is not a silent default."""
    with pytest.raises(SettingsError, match="did you mean SHIPPER_PATHS"):
        read_settings({"SHIPPER_PATH": "x"})


def test_kubernetes_service_links_are_ignored_by_name() -> None:
    """What a service named shipper injects is no setting."""
    settings, ignored = read_settings({"SHIPPER_PORT": "tcp://10.0.0.1:9108", "SHIPPER_SERVICE_HOST": "10.0.0.1"})
    assert settings.port == 9108
    assert ignored == ["SHIPPER_PORT", "SHIPPER_SERVICE_HOST"]


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """TOML first, then variables."""
    file = tmp_path / "shipper.toml"
    file.write_text('port = 1\nflush_seconds = 2.0\nstate_dir = "/tmp/x"\n')
    settings, _ = read_settings({"SHIPPER_PORT": "2", "SHIPPER_CONFIG": str(file)})
    assert (settings.port, settings.flush_seconds, settings.state_dir) == (2, 2.0, Path("/tmp/x"))  # noqa: S108 - a name


@pytest.mark.parametrize(
    ("name", "value"), [("SHIPPER_PORT", "x"), ("SHIPPER_SETUP", "maybe"), ("SHIPPER_URL", "http://u:p@h:1")]
)
def test_a_value_that_does_not_fit_names_its_setting(name: str, value: str) -> None:
    """The message says which."""
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})


def test_each_setting_is_documented() -> None:
    """docs/shipper.md has every variable."""
    text = (Path(__file__).parents[2] / "docs" / "shipper.md").read_text(encoding="utf-8")
    missing = [name for name in ShipperSettings.__struct_fields__ if f"`SHIPPER_{name.upper()}`" not in text]
    assert not missing


def test_several_workers_are_for_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the sockets that they need are not there: said at once, by the setting's name."""
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(SettingsError, match="SHIPPER_WORKERS: more than one needs Linux"):
        read_settings({"SHIPPER_WORKERS": "2"})
    assert read_settings({"SHIPPER_WORKERS": "1"})[0].workers == 1
