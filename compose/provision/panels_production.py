"""The dashboard "ML Pipeline Production": the guide's six panels, and below them what the guide lacks."""

from __future__ import annotations

from compose.provision.objectives import Objectives
from compose.provision.panels import PREDICT, Dashboard, Panel, Query, Row, Threshold


def production(aims: Objectives) -> Dashboard:
    """Return the guide's dashboard with its rows for latency, feedback and drift, shipper and log."""
    return Dashboard(
        uid="ml-pipeline-production",
        title="ML Pipeline Production",
        description="The model in production: quality, volume, errors, latency, and the way of its log lines.",
        rows=(
            Row("", _guide(aims)),
            Row("Latency and failures", _latency(aims)),
            Row("Feedback and drift", _feedback(aims)),
            Row("Log lines: shipper", _shipper(aims)),
            Row("Log lines: errors", _log()),
        ),
    )


def _guide(aims: Objectives) -> tuple[Panel, ...]:
    return (
        Panel(
            key="model-accuracy",
            title="Model Accuracy",
            description="Share of right predictions: the hold-out's until enough labelled predictions came back, then "
            "the live one (see Live Figures).",
            kind="stat",
            unit="percentunit",
            queries=(Query(expr="ml_model_accuracy", legend="accuracy"),),
            thresholds=(
                Threshold(None, "red"),
                Threshold(aims.accuracy_critical, "yellow"),
                Threshold(aims.accuracy, "green"),
            ),
            minimum=0,
            maximum=1,
            decimals=1,
            guide=True,
        ),
        Panel(
            key="predictions-per-minute",
            title="Predictions per Minute",
            description="Predictions served in a minute. The value is per minute; the unit's name is the guide's.",
            kind="timeseries",
            unit="reqps",
            queries=(Query(expr="rate(ml_predictions_total[1m]) * 60", legend="predictions per minute"),),
            minimum=0,
            logs="prediction: *",
            guide=True,
        ),
        Panel(
            key="error-rate",
            title="Error Rate",
            description="Failed prediction requests (5xx) of the last five minutes; 0 when idle.",
            kind="stat",
            unit="percent",
            queries=(Query(expr="ml_prediction_error_rate * 100", legend="errors"),),
            thresholds=(
                Threshold(None, "green"),
                Threshold(aims.error_rate_warning * 100, "yellow"),
                Threshold(aims.error_rate * 100, "red"),
            ),
            minimum=0,
            maximum=100,
            decimals=2,
            logs="level: ERROR",
            guide=True,
        ),
        Panel(
            key="latency-p95",
            title="95th Percentile Latency",
            description="95 % of the requests were answered faster, by route.",
            kind="timeseries",
            unit="s",
            queries=(
                Query(
                    expr="histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m]))",
                    legend="{{endpoint}}",
                ),
            ),
            minimum=0,
            logs="duration >= 0.5",
            guide=True,
        ),
        Panel(
            key="prediction-distribution",
            title="Prediction Distribution",
            description="How many predictions of each class were served since the service started.",
            kind="piechart",
            unit="short",
            queries=(
                Query(expr='ml_predictions_by_class_total{prediction_class="0"}', legend="No Subscribe", instant=True),
                Query(expr='ml_predictions_by_class_total{prediction_class="1"}', legend="Subscribe", instant=True),
            ),
            logs="prediction: *",
            guide=True,
        ),
        Panel(
            key="memory-usage",
            title="Memory Usage",
            description="Resident memory of the model service; MB are 1024 × 1024 bytes, as the guide divides.",
            kind="timeseries",
            unit="decmbytes",
            queries=(Query(expr="ml_app_memory_bytes / 1024 / 1024", legend="resident"),),
            minimum=0,
            guide=True,
        ),
    )


def _latency(aims: Objectives) -> tuple[Panel, ...]:
    return (
        Panel(
            key="latency-heatmap",
            title="Prediction Latency Heat Map",
            description="Requests to /predict by how long they took; colour is the number.",
            kind="heatmap",
            unit="s",
            queries=(
                Query(
                    expr="sum by (le) (increase(http_request_duration_seconds_bucket{"
                    + PREDICT
                    + "}[$__rate_interval]))",
                    legend="{{le}}",
                ),
            ),
            width=12,
        ),
        Panel(
            key="latency-mean",
            title="Mean Prediction Latency",
            description="Mean time of a prediction request, and of the scoring alone.",
            kind="timeseries",
            unit="s",
            queries=(
                Query(
                    expr="sum(rate(http_request_duration_seconds_sum{" + PREDICT + "}[$__rate_interval])) / "
                    "sum(rate(http_request_duration_seconds_count{" + PREDICT + "}[$__rate_interval]))",
                    legend="request",
                ),
                Query(
                    expr="sum(rate(ml_feature_processing_seconds_sum[$__rate_interval])) / "
                    "sum(rate(ml_feature_processing_seconds_count[$__rate_interval]))",
                    legend="feature processing",
                ),
            ),
            thresholds=(
                Threshold(None, "green"),
                Threshold(aims.latency, "yellow"),
                Threshold(aims.latency_critical, "red"),
            ),
            minimum=0,
            width=6,
        ),
        Panel(
            key="requests-by-status",
            title="Prediction Requests by Status",
            description="Requests to /predict in a second by HTTP status.",
            kind="timeseries",
            unit="reqps",
            queries=(
                Query(
                    expr="sum by (status) (rate(http_requests_total{" + PREDICT + "}[$__rate_interval]))",
                    legend="{{status}}",
                ),
            ),
            minimum=0,
            width=6,
            logs="endpoint: /predict",
        ),
    )


