"""The console's panels beyond the provisioned ones, in the same form, so that they are drawn and tested alike."""

from __future__ import annotations

from compose.provision.objectives import read_objectives
from compose.provision.panels import Panel, Query, dashboards

CLASS_MIX = Panel(
    key="class-mix",
    title="Class Mix",
    description="Share of predictions that say yes, over the last five minutes at each point.",
    kind="timeseries",
    unit="percentunit",
    queries=(
        Query(
            expr='sum(rate(ml_predictions_by_class_total{prediction_class="1"}[5m])) '
            "/ sum(rate(ml_predictions_by_class_total[5m]))",
            legend="Subscribe",
        ),
    ),
    minimum=0,
    logs="prediction:1",
    empty_when="no predictions were served",
)
FEEDBACK_DELAY = Panel(
    key="feedback-delay",
    title="Feedback Delay",
    description="Time from a prediction to its label: half of the labels came faster, and nine in ten.",
    kind="timeseries",
    unit="s",
    queries=tuple(
        Query(
            expr=f"histogram_quantile({share}, sum by (le) (rate(ml_feedback_delay_seconds_bucket[1h])))", legend=name
        )
        for share, name in (("0.5", "half"), ("0.9", "nine in ten"))
    ),
    minimum=0,
    logs='endpoint:"/feedback"',
    empty_when="no labels came back",
)
OWN = (CLASS_MIX, FEEDBACK_DELAY)
PANELS: dict[str, Panel] = {panel.key: panel for board in dashboards(read_objectives()) for panel in board.panels()} | {
    panel.key: panel for panel in OWN
}
GUIDE = tuple(panel for panel in PANELS.values() if panel.guide)
