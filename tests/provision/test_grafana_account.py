"""The set-up's part in Grafana: a service account and its token in a file, against a server that answers alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from compose.stack.grafana_account import NAME, ROLE
from compose.stack.setup import Plan, run
from compose.stack.supervisor import StackError
from tests.provision.mock_grafana import ADMINISTRATOR, MockGrafana
from tests.provision.mock_servers import MockServers


@pytest.fixture
def grafana() -> Iterator[MockGrafana]:
    """A Grafana that has somebody else's service account."""
    mock = MockGrafana()
    yield mock
    mock.close()


def set_up(grafana: MockGrafana, file: Path, *, login: str = ADMINISTRATOR) -> tuple[int, list[str]]:
    """Run the whole set-up; return how much was changed, and what it said."""
    said, servers = list[str](), MockServers()
    plan = Plan(elasticsearch="http://es:9200", wait=20)
    run(plan, said.append, transport=servers.transport())  # Elasticsearch's part is there
    said.clear()
    whole = msgspec.structs.replace(plan, grafana=grafana.url + "/", grafana_password=login, grafana_token=file)
    return run(whole, said.append, transport=servers.transport()), said


def test_a_token_is_made_once(grafana: MockGrafana, tmp_path: Path) -> None:
    """The first run makes account and token, which only its owner can read; further runs use it and change nothing."""
    file = tmp_path / "token"
    assert set_up(grafana, file)[0] == 1
    assert {each["name"]: each["role"] for each in grafana.accounts.values()}[NAME] == ROLE
    token = file.read_text()
    assert list(grafana.tokens) == [token]
    assert grafana.accounts[grafana.tokens[token]]["name"] == NAME
    assert file.stat().st_mode & 0o777 == 0o600
    changed, said = set_up(grafana, file)
    assert changed == 0
    assert f"  Grafana's token: {file} works" in said
    assert list(grafana.tokens) == [token]
    assert token not in "".join(said)


def test_a_token_that_no_longer_works_is_replaced(grafana: MockGrafana, tmp_path: Path) -> None:
    """A token that Grafana refuses (its database was new) is replaced, by one of the same account."""
    file = tmp_path / "token"
    set_up(grafana, file)
    first = file.read_text()
    grafana.tokens.clear()
    file.chmod(0o644)
    set_up(grafana, file)
    assert file.read_text() != first
    assert file.read_text() in grafana.tokens
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each["name"] for each in grafana.accounts.values()].count(NAME) == 1


def test_it_waits_for_grafana(grafana: MockGrafana, tmp_path: Path) -> None:
    """A Grafana whose database is not there yet is waited for."""
    grafana.unready = 3
    set_up(grafana, tmp_path / "token")
    assert grafana.calls[:3] == ["GET /api/health"] * 3
    assert (tmp_path / "token").exists()


@pytest.mark.parametrize(
    ("call", "status", "message", "words"),
    [
        ("GET /api/serviceaccounts/search", 403, "You'll need additional permissions", "403"),
        ("POST /api/serviceaccounts", 500, "Failed to create service account", "500"),
        ("POST /api/serviceaccounts/2/tokens", 400, "service account token limit reached", "400"),
    ],
)
def test_a_call_that_fails_is_named(
    call: str, status: int, message: str, words: str, grafana: MockGrafana, tmp_path: Path
) -> None:
    """The error names Grafana, the call, its status and what it said; no half token is left."""
    grafana.faults[call] = (status, {"message": message})
    with pytest.raises(StackError) as caught:
        set_up(grafana, tmp_path / "token")
    for part in ("Grafana", call.partition(" ")[2], words, message):
        assert part in str(caught.value)
    assert not (tmp_path / "token").exists()


def test_a_wrong_password_is_said(grafana: MockGrafana, tmp_path: Path) -> None:
    """With another administrator's password the set-up ends with Grafana's own words."""
    with pytest.raises(StackError, match=r"401.*Invalid username or password"):
        set_up(grafana, tmp_path / "token", login="another")


def test_a_file_that_cannot_be_written_is_said(grafana: MockGrafana, tmp_path: Path) -> None:
    """A folder that is not there is named."""
    with pytest.raises(StackError, match=r"Grafana's token cannot be kept in .*No such file"):
        set_up(grafana, tmp_path / "gone" / "token")
