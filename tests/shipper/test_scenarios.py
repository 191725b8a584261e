"""docs/shipper-scenarios.md: each requirement and each scenario names a test that is there, or says why not."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "shipper-scenarios.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| #", "| area", "| ---"))
]


@cache
def names(module: str) -> frozenset[str]:
    """The tests and the state machines of a module."""
    tree = ast.parse((TESTS / f"{module}.py").read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}-{row[1][:40]}" for row in ROWS])
def test_a_scenario_names_tests_that_are_there(row: list[str]) -> None:
    """A row's last cell holds `module::test`, each of which exists, or a refusal with its reason."""
    found = re.findall(r"`([\w/]+)::(\w+)`", row[2])
    assert found or re.match(r"refused[^:]*: .{20,}", row[2]), "name a test, or say why it is refused"
    for module, name in found:
        assert name in names(module), f"tests/{module}.py has no {name}"


def test_all_requirements_have_their_row() -> None:
    """There are 25 of them, numbered."""
    assert [int(row[0]) for row in ROWS if row[0].isdigit()] == list(range(1, 26))
