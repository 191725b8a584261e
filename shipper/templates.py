"""Installs and verifies index_templates/: component templates, index templates and the lifecycle policy."""

from __future__ import annotations

import datetime as dt
import logging
from importlib.resources import files
from typing import Any, Literal

import msgspec

from shipper.errors import SystemicError
from shipper.record import INDEX
from shipper.server import RefusedError, Server

logger = logging.getLogger("shipper.templates")

PACKAGE = "index_templates"
POLICY = "ml-pipeline"
TEMPLATES = ("ml-pipeline", "ml-pipeline-undated")
_HELP = "`ml-shipper setup` with rights to manage templates and policies installs what is missing"


def body(name: str) -> dict[str, Any]:
    """Return the request body in a file of index_templates/, its name without `.json`."""
    data: dict[str, Any] = msgspec.json.decode((files(PACKAGE) / f"{name}.json").read_bytes())
    return data


def policy(retention_days: int) -> dict[str, Any]:
    """Return the lifecycle policy with its deletion set to a retention."""
    data = body("ml-pipeline.ilm")
    data["policy"]["phases"]["delete"]["min_age"] = f"{retention_days}d"
    return data


def days(age: str) -> float:
    """Return an Elasticsearch time value in days.

    Raises:
        ValueError: it is none.
    """
    for unit, seconds in (("ms", 0.001), ("d", 86_400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if age.endswith(unit):
            return float(age.removesuffix(unit)) * seconds / 86_400
    raise ValueError(f"{age} is not a time value")


class Templates:
    """What must be there before the first document.

    Args:
        server: where.
        mode: install what is missing or older, only verify, or nothing.
        retention_days: when the policy deletes an index.
    """

    def __init__(self, server: Server, mode: Literal["install", "verify", "off"], retention_days: int) -> None:
        self._server = server
        self._mode = mode
        self._retention = retention_days
        self.verified: dt.date | None = None

    def ensure(self, today: dt.date) -> list[str]:
        """Install and verify as the mode says.

        Args:
            today: whose index is simulated.

        Returns:
            What was installed.

        Raises:
            SystemicError: something is missing or does not fit; the message says what to do.
            Waiting: the server cannot answer now.
        """
        installed: list[str] = []
        if self._mode == "install":
            installed = self.install()
        if self._mode != "off":
            self.verify(today)
        self.verified = today
        return installed

    def install(self) -> list[str]:
        """Put what is missing or older than ours; return its names."""
        installed = []
        try:
            if self._policy_differs():
                self._server.call("PUT", f"/_ilm/policy/{POLICY}", policy(self._retention))
                installed.append(f"lifecycle policy {POLICY}")
            for name, file in (
                ("ml-pipeline-settings", "ml-pipeline.settings"),
                ("ml-pipeline-mappings", "ml-pipeline.mappings"),
            ):
                ours = body(file)
                if (
                    self._version(f"/_component_template/{name}", "component_templates", "component_template")
                    < ours["version"]
                ):
                    self._server.call("PUT", f"/_component_template/{name}", ours)
                    installed.append(f"component template {name}")
            for name in TEMPLATES:
                ours = body(f"{name}.template")
                if self._version(f"/_index_template/{name}", "index_templates", "index_template") < ours["version"]:
                    self._server.call("PUT", f"/_index_template/{name}", ours)
                    installed.append(f"index template {name}")
        except RefusedError as refused:
            raise SystemicError(
                f"index templates cannot be installed: {refused}; give the rights manage_index_templates and"
                " manage_ilm, or set SHIPPER_SETUP=verify and run the set-up once with them"
            ) from None
        if installed:
            logger.info("installed: %s", ", ".join(installed))
        return installed

    def _found(self, path: str) -> Any:
        """Return what is there; None where nothing is."""
        try:
            return self._server.call("GET", path)
        except RefusedError as refused:
            if refused.status == 404:
                return None
            raise

    def _version(self, path: str, plural: str, singular: str) -> int:
        found = self._found(path)
        if not found or not found.get(plural):
            return -1
        return int(found[plural][0][singular].get("version") or 0)

    def _policy_differs(self) -> bool:
        found = self._found(f"/_ilm/policy/{POLICY}")
        if not found:
            return True
        theirs = found[POLICY]["policy"]
        ours = policy(self._retention)["policy"]
        if int((theirs.get("_meta") or {}).get("version") or 0) < ours["_meta"]["version"]:
            return True
        deletion = theirs["phases"].get("delete", {}).get("min_age", "0ms")
        return bool(deletion != ours["phases"]["delete"]["min_age"])

    def verify(self, today: dt.date) -> None:
        """Check by simulation what a new index of today would be.

        Raises:
            SystemicError: it would not be ours.
        """
        index = f"{INDEX}-{today:%Y.%m.%d}"
        try:
            result = self._server.call("POST", f"/_index_template/_simulate_index/{index}")
            found = self._found(f"/_ilm/policy/{POLICY}")
        except RefusedError as refused:
            raise SystemicError(f"the index templates cannot be verified: {refused}; {_HELP}") from None
        template = (result or {}).get("template") or {}
        fields = template.get("mappings", {}).get("properties", {})
        wanted = body("ml-pipeline.mappings")["template"]["mappings"]["properties"]
        for name, field in wanted.items():
            if fields.get(name, {}).get("type") != field.get("type"):
                would = f"map {name} as {fields[name].get('type')}" if name in fields else f"not map {name}"
                raise SystemicError(
                    f"a new index {index} would {would}; {field.get('type')} is wanted: our index template is not"
                    f" installed, or another one hides it; {_HELP}"
                )
        named = template.get("settings", {}).get("index", {}).get("lifecycle", {}).get("name")
        if named != POLICY:
            raise SystemicError(f"a new index {index} would have the lifecycle policy {named}, not {POLICY}; {_HELP}")
        if not found:
            raise SystemicError(f"the lifecycle policy {POLICY} is missing: nothing would ever be deleted; {_HELP}")
        age = found[POLICY]["policy"]["phases"].get("delete", {}).get("min_age")
        if age is not None and days(age) < self._retention:
            raise SystemicError(
                f"the lifecycle policy {POLICY} deletes after {age}, but SHIPPER_RETENTION_DAYS={self._retention}:"
                " late documents would be deleted as soon as they arrive; make the two fit"
            )
