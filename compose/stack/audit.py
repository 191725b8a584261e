"""Known vulnerabilities of what is pinned, by pip-audit: and a clear word where its data cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from compose.stack.dependencies import pinned
from compose.stack.supervisor import StackError

TIMEOUT_SECONDS = 600


class Report(msgspec.Struct, frozen=True):
    """What pip-audit knows.

    Attributes:
        asked: how many packages could be asked about.
        found: package, version, vulnerability, versions that mend it.
        unknown: packages about which nothing could be had, with pip-audit's reason.
    """

    asked: int
    found: list[tuple[str, str, str, str]]
    unknown: list[tuple[str, str]]


def read(output: str) -> Report:
    """Read pip-audit's JSON.

    Raises:
        StackError: it is none.
    """
    try:
        listed: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        raise StackError("pip-audit printed no report; run it by hand to see why") from None
    found = [
        (each["name"], each["version"], one["id"], ", ".join(one["fix_versions"]) or "none yet")
        for each in listed
        for one in each.get("vulns", [])
    ]
    unknown = [(each["name"], each["skip_reason"]) for each in listed if "skip_reason" in each]
    return Report(len(listed) - len(unknown), found, unknown)


def show(lock: Path, say: Callable[[str], None]) -> bool:
    """Print what is known; return whether every package was asked about and none is vulnerable.

    Raises:
        StackError: pip-audit is not there, or its data cannot be had.
    """
    beside = str(Path(sys.executable).parent)
    program = shutil.which("pip-audit", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if program is None:
        raise StackError("pip-audit is needed; `python3 tests` installs it in .venv, or try: pipx install pip-audit")
    lines = [pin.requirement(exact=True) + "\n" for pin in pinned(lock)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as plain:
        plain.writelines(lines)
        plain.flush()
        # Its own options by its own variables: PIP_AUDIT_VULNERABILITY_SERVICE=osv, PIP_AUDIT_OSV_URL=…
        command = [program, "--requirement", plain.name, "--no-deps", "--disable-pip", "--format", "json"]
        try:
            done = subprocess.run(
                [*command, "--progress-spinner", "off"],
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise StackError(f"pip-audit had no answer after {TIMEOUT_SECONDS} s; is its service reachable?") from None
    if not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise StackError(f"pip-audit could not ask; its last words: {last}")
    report = read(done.stdout)
    for name, version, vulnerability, mended in report.found:
        say(f"  {name} {version}: {vulnerability}, mended in: {mended}")
    if report.unknown:
        # pip-audit itself ends with 0 here, as if all were well.
        say(f"{len(report.unknown)} of {report.asked + len(report.unknown)} packages could not be asked about:")
        say(f"  {report.unknown[0][0]}: {report.unknown[0][1]}")
    if not report.asked:
        raise StackError(
            "nothing is known: the index has no data on vulnerabilities; run this where the Python index itself or "
            "osv.dev can be reached (PIP_AUDIT_VULNERABILITY_SERVICE=osv)"
        )
    say(f"{report.asked} packages asked about, {len(report.found)} vulnerabilities known")
    return not report.found and not report.unknown
