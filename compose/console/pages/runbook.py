"""Runbook: docs/runbook.md, where the alerts of the local stack point to: what each one means and what to do."""

from __future__ import annotations

import re
from pathlib import Path

from dash import ClientsideFunction, Dash, Input, Output, dcc, html

from compose.console import parts
from compose.console.parts import Component

# In the sources, and in a wheel, which holds a copy (pyproject.toml, force-include).
_PLACES = (Path(__file__).resolve().parents[3] / "docs" / "runbook.md", Path(__file__).parent / "runbook.md")
PAGE = next((place for place in _PLACES if place.exists()), _PLACES[0])
ABSENT = "docs/runbook.md is not here; the sources have it."
_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


def address(alert: str) -> str:
    """Return where the console shows what to do about an alert."""
    return f"/runbook#{alert.lower()}"


def opening(text: str) -> list[str]:
    """Return the blocks before the first section, without the page's title."""
    before = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
    return [block.strip() for block in re.sub(r"^# .*\n", "", before).split("\n\n") if block.strip()]


def sections(text: str) -> list[tuple[str, list[str]]]:
    """Return title and blocks of each section; a block is what stands between two empty lines.

    Args:
        text: Markdown whose sections begin with `## `.
    """
    found: list[tuple[str, list[str]]] = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        pieces = re.split(r"(^```.*?^```\n?)", body, flags=re.MULTILINE | re.DOTALL)
        blocks: list[str] = []
        for piece in pieces:
            # A line that begins with a bold word begins an entry of its own.
            blocks += [piece] if piece.startswith("```") else re.split(r"\n\n|\n(?=\*\*)", piece)
        found.append((title.strip(), [block.strip("\n") for block in blocks if block.strip()]))
    return found


def block(text: str) -> Component:
    """Return a block as elements: code and tables as they are written, the rest as a paragraph with its code."""
    if text.startswith("```"):
        return html.Pre(text.partition("\n")[2].removesuffix("```").rstrip(), tabIndex="0")
    if text.startswith(("|", "- ", "1. ")):
        return html.Pre(text.replace("`", ""), tabIndex="0", className="wrapped")
    shown: list[Component] = []
    for place, piece in enumerate(_BOLD.split(_LINK.sub(r"\1", " ".join(text.splitlines())))):
        if place % 2:
            shown.append(html.Strong(piece))
        else:
            shown += [html.Code(part) if odd % 2 else part for odd, part in enumerate(_CODE.split(piece)) if part]
    return html.P(shown)


def layout() -> Component:
    """Return the page."""
    try:
        text = PAGE.read_text(encoding="utf-8")
    except OSError:
        return parts.notice(ABSENT, "attention")
    cards = [
        html.Section(
            [html.H2(title), *map(block, blocks)], id=title.lower().replace(" ", "-"), className="card runbook"
        )
        for title, blocks in sections(text)
    ]
    about = html.Div([block(each) for each in opening(text)], className="hint runbook")
    return html.Div([html.H1("Runbook", className="page-title"), about, *cards, dcc.Store(id="runbook-shown")])


def callbacks(app: Dash) -> None:
    """Register what brings the alert of the address into view."""
    app.clientside_callback(
        ClientsideFunction("ui", "section"),
        Output("runbook-shown", "data"),
        Input("url", "hash"),
        Input("runbook-shown", "id"),
    )
