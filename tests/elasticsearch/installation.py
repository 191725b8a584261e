"""Puts the files of index_templates/ into a server as they are, without the shipper, and takes them out again."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from elasticsearch import Elasticsearch

# The order matters: a template names its components, and its settings name the policy.
KINDS = {
    "ilm": "/_ilm/policy/{name}",
    "settings": "/_component_template/{name}-settings",
    "mappings": "/_component_template/{name}-mappings",
    "template": "/_index_template/{name}",
}
JSON = {"accept": "application/json", "content-type": "application/json"}


def bodies() -> dict[str, dict[str, Any]]:
    """Return each file's body by the path of its PUT, in the order of installation."""
    found = [file for file in files("index_templates").iterdir() if file.name.endswith(".json")]
    by_path: dict[str, dict[str, Any]] = {}
    for kind, path in KINDS.items():
        for file in sorted(found, key=lambda each: each.name):
            name, its_kind, _ = file.name.split(".")
            if its_kind == kind:
                by_path[path.format(name=name)] = json.loads(file.read_text())
    if len(by_path) != len(found):
        raise AssertionError(f"a file in index_templates/ is of no known kind: {[file.name for file in found]}")
    return by_path


def install(client: Elasticsearch, *, policy: dict[str, Any] | None = None) -> None:
    """PUT every file; with `policy`, that body in the place of the lifecycle policy's."""
    for path, body in bodies().items():
        sent = policy if policy is not None and path.startswith("/_ilm/") else body
        client.perform_request("PUT", path, headers=JSON, body=sent)


def uninstall(client: Elasticsearch) -> None:
    """Delete our indices, templates and policy, in the order that the server allows."""
    ours = client.indices.get(index="ml-pipeline-*", expand_wildcards="all").body
    for index in ours:  # by name: servers refuse to delete by wildcard
        client.options(ignore_status=404).indices.delete(index=index)
    for path in reversed(bodies()):
        client.options(ignore_status=404).perform_request("DELETE", path, headers=JSON)
