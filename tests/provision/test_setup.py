"""The set-up step against servers that answer as the API pages say, faults included, and on a real Elasticsearch."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml

from compose.provision import elasticsearch, kibana
from compose.provision.files import FOLDER
from compose.provision.visualisations import ERROR_BURST
from compose.stack.setup import Plan, run
from compose.stack.supervisor import StackError
from tests.provision.mock_servers import MockServers

RULE = f"/api/alerting/rule/{ERROR_BURST.id}"


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    """A folder with a password for each user."""
    for user in elasticsearch.USERS:
        (tmp_path / user).write_text(f"secret-of-{user}\n")
    return tmp_path


def plan(passwords: Path | None = None, wait: float = 5) -> Plan:
    """The whole set-up, on addresses that only the mock answers."""
    return Plan(
        elasticsearch="http://es:9200",
        kibana="http://kb:5601/",
        snapshots="/snapshots",
        passwords=passwords,
        wait=wait,
    )


def test_everything_is_made_once(passwords: Path) -> None:
    """The first run makes every part, the second changes nothing and says so."""
    servers, said = MockServers(), list[str]()
    # 5 template files, repository, roles, users, saved objects, connector, rule
    wanted = 5 + 1 + len(elasticsearch.ROLES) + len(elasticsearch.USERS) + len(kibana.saved_objects()) + 2
    assert run(plan(passwords), said.append, transport=servers.transport()) == wanted
    assert {key for _kind, key in servers.objects} == {each["id"] for each in kibana.saved_objects()}
    said.clear()
    assert run(plan(passwords), said.append, transport=servers.transport()) == 0
    assert said[-1] == "done: everything was as it should be"
    assert not any("secret-of" in line for line in said)


def test_parts_come_in_an_order_that_works() -> None:
    """The policy and the component templates are there before the index template that names them."""
    servers = MockServers()
    run(plan(), lambda _line: None, transport=servers.transport())
    puts = [path for method, path in servers.calls if method == "PUT"]
    assert puts.index("/_ilm/policy/ml-pipeline") < puts.index("/_index_template/ml-pipeline")
    assert puts.index("/_component_template/ml-pipeline-mappings") < puts.index("/_index_template/ml-pipeline")


def test_it_waits_and_says_why() -> None:
    """A service that is not ready is waited for, and that is said once."""
    servers, said = MockServers(), list[str]()
    servers.unready = 2
    run(plan(wait=0.5), said.append, transport=servers.transport())
    assert said.count("waiting for Elasticsearch: it answers 503 and is not ready") == 1


def test_it_gives_up_with_words() -> None:
    """A service that never becomes ready ends the set-up with its name, address and state."""
    servers = MockServers()
    servers.faults["GET", "/api/status"] = (200, {"status": {"overall": {"level": "degraded"}}})
    with pytest.raises(StackError, match=r"Kibana at http://kb:5601 answers 200 and is not ready after 0 s"):
        run(plan(wait=0.1), lambda _line: None, transport=servers.transport())


def test_a_wrong_password_is_said_at_once() -> None:
    """401 while waiting is no reason to wait."""
    servers = MockServers()
    servers.faults["GET", "/_cluster/health"] = (401, {"error": {"reason": "missing authentication credentials"}})
    with pytest.raises(StackError, match=r"401: missing authentication credentials; give the user and the password"):
        run(plan(wait=60), lambda _line: None, transport=servers.transport())


def test_a_login_that_is_refused_while_the_server_starts_is_tried_again() -> None:
    """Elasticsearch answers 401 until it can read its users: right after it was away, that is no wrong password."""
    servers, said = MockServers(), list[str]()
    servers.unready, servers.locked = 1, 3
    run(plan(wait=0.5), said.append, transport=servers.transport())
    assert "waiting for Elasticsearch: it answers 401 and is not ready" in said
    assert said[-1].startswith("done: ")


def test_a_login_that_stays_refused_is_said() -> None:
    """Also after a start: when the time is over, the error names the login and not the start."""
    servers = MockServers()
    servers.unready, servers.locked = 1, 1000
    with pytest.raises(StackError, match=r"401: unable to authenticate user \[elastic\]; give the user"):
        run(plan(wait=0.2), lambda _line: None, transport=servers.transport())


def test_an_import_that_fails_with_200_is_seen() -> None:
    """Kibana's import answers 200 with success false: the object and the reason are named."""
    servers = MockServers()
    error = {"type": "missing_references", "references": []}
    servers.import_errors = [{"type": "lens", "id": "ml-pipeline-log-levels", "error": error}]
    with pytest.raises(StackError, match=r"imported 6 of 7 objects: lens ml-pipeline-log-levels.*missing_references"):
        run(plan(), lambda _line: None, transport=servers.transport())


