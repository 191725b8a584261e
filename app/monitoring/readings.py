"""The gauges: computed at the scrape from what the worker knows and all processes share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.monitoring import drift
from app.monitoring.metrics import Reading

if TYPE_CHECKING:
    from app.state import Active, ServiceState

HELD = ("accuracy", "precision", "recall", "f1_score", "roc_auc", "brier")


def readings(state: ServiceState) -> Iterator[Reading]:
    """Compute all gauges; those of the model are absent without one."""
    values, is_live, labels = state.scores()
    if state.model is not None:
        for name, value in values.items():
            text = f"{name} of the active model; ml_model_metrics_live says on what."
            yield f"ml_model_{name}", text, (), [((), value)]
        yield from _model(state.model)
        yield from _drift(state)
    yield from _labels(state)
    text = "1: ml_model_* are from labels; 0: from the hold-out."
    yield "ml_model_metrics_live", text, (), [((), float(is_live))]
    yield "ml_feedback_labels", "Labelled predictions of the active model in the window.", (), [((), float(labels))]
    yield from _service(state)


def _model(model: Active) -> Iterator[Reading]:
    """What is known about the active model."""
    about = model.about
    trained_at = about.trained_at.isoformat() if about.trained_at else ""
    info = (about.model_type, about.version, trained_at)
    yield "ml_model_info", "The active model.", ("model_type", "version", "trained_at"), [(info, 1.0)]
    text = "When the model became active, seconds since 1970; marks activations in a graph."
    activated = [((about.version,), model.activated_at.timestamp())]
    yield "ml_model_activated_timestamp_seconds", text, ("version",), activated
    held = [
        ((metric, "holdout", fields), float(getattr(scores, metric)))
        for fields, scores in about.scores.items()
        for metric in HELD
    ]
    text = "Scores on the hold-out, with all fields given and with the required ones."
    yield "ml_model_eval_score", text, ("metric", "dataset", "fields"), held
    yield "ml_model_load_seconds", "Time to load the active model.", (), [((), model.load_seconds)]


def _drift(state: ServiceState) -> Iterator[Reading]:
    """How far requests and answers are from training, and what calibrated confidence promises."""
    drifts = state.drifts()
    known = [each for each in drifts if each.psi is not None]
    psi = [((each.feature,), drift.finite(each.psi)) for each in known]
    yield "ml_feature_psi", "Population stability index against training.", ("feature",), psi
    thresholds = [((each.feature,), drift.finite(each.threshold)) for each in known]
    yield "ml_feature_psi_threshold", "PSI above which a feature has drifted.", ("feature",), thresholds
    samples = [((each.feature,), float(each.samples)) for each in drifts]
    yield "ml_feature_psi_samples", "Values in the drift window.", ("feature",), samples
    estimates, number = state.estimated()
    promised = [((name,), value) for name, value in estimates.items() if number]
    text = "Estimate from calibrated confidence, without labels."
    yield "ml_model_estimated_score", text, ("metric",), promised


def _labels(state: ServiceState) -> Iterator[Reading]:
    """What labels say of the versions that predicted."""
    by_version = state.live_by_version()
    text = "Scores on labels by the version that predicted, at most five."
    scored = [((name, each), value) for each, (scores, _) in by_version.items() for name, value in scores.items()]
    yield "ml_model_live_score", text, ("metric", "version"), scored
    text = "Labelled predictions in the window by the version that predicted."
    counted = [((each,), float(labels)) for each, (_, labels) in by_version.items()]
    yield "ml_model_live_labels", text, ("version",), counted


def _service(state: ServiceState) -> Iterator[Reading]:
    """How the service itself is."""
    yield "ml_model_loaded", "Whether a model is loaded.", (), [((), float(state.model is not None))]
    text = "1: the model that is to answer could not be loaded, and the one before goes on; /status says why."
    yield "ml_model_load_failing", text, (), [((), float(state.model_error is not None))]
    text = "Failed share of prediction requests, last 5 minutes."
    yield "ml_prediction_error_rate", text, (), [((), state.error_rate())]
    yield "ml_active_users", "Distinct clients, last 5 minutes.", (), [((), float(state.users.count()))]
    yield "ml_app_memory_bytes", "Resident memory of all workers.", (), [((), float(state.memory()))]
    # As the log's thread last saw it: a disk that does not answer would keep each scrape, and its thread, for ever.
    file, buffer = state.log.file, state.log_buffer
    if file is not None and file.free is not None and buffer is not None and not buffer.stuck():
        yield "ml_log_disk_free_bytes", "Free bytes on the volume of the log.", (), [((), float(file.free))]
