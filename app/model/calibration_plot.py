"""Draws how well probabilities are calibrated, as a PNG; needs matplotlib, which the service does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.model.evaluation import Scores


class PlotError(RuntimeError):
    """The plot cannot be drawn; the message says what to install."""


def write(scores: Mapping[str, Scores], title: str, path: Path) -> None:
    """Write the reliability diagram: mean probability against the share that subscribed, and rows per tenth below.

    Args:
        scores: by what the model was given.
        title: stands above the plot.
        path: of the PNG.

    Raises:
        PlotError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotError("the plot needs matplotlib: `python -m pip install matplotlib` into this environment") from None
    figure = Figure(figsize=(6, 7), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot((0, 1), (0, 1), color="grey", linestyle="--", label="perfect")
    for name, each in scores.items():
        predicted = [part.predicted for part in each.calibration]
        upper.plot(predicted, [part.observed for part in each.calibration], marker="o", label=f"{name} fields")
        lower.plot(predicted, [part.count for part in each.calibration], marker=".", label=name)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that subscribed", title=title)
    upper.legend(loc="upper left")
    lower.set(yscale="log", xlabel="mean probability", ylabel="rows")
    figure.savefig(path, format="png")
