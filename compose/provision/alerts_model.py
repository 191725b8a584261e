"""Alerts about the model and its service: the guide's accuracy, errors, latency and memory; volume, drift, feedback."""

from __future__ import annotations

from compose.provision.alerts import Alert, Severity, grown, number
from compose.provision.objectives import Objectives


def alerts(aims: Objectives) -> tuple[Alert, ...]:
    """Return the alerts of the model service, warning before critical."""
    return (
        *_accuracy(aims),
        *_errors(aims),
        *_latency(aims),
        *_memory(aims),
        *_volume(aims),
        *_drift(),
        *_loading(),
        *_feedback(aims),
    )


def _accuracy(aims: Objectives) -> list[Alert]:
    floors: list[tuple[Severity, float]] = [("warning", aims.accuracy), ("critical", aims.accuracy_critical)]
    return [
        Alert(
            name="ModelAccuracyLow",
            severity=severity,
            expr=f"ml_model_accuracy < {number(floor)}",
            hold="5m",
            summary=f"Model accuracy is below {floor * 100:g} %",
            description="The accuracy is {{ $value | humanizePercentage }}; ml_model_metrics_live says whether that is "
            "the hold-out's or the live figure.",
            guide=severity == "warning",
        )
        for severity, floor in floors
    ]


def _errors(aims: Objectives) -> list[Alert]:
    # Where there is one request an hour, one that fails is all of them: worth a word, but nobody's sleep.
    several = " and increase(ml_prediction_failures_total[30m]) > 2"
    ceilings: list[tuple[Severity, float, str]] = [
        ("warning", aims.error_rate_warning, ""),
        ("critical", aims.error_rate, several),
    ]
    return [
        Alert(
            name="PredictionErrorRateHigh",
            severity=severity,
            expr=f"ml_prediction_error_rate > {number(ceiling)}{more}",
            hold="2m",
            summary=f"More than {ceiling * 100:g} % of the prediction requests fail",
            description="{{ $value | humanizePercentage }} of the prediction requests of the last five minutes failed.",
            guide=severity == "critical",
        )
        for severity, ceiling, more in ceilings
    ]


def _latency(aims: Objectives) -> list[Alert]:
    # Of fewer than twenty requests the 95th percentile is the slowest one.
    enough = " and ml:predict_requests:increase5m >= 20"
    ceilings: list[tuple[Severity, float, str]] = [
        ("warning", aims.latency, ""),
        ("critical", aims.latency_critical, enough),
    ]
    return [
        Alert(
            name="PredictionLatencyHigh",
            severity=severity,
            expr=f"ml:predict_duration_seconds:p95_5m > {number(ceiling)}{more}",
            hold="5m",
            summary=f"95th percentile latency of predictions is above {ceiling:g} s",
            description="5 % of the prediction requests take longer than {{ $value | humanizeDuration }}.",
            guide=severity == "critical",
        )
        for severity, ceiling, more in ceilings
    ]


def _memory(aims: Objectives) -> list[Alert]:
    growths: list[tuple[Severity, float]] = [
        ("warning", aims.memory_growth),
        ("critical", aims.memory_growth_critical),
    ]
    return [
        Alert(
            name="MemorySpike",
            severity=severity,
            # A service that began within the hour has no hour before to be compared with: it warms up.
            expr=f"ml_app_memory_bytes > {number(growth)} * avg_over_time(ml_app_memory_bytes[1h] offset 10m) "
            f"and ml_app_memory_bytes > {aims.memory_floor} and ml_app_memory_bytes offset 70m > 0",
            hold="5m",
            summary=f"The model service uses more than {growth:g} times the memory of the hour before",
            description="Resident memory is {{ $value | humanize1024 }}B.",
            guide=True,
        )
        for severity, growth in growths
    ]


def _volume(aims: Objectives) -> list[Alert]:
    hour = number(aims.predictions_per_minute * 60)
    # Silence is a fault only where there was traffic, and where the same hour of the day before was not silent as well.
    steps: list[tuple[Severity, str, str, str, str]] = [
        ("warning", "30m", "1d", "0s", "No predictions for half an hour"),
        ("critical", "15m", "6h", "5m", "Predictions stopped although there was traffic"),
    ]
    return [
        Alert(
            name="NoPredictions",
            severity=severity,
            expr=f"increase(ml_predictions_total[{silence}]) == 0 "
            f"and increase(ml_predictions_total[{before}] offset {silence}) > {hour} "
            "unless increase(ml_predictions_total[1h] offset 23h) == 0",
            hold=hold,
            summary=summary,
            description=f"More than {hour} predictions in the {before} before, none in the last {silence}.",
        )
        for severity, silence, before, hold, summary in steps
    ]


def _drift() -> list[Alert]:
    steps: list[tuple[Severity, str, str]] = [("warning", "1", "15m"), ("critical", "2", "1h")]
    return [
        Alert(
            name="FeatureDrift",
            severity=severity,
            expr=f"ml_feature_psi / on (instance, feature) ml_feature_psi_threshold > {factor}",
            hold=hold,
            summary="The input {{ $labels.feature }} drifts away from what the model was trained on",
            description="Its population stability index is {{ $value | humanize }} times its threshold.",
        )
        for severity, factor, hold in steps
    ]


def _loading() -> list[Alert]:
    return [
        Alert(
            name="ModelNotLoaded",
            severity="warning",
            expr="ml_model_load_failing == 1",
            hold="1m",
            summary="The model that is to answer could not be loaded",
            description="The model before it goes on answering, where there was one; /status says why.",
        ),
        Alert(
            name="ModelNotLoaded",
            severity="critical",
            expr="ml_model_loaded == 0",
            hold="3m",
            summary="The service has no model",
            description="Each prediction is refused with 503; /status says why.",
        ),
    ]


def _feedback(aims: Objectives) -> list[Alert]:
    predictions = aims.feedback_samples * 10
    thin = Alert(
        name="FeedbackTooThin",
        severity="warning",
        # A model that became active today cannot have its labels yet.
        expr="ml_model_metrics_live == 0 "
        "and on (instance) time() - ml_model_activated_timestamp_seconds > 86400 "
        f"and on (instance) increase(ml_predictions_total[1d]) > {predictions}",
        hold="1h",
        summary="Too few labels come back to judge the model",
        description=f"More than {predictions} predictions in a day, and fewer than {aims.feedback_samples} labels of "
        "the active model: the scores shown are the hold-out's.",
    )
    lost = Alert(
        name="FeedbackNotKept",
        severity="warning",
        expr=grown("ml_feedback_not_kept_total"),
        hold="0s",
        summary="Predictions are not kept for their labels",
        description="{{ $value | humanize }} in 15 minutes, which can never be labelled; /status says why.",
    )
    return [thin, lost]
