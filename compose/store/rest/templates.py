"""Index templates, component templates and lifecycle policies."""

from __future__ import annotations

from typing import Any

from compose.store.dates import format_date
from compose.store.engine import Engine
from compose.store.errors import StoreError, UnsupportedError, illegal_argument
from compose.store.index_settings import nested
from compose.store.lifecycle import check_policy, check_policy_name, explain
from compose.store.patterns import fits_any
from compose.store.rest.request import Reply, Request
from compose.store.rest.targets import ACKNOWLEDGED, indices_of
from compose.store.templates import check_component, check_conflict, check_template, compose, overlapping, winner


def put_index_template(engine: Engine, request: Request) -> Reply:
    """Keep an index template."""
    request.allow("create", "cause")
    name = request.variables["name"]
    body = check_template(request.json(required=True))
    with engine.lock:
        _check_new(request, name in engine.group("template"), "index template")
        check_conflict(name, body, engine.group("template"))
        compose(body, engine.group("component"))
        engine.put({f"template/{name}": body})
    return Reply(ACKNOWLEDGED)


def put_component(engine: Engine, request: Request) -> Reply:
    """Keep a component template."""
    request.allow("create", "cause")
    name = request.variables["name"]
    body = check_component(request.json(required=True))
    with engine.lock:
        _check_new(request, name in engine.group("component"), "component template")
        engine.put({f"component/{name}": body})
    return Reply(ACKNOWLEDGED)


def _check_new(request: Request, known: bool, what: str) -> None:
    """Refuse to replace what is there where the request says `create`."""
    if known and request.flag("create"):
        raise illegal_argument(f"{what} [{request.variables['name']}] already exists")


def _named(engine: Engine, group: str, request: Request, missing: str, *, none_allowed: bool = True) -> dict[str, Any]:
    """Return what a request names: names and wildcards, separated by commas.

    Raises:
        StoreError: a name is missing, or nothing fits where something must.
    """
    known, wanted = engine.group(group), request.variables.get("name", "*")
    found = {name: known[name] for name in sorted(known) if fits_any(wanted.split(","), name)}
    absent = [name for name in wanted.split(",") if "*" not in name and name not in known]
    if absent or not (found or none_allowed):
        name = (absent or [wanted])[0]
        raise StoreError(
            404,
            "resource_not_found_exception",
            f"{missing} [{name}] not found" if group != "policy" else f"Lifecycle policy not found: {name}",
        )
    return found


def get_index_template(engine: Engine, request: Request) -> Reply:
    """Show index templates."""
    request.allow()
    found = _named(engine, "template", request, "index template matching")
    return Reply({"index_templates": [{"name": name, "index_template": value} for name, value in found.items()]})


def get_component(engine: Engine, request: Request) -> Reply:
    """Show component templates."""
    request.allow()
    found = _named(engine, "component", request, "component template matching")
    return Reply(
        {"component_templates": [{"name": name, "component_template": value} for name, value in found.items()]}
    )


def exists_template(engine: Engine, request: Request) -> Reply:
    """Say by the status whether there is such a template."""
    request.allow()
    group = "component" if "_component_template" in request.path else "template"
    return Reply(None, 200 if request.variables["name"] in engine.group(group) else 404)


def delete_index_template(engine: Engine, request: Request) -> Reply:
    """Forget index templates."""
    request.allow()
    with engine.lock:
        found = _named(engine, "template", request, "index_template", none_allowed=False)
        engine.put({f"template/{name}": None for name in found})
    return Reply(ACKNOWLEDGED)


def delete_component(engine: Engine, request: Request) -> Reply:
    """Forget component templates that no index template uses."""
    request.allow()
    with engine.lock:
        found = _named(engine, "component", request, "component template", none_allowed=False)
        for template, body in engine.group("template").items():
            used = set(body["composed_of"]) & found.keys()
            if used:
                raise illegal_argument(
                    f"component templates [{','.join(sorted(used))}] cannot be removed as they are still in use by "
                    f"index templates [{template}]"
                )
        engine.put({f"component/{name}": None for name in found})
    return Reply(ACKNOWLEDGED)


