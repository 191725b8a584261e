"""`sbom`: what each image installs, as a software bill of materials from its lock file (CycloneDX 1.6, JSON).

The specification: https://cyclonedx.org/docs/1.6/json/. Packages are named by package URL (purl-spec, type `pypi`); the
hashes are those that the image's build insists on. The base image is named, not taken apart: its vendor lists what is
in it. The same lock gives the same file, byte for byte: it holds no time and no random number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from compose.bootstrap import LOCKS
from compose.stack.dependencies import Pin, canonical, pinned
from compose.stack.failure import one_line
from compose.stack.settings import CHECKOUT
from compose.stack.supervisor import StackError

IMAGES = ("app", "shipper", "stack")
DOCKERFILES = CHECKOUT / "compose" / "images"
# What the images run on: the markers of a lock file are read for it.
MACHINE = {"implementation_name": "cpython", "platform_python_implementation": "CPython", "sys_platform": "linux"}
_ENTRY = re.compile(r"^(?=[A-Za-z0-9._-]+==)", re.MULTILINE)
_TERM = re.compile(r"(\w+)\s*(==|!=|<=|>=|<|>)\s*'([^']*)'")
_BASE = re.compile(r"^ARG PYTHON_IMAGE=((\S+):(\d+(?:\.\d+)*)\S*)$", re.MULTILINE)


def applies(marker: str, machine: Mapping[str, str]) -> bool:
    """Return whether a lock file's marker holds on a machine.

    Args:
        marker: environment marker (PEP 508) as uv writes it: comparisons joined by `and`; empty for everywhere.
        machine: marker variable → value; `python_full_version` is compared by its numbers.

    Raises:
        StackError: the marker is of another form, or names a variable that is not known.
    """
    for part in filter(None, marker.split(" and ")):
        term = _TERM.fullmatch(part.strip())
        if term is None or term[1] not in machine:
            raise StackError(f"the marker {marker!r} in a lock file is not understood; extend compose/stack/sbom.py")
        name, operator, wanted = term.groups()
        left: Any = machine[name]
        right: Any = wanted
        if name == "python_full_version":
            left, right = _numbers(left), _numbers(right)
        equal, less = left == right, operator in "<=>=" and left < right
        holds = {
            "==": equal, "!=": not equal, "<": less, "<=": less or equal, ">": not (less or equal), ">=": not less
        }[operator]  # fmt: skip
        if not holds:
            return False
    return True


def document(image: str, lock: str, pins: list[Pin], base: str) -> dict[str, Any]:
    """Return an image's bill of materials.

    Args:
        image: `app`, `shipper` or `stack`.
        lock: text of its lock file, for the hashes.
        pins: the packages of it that are installed there.
        base: the image that it is built on, name and tag.
    """
    hashes = dict(_hashes(lock))
    name, _, tag = base.rpartition(":")
    root = f"pkg:oci/ml-pipeline-{image}"
    packages = [_component(pin, hashes[pin.name, pin.version]) for pin in sorted(pins, key=lambda pin: pin.name)]
    below = f"pkg:docker/{name}@{tag}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": root, "name": f"ml-pipeline/{image}", "purl": root},
            "properties": [{"name": "ml-pipeline:lock", "value": f"compose/locks/{image}.txt"}],
        },
        "components": [
            {"type": "container", "bom-ref": below, "name": name, "version": tag, "purl": below},
            *packages,
        ],
        "dependencies": [{"ref": root, "dependsOn": [below, *(each["bom-ref"] for each in packages)]}],
    }


def write(folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Write `<image>.cdx.json` for each image; return the files.

    Raises:
        StackError: a lock file or Dockerfile cannot be read, or the folder cannot be written.
    """
    written = []
    for image in IMAGES:
        lock = LOCKS / f"{image}.txt"
        every = pinned(lock)
        found = _BASE.search((DOCKERFILES / f"{image}.Dockerfile").read_text(encoding="utf-8"))
        if found is None:
            raise StackError(f"{image}.Dockerfile names no PYTHON_IMAGE with a version")
        machine = MACHINE | {"python_full_version": found[3]}
        pins = [pin for pin in every if applies(pin.marker, machine)]
        bill = document(image, lock.read_text(encoding="utf-8"), pins, found[1])
        file = folder / f"{image}.cdx.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise StackError(f"{file}: {error.strerror}; give another folder with --to") from None
        say(f"{file}: {len(pins)} packages on {found[1]}")
        written.append(file)
    return written


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _hashes(lock: str) -> Iterator[tuple[tuple[str, str], list[str]]]:
    for entry in _ENTRY.split(lock)[1:]:
        name, _, rest = entry.partition("==")
        yield (canonical(name), re.split(r"[\s;\\]", rest, maxsplit=1)[0]), re.findall(r"sha256:([0-9a-f]{64})", entry)


def _component(pin: Pin, hashes: list[str]) -> dict[str, Any]:
    purl = f"pkg:pypi/{pin.name}@{pin.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": pin.name,
        "version": pin.version,
        "purl": purl,
        # One hash for each file that the index has of this version; pip takes one of them and no other.
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{pin.name}/{pin.version}/",
                "hashes": [{"alg": "SHA-256", "content": each} for each in hashes],
            }
        ],
    }


@click.command()
@click.option("--to", "folder", type=click.Path(path_type=Path), default="sbom", show_default=True, help="Folder.")
def sbom(folder: Path) -> None:
    """Write each image's bill of materials, from its lock file."""
    with one_line():
        write(folder, click.echo)
