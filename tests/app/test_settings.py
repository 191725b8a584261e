"""APP_* variables: known, unknown, of the wrong form, and Kubernetes' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import AppSettings, SettingsError, read_api_key, read_settings


def test_defaults_are_those_of_the_design() -> None:
    """Without variables the service listens on 127.0.0.1:5000 with one worker."""
    settings, ignored = read_settings({})
    assert (settings.host, settings.port, settings.workers, ignored) == ("127.0.0.1", 5000, 1, [])


def test_an_unknown_variable_names_the_nearest_known_one() -> None:
    """A misspelt setting is an error with a hint."""
    with pytest.raises(SettingsError, match="did you mean APP_WORKERS"):
        read_settings({"APP_WORKER": "2"})


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("APP_PORT=70000", "a whole number from 1 to 65535 is wanted"),
        ("APP_PORT=five", "a whole number from 1 to 65535 is wanted"),
        ("APP_WORKERS=0", "a whole number from 1 to 64 is wanted"),
        ("APP_QUEUE_SECONDS=inf", "a number above 0 to 3600 is wanted"),
        ("APP_QUEUE_SECONDS=nan", "a number above 0 to 3600 is wanted"),
        ("APP_LOG=maybe", "true or false is wanted"),
        ("APP_MODEL=tumour", "package.module:function, a name that Python can import, is wanted"),
    ],
)
def test_a_value_that_does_not_fit_is_named(variable: str, said: str) -> None:
    """The error names the variable and its value, and says what it may be."""
    name, value = variable.split("=")
    with pytest.raises(SettingsError) as raised:
        read_settings({name: value})
    assert str(raised.value) == f"{variable}: {said}"


def test_service_links_are_ignored() -> None:
    """What Kubernetes injects for a service named app is no setting."""
    settings, ignored = read_settings(
        {"APP_PORT": "tcp://10.0.0.1:5000", "APP_SERVICE_HOST": "10.0.0.1", "APP_PORT_5000_TCP_ADDR": "10.0.0.1"}
    )
    assert settings.port == 5000
    assert sorted(ignored) == ["APP_PORT", "APP_PORT_5000_TCP_ADDR", "APP_SERVICE_HOST"]


def test_beyond_loopback_a_key_or_a_word_is_wanted(tmp_path: Path) -> None:
    """Listening on all addresses needs a key, or the statement that something in front limits who gets here."""
    with pytest.raises(SettingsError, match="APP_API_KEY_FILE"):
        read_settings({"APP_HOST": "0.0.0.0"})
    assert read_settings({"APP_HOST": "0.0.0.0", "APP_TRUST_NETWORK": "true"})[0].host == "0.0.0.0"
    assert read_settings({"APP_HOST": "0.0.0.0", "APP_API_KEY_FILE": str(tmp_path / "key")})[0].api_key_file


def test_a_short_or_absent_key_is_refused(tmp_path: Path) -> None:
    """A key file must be there and hold at least 16 characters."""
    key = tmp_path / "key"
    with pytest.raises(SettingsError, match="key"):
        read_api_key(AppSettings(api_key_file=key))
    key.write_text("short\n")
    with pytest.raises(SettingsError, match="16"):
        read_api_key(AppSettings(api_key_file=key))
