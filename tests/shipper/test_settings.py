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
    ("variable", "said"),
    [
        ("SHIPPER_PORT=x", "a whole number from 0 to 65535 is wanted"),
        ("SHIPPER_SETUP=maybe", "one of install, off, verify is wanted"),
        ("SHIPPER_REDACT=perhaps", "true or false is wanted"),
        ("SHIPPER_POLL_SECONDS=inf", "a number above 0 to 31622400 is wanted"),
        ("SHIPPER_SAMPLE=0", "a whole number from 1 is wanted"),
    ],
)
def test_a_value_that_does_not_fit_names_its_setting(variable: str, said: str) -> None:
    """The message says which, and what it may be."""
    name, value = variable.split("=")
    with pytest.raises(SettingsError) as raised:
        read_settings({name: value})
    assert str(raised.value) == f"{variable}: {said}"


def test_an_address_holds_no_password() -> None:
    """It says where the password belongs, and does not repeat it."""
    with pytest.raises(SettingsError, match="SHIPPER_PASSWORD_FILE") as raised:
        read_settings({"SHIPPER_URL": "http://u:hidden@h:1"})
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("line", ["port = true", "state_dir = 5", "paths = 7", 'port = "x"'])
def test_a_value_of_the_file_that_does_not_fit_names_the_file(tmp_path: Path, line: str) -> None:
    """Not a variable that nobody set."""
    file = tmp_path / "shipper.toml"
    file.write_text(line)
    name = line.split(maxsplit=1)[0]
    with pytest.raises(SettingsError, match=rf"^settings file .*shipper\.toml: {name}=.* is wanted$"):
        read_settings({}, file)


def test_paths_are_absolute_and_know_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file and from variables; what is empty is the default."""
    file = tmp_path / "shipper.toml"
    file.write_text('state_dir = "~/state"\nca_file = ""\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings, _ = read_settings({"SHIPPER_API_KEY_FILE": "key"}, file)
    assert settings.state_dir == tmp_path / "state"
    assert (settings.ca_file, settings.api_key_file) == (None, tmp_path / "key")


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
