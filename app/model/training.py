"""Trains the model: a cross-validated choice between boosted trees, calibrated, measured on a hold-out."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from threadpoolctl import threadpool_limits

from app.model.bundle import Bundle, Manifest
from app.model.dataset import Dataset, Labels, Rows
from app.model.evaluation import Scores, measure, roc_auc
from app.model.reference import build
from app.model.scoring import Scorer, compile_trees
from app.schema import CATEGORICAL, COLUMN, FIELDS, OPTIONAL

HOLD_OUT = 0.2
FOLDS = 2
SCATTERED = 0.3  # share of the second copy whose optional fields are missing one by one, not all together
Progress = Callable[[str], None]


class Candidate(msgspec.Struct, frozen=True):
    """One way to boost; at most 32 leaves, which is what the scorer takes."""

    learning_rate: float
    iterations: int
    leaves: int

    def __str__(self) -> str:
        return f"{self.iterations} trees of {self.leaves} leaves, learning rate {self.learning_rate}"


CANDIDATES = (Candidate(0.06, 300, 31), Candidate(0.08, 200, 24), Candidate(0.1, 100, 15))


def with_missing(rows: Rows, seed: int) -> Rows:
    """Return a copy in which optional fields are missing: all of them, in a part of the rows one by one."""
    chance = np.random.default_rng(seed)
    copy = rows.copy()
    gone = chance.random((len(rows), len(OPTIONAL))) < 0.5
    gone[chance.random(len(rows)) >= SCATTERED] = True
    block = copy[:, OPTIONAL]
    block[gone] = np.nan
    copy[:, OPTIONAL] = block
    return copy


def only_required(rows: Rows) -> Rows:
    """Return a copy with every optional field missing."""
    copy = rows.copy()
    copy[:, OPTIONAL] = np.nan
    return copy


def fit(rows: Rows, labels: Labels, candidate: Candidate, seed: int) -> Any:
    """Fit boosted trees on each row twice: as it is, and with optional fields missing.

    One thread unless OMP_NUM_THREADS says more: OpenMP's threads wait by spinning, and on a machine that does other
    work besides, two of them are many times slower than one (measured in docs/own-model.md).
    """
    # With the variable set scikit-learn does not ask for physical cores: a traceback where the system hides them.
    threads = os.environ.setdefault("OMP_NUM_THREADS", "1")
    threadpool_limits(int(threads) if threads.isdigit() else 1, user_api="openmp")
    model = HistGradientBoostingClassifier(
        learning_rate=candidate.learning_rate,
        max_iter=candidate.iterations,
        max_leaf_nodes=candidate.leaves,
        min_samples_leaf=40,
        l2_regularization=1.0,
        categorical_features=list(CATEGORICAL),
        early_stopping=False,
        random_state=seed,
    )
    return model.fit(np.vstack([rows, with_missing(rows, seed)]), np.concatenate([labels, labels]))


def choose(data: Dataset, seed: int, progress: Progress) -> tuple[Candidate, float, float]:
    """Cross-validate the candidates.

    Returns:
        The one with the best AUC (mean of all fields and required only), and Platt's slope and intercept
        (J. Platt 1999) fitted on its out-of-fold log-odds.
    """
    best: tuple[float, Candidate, npt.NDArray[np.float64]] | None = None
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(data.rows, data.labels))
    for candidate in CANDIDATES:
        raw = np.empty((2, len(data.labels)))
        for train, test in folds:
            model = fit(data.rows[train], data.labels[train], candidate, seed)
            raw[0, test] = model.decision_function(data.rows[test])
            raw[1, test] = model.decision_function(only_required(data.rows[test]))
        score = (roc_auc(data.labels, raw[0]) + roc_auc(data.labels, raw[1])) / 2
        progress(f"  {candidate}: AUC {score:.4f} over {FOLDS} folds")
        if best is None or score > best[0]:
            best = (score, candidate, raw)
    assert best is not None  # noqa: S101 - CANDIDATES is not empty
    platt = LogisticRegression(C=np.inf).fit(best[2].reshape(-1, 1), np.tile(data.labels, 2))
    return best[1], float(platt.coef_[0, 0]), float(platt.intercept_[0])


def train(data: Dataset, seed: int, now: dt.datetime, progress: Progress) -> Bundle:
    """Choose, fit, calibrate and measure a model.

    Args:
        data: labelled rows; a fifth of them is kept apart and only measured on.
        seed: makes the same model again from the same data.
        now: when it is trained.
        progress: is told in words what happens.
    """
    train_rows, test_rows, train_labels, test_labels = train_test_split(
        data.rows, data.labels, test_size=HOLD_OUT, stratify=data.labels, random_state=seed
    )
    progress(f"data: {data.source}; {len(train_labels):,} of them to train on, {len(test_labels):,} to measure on")
    candidate, slope, intercept = choose(Dataset(train_rows, train_labels, data.source), seed, progress)
    progress(f"chosen: {candidate}; calibration {slope:.3f} * score {intercept:+.3f}")
    model = fit(train_rows, train_labels, candidate, seed)
    scorer = Scorer(compile_trees(model, slope, intercept))
    scores = {
        "all": measure(test_labels, scorer.predict(test_rows.tolist())),
        "required": measure(test_labels, scorer.predict(only_required(test_rows).tolist())),
    }
    manifest = Manifest(
        version="",
        model_type="hist_gradient_boosting",
        trained_at=now.astimezone(dt.UTC),
        description=str(candidate),
        seed=seed,
        data_source=data.source,
        data_sha256=data.digest(),
        data_rows=len(data.labels),
        fields=list(FIELDS),
        scores=scores,
        reference=build(scorer, train_rows),
        libraries={"python": platform.python_version(), "scikit-learn": sklearn.__version__, "numpy": np.__version__},
        thresholds=scorer.trees.thresholds,
        first=scorer.trees.first,
        baseline=scorer.trees.baseline,
        slope=slope,
        intercept=intercept,
        arrays_sha256="",
    )
    return Bundle(manifest, scorer)


def split_scores(data: Dataset, other: Dataset | None, splits: int, seed: int, progress: Progress) -> dict[str, Scores]:
    """Train and measure over stratified 80/20 splits; return the means of the scores.

    Args:
        data: the rows that are measured on, and trained on unless `other` is given.
        other: train on these instead (generated data).
        splits: how many.

    Returns:
        Scores by what the model was given: "all", "required", "without duration" (a model of its own). Rows and
        confusion are sums over the splits; calibration is left out.
    """
    found: dict[str, list[Scores]] = {}
    for number in range(splits):
        train_rows, test_rows, train_labels, test_labels = train_test_split(
            data.rows, data.labels, test_size=HOLD_OUT, stratify=data.labels, random_state=seed + number
        )
        learned = other or Dataset(train_rows, train_labels, data.source)
        scorer = Scorer(compile_trees(fit(learned.rows, learned.labels, CANDIDATES[0], seed)))
        blind_rows = learned.rows.copy()
        blind_rows[:, COLUMN["duration"]] = 0  # the same for all: nothing to learn from
        blind = Scorer(compile_trees(fit(blind_rows, learned.labels, CANDIDATES[2], seed)))
        blind_test = test_rows.copy()
        blind_test[:, COLUMN["duration"]] = 0
        for name, model, rows in (
            ("all", scorer, test_rows),
            ("required", scorer, only_required(test_rows)),
            ("without duration", blind, blind_test),
        ):
            scores = measure(test_labels, model.predict(rows.tolist()))
            found.setdefault(name, []).append(scores)
            progress(f"  split {number + 1}, {name}: accuracy {scores.accuracy:.4f}, AUC {scores.roc_auc:.4f}")
    return {name: _mean(scores) for name, scores in found.items()}


def _mean(scores: list[Scores]) -> Scores:
    names = ("accuracy", "precision", "recall", "f1_score", "roc_auc", "brier", "baseline_accuracy")
    means = {name: sum(getattr(each, name) for each in scores) / len(scores) for name in names}
    confusion = np.sum([each.confusion for each in scores], axis=0).tolist()
    rows = sum(each.rows for each in scores)
    return msgspec.structs.replace(scores[0], rows=rows, confusion=confusion, calibration=[], **means)