def simulate_index(engine: Engine, request: Request) -> Reply:
    """Show what an index of this name would get."""
    request.allow()
    if request.json():
        raise UnsupportedError("a template in the body of _simulate_index")
    templates = engine.group("template")
    chosen = winner(request.variables["name"], templates)
    if chosen is None:
        return Reply({})
    return _simulated(engine, chosen, templates[chosen])


def simulate(engine: Engine, request: Request) -> Reply:
    """Show what a template, kept or given, would give to an index."""
    request.allow()
    name = request.variables.get("name", "")
    body = request.json()
    if not (name or body):
        raise StoreError(
            400, "action_request_validation_exception",
            "Validation Failed: 1: either index name or index template body must be specified for simulation;",
        )  # fmt: skip
    known = engine.group("template")
    if not body and name not in known:
        raise illegal_argument(f"unable to simulate template [{name}] that does not exist")
    return _simulated(engine, name, check_template(body) if body else known[name])


def _simulated(engine: Engine, name: str, template: dict[str, Any]) -> Reply:
    settings, mappings = compose(template, engine.group("component"))
    settings["index.routing.allocation.include._tier_preference"] = "data_content"
    others = overlapping(name, template, engine.group("template"))
    return Reply(
        {"template": {"settings": nested(settings), "mappings": mappings, "aliases": {}}, "overlapping": others}
    )


def put_policy(engine: Engine, request: Request) -> Reply:
    """Keep a lifecycle policy."""
    request.allow()
    name = request.variables["name"]
    check_policy_name(name)
    policy = check_policy(request.json(required=True))
    with engine.lock:
        version = engine.group("policy").get(name, {"version": 0})["version"] + 1
        engine.put({f"policy/{name}": {"version": version, "modified": engine.clock(), "policy": policy}})
    return Reply(ACKNOWLEDGED)


def get_policy(engine: Engine, request: Request) -> Reply:
    """Show lifecycle policies and who uses them."""
    request.allow()
    shown = {}
    for name, value in _named(engine, "policy", request, "").items():
        shown[name] = {
            "version": value["version"],
            "modified_date": format_date(value["modified"]),
            "policy": value["policy"],
            "in_use_by": {"indices": _users(engine, name), "data_streams": [], "composable_templates": []},
        }
    return Reply(shown)


def _users(engine: Engine, policy: str) -> list[str]:
    """Return the names of the indices that have a lifecycle policy."""
    with engine.lock:
        indices = list(engine.indices.values())
    return sorted(index.name for index in indices if index.settings.get("index.lifecycle.name") == policy)


def delete_policy(engine: Engine, request: Request) -> Reply:
    """Forget a lifecycle policy that no index uses."""
    request.allow()
    name = request.variables["name"]
    with engine.lock:
        if name not in engine.group("policy"):
            raise StoreError(404, "resource_not_found_exception", f"Lifecycle policy not found: {name}")
        using = _users(engine, name)
        if using:
            raise illegal_argument(
                f"Cannot delete policy [{name}]. It is in use by one or more indices: [{', '.join(using)}]"
            )
        engine.put({f"policy/{name}": None})
    return Reply(ACKNOWLEDGED)


def explain_lifecycle(engine: Engine, request: Request) -> Reply:
    """Say in which phase each index is."""
    request.allow("only_managed", "only_errors")
    now, policies = engine.clock(), engine.group("policy")
    shown = {index.name: explain(index, policies, now) for index in indices_of(engine, request)}
    if request.flag("only_managed") or request.flag("only_errors"):
        shown = {name: each for name, each in shown.items() if each["managed"]}
    if request.flag("only_errors"):
        shown = {name: each for name, each in shown.items() if each["step"] == "ERROR"}
    return Reply({"indices": shown})