@pytest.mark.parametrize(
    ("method", "pattern", "status", "words"),
    [
        ("PUT", "/_ilm/policy/.*", 403, "the user may not do this"),
        ("PUT", "/_index_template/.*", 400, "is it version"),
        ("PUT", "/_snapshot/backup", 500, "see the server's log"),
        ("PUT", "/_security/user/.*", 503, "run it again"),
        ("POST", "/api/saved_objects/_import", 413, "a proxy before the server"),
        ("POST", "/api/actions/connector/.*", 403, "the user may not do this"),
        ("POST", "/api/alerting/rule/.*", 409, "run it again"),
    ],
)
def test_each_failing_call_is_named(method: str, pattern: str, status: int, words: str, passwords: Path) -> None:
    """The error says which call failed, with status, reason and what to do."""
    servers = MockServers()
    servers.faults[method, pattern] = (status, {"error": {"type": "x", "reason": "the server's own words"}})
    with pytest.raises(StackError) as caught:
        run(plan(passwords), lambda _line: None, transport=servers.transport())
    text = str(caught.value)
    assert method in text
    assert f"answered {status}: the server's own words" in text
    assert words in text


def test_a_changed_rule_is_put_right() -> None:
    """A rule that somebody changed is updated, without the keys that an update refuses."""
    servers = MockServers()
    run(plan(), lambda _line: None, transport=servers.transport())
    servers.stored[RULE]["schedule"] = {"interval": "1h"}
    said: list[str] = []
    assert run(plan(), said.append, transport=servers.transport()) == 1
    assert servers.stored[RULE]["schedule"] == {"interval": "1m"}


def test_a_changed_role_is_put_right(passwords: Path) -> None:
    """A role that somebody widened is written again and counted; the others are left alone."""
    servers, said = MockServers(), list[str]()
    run(plan(passwords), lambda _line: None, transport=servers.transport())
    servers.stored["/_security/role/ml_pipeline_reader"]["cluster"] = ["all"]
    assert run(plan(passwords), said.append, transport=servers.transport()) == 1
    assert "  role ml_pipeline_reader: updated" in said
    assert "  role ml_pipeline_shipper: is there" in said
    assert servers.stored["/_security/role/ml_pipeline_reader"]["cluster"] == ["monitor"]


def test_an_older_template_is_updated_and_a_newer_one_left() -> None:
    """Templates are compared by version: never a step back."""
    servers = MockServers()
    run(plan(), lambda _line: None, transport=servers.transport())
    servers.stored["/_index_template/ml-pipeline"]["version"] = 0
    servers.stored["/_component_template/ml-pipeline-mappings"]["version"] = 99
    assert run(plan(), lambda _line: None, transport=servers.transport()) == 1
    assert servers.stored["/_component_template/ml-pipeline-mappings"]["version"] == 99


def test_a_missing_password_is_named(tmp_path: Path) -> None:
    """Without a user's password file nothing is guessed."""
    with pytest.raises(StackError, match=r"the password of ml_reader: \S+ cannot be read: No such file"):
        run(plan(tmp_path), lambda _line: None, transport=MockServers().transport())


def test_a_dropped_connection_is_a_sentence() -> None:
    """A connection that breaks in the middle names the call."""
    servers = MockServers()
    inner = servers.transport()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("_import"):
            raise httpx.ReadError("connection reset")
        return inner.handle_request(request)

    with pytest.raises(StackError, match=r"_import\?overwrite=true got no answer \(ReadError"):
        run(plan(), lambda _line: None, transport=httpx.MockTransport(answer))


def test_a_real_elasticsearch_is_set_up(real_elasticsearch: str) -> None:
    """On a real server: templates and policy are installed and simulate as wanted; a second run changes nothing."""
    target = Plan(elasticsearch=real_elasticsearch, wait=30)
    run(target, lambda _line: None)
    assert run(target, lambda _line: None) == 0
    answer = httpx.post(f"{real_elasticsearch}/_index_template/_simulate_index/ml-pipeline-2026.11.24").json()
    assert answer["template"]["mappings"]["properties"]["level"]["type"] == "keyword"
    assert answer["template"]["settings"]["index"]["lifecycle"]["name"] == "ml-pipeline"


def test_kibana_keeps_its_key_and_the_action_is_free() -> None:
    """Docker's Kibana has a fixed encryption key of 32 characters or more; the rule's action needs no paid licence."""
    content = yaml.safe_load((FOLDER.parent.parent / "compose.yaml").read_text())
    key = content["services"]["kibana"]["environment"]["XPACK_ENCRYPTEDSAVEDOBJECTS_ENCRYPTIONKEY"]
    assert len(key.removeprefix("${KIBANA_ENCRYPTION_KEY:-").removesuffix("}")) >= 32
    assert kibana.connector_body()["connector_type_id"] in (".server-log", ".index")
    assert {action["id"] for action in kibana.rule_body()["actions"]} == {kibana.CONNECTOR_ID}
