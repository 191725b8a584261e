"""Nothing that a request says is left out silently, and a policy that cannot be read stops no other."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compose.store.__main__ import _lifecycle
from compose.store.catalogue import Index
from compose.store.engine import Engine
from compose.store.errors import StoreError
from compose.store.lifecycle import check_policy, to_delete
from compose.store.patterns import fits
from compose.store.rest.request import Reply, Request
from compose.store.rest.router import _ROUTES, dispatch
from compose.store.settings import StoreSettings


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A store with one index."""
    store = Engine(StoreSettings(dir=tmp_path_factory.mktemp("strictness")))
    store.create_index("logs", {"index.number_of_replicas": "1"}, {"properties": {"n": {"type": "long"}}})
    yield store
    store.stop()


def ask(engine: Engine, method: str, path: str, body: Any = None) -> Reply:
    """Return the reply to a request."""
    place, _, query = path.partition("?")
    parameters = dict(part.partition("=")[::2] for part in query.split("&")) if query else {}
    return dispatch(engine, Request(method, place, parameters, msgspec.json.encode(body) if body is not None else b""))


@pytest.mark.parametrize(("methods", "path"), [(methods, path) for methods, path, _ in _ROUTES])
def test_every_route_refuses_a_parameter_that_it_does_not_know(engine: Engine, methods: str, path: str) -> None:
    """A parameter with a slip of the pen in it is 400 and named, whatever the route."""
    filled = path.format(index="logs", id="1", name="n", repository="backup", snapshot="s")
    for method in methods.split():
        reply = ask(engine, method, f"{filled}?nonsense=1")
        assert reply.status == 400, (method, filled, reply.value)
        assert "nonsense" in str(reply.value)


@pytest.mark.parametrize(
    "setting", ["blocks.read", "default_pipeline", "final_pipeline", "query.default_field", "sort.field"]
)
def test_a_setting_without_effect_is_refused(engine: Engine, setting: str) -> None:
    """A setting that Elasticsearch would act on and the store would not is 400 and named."""
    value = "true" if setting.startswith("blocks") else "something"
    reply = ask(engine, "PUT", "/other", {"settings": {setting: value}})
    assert reply.status == 400
    assert setting in str(reply.value)


@pytest.mark.parametrize("text", ["level:ERROR", "a AND b", "a~2", "q?ick", "*", "qu*ck", "[1 TO 2]", "a^2"])
def test_what_the_simple_syntax_reads_otherwise_is_refused(engine: Engine, text: str) -> None:
    """simple_query_string takes `level:ERROR` for words; the parser here would take a field, so it is 400 and named."""
    reply = ask(engine, "POST", "/logs/_search", {"query": {"simple_query_string": {"query": text}}})
    assert reply.status == 400
    assert "simple_query_string" in str(reply.value)


def test_a_state_that_does_not_come_is_408(engine: Engine) -> None:
    """Who waits for green while a replica is missing is told that it did not come, and is not kept waiting."""
    reply = ask(engine, "GET", "/_cluster/health?wait_for_status=green&timeout=10m")
    assert (reply.status, reply.value["timed_out"], reply.value["status"]) == (408, True, "yellow")
    assert ask(engine, "GET", "/_cluster/health?wait_for_status=yellow&level=indices").value["indices"]["logs"]


@pytest.mark.parametrize("pattern", ["[a&&b]", "[[a]b]", "\\Qa\\E", "\\p{Alpha}", "(?<n>a)\\k<n>", "\\h", "(?x) a"])
def test_an_expression_that_java_reads_otherwise_is_refused(engine: Engine, pattern: str) -> None:
    """Names of fields are matched as Elasticsearch would match them, or the template is refused by its pattern."""
    template = {"match": pattern, "match_pattern": "regex", "mapping": {"type": "keyword"}}
    reply = ask(engine, "PUT", "/regular", {"mappings": {"dynamic_templates": [{"a": template}]}})
    assert reply.status == 400
    assert pattern in str(reply.value["error"]["reason"])


