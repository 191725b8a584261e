"""Service objectives: burn rates of error and latency budgets, guarded for low traffic (SRE workbook, chapter 5)."""

from __future__ import annotations

from compose.provision.alerts import Alert, Recording, Severity, number
from compose.provision.objectives import Objectives
from compose.provision.panels import PREDICT

COUNT = "http_requests_total"
BUCKET = "http_request_duration_seconds_bucket"
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# times the budget, long window, short window, severity; the workbook's, with its recommended short windows
BURNS: tuple[tuple[float, str, str, Severity], ...] = (
    (14.4, "1h", "5m", "critical"),
    (6, "6h", "30m", "critical"),
    (3, "1d", "2h", "warning"),
    (1, "3d", "6h", "warning"),
)


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
    """Return four burn-rate alerts for each of both objectives."""
    made = []
    for factor, long, short, severity in BURNS:
        made.append(
            _burn(
                f"PredictionErrorBudgetBurn{_speed(long)}",
                "ml:predict_errors:ratio_rate",
                factor,
                (long, short),
                severity,
                1 - aims.availability,
                aims.burn_requests,
                f"availability objective of {aims.availability * 100:g} %",
            )
        )
    for factor, long, short, severity in BURNS:
        budget = 1 - aims.latency_share
        made.append(
            _burn(
                f"PredictionLatencyBudgetBurn{_speed(long)}",
                "ml:predict_slow:ratio_rate",
                factor,
                (long, short),
                severity,
                budget,
                aims.burn_requests,
                f"objective that {aims.latency_share * 100:g} % take less than {aims.latency:g} s",
            )
        )
    return tuple(made)


def _burn(
    name: str,
    ratio: str,
    factor: float,
    windows: tuple[str, str],
    severity: Severity,
    budget: float,
    requests: int,
    objective: str,
) -> Alert:
    long, short = windows
    limit = number(factor * budget)
    return Alert(
        name=name,
        severity=severity,
        expr=f"{ratio}{long} > {limit} and {ratio}{short} > {limit} "
        f"and ml:predict_requests:increase{long} >= {requests}",
        hold="2m" if severity == "critical" else "15m",
        summary=f"The budget of the {objective} burns {factor:g} times too fast",
        description=f"{{{{ $value | humanizePercentage }}}} of the prediction requests of the last {long} missed the "
        f"{objective}, and of the last {short} as many.",
    )


def _speed(window: str) -> str:
    return {"1h": "Fast", "6h": "Medium", "1d": "Slow", "3d": "VerySlow"}[window]
