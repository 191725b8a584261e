"""Licences of the runtime dependencies, read from what is installed, and which of them are allowed."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from compose.stack.dependencies import pinned

# SPDX identifiers (https://spdx.org/licenses/) that ask for no more than a notice.
PERMISSIVE = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD", "CC0-1.0", "ISC", "MIT", "MIT-0", "PSF-2.0",
        "Python-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip
# Copyleft that is allowed, by package, and why.
ALLOWED = {
    "certifi": ("MPL-2.0", "certificates as data, unchanged, in its own package"),
    "pathspec": ("MPL-2.0", "used at build time only, unchanged"),
}
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


class Licence(msgspec.Struct, frozen=True):
    """One installed package.

    Attributes:
        expression: SPDX, as far as its metadata tell; empty where they do not.
        verdict: empty when it is allowed, else why not.
        note: why it is allowed where that is not plain.
    """

    name: str
    version: str
    expression: str
    verdict: str
    note: str = ""


def expression_of(expression: str, licence: str, classifiers: Iterable[str]) -> str:
    """Return a package's licence as an SPDX expression, empty where its metadata tell none.

    Args:
        expression: the field License-Expression (PEP 639), which wins.
        licence: the older field License; counts only when it is short, for some packages put the whole text there.
        classifiers: trove classifiers; several of them are a choice.
    """
    if expression:
        return expression
    found = [each.rpartition(":: ")[2] for each in classifiers if each.startswith("License ::")]
    known = [_CLASSIFIERS.get(each, each) for each in found if each != "OSI Approved"]
    if licence and len(licence) < 40 and "\n" not in licence.strip():
        own = {"Apache 2": "Apache-2.0", "Apache 2.0": "Apache-2.0", "MIT License": "MIT"}.get(
            licence.strip(), licence.strip()
        )
        if len(known) < 2:
            return own
    return " OR ".join(sorted(known))


def allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met with permissive licences: each part of an AND, one part of an OR."""
    text = expression.strip()
    if text.startswith("(") and text.endswith(")") and "(" not in text[1:-1]:
        text = text[1:-1]
    alternatives = _split(text, "OR")
    if len(alternatives) > 1:
        return any(map(allowed, alternatives))
    parts = _split(text, "AND")
    if len(parts) > 1:
        return all(map(allowed, parts))
    return text in PERMISSIVE


def _split(text: str, word: str) -> list[str]:
    """Split at a word outside of parentheses."""
    depth, parts = 0, list[str]()
    current: list[str] = []
    for piece in re.split(r"(\(|\)|\s+)", text):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == word and not depth:
            parts.append("".join(current))
            current = []
        else:
            current.append(piece)
    return [*parts, "".join(current)]


def judge(name: str, version: str, expression: str) -> Licence:
    """Return a package's licence with the verdict of this house."""
    if not expression:
        return Licence(name, version, "", "unknown: read its files, then decide")
    if allowed(expression):
        return Licence(name, version, expression, "")
    if name in ALLOWED and ALLOWED[name][0] == expression:
        return Licence(name, version, expression, "", ALLOWED[name][1])
    return Licence(
        name, version, expression, "not allowed here: see PERMISSIVE and ALLOWED in compose/stack/licences.py"
    )


def installed(names: Iterable[str]) -> list[Licence]:
    """Return the licences of packages, those that are not installed here (other systems' ones) left out."""
    found = []
    for name in sorted(names):
        try:
            data = importlib.metadata.metadata(name).json
        except importlib.metadata.PackageNotFoundError:
            continue
        expression = expression_of(
            str(data.get("license_expression", "")), str(data.get("license", "")), list(data.get("classifier", []))
        )
        found.append(judge(name, str(data["version"]), expression))
    return found


def show(lock: Path, say: Callable[[str], None]) -> bool:
    """Print one line for each runtime dependency; return whether all are allowed."""
    names = {pin.name for pin in pinned(lock)}
    listed = installed(names)
    for each in listed:
        words = each.verdict or each.note
        say(f"  {each.name:22}{each.version:14}{each.expression or '?'}" + (f"   ({words})" if words else ""))
    wrong = [each.name for each in listed if each.verdict]
    left = len(names) - len(listed)
    say(f"{len(listed)} packages" + (f", {left} of the lock are not for this machine" if left else ""))
    if wrong:
        say(f"not allowed or unknown: {', '.join(wrong)}")
    return not wrong
