"""The production variant on a real daemon: TLS, logins, roles as the real Elasticsearch enforces them, and rotation."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from compose.provision.elasticsearch import ROLES
from compose.stack import secret_files, shipper_key
from compose.stack.remote import Servers
from compose.stack.supervisor import StackError
from tests.docker.clients import EXAMPLE, Clients
from tests.docker.daemon import Daemon
from tests.docker.project import HERE, Project, operations, wait_for
from tests.docker.secured import KEY_FILE, Secured, ended, restart, rotate

pytestmark = pytest.mark.timeout(1500)
PROXIED = {"app": "/health", "prometheus": "/-/healthy", "alertmanager": "/-/healthy", "shipper": "/health"}


@pytest.fixture(scope="module")
def secured(docker: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The variant up and healthy, with secrets made for it."""
    folder = tmp_path_factory.mktemp("secure")
    secrets = folder / "secrets"
    secret_files.make(secrets, lambda _line: None, now=dt.datetime.now(dt.UTC))
    files: list[str | Path] = ["compose.yaml", "compose.secure.yaml", HERE / "left-out-secure.yaml"]
    project = Project(docker, folder, files, SECRETS_DIR=str(secrets), COMPOSE_PROJECT_NAME="secure")
    try:
        project.compose("build", "-q", timeout=900)
        project.compose("up", "-d", "--wait", "--wait-timeout", "600", timeout=700)
        yield Secured(project, secrets)
    finally:
        project.end()


def test_every_part_is_up(secured: Secured) -> None:
    """Elasticsearch over TLS, the shipper with its own user, the proxy before the rest."""
    for service in ("elasticsearch", "app", "shipper", "proxy", "prometheus", "alertmanager", "elasticsearch-exporter"):
        assert secured.project.healthy(service), secured.project.logs(service)
    for service in ("accounts", "setup"):
        assert secured.project.inspect(service)["State"]["ExitCode"] == 0, secured.project.logs(service)


def test_a_prediction_becomes_one_document(secured: Secured) -> None:
    """From the proxy to Elasticsearch, each step with a login of its own."""
    request = secured.predict()
    wait_for(lambda: secured.found(request) == 1, "the request is a document")


@pytest.mark.parametrize("service", sorted(PROXIED))
def test_the_proxy_asks_for_a_login_and_speaks_only_tls(secured: Secured, service: str) -> None:
    """Without a login 401, with a wrong one 401, in plain text 400, with the right one the server's own answer."""
    url = secured.project.url(service, PROXIED[service], "https")
    assert httpx.get(url, verify=secured.tls).status_code == 401
    assert httpx.get(url, verify=secured.tls, auth=("ml", "wrong")).status_code == 401
    assert httpx.get(secured.project.url(service, PROXIED[service])).status_code == 400
    answer = httpx.get(url, verify=secured.tls, auth=secured.login("ml"))
    assert answer.status_code == 200, answer.text


def test_elasticsearch_refuses_who_does_not_log_in(secured: Secured) -> None:
    """No anonymous access, no wrong password, no plain text, no certificate that another authority signed."""
    url = secured.project.url("elasticsearch", "/", "https")
    assert httpx.get(url, verify=secured.tls).status_code == 401
    assert httpx.get(url, verify=secured.tls, auth=("elastic", "changeme")).status_code == 401
    with pytest.raises(httpx.HTTPError):
        httpx.get(secured.project.url("elasticsearch", "/"))
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(url)


def predict_inside(secured: Secured, key: str) -> str:
    """Send the guide's request from another container, past the proxy; return the status."""
    ask = (
        "import sys, urllib.error, urllib.request as r\n"
        "headers = {'Content-Type': 'application/json', 'X-API-Key': sys.argv[2]}\n"
        "asked = r.Request('http://app:5000/predict', data=sys.argv[1].encode(), headers=headers)\n"
        "try: print(r.urlopen(asked).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    return secured.project.compose(
        "exec", "-T", "shipper", "python", "-c", ask, json.dumps(EXAMPLE), key
    ).stdout.strip()