def test_only_the_action_delete_deletes() -> None:
    """An index in a delete phase without that action stays, and a policy that waits for snapshots is refused."""
    index = Index("logs", 1, "u", 0, {"index.lifecycle.name": "p"}, {})
    cases: list[tuple[dict[str, Any], list[Index]]] = [({}, []), ({"delete": {}}, [index])]
    for actions, expected in cases:
        policy = check_policy({"policy": {"phases": {"delete": {"min_age": "1d", "actions": actions}}}})
        assert to_delete([index], {"p": {"policy": policy}}, 2 * 86_400_000) == expected
    waits = {"delete": {"min_age": "1d", "actions": {"wait_for_snapshot": {"policy": "x"}, "delete": {}}}}
    with pytest.raises(StoreError, match="wait_for_snapshot"):
        check_policy({"policy": {"phases": waits}})


def test_a_scroll_id_that_was_made_up_is_refused(engine: Engine) -> None:
    """A scroll id with members of other types is 400, not a failure of the store."""
    states: list[dict[str, Any]] = [
        {"i": 3, "b": [], "t": 1, "a": None, "k": "k"},
        {"i": [], "b": {}, "t": "x", "a": None, "k": "k"},
    ]
    for state in states:
        text = base64.urlsafe_b64encode(msgspec.json.encode(state)).decode()
        assert ask(engine, "POST", "/_search/scroll", {"scroll_id": text}).status == 400


def test_a_rename_that_would_take_for_ever_ends(engine: Engine) -> None:
    """A pattern that a backtracking engine never finishes renames an index at once; a broken one is 400."""
    name = "a" * 60
    engine.create_index(name)
    assert ask(engine, "PUT", "/_snapshot/backup/one?wait_for_completion=true", {"indices": name}).status == 200
    for pattern, status in (("(a+)+$", 200), ("(", 400)):
        body = {"indices": name, "rename_pattern": pattern, "rename_replacement": "b$1"}
        assert ask(engine, "POST", "/_snapshot/backup/one/_restore?wait_for_completion=true", body).status == status
    assert "b" + name in engine.indices


def test_a_day_beyond_the_calendar_is_refused(engine: Engine) -> None:
    """Date maths that leaves the calendar is 400, in a name and in a query."""
    assert ask(engine, "PUT", "/%3Cd-%7Bnow%2B99999999y%7D%3E").status == 400
    query = {"range": {"day": {"gte": "now+99999999y"}}}
    engine.create_index("days", {}, {"properties": {"day": {"type": "date"}}})
    assert ask(engine, "POST", "/days/_search", {"query": query}).status == 400


def test_lifecycle_goes_on_after_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of the lifecycle that fails is said, and the next one does its work."""
    engine = Engine(StoreSettings(dir=tmp_path, lifecycle_seconds=0.01))
    rounds, stopped = threading.Semaphore(0), threading.Event()

    def fails(*_: object) -> None:
        rounds.release()
        raise ValueError("a fault")

    monkeypatch.setattr("compose.store.__main__.to_delete", fails)
    runner = threading.Thread(target=_lifecycle, args=(engine, stopped))
    runner.start()
    assert all(rounds.acquire(timeout=60) for _ in range(2))
    stopped.set()
    runner.join()
    engine.stop()
    assert engine.last_error is not None
    assert "a fault" in engine.last_error


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [("a*", "abc", True), ("*b*", "abc", True), ("a?c", "abc", False), ("[a]bc", "abc", False), ("a*c*", "abd", False),
     ("*a" * 60 + "b", "a" * 250, False), ("", "", True)],
)  # fmt: skip
def test_only_a_star_is_a_wildcard(pattern: str, name: str, expected: bool) -> None:
    """In names `*` stands for any text, and all else for itself; no pattern takes long."""
    assert fits(pattern, name) is expected
