"""Index templates, component templates and lifecycle policies."""

from __future__ import annotations

from typing import Any

from compose.store.dates import format_date
from compose.store.engine import Engine
from compose.store.errors import StoreError, UnsupportedError, illegal_argument
from compose.store.index_settings import nested
from compose.store.lifecycle import check_policy, check_policy_name, explain
from compose.store.patterns import fits, fits_any
from compose.store.rest.request import LOCAL, WAIT, Reply, Request
from compose.store.rest.targets import ACKNOWLEDGED, indices_of
from compose.store.templates import check_component, check_conflict, check_template, compose, overlapping, winner


def put_index_template(engine: Engine, request: Request) -> Reply:
    """Keep an index template."""
    request.allow("master_timeout", "create", "cause")
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
    request.allow("master_timeout", "create", "cause")
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


def _shown(engine: Engine, group: str, request: Request, what: str) -> Reply:
    """Show the templates of a group: all, the one that is named, or those that a wildcard fits."""
    name = request.variables.get("name")
    known = engine.group(group)
    if name is not None and "*" not in name and name not in known:
        raise StoreError(404, "resource_not_found_exception", f"{what} template matching [{name}] not found")
    found = [each for each in sorted(known) if name is None or fits(name, each)]
    key = f"{what}_template"
    listed = [{"name": each, key: known[each]} for each in found]
    return Reply({f"{key}s": listed}, 200 if found or name is None else 404)


def _chosen(known: dict[str, Any], request: Request) -> tuple[dict[str, Any], str]:
    """Return what a wildcard or names, separated by commas, mean, and the first that means nothing."""
    parts = request.variables["name"].split(",")
    if len(parts) == 1:
        found = {name: known[name] for name in sorted(known) if fits(parts[0], name)}
        return found, "" if found else parts[0]
    return {name: known[name] for name in parts if name in known}, next(
        (part for part in parts if part not in known), ""
    )


def get_index_template(engine: Engine, request: Request) -> Reply:
    """Show index templates."""
    request.allow(*LOCAL)
    if "," in request.variables.get("name", ""):
        raise illegal_argument("template name may not contain ','")
    return _shown(engine, "template", request, "index")


def get_component(engine: Engine, request: Request) -> Reply:
    """Show component templates."""
    request.allow(*LOCAL)
    return _shown(engine, "component", request, "component")


def exists_template(engine: Engine, request: Request) -> Reply:
    """Say by the status whether there is such a template."""
    get = get_component if "_component_template" in request.path else get_index_template
    return Reply(None, get(engine, request).status)


def delete_index_template(engine: Engine, request: Request) -> Reply:
    """Forget index templates."""
    request.allow("master_timeout")
    with engine.lock:
        found, missing = _chosen(engine.group("template"), request)
        if missing:
            raise StoreError(404, "index_template_missing_exception", f"index_template [{missing}] missing")
        engine.put({f"template/{name}": None for name in found})
    return Reply(ACKNOWLEDGED)


def delete_component(engine: Engine, request: Request) -> Reply:
    """Forget component templates that no index template uses."""
    request.allow("master_timeout")
    with engine.lock:
        found, missing = _chosen(engine.group("component"), request)
        if missing:
            raise StoreError(404, "resource_not_found_exception", missing)
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
    request.allow("master_timeout")
    if request.json():
        raise UnsupportedError("a template in the body of _simulate_index")
    templates = engine.group("template")
    chosen = winner(request.variables["name"], templates)
    if chosen is None:
        return Reply({})
    return _simulated(engine, chosen, templates[chosen])


def simulate(engine: Engine, request: Request) -> Reply:
    """Show what a template, kept or given, would give to an index."""
    request.allow("master_timeout")
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
    request.allow(*WAIT)
    name = request.variables["name"]
    check_policy_name(name)
    policy = check_policy(request.json(required=True))
    with engine.lock:
        version = engine.group("policy").get(name, {"version": 0})["version"] + 1
        engine.put({f"policy/{name}": {"version": version, "modified": engine.clock(), "policy": policy}})
    return Reply(ACKNOWLEDGED)


def get_policy(engine: Engine, request: Request) -> Reply:
    """Show lifecycle policies and who uses them."""
    request.allow(*WAIT, "expand_wildcards")
    shown, known = {}, engine.group("policy")
    wanted = request.variables.get("name", "*").split(",")
    for name in wanted:
        if "*" not in name and name not in known:
            raise StoreError(404, "resource_not_found_exception", f"Lifecycle policy not found: {name}")
    for name, value in sorted(known.items()):
        if not fits_any(wanted, name):
            continue
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
    request.allow(*WAIT, "expand_wildcards")
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
    request.allow(*WAIT, "expand_wildcards", "only_managed", "only_errors")
    now, policies = engine.clock(), engine.group("policy")
    shown = {index.name: explain(index, policies, now) for index in indices_of(engine, request)}
    if request.flag("only_managed") or request.flag("only_errors"):
        shown = {name: each for name, each in shown.items() if each["managed"]}
    if request.flag("only_errors"):
        shown = {name: each for name, each in shown.items() if each["step"] == "ERROR"}
    return Reply({"indices": shown})