def test_who_did_not_come_through_the_proxy_cannot_predict(secured: Secured) -> None:
    """The model service asks for its key: another container is refused, one that holds the key is served."""
    assert predict_inside(secured, "") == "401"
    assert predict_inside(secured, "wrong-wrong-wrong-wrong") == "401"
    assert predict_inside(secured, (secured.secrets / "app_api_key").read_text()) == "200"
    said = secured.project.compose("--profile", "traffic", "run", "--rm", "-T", "traffic", "traffic",
                                   "--url=http://app:5000", "--count", "5", "--errors", "0").stdout  # fmt: skip
    assert "5 served" in said, said


def test_the_shippers_key_is_as_small_as_it_can_be(secured: Secured) -> None:
    """It creates documents in our indices, and can neither change nor delete them, nor write templates or elsewhere."""
    document = {"@timestamp": "2026-11-25T00:00:00Z", "message": "probe"}
    path = "/ml-pipeline-2026.11.25"
    allowed = secured.elastic("PUT", f"{path}/_create/probe-of-the-role", "shipper", json=document)
    assert allowed.status_code in (201, 409), allowed.text
    template = {"index_patterns": ["ml-pipeline-*"]}
    policy = {"policy": {"phases": {"delete": {"min_age": "1d", "actions": {"delete": {}}}}}}
    refused = [
        secured.elastic("POST", f"{path}/_update/probe-of-the-role", "shipper", json={"doc": {"message": "other"}}),
        secured.elastic("DELETE", f"{path}/_doc/probe-of-the-role", "shipper"),
        secured.elastic("DELETE", path, "shipper"),
        secured.elastic("PUT", "/elsewhere/_create/1", "shipper", json=document),
        secured.elastic("PUT", "/_index_template/ml-pipeline", "shipper", json=template),
        secured.elastic("PUT", "/_component_template/ml-pipeline-settings", "shipper", json={"template": {}}),
        # Through the lab plugin's REST layer, which asks the vendor's security by the vendor's name of the action.
        secured.elastic("PUT", "/_ilm/policy/ml-pipeline", "shipper", json=policy),
        secured.elastic("DELETE", "/_ilm/policy/ml-pipeline", "shipper"),
        secured.elastic("GET", "/_security/user", "shipper"),
        secured.elastic("POST", "/_security/api_key", "shipper", json={"name": "another"}),
        secured.elastic("PUT", f"{path}/_create/2", "ml_reader", json=document),
        secured.elastic("GET", f"{path}/_search", "ml_exporter"),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert secured.elastic("GET", f"{path}/_search", "ml_reader").status_code == 200


def test_elasticsearch_itself_says_what_the_shippers_key_may(secured: Secured) -> None:
    """As the vendor's security reads the key: one role, and of each privilege whether the key has it."""
    known = secured.elastic("GET", "/_security/_authenticate", "shipper").json()
    assert (known["authentication_type"], known["api_key"]["name"]) == ("api_key", shipper_key.NAME)
    (key,) = secured.elastic("GET", f"/_security/api_key?id={known['api_key']['id']}").json()["api_keys"]
    assert list(key["role_descriptors"]) == [shipper_key.ROLE]
    cluster = ["monitor", "read_ilm", "manage_ilm", "manage_index_templates", "manage_security", "manage", "all"]
    ours = ["create_doc", "auto_configure", "read", "index", "write", "delete", "delete_index", "manage", "all"]
    asked = {"cluster": cluster, "index": [{"names": ["ml-pipeline-*", "elsewhere"], "privileges": ours}]}
    has = secured.elastic("POST", "/_security/user/_has_privileges", "shipper", json=asked).json()
    assert {name for name, granted in has["cluster"].items() if granted} == {"monitor", "read_ilm"}
    granted = {index: {name for name, one in found.items() if one} for index, found in has["index"].items()}
    assert granted == {"ml-pipeline-*": {"create_doc", "auto_configure", "read"}, "elsewhere": set()}


def test_the_roles_are_what_elasticsearch_holds(secured: Secured) -> None:
    """Each role as the server gives it back is the one in the files; set-up, run again, has nothing to change."""
    for role, wanted in ROLES.items():
        held = secured.elastic("GET", f"/_security/role/{role}").json()[role]
        assert set(held["cluster"]) == set(wanted["cluster"])
        for have, want in zip(held["indices"], wanted["indices"], strict=True):
            assert {name: have[name] for name in want} == want
    said = secured.project.compose("run", "--rm", "-T", "accounts").stdout
    assert all(f"role {role}: is there" in said for role in ROLES), said
    assert f"the shipper's API key: {KEY_FILE} works" in said
    assert "everything was as it should be" in said, said


def test_a_key_is_kept_while_it_fits_and_made_anew_otherwise(secured: Secured, tmp_path: Path) -> None:
    """Kept when it works; replaced when refused, unreadable or of other rights; no key is left that nobody can read."""
    file, name = tmp_path / "key", "probe-of-the-tests"

    def living() -> set[str]:
        found = secured.elastic("GET", f"/_security/api_key?name={name}").json()["api_keys"]
        return {key["id"] for key in found if not key["invalidated"]}

    with Servers(secured.addresses()) as servers:
        elastic = servers["elasticsearch"]

        def ensure() -> bool:
            return shipper_key.ensure_key(elastic, shipper_key.KeyFile(file), lambda _line: None, name=name)

        assert [ensure(), ensure()] == [True, False]
        assert file.stat().st_mode & 0o777 == 0o400
        first = living()
        assert len(first) == 1
        file.unlink()
        file.write_text("bm9ib2R5OmtleQ==")
        assert ensure(), "what Elasticsearch refuses is replaced"
        assert not living() & first, "the one before is invalidated"
        wide = elastic.json("POST", "/_security/api_key", json={"name": name, "role_descriptors": {
            shipper_key.ROLE: {"cluster": ["all"], "indices": [{"names": ["*"], "privileges": ["all"]}]}}})  # fmt: skip
        file.unlink()
        file.write_text(wide["encoded"])
        assert ensure(), "more rights than the role has"
        assert wide["id"] not in living()
        before = living()
        with pytest.raises(StackError, match="cannot be kept"):
            shipper_key.ensure_key(elastic, shipper_key.KeyFile(Path("/proc/nowhere")), lambda _line: None, name=name)
        assert living() == before
        elastic.json("DELETE", "/_security/api_key", json={"name": name})


def test_the_shippers_key_is_rotated_under_traffic(secured: Secured) -> None:
    """A new key, the old one refused, no restart: each answered request is one document."""
    old, login = secured.key(), {"auth": secured.login("ml"), "verify": secured.tls}
    started = secured.project.inspect("shipper")["State"]["StartedAt"]
    with Clients(secured.project, "https", **login) as clients:
        wait_for(lambda: len(clients.answered) > 20, "traffic flows")
        said = secured.project.compose("run", "--rm", "-T", "-e", "SETUP_NEW_SHIPPER_KEY=1", "accounts").stdout
        assert "made, kept in" in said, said
        assert "1 older invalidated" in said, said
        url = secured.project.url("elasticsearch", "/", "https")
        refused = httpx.get(url, headers={"Authorization": f"ApiKey {old}"}, verify=secured.tls)
        assert refused.status_code == 401
        secured.project.compose("kill", "-s", "HUP", "shipper")
        seen = len(clients.answered)
        wait_for(lambda: len(clients.answered) > seen + 20, "traffic goes on")
    assert secured.key() != old
    assert clients.unanswered == 0
    secured.each_once(clients.answered)
    assert secured.project.inspect("shipper")["State"]["StartedAt"] == started


def test_a_refused_key_is_said_and_costs_nothing(secured: Secured) -> None:
    """The shipper names the 401 and the setting, /ready says it, predictions go on; mended, each line arrives once."""
    key = secured.elastic("GET", "/_security/_authenticate", "shipper").json()["api_key"]["id"]
    secured.elastic("DELETE", "/_security/api_key", json={"ids": [key]}).raise_for_status()
    requests = {secured.predict() for _ in range(10)}

    def ready() -> httpx.Response:
        url = secured.project.url("shipper", "/ready", "https")
        return httpx.get(url, auth=secured.login("ml"), verify=secured.tls, timeout=30)

    wait_for(lambda: ready().status_code == 503, "the shipper is not ready")
    assert "401" in ready().text
    assert "SHIPPER_API_KEY_FILE" in ready().text
    assert "401" in secured.project.logs("shipper")
    requests |= {secured.predict() for _ in range(10)}
    assert secured.project.healthy("shipper"), "a refused login is no reason to restart it"
    secured.project.compose("run", "--rm", "-T", "accounts")
    secured.project.compose("kill", "-s", "HUP", "shipper")
    secured.each_once(requests)
    wait_for(lambda: ready().status_code == 200, "the shipper is ready again")


def test_a_users_password_is_rotated(secured: Secured) -> None:
    """The old password is refused at once; after the restart that is named, the exporter sees the cluster again."""
    old = secured.login("ml_exporter")
    url = secured.project.url("elasticsearch", "", "https")
    now = dt.datetime.now(dt.UTC)
    with Servers(secured.addresses()) as servers:
        services = secret_files.rotate(
            secured.secrets, "ml_exporter", lambda _line: None, now=now, elastic=servers["elasticsearch"]
        )
    assert services == ("elasticsearch-exporter",)
    assert httpx.get(f"{url}/", auth=old, verify=secured.tls).status_code == 401
    assert secured.elastic("GET", "/_cluster/health", "ml_exporter").status_code == 200
    fetch = ["exec", "-T", "prometheus", "wget", "-qO-", "http://elasticsearch-exporter:9114/metrics"]

    def seen() -> bool:
        return "elasticsearch_cluster_health_number_of_nodes{" in secured.project.compose(*fetch, check=False).stdout

    wait_for(lambda: not seen(), "the exporter is refused with the old password")
    secured.project.compose("restart", *services)
    wait_for(seen, "the exporter sees the cluster with the new one")


@pytest.mark.parametrize("user", ["elastic", "kibana_system", "ml_reader"])
def test_a_password_is_rotated_under_traffic(secured: Secured, user: str) -> None:
    """The old one is refused at once; after the restarts that are named all is well, and no line is lost."""
    old, login = secured.login(user), {"auth": secured.login("ml"), "verify": secured.tls}
    who = secured.project.url("elasticsearch", "/_security/_authenticate", "https")
    with Clients(secured.project, "https", **login) as clients:
        wait_for(lambda: len(clients.answered) > 20, "traffic flows")
        said, services = rotate(secured, user)
        assert services == list(secret_files.ELASTIC_USERS[user])
        assert secured.login(user) != old
        assert (secured.secrets / user).read_text() not in said
        assert httpx.get(who, auth=old, verify=secured.tls, timeout=60).status_code == 401
        taken = httpx.get(who, auth=secured.login(user), verify=secured.tls, timeout=60)
        assert taken.json()["username"] == user
        # Kibana is left out where no image can be pulled.
        restart(secured, [name for name in services if name != "kibana"])
        seen = len(clients.answered)
        wait_for(lambda: len(clients.answered) > seen + 20, "traffic goes on")
    assert clients.unanswered == 0
    secured.each_once(clients.answered)


@pytest.mark.soak
def test_an_interrupted_rotation_is_ended_by_the_next(secured: Secured) -> None:
    """Killed between Elasticsearch and the file: the next rotation finds the password that was taken."""
    fresh = secret_files.new_password()
    (secured.secrets / "elastic.new").write_text(fresh)
    body = {"password": fresh}
    secured.elastic("POST", "/_security/user/elastic/_password", json=body).raise_for_status()
    assert secured.elastic("GET", "/").status_code == 401
    said, _services = rotate(secured, "ml_reader")
    assert "an interrupted rotation is ended" in said
    assert (secured.secrets / "elastic").read_text() == fresh
    assert secured.elastic("GET", "/").status_code == 200
    (secured.secrets / "elastic.new").write_text("never sent")
    said, _services = rotate(secured, "ml_reader")
    assert "interrupted" not in said
    assert secured.elastic("GET", "/").status_code == 200
    restart(secured, secret_files.ELASTIC_USERS["elastic"])


def test_the_proxys_login_and_the_apps_key_are_rotated(secured: Secured) -> None:
    """After the restart that the command names, the old login and key are refused, the new ones taken."""
    old_login, old_key = secured.login("ml"), (secured.secrets / "app_api_key").read_text()
    services: set[str] = set()
    for name in ("proxy_password", "app_api_key"):
        now = dt.datetime.now(dt.UTC)
        services |= set(secret_files.rotate(secured.secrets, name, lambda _line: None, now=now, elastic=None))
    assert services == {"app", "proxy"}
    secured.project.compose("restart", *services)
    wait_for(lambda: all(map(secured.project.healthy, services)), "both are healthy again")
    url = secured.project.url("app", "/health", "https")
    assert httpx.get(url, auth=old_login, verify=secured.tls).status_code == 401
    assert predict_inside(secured, old_key) == "401"
    assert predict_inside(secured, (secured.secrets / "app_api_key").read_text()) == "200"
    secured.each_once({secured.predict()})


def test_checks_and_backup_work_over_tls_with_logins(secured: Secured) -> None:
    """Acceptance, daily check and backup in the variant's own container: authority, users and key come from files."""
    said = operations(secured.project, "check", "--acceptance", check=False)
    assert "0 failed" in said, said
    daily = operations(secured.project, "check", "daily", check=False)
    assert "log shipping" in daily, daily
    assert "could not look" not in daily, daily
    said = operations(secured.project, "backup")
    assert "in it: model, feedback, metrics, logs" in said or "in it: model, metrics, logs" in said, said


def test_a_backup_is_put_back_into_an_empty_secured_stack(secured: Secured) -> None:
    """All survives `down -v`: documents, model, metrics; the shipper has a new key and goes on."""
    requests = {secured.predict() for _ in range(20)}
    secured.each_once(requests)
    model = secured.status()["model"]["version"]
    said = operations(secured.project, "backup")
    assert "logs" in said.rpartition("in it:")[2], said
    assert "runs: stop it first" in operations(secured.project, "restore", "newest", check=False)
    old = secured.key()

    project = secured.project
    project.compose("down", "-v", timeout=200)
    project.compose("up", "-d", "--wait", "--wait-timeout", "600", "setup", "prometheus", timeout=700, check=False)
    wait_for(lambda: ended(secured, "setup"), "set-up has ended")
    assert secured.elastic("GET", "/_cat/indices/ml-pipeline-*").text == ""
    said = operations(project, "restore", "newest")
    assert "done: model" in said, said
    assert "logs" in said.rpartition("done: ")[2], said
    project.compose("up", "-d", "--wait", "--wait-timeout", "600", timeout=700)
    assert secured.status()["model"]["version"] == model
    secured.each_once(requests)
    assert secured.key() != old
    secured.each_once({secured.predict()})


def test_the_files_that_are_mounted_hold_no_default(secured: Secured) -> None:
    """Every secret is long, no two are alike, and the container's settings hold none of them."""
    values = [
        path.read_text().strip()
        for path in secured.secrets.iterdir()
        if "." not in path.name and "url" not in path.name
    ]
    assert len(values) == len(set(values)) >= 8
    assert min(map(len, values)) >= 32
    for service in ("elasticsearch", "shipper", "elasticsearch-exporter", "proxy"):
        shown = str(secured.project.inspect(service)["Config"])
        assert not [value for value in values if value in shown], service
