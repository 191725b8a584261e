"""What panels and alerts ask for, read once: their trees, the metrics they need, and what only Prometheus can tell."""

from __future__ import annotations

import functools

from compose.console.promql import Expression, PromqlError, parse, replaced, selectors
from compose.provision.alerts import Alert, alerts, groups
from compose.provision.objectives import Objectives, read_objectives
from compose.provision.panels import dashboards

# Series that come from Prometheus's and Alertmanager's own /metrics, or that Prometheus makes itself.
ONLY_PROMETHEUS = ("prometheus_", "alertmanager_", "ALERTS")
SYNTHETIC = ("up", "scrape_duration_seconds")  # the sampler makes these, as Prometheus does


def written_out(expr: str, *, window: float, span: float) -> str:
    """Return a panel's query with Grafana's variables written out.

    Args:
        window: seconds for `$__rate_interval`.
        span: seconds of the time range, for `$__range`.
    """
    return expr.replace("$__rate_interval", f"{max(1, round(window))}s").replace("$__range", f"{max(1, round(span))}s")


@functools.cache
def watched() -> tuple[Alert, ...]:
    """Return the alerts with the numbers that OBJECTIVE_* sets, as Prometheus's rules have them."""
    return alerts(read_objectives())


@functools.cache
def recorded(objectives: Objectives | None = None) -> dict[str, Expression]:
    """Return the recording rules by name."""
    return {
        rule.record: parse(rule.expr) for group in groups(objectives or read_objectives()) for rule in group.recordings
    }


@functools.cache
def tree(expr: str, objectives: Objectives | None = None) -> Expression:
    """Return the tree of an expression with recording rules replaced.

    Raises:
        PromqlError: it cannot be evaluated here.
    """
    return replaced(parse(expr), recorded(objectives))


def needs_prometheus(expr: str) -> str:
    """Return why an expression cannot be had from samples, in words; empty where it can."""
    try:
        names = {selector.name for selector in selectors(tree(expr))}
    except PromqlError as error:
        return str(error)
    foreign = sorted(name for name in names if name.startswith(ONLY_PROMETHEUS))
    return f"{', '.join(foreign)} is known to Prometheus alone" if foreign else ""


@functools.cache
def metrics() -> frozenset[str]:
    """Return the names of all metrics that panels and alerts ask for: what the sampler keeps."""
    queries = [
        written_out(query.expr, window=60, span=3600)
        for board in dashboards()
        for panel in board.panels()
        for query in panel.queries
        if query.source == "prometheus"
    ]
    names: set[str] = set()
    for expr in [*queries, *(alert.expr for alert in alerts())]:
        if not needs_prometheus(expr):
            names |= {selector.name for selector in selectors(tree(expr))}
    return frozenset(names | CONSOLE_METRICS) - set(SYNTHETIC)


# What the console's own pages show beyond the panels.
CONSOLE_METRICS = frozenset(
    {
        "ml_model_eval_score",
        "ml_model_estimated_score",
        "ml_model_info",
        "ml_feedback_labels",
        "ml_feedback_delay_seconds_bucket",
        "ml_feedback_delay_seconds_sum",
        "ml_feedback_delay_seconds_count",
        "ml_prediction_confidence_bucket",
        "ml_prediction_confidence_sum",
        "ml_prediction_confidence_count",
        "ml_feature_psi_samples",
        "ml_input_validation_failures_total",
        "ml_shipper_file_lag_bytes",
        "ml_shipper_file_lag_seconds",
        "ml_shipper_request_bytes_total",
        "ml_shipper_ready",
        "ml_shipper_checkpoint_age_seconds",
    }
)


def longest_window(tree: Expression) -> float:
    """Return how far back before a moment an expression looks, in seconds."""
    return max(((found.window or 300.0) + found.offset for found in selectors(tree)), default=0.0)


def without_rules(expr: str) -> str:
    """Return the expression with the names of recording rules written out, for a Prometheus that lacks our rules."""
    for group in groups(read_objectives()):
        for rule in group.recordings:
            expr = expr.replace(rule.record, f"({rule.expr})")
    return expr
