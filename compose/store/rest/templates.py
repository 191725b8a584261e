"""Index templates, component templates and lifecycle policies."""

from __future__ import annotations

from typing import Any

from compose.store.catalogue import nested
from compose.store.engine import Engine
from compose.store.errors import StoreError
from compose.store.rest.request import Reply, Request
from compose.store.rest.targets import ACKNOWLEDGED, indices_of
from compose.store.templates import check_component, check_conflict, check_template, compose, overlapping, winner


def put_index_template(engine: Engine, request: Request) -> Reply:
    """Keep an index template."""
    request.allow("create", "cause")
    name = request.variables["name"]
    body = check_template(request.json(required=True))
    with engine.lock:
        check_conflict(name, body, engine.group("template"))
        compose(body, engine.group("component"))
        engine.put({f"template/{name}": body})
    return Reply(ACKNOWLEDGED)


def put_component(engine: Engine, request: Request) -> Reply:
    """Keep a component template."""
    request.allow("create", "cause")
    engine.put({f"component/{request.variables['name']}": check_component(request.json(required=True))})
    return Reply(ACKNOWLEDGED)


def _named(engine: Engine, group: str, request: Request, missing: str) -> dict[str, Any]:
    import fnmatch

    wanted = request.variables.get("name", "*")
    found = {
        name: value
        for name, value in sorted(engine.group(group).items())
        if any(fnmatch.fnmatchcase(name, part) for part in wanted.split(","))
    }
    if not found and "*" not in wanted:
        raise StoreError(
            404,
            "resource_not_found_exception",
            f"{missing} [{wanted}] not found" if group != "policy" else f"Lifecycle policy not found: {wanted}",
        )
    return found


def get_index_template(engine: Engine, request: Request) -> Reply:
    """Show index templates."""
    found = _named(engine, "template", request, "index template matching")
    return Reply({"index_templates": [{"name": name, "index_template": value} for name, value in found.items()]})


def get_component(engine: Engine, request: Request) -> Reply:
    """Show component templates."""
    found = _named(engine, "component", request, "component template matching")
    return Reply(
        {"component_templates": [{"name": name, "component_template": value} for name, value in found.items()]}
    )


def exists_template(engine: Engine, request: Request) -> Reply:
    """Say by the status whether there is such a template."""
    group = "component" if "_component_template" in request.path else "template"
    return Reply(None, 200 if request.variables["name"] in engine.group(group) else 404)


def delete_index_template(engine: Engine, request: Request) -> Reply:
    """Forget index templates."""
    engine.put({f"template/{name}": None for name in _named(engine, "template", request, "index_template")})
    return Reply(ACKNOWLEDGED)


def delete_component(engine: Engine, request: Request) -> Reply:
    """Forget component templates that no index template uses."""
    found = _named(engine, "component", request, "component template")
    for template, body in engine.group("template").items():
        used = set(body["composed_of"]) & found.keys()
        if used:
            raise StoreError(
                400,
                "illegal_argument_exception",
                f"component templates [{','.join(sorted(used))}] cannot be removed as they are still in "
                f"use by index templates [{template}]",
            )
    engine.put({f"component/{name}": None for name in found})
    return Reply(ACKNOWLEDGED)


def simulate_index(engine: Engine, request: Request) -> Reply:
    """Show what an index of this name would get."""
    templates = engine.group("template")
    chosen = winner(request.variables["name"], templates)
    if chosen is None:
        return Reply({})
    return _simulated(engine, chosen, templates[chosen])


def simulate(engine: Engine, request: Request) -> Reply:
    """Show what a template, kept or given, would give to an index."""
    name = request.variables.get("name", "")
    body = request.json()
    if body:
        return _simulated(engine, name, check_template(body))
    return _simulated(engine, name, _named(engine, "template", request, "unable to simulate template")[name])


def _simulated(engine: Engine, name: str, template: dict[str, Any]) -> Reply:
    settings, mappings = compose(template, engine.group("component"))
    settings["index.routing.allocation.include._tier_preference"] = "data_content"
    others = overlapping(name, template, engine.group("template"))
    return Reply(
        {"template": {"settings": nested(settings), "mappings": mappings, "aliases": {}}, "overlapping": others}
    )


def put_policy(engine: Engine, request: Request) -> Reply:
    """Keep a lifecycle policy."""
    from compose.store.lifecycle import check_policy

    name = request.variables["name"]
    known = engine.group("policy").get(name, {"version": 0})
    policy = check_policy(request.json(required=True))
    engine.put({f"policy/{name}": {"version": known["version"] + 1, "modified": engine.clock(), "policy": policy}})
    return Reply(ACKNOWLEDGED)


def get_policy(engine: Engine, request: Request) -> Reply:
    """Show lifecycle policies and who uses them."""
    from compose.store.dates import format_date

    shown = {}
    for name, value in _named(engine, "policy", request, "").items():
        using = [index.name for index in engine.indices.values() if index.settings.get("index.lifecycle.name") == name]
        shown[name] = {
            "version": value["version"],
            "modified_date": format_date(value["modified"]),
            "policy": value["policy"],
            "in_use_by": {"indices": sorted(using), "data_streams": [], "composable_templates": []},
        }
    return Reply(shown)


def delete_policy(engine: Engine, request: Request) -> Reply:
    """Forget a lifecycle policy that no index uses."""
    name = next(iter(_named(engine, "policy", request, "")))
    using = [index.name for index in engine.indices.values() if index.settings.get("index.lifecycle.name") == name]
    if using:
        raise StoreError(
            400,
            "illegal_argument_exception",
            f"Cannot delete policy [{name}]. It is in use by one or more indices: [{', '.join(sorted(using))}]",
        )
    engine.put({f"policy/{name}": None})
    return Reply(ACKNOWLEDGED)


def explain_lifecycle(engine: Engine, request: Request) -> Reply:
    """Say in which phase each index is."""
    from compose.store.lifecycle import explain

    now = engine.clock()
    policies = engine.group("policy")
    return Reply({"indices": {index.name: explain(index, policies, now) for index in indices_of(engine, request)}})
