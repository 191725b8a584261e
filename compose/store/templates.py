"""Index templates and component templates: checked, composed, matched to a name, simulated."""

from __future__ import annotations

import re
from typing import Any

from compose.store.errors import StoreError, UnsupportedError, illegal_argument
from compose.store.index_settings import check_settings, nested
from compose.store.mapping import merge
from compose.store.mapping_checks import check
from compose.store.patterns import fits, fits_any

_DATED = re.compile(r".*-(\d{4}.\d{2}.\d{2})(-\d+)?")

_PARTS = {"settings", "mappings", "aliases"}


def check_template(body: dict[str, Any]) -> dict[str, Any]:
    """Return an index template as it is kept.

    Raises:
        StoreError: it is not valid.
    """
    unknown = sorted(
        body.keys()
        - {"index_patterns", "template", "composed_of", "priority", "version", "_meta",
        "ignore_missing_component_templates",
           "allow_auto_create", "data_stream", "deprecated"}
    )  # fmt: skip
    if unknown:
        raise StoreError(400, "x_content_parse_exception", f"[1:1] [index_template] unknown field [{unknown[0]}]")
    if "data_stream" in body:
        raise UnsupportedError("data_stream in an index template")
    patterns = _names("index_template", body, "index_patterns") if "index_patterns" in body else None
    if not patterns:
        raise StoreError(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: index patterns are missing;" if patterns is None else "index_patterns is empty",
        )
    _check_plain("index_template", body)
    kept = {**body, "index_patterns": patterns, "composed_of": _names("index_template", body, "composed_of")}
    for name in ("version", "priority"):
        if kept.get(name) is not None:
            kept[name] = _whole("index_template", name, kept[name])
    if "template" in body:
        kept["template"] = _check_parts(body["template"])
    if (kept.get("priority") or 0) < 0:
        raise StoreError(
            400, "action_request_validation_exception", "Validation Failed: 1: index template priority must be >= 0;"
        )
    return kept


def check_component(body: dict[str, Any]) -> dict[str, Any]:
    """Return a component template as it is kept.

    Raises:
        StoreError: it is not valid.
    """
    unknown = sorted(body.keys() - {"template", "version", "_meta", "deprecated"})
    if unknown:
        raise StoreError(400, "x_content_parse_exception", f"[1:1] [component_template] unknown field [{unknown[0]}]")
    if "template" not in body:
        raise StoreError(400, "illegal_argument_exception", "Required [template]")
    _check_plain("component_template", body)
    kept = {**body, "template": _check_parts(body["template"])}
    if kept.get("version") is not None:
        kept["version"] = _whole("component_template", "version", kept["version"])
    return kept


def _unreadable(what: str, name: str) -> StoreError:
    return StoreError(400, "x_content_parse_exception", f"[{what}] failed to parse field [{name}]")


def _names(what: str, body: dict[str, Any], name: str) -> list[str]:
    """Return a member that is a name or a list of names; empty where it is absent."""
    value = body.get(name, [])
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in listed):
        raise _unreadable(what, name)
    return listed


def _whole(what: str, name: str, value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}", str(value)):
        raise _unreadable(what, name)
    return int(value)


def _check_plain(what: str, body: dict[str, Any]) -> None:
    """Refuse members that are no objects where they must be."""
    for name in ("template", "_meta"):
        if not isinstance(body.get(name, {}), dict):
            raise _unreadable(what, name)