def _feedback(aims: Objectives) -> tuple[Panel, ...]:
    return (
        Panel(
            key="live-figures",
            title="Live Figures",
            description=f"1: the scores come from at least {aims.feedback_samples} labelled predictions; 0: hold-out.",
            kind="stat",
            unit="none",
            queries=(Query(expr="min(ml_model_metrics_live)", legend="live"),),
            thresholds=(Threshold(None, "yellow"), Threshold(1, "green")),
            decimals=0,
            width=4,
        ),
        Panel(
            key="model-scores",
            title="Model Scores",
            description="Precision, recall and F1 beside accuracy: one class in nine is a yes, so accuracy alone "
            "flatters.",
            kind="timeseries",
            unit="percentunit",
            queries=(
                Query(expr="ml_model_accuracy", legend="accuracy"),
                Query(expr="ml_model_precision", legend="precision"),
                Query(expr="ml_model_recall", legend="recall"),
                Query(expr="ml_model_f1_score", legend="F1"),
            ),
            minimum=0,
            maximum=1,
            width=8,
        ),
        Panel(
            key="live-scores-by-version",
            title="Live Scores by Version",
            description="Accuracy and F1 on labels by the model version that predicted, the five that predicted last: "
            "a new version beside the one it replaced.",
            kind="timeseries",
            unit="percentunit",
            queries=(
                Query(expr='ml_model_live_score{metric="accuracy"}', legend="accuracy, {{version}}"),
                Query(expr='ml_model_live_score{metric="f1_score"}', legend="F1, {{version}}"),
            ),
            minimum=0,
            maximum=1,
            width=8,
            empty_when="no labels came back",
        ),
        Panel(
            key="live-labels-by-version",
            title="Labels by Version",
            description="Labelled predictions in the window by the model version that predicted: how much its live "
            "scores rest on.",
            kind="timeseries",
            unit="short",
            queries=(Query(expr="ml_model_live_labels", legend="{{version}}"),),
            minimum=0,
            width=4,
            empty_when="no labels came back",
        ),
        Panel(
            key="feedback-labels",
            title="Labels Arriving",
            description="Labelled predictions that came back, by what was predicted and what was so.",
            kind="timeseries",
            unit="short",
            queries=(
                Query(
                    expr="sum by (predicted, actual) (increase(ml_feedback_total[$__rate_interval]))",
                    legend="predicted {{predicted}}, was {{actual}}",
                ),
            ),
            minimum=0,
            width=12,
        ),
        Panel(
            key="feature-drift",
            title="Feature Drift (PSI over its threshold)",
            description="Population stability index by input against training, over its own threshold: above 1 the "
            "input differs more than chance does.",
            kind="timeseries",
            unit="none",
            queries=(
                Query(expr="ml_feature_psi / on (instance, feature) ml_feature_psi_threshold", legend="{{feature}}"),
            ),
            thresholds=(Threshold(None, "green"), Threshold(1, "yellow"), Threshold(2, "red")),
            minimum=0,
            width=12,
            empty_when="fewer requests than the drift window needs have come",
        ),
    )


def _shipper(aims: Objectives) -> tuple[Panel, ...]:
    return (
        Panel(
            key="shipper-lag",
            title="Shipper Lag",
            description="How long lines have waited since Elasticsearch last acknowledged one of their file.",
            kind="timeseries",
            unit="s",
            queries=(Query(expr="max by (instance) (ml_shipper_lag_seconds)", legend="{{instance}}"),),
            thresholds=(Threshold(None, "green"), Threshold(aims.lag, "yellow"), Threshold(aims.lag_critical, "red")),
            minimum=0,
            logs="logger: shipper",
        ),
        Panel(
            key="shipper-verdicts",
            title="Shipper Verdicts",
            description="Lines in a second by what became of them.",
            kind="timeseries",
            unit="reqps",
            queries=(
                Query(
                    expr="sum by (verdict) (rate(ml_shipper_records_total[$__rate_interval]))",
                    legend="{{verdict}}",
                ),
            ),
            minimum=0,
        ),
        Panel(
            key="shipper-dead-letters",
            title="Dead Letters",
            description="Lines that Elasticsearch refused for their content, in the time shown; files keep them.",
            kind="stat",
            unit="short",
            queries=(Query(expr="sum(increase(ml_shipper_dead_letters_total[$__range]))", legend="dead letters"),),
            thresholds=(Threshold(None, "green"), Threshold(1, "red")),
            minimum=0,
            decimals=0,
        ),
    )


def _log() -> tuple[Panel, ...]:
    return (
        Panel(
            key="log-errors",
            title="Errors in the Log",
            description="ERROR lines over time, counted in Elasticsearch.",
            kind="timeseries",
            unit="short",
            queries=(Query(expr="level:ERROR", legend="ERROR", source="elasticsearch"),),
            minimum=0,
            width=16,
            logs="level: ERROR",
        ),
        Panel(
            key="log-dropped",
            title="Log Lines Dropped",
            description="Lines that the service could not write, in the time shown; each is an alarm.",
            kind="stat",
            unit="short",
            queries=(Query(expr="sum(increase(ml_log_dropped_total[$__range]))", legend="dropped"),),
            thresholds=(Threshold(None, "green"), Threshold(1, "red")),
            minimum=0,
            decimals=0,
        ),
    )
