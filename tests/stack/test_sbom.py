"""The bills of materials: valid CycloneDX, every locked package in them with the hashes the build insists on."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from click.testing import CliRunner

from compose.bootstrap import LOCKS
from compose.stack import sbom
from compose.stack.__main__ import main
from compose.stack.supervisor import StackError


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Each image's bill, by the command."""
    folder = tmp_path_factory.mktemp("bills")
    done = CliRunner().invoke(main, ["sbom", "--to", str(folder)])
    assert done.exit_code == 0, done.output
    return {image: json.loads((folder / f"{image}.cdx.json").read_text()) for image in sbom.IMAGES}


@pytest.mark.parametrize("image", sbom.IMAGES)
def test_a_bill_is_valid(bills: dict[str, dict[str, Any]], image: str) -> None:
    """The specification's own schema accepts it, and refuses one with a field that it does not know."""
    schemas = importlib.resources.files("cyclonedx.schema") / "_res"

    def schema(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((schemas / f"{name}.SNAPSHOT.schema.json").read_text())
        return found

    others = {f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json": schema(name) for name in ("spdx", "jsf-0.82")}
    validator = jsonschema_rs.validator_for(schema("bom-1.6"), registry=jsonschema_rs.Registry(list(others.items())))
    assert [error.message for error in validator.iter_errors(bills[image])] == []
    assert not validator.is_valid(bills[image] | {"unheard-of": 1})


@pytest.mark.parametrize("image", sbom.IMAGES)
def test_each_locked_package_is_in_the_bill(bills: dict[str, dict[str, Any]], image: str) -> None:
    """Each name of the lock once, in a version of the lock, with exactly that version's hashes, and nothing else."""
    text = (LOCKS / f"{image}.txt").read_text()
    locked: dict[str, dict[str, set[str]]] = {}
    for entry in re.split(r"\n(?=\S+==)", "\n" + text)[1:]:
        name, version = re.match(r"(\S+?)==([^\s;]+)", entry).groups()  # type: ignore[union-attr]  # each entry is one
        locked.setdefault(name, {})[version] = set(re.findall(r"sha256:(\w+)", entry))
    listed = [each for each in bills[image]["components"] if each["type"] == "library"]
    assert len({each["name"] for each in listed}) == len(listed)
    assert {each["name"] for each in listed} == set(locked)
    for each in listed:
        (distribution,) = each["externalReferences"]
        assert {one["content"] for one in distribution["hashes"]} == locked[each["name"]][each["version"]]
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"


def test_markers_are_read_for_the_images_python() -> None:
    """Comparisons by number, not by letter; what is not understood is an error, not a guess."""
    machine = sbom.MACHINE | {"python_full_version": "3.11"}
    assert sbom.applies("", machine)
    assert sbom.applies("python_full_version < '3.12' and implementation_name != 'PyPy'", machine)
    assert sbom.applies("python_full_version >= '3.9'", machine)
    assert not sbom.applies("python_full_version >= '3.12'", machine)
    assert not sbom.applies("sys_platform == 'win32'", machine)
    with pytest.raises(StackError, match="not understood"):
        sbom.applies("platform_machine == 'x86_64'", machine)
    with pytest.raises(StackError, match="not understood"):
        sbom.applies("python_full_version < '3.12' or sys_platform == 'linux'", machine)


def test_the_same_lock_gives_the_same_file(tmp_path: Path) -> None:
    """No time and no random number in it: two runs can be compared."""
    first = [file.read_bytes() for file in sbom.write(tmp_path / "a", lambda _line: None)]
    assert first == [file.read_bytes() for file in sbom.write(tmp_path / "b", lambda _line: None)]