def _check_parts(template: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(template.keys() - _PARTS)
    if unknown:
        if unknown[0] in ("lifecycle", "data_stream_options"):
            raise UnsupportedError(f"[{unknown[0]}] in a template")
        raise StoreError(400, "x_content_parse_exception", f"[1:1] [template] unknown field [{unknown[0]}]")
    kept = dict(template)
    if "settings" in template:
        kept["settings"] = nested(check_settings(template["settings"]))
    if "mappings" in template:
        kept["mappings"] = check(template["mappings"])
    if template.get("aliases"):
        raise UnsupportedError("aliases in a template")
    return kept


def compose(template: dict[str, Any], components: dict[str, dict[str, Any]]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return flat settings and mappings of a template: its components in their order, then its own part.

    Raises:
        StoreError: a component is missing.
    """
    settings: dict[str, str] = {}
    mappings: dict[str, Any] = {}
    parts = []
    missing_allowed = set(_names("index_template", template, "ignore_missing_component_templates"))
    for name in template.get("composed_of", []):
        if name in components:
            parts.append(components[name]["template"])
        elif name not in missing_allowed:
            raise StoreError(
                400,
                "invalid_index_template_exception",
                f"index_template invalid, cause [index template specifies component templates [{name}] "
                f"that do not exist]",
            )
    for part in [*parts, template.get("template", {})]:
        settings.update(check_settings(part.get("settings", {})))
        mappings = merge(mappings, part.get("mappings", {}), template=True)
    return {name: value for name, value in settings.items() if value != "null"}, mappings


def winner(name: str, templates: dict[str, dict[str, Any]]) -> str | None:
    """Return the name of the index template that an index of this name would get."""
    matching = [
        ((body.get("priority") or 0), template)
        for template, body in templates.items()
        if fits_any(body["index_patterns"], name)
    ]
    return max(matching)[1] if matching else None


def overlapping(name: str, body: dict[str, Any], templates: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return other templates whose patterns may match the same names, as `_simulate` lists them."""
    return [
        {"name": other, "index_patterns": known["index_patterns"]}
        for other, known in sorted(templates.items())
        if other != name
        and any(_may_meet(mine, theirs) for mine in body["index_patterns"] for theirs in known["index_patterns"])
    ]


def check_conflict(name: str, body: dict[str, Any], templates: dict[str, dict[str, Any]]) -> None:
    """Refuse a template whose patterns meet those of another one of the same priority.

    Raises:
        StoreError: there is such a one.
    """
    for other in overlapping(name, body, templates):
        if (templates[other["name"]].get("priority") or 0) == (body.get("priority") or 0):
            raise illegal_argument(
                f"index template [{name}] has index patterns {_listed(body['index_patterns'])} matching patterns from "
                f"existing templates [{other['name']}] with patterns ({other['name']} => "
                f"{_listed(other['index_patterns'])}) that have the same priority [{body.get('priority', 0)}], "
                "multiple index templates may not match during index creation, please use a different priority"
            )


def _listed(patterns: list[str]) -> str:
    return f"[{', '.join(patterns)}]"


def _may_meet(left: str, right: str) -> bool:
    """Whether a name exists that both patterns match (`*` is the only wildcard)."""
    if "*" not in left:
        return fits(right, left)
    if "*" not in right:
        return fits(left, right)
    one, two = left.split("*"), right.split("*")
    starts = one[0].startswith(two[0]) or two[0].startswith(one[0])
    ends = one[-1].endswith(two[-1]) or two[-1].endswith(one[-1])
    return starts and ends


def planned(
    name: str, settings: dict[str, str], templates: dict[str, Any], components: dict[str, Any]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the settings and the mapping of an index that would be made now.

    Raises:
        StoreError: its lifecycle reads a date from the name, and there is none.
    """
    chosen = winner(name, templates)
    base, mapping = compose(templates[chosen], components) if chosen else ({}, {})
    flat = {**base, **{key: value for key, value in settings.items() if value != "null"}}
    flat = {key: value for key, value in flat.items() if key not in ("index.uuid", "index.creation_date")}
    if flat.get("index.lifecycle.parse_origination_date") == "true" and not _DATED.fullmatch(name):
        raise illegal_argument(
            f"index name [{name}] does not match pattern '^.*-(\\d{{4}}.\\d{{2}}.\\d{{2}})(-[\\d]+)?$'"
        )
    return flat, mapping
