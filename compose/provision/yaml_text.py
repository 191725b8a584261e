"""YAML for people: block style, multi-line where it helps, and a first line that says where it comes from."""

from __future__ import annotations

from typing import Any

import yaml

MADE_BY = "# Made by `python -m compose.provision write` from the definitions in compose/provision; do not edit.\n"


class _Block(yaml.SafeDumper):
    """Indents lists below their key, and never writes aliases."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML's own name
        """Indent lists, too."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's own name
        """Write each value where it is used."""
        return True


def yaml_text(content: Any) -> str:
    """Return plain data as YAML text."""
    return MADE_BY + yaml.dump(content, Dumper=_Block, sort_keys=False, width=10_000, allow_unicode=True)
