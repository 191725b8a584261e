"""Service objectives: burn rates of error and latency budgets, guarded for low traffic (SRE workbook, chapter 5)."""

from __future__ import annotations

from compose.provision.alerts import Alert, Recording, Severity, number
from compose.provision.objectives import Objectives
from compose.provision.panels import PREDICT

COUNT = "http_requests_total"
BUCKET = "http_request_duration_seconds_bucket"
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# severity → times the budget, long window, short window; the workbook's, with its recommended short windows
BURNS: dict[Severity, tuple[tuple[float, str, str], ...]] = {
    "warning": ((3, "1d", "2h"), (1, "3d", "6h")),
    "critical": ((14.4, "1h", "5m"), (6, "6h", "30m")),
}
HOLDS: dict[Severity, str] = {"warning": "15m", "critical": "2m"}


def recordings(aims: Objectives) -> tuple[Recording, ...]:
    """Return the ratios and counts that panels and alerts share."""
    edge = repr(float(aims.latency))  # as client_python writes the bucket's label
    rules = [
        Recording(
            "ml:predict_duration_seconds:p95_5m",
            f"histogram_quantile(0.95, sum by (le) (rate({BUCKET}{{{PREDICT}}}[5m])))",
        )
    ]
    for window in WINDOWS:
        every = f"sum(rate({COUNT}{{{PREDICT}}}[{window}]))"
        # Without any 5xx series the numerator would be empty and the ratio with it: or zero.
        failed = f'(sum(rate({COUNT}{{{PREDICT},status=~"5.."}}[{window}])) or 0 * {every})'
        timed = f"sum(rate(http_request_duration_seconds_count{{{PREDICT}}}[{window}]))"
        fast = f'sum(rate({BUCKET}{{{PREDICT},le="{edge}"}}[{window}]))'
        rules += [
            Recording(f"ml:predict_errors:ratio_rate{window}", f"{failed} / ({every} > 0)"),
            Recording(f"ml:predict_slow:ratio_rate{window}", f"1 - {fast} / ({timed} > 0)"),
            Recording(f"ml:predict_requests:increase{window}", f"sum(increase({COUNT}{{{PREDICT}}}[{window}]))"),
        ]
    return tuple(rules)


def alerts(aims: Objectives) -> tuple[Alert, ...]:
    """Return the burn-rate alerts of both objectives, warning before critical.

    The windows of a severity are one alert: an outage burns the budget at every pace at once, and is one message.
    """
    errors = f"availability objective of {aims.availability * 100:g} %"
    slow = f"objective that {aims.latency_share * 100:g} % take less than {aims.latency:g} s"
    objectives = (
        ("PredictionErrorBudgetBurn", "ml:predict_errors:ratio_rate", 1 - aims.availability, errors),
        ("PredictionLatencyBudgetBurn", "ml:predict_slow:ratio_rate", 1 - aims.latency_share, slow),
    )
    return tuple(
        Alert(
            name=name,
            severity=severity,
            expr=" or ".join(_burns(ratio, budget, aims.burn_requests, *each) for each in steps),
            hold=HOLDS[severity],
            summary=f"The budget of the {objective} burns too fast",
            description=f"{{{{ $value | humanizePercentage }}}} of the prediction requests missed the {objective}: "
            + " or ".join(f"{factor:g} times the budget over {long} and {short}" for factor, long, short in steps)
            + ".",
        )
        for name, ratio, budget, objective in objectives
        for severity, steps in BURNS.items()
    )


def _burns(ratio: str, budget: float, requests: int, factor: float, long: str, short: str) -> str:
    limit = number(factor * budget)
    return f"{ratio}{long} > {limit} and {ratio}{short} > {limit} and ml:predict_requests:increase{long} >= {requests}"
