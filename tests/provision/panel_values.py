"""What docs/dashboards.md says of each panel: how it is drawn, and the values seen on the recorded run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from compose.provision.panels import Dashboard, Panel

HEAD = "| panel | drawn as | unit | queries | series | seen |\n| --- | --- | --- | --- | --- | --- |\n"


def line(panel: Panel, values: Sequence[Sequence[float]]) -> str:
    """Return the panel's row; `values` are one list for each series it shows."""
    queries = "<br>".join(f"`{query.expr.replace('|', chr(92) + '|')}`" for query in panel.queries)
    return f"| {panel.title} | {panel.kind} | {panel.unit} | {queries} | {len(values)} | {_seen(values)} |"


def table(pages: Sequence[Dashboard], values: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Return the tables of all dashboards; `values` by panel key."""
    parts = []
    for page in pages:
        rows = "\n".join(line(panel, values[panel.key]) for panel in page.panels())
        parts.append(f"### {page.title}\n{HEAD}{rows}\n")
    return "\n".join(parts)


def _seen(values: Sequence[Sequence[float]]) -> str:
    """Return the value of a single figure, else the smallest and the largest of all series."""
    finite = [value for one in values for value in one if math.isfinite(value)]
    low, high = f"{min(finite):.4g}", f"{max(finite):.4g}"
    return low if low == high else f"{low} … {high}"
