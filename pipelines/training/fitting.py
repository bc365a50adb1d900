"""Fitting a subject: counts and labels -> a classifier, a calibrated one, a pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.pipeline import Pipeline

from pipelines.errors import TrainingError
from pipelines.params import Vectorizer
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.calibration import SigmoidCalibrated, scores_of
from pipelines.training.features import Labelled
from pipelines.training.linear import LinearSVM
from pipelines.training.subjects import Parameters, Subject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

CLASSES: Final = np.array(["NEGATIVE", "POSITIVE"])
"""What fitted pipelines answer, by int8 label."""

CALIBRATION_FOLDS: Final = 2
"""Three or five calibrate no better (log loss 0.202 on IMDB each)."""


def fit_classifier(
    subject: Subject, parameters: Parameters, seed: int, data: Labelled
) -> BaseEstimator:
    """Fit the bare classifier, without calibration; labels stay 0 and 1."""
    return _fit(subject.build(parameters, seed), data.counts, data.labels, subject)


def validation_metrics(classifier: BaseEstimator, data: Labelled) -> dict[str, float]:
    """Accuracy, F1 of the positive class and ROC AUC of a bare classifier."""
    scores = scores_of(classifier, data.counts)
    predicted = scores > (0 if hasattr(classifier, "decision_function") else 0.5)
    return {
        "accuracy": float(accuracy_score(data.labels, predicted)),
        "f1": float(f1_score(data.labels, predicted, zero_division=0)),
        "roc_auc": float(roc_auc_score(data.labels, scores)),
    }


def fit_pipeline(
    subject: Subject, parameters: Parameters, seed: int, vectorizer: Vectorizer, data: Labelled
) -> Pipeline:
    """A pipeline from raw text to calibrated probability.

    The sigmoid (Platt 1999) is fitted on margins of held-out folds; the classifier itself is
    fitted on all of `data`.
    """
    classifier = subject.build(parameters, seed)
    calibrated = SigmoidCalibrated(classifier, CALIBRATION_FOLDS, _at_once(classifier), seed)
    _fit(calibrated, data.counts, CLASSES[data.labels], subject)
    steps = [
        ("vectorizer", HashedNgramVectorizer(**msgspec.structs.asdict(vectorizer))),
        ("classifier", calibrated),
    ]
    return Pipeline(steps)


def probabilities(pipeline: Pipeline, data: Labelled) -> NDArray[np.float64]:
    """Probabilities of the positive class for counts that are there already, shape (n,)."""
    return np.asarray(pipeline.steps[-1][1].predict_proba(data.counts)[:, 1], dtype=np.float64)


def subset(data: Labelled, share: float) -> Labelled:
    """An evenly spaced `share` of the rows of each class, in their order."""
    chosen = np.zeros(data.labels.size, dtype=bool)
    for label in np.unique(data.labels):
        rows = np.flatnonzero(data.labels == label)
        # Data sets stand one below the other: a stride takes its share of each.
        wanted = max(1, round(share * rows.size))
        chosen[rows[np.linspace(0, rows.size - 1, wanted).astype(np.intp)]] = True
    return Labelled(data.counts[chosen], data.labels[chosen])


def flat(parameters: Mapping[str, object], vectorizer: Vectorizer) -> dict[str, object]:
    """All parameters of a run under one set of names."""
    return {**parameters, **msgspec.structs.asdict(vectorizer)}


def _at_once(classifier: BaseEstimator) -> int:
    """How many of the classifiers to fit at a time; each needs memory for its features.

    Two for our own solver, which is safe in threads and uses one processor. liblinear is not: its
    threads would share one sequence of random numbers.
    """
    last = classifier.steps[-1][1] if isinstance(classifier, Pipeline) else classifier
    return 2 if type(last) is LinearSVM else 1


def _fit(
    classifier: BaseEstimator, counts: object, labels: NDArray[np.generic], subject: Subject
) -> BaseEstimator:
    try:
        with warnings.catch_warnings():
            # SelectKBest: a small corpus has fewer n-grams than a subject asks for.
            warnings.filterwarnings("ignore", "k=.* is greater than n_features")
            return classifier.fit(counts, labels)
    except (ValueError, TypeError) as error:
        # scikit-learn's way of refusing parameters or data that are too small for them.
        raise TrainingError(f"{subject.name} cannot be fitted: {error}") from error
