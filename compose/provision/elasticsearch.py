"""Elasticsearch's part of the set-up: snapshot repository, and in the secure variant roles and users."""

from __future__ import annotations

from typing import Any

REPOSITORY = "backup"
PATTERN = "ml-pipeline-*"

# What each part may do, and no more.
ROLES: dict[str, dict[str, Any]] = {
    "ml_pipeline_shipper": {
        # It looks at what a new index would be, and changes nothing of it: set-up does that, as an administrator.
        "cluster": ["monitor", "read_ilm", "indices:admin/index_template/simulate_index"],
        # `read`: whether a document of an index that is closed for writing is there already.
        "indices": [{"names": [PATTERN], "privileges": ["create_doc", "auto_configure", "read"]}],
    },
    "ml_pipeline_reader": {
        "cluster": ["monitor"],
        "indices": [{"names": [PATTERN], "privileges": ["read", "view_index_metadata"]}],
    },
    "ml_pipeline_exporter": {
        "cluster": ["monitor"],
        "indices": [{"names": ["*"], "privileges": ["monitor"], "allow_restricted_indices": False}],
    },
}

# user -> role; passwords come from files, never from here. The shipper is no user: it has an API key.
USERS: dict[str, str] = {
    "ml_reader": "ml_pipeline_reader",
    "ml_exporter": "ml_pipeline_exporter",
}


def repository_body(location: str) -> dict[str, Any]:
    """Return the body of PUT /_snapshot/backup: a folder that path.repo allows."""
    return {"type": "fs", "settings": {"location": location, "compress": True}}
